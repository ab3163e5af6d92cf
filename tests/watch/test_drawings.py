"""What is drawn of each environment: agents where they are, in their colours, and their actions by name."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from epymarl_trust_region.errors import CapabilityError
from epymarl_trust_region.suite.environments import resolve_key
from epymarl_trust_region.watch import boards, stage, worlds
from epymarl_trust_region.watch.drawings import drawing_of, plain
from epymarl_trust_region.watch.sketch import AGENTS, Disc, Sketch, common_view, paint
from support import ROOT

VIEW, PIXELS = (-8.0, -8.0, 8.0, 8.0), 800


def core(key: str, **arguments):
    env = gymnasium.make(resolve_key(key), disable_env_checker=True, **arguments).unwrapped
    env.reset(seed=1)
    return env


def colour(sketch: Sketch, x: float, y: float) -> np.ndarray:
    picture = np.asarray(paint(sketch, VIEW, PIXELS, PIXELS)).astype(int)
    return picture[round((VIEW[3] - y) / 16 * PIXELS), round((x - VIEW[0]) / 16 * PIXELS)]


def is_agent(sketch: Sketch, i: int, x: float, y: float) -> bool:
    """Whether agent i's colour, seen through a little, is there."""
    return bool(np.abs(colour(sketch, x, y) - AGENTS[i]).max() < 70)


def moved_mpe(env):
    env._env.unwrapped.world.agents[0].state.p_pos = np.array([5.0, -3.0])
    env._env.unwrapped.world.agents[0].size = 0.8
    return 0, 5.5, -3.0


def moved_vmas(env):
    env._env.unwrapped.world.agents[2].state.pos[0] = torch.tensor([-4.0, 6.0])
    env._env.unwrapped.world.agents[2].shape._radius = 0.8
    return 2, -4.5, 6.0


def moved_lbf(env):
    env.players[1].position = (4, 3)
    return 1, 2.75, -3.75


def moved_congestion(env):
    env._vertices = np.array([0, 0, 0, 5])  # agent 3 alone at t
    return 3, 5.88, 0.1


MOVES = {
    "pz-mpe-simple-spread-v3": moved_mpe,
    "vmas-transport": moved_vmas,
    "lbforaging:Foraging-5x5-2p-1f-v3": moved_lbf,
    "trust-region-congestion-v0": moved_congestion,
}


@pytest.mark.parametrize("key", MOVES)
def test_an_agent_is_drawn_where_it_is(key):
    if key.startswith("vmas"):
        pytest.importorskip("vmas")
    env = core(key)
    drawing = drawing_of(env, key)
    before = drawing.look(env, None)
    where = MOVES[key](env)
    after = drawing.look(env, None)
    assert not is_agent(before, *where) and is_agent(after, *where)


@pytest.mark.parametrize("key", ["trust-region-checkers-v0", "trust-region-switch-v0"])
def test_games_that_draw_themselves(key):
    env = core(key, render_mode="rgb_array")
    drawing = drawing_of(env, key)
    before = drawing.look(env, None)
    env.step([1] * env.n_agents)
    assert before.shape == drawing.look(env, None).shape and (before != drawing.look(env, None)).any()
    assert drawing.words(env, list(range(env.n_agents))) == ["down", "left", "up", "right"][: env.n_agents]


def test_the_table_of_a_matrix_game_shows_what_was_chosen():
    env = core("trust-region-climbing-v0")
    assert tuple(colour(boards.matrix_game(env, None), 2.4, -1.4)) == (255, 255, 255)
    assert tuple(colour(boards.matrix_game(env, [1, 2]), 2.4, -1.4)) == (255, 236, 150)
    assert tuple(colour(boards.matrix_game(env, [2, 1]), 2.4, -1.4)) == (255, 255, 255)


def test_the_table_of_a_game_with_opponents_has_both_payoffs_and_the_choice():
    env = core("trust-region-inspection-v0")
    assert drawing_of(env, "").sketch is boards.table_game
    assert tuple(colour(boards.table_game(env, [1, 0]), 0.4, -1.4)) == (255, 236, 150)
    assert tuple(colour(boards.table_game(env, [0, 1]), 0.4, -1.4)) == (255, 255, 255)
    texts = {shape.text for shape in boards.table_game(env, None).shapes if hasattr(shape, "text")}
    assert {"1, -1", "-1, 1", "0, 0"} <= texts


def test_what_many_agents_have_chosen():
    env = core("trust-region-anti-coordination-v0", n_agents=4)
    assert is_agent(boards.matrix_game(env, [0, 1, 0, 1]), 3, 3.25, -1)
    env = core("trust-region-distancing-v0", n_agents=4)
    sketch = boards.distancing(env, [3, 3, 0, 1])
    assert is_agent(sketch, 1, 3.25, 1) and is_agent(sketch, 2, 0.25, 0)
    safe = colour(sketch, 2, 2)
    env._state = np.array(1)
    assert (colour(boards.distancing(env, None), 2, 2) != safe).any()


def test_a_warehouse():
    """The package is not always there; its environment has these attributes."""
    robot = SimpleNamespace(x=2, y=1, dir=SimpleNamespace(name="LEFT"), carrying_shelf=None)
    shelves = [SimpleNamespace(x=0, y=0), SimpleNamespace(x=1, y=0)]
    env = SimpleNamespace(grid_size=(3, 4), goals=[(3, 2)], shelfs=shelves, request_queue=shelves[:1], agents=[robot])
    sketch = boards.rware(env, None)
    assert is_agent(sketch, 0, 2.25, -1) and is_agent(sketch, 0, 1.5, -1) and not is_agent(sketch, 0, 2.5, -1)
    assert tuple(colour(sketch, 0, 0)) == (60, 160, 60) != tuple(colour(sketch, 1, 0))
    assert tuple(colour(sketch, 3, -2)) == (190, 190, 190)


@pytest.mark.jax
def test_both_sides_of_a_battle():
    pytest.importorskip("jaxmarl")
    from epymarl_trust_region.environments.smax import SMAXEnv

    env = SMAXEnv("3m", 50, 1, True, "sum")
    env.reset()
    battle, key = env._batched._battles
    places = np.array(battle.state.unit_positions)
    places[0, :] = [[6.0, 6.0], [-6, -6], [-6, 6], [6.0, -6.0], [0, 0], [0, 3]]
    alive, health = np.array(battle.state.unit_alive), np.array(battle.state.unit_health)
    alive[0, 2], health[0, 0] = False, 0.25 * health[0, 0]
    state = battle.state.replace(unit_positions=places, unit_alive=alive, unit_health=health)
    env._batched._battles = battle.replace(state=state), key
    drawing = drawing_of(env, "3m")
    sketch = drawing.look(env, [5, 4, 4])
    assert is_agent(sketch, 0, 6.3, 6.0) and is_agent(sketch, 1, -5.7, -6.0)
    assert not is_agent(sketch, 2, -5.7, 6.0)  # dead
    assert sketch.view == (-8, -8, 8, 8)  # of a map of 32 x 32
    assert is_agent(sketch, 0, 6.0, 0.0) and not is_agent(drawing.look(env, [4, 4, 4]), 0, 6.0, 0.0)  # it aims
    bar = 6.0 + 1.5 * 0.375 + 0.35
    assert tuple(colour(sketch, 5.6, bar)) == (60, 160, 60)
    assert tuple(colour(sketch, 6.3, bar)) == (225, 225, 225)
    assert drawing.words(env, [0, 5, 3]) == ["up", "attack 0", "dead"]


ROBOT = """
import numpy as np
from epymarl_trust_region.environments.mamujoco import MaMuJoCoEnv
from epymarl_trust_region.watch import stage
from epymarl_trust_region.watch.drawings import drawing_of
stage.let_mujoco_draw()
env = MaMuJoCoEnv("Swimmer", "2x1", 5, 1, True, "sum", render_mode="rgb_array")
env.reset()
drawing = drawing_of(env, "Swimmer")
before = drawing.look(env, None)
for _ in range(5):
    env.step(np.ones((2, 1), np.float32))
print(before.dtype, (drawing.look(env, None) != before).any())
env.close()
"""


def test_a_robot_draws_itself_without_a_screen(monkeypatch):
    """In a process of its own, which a driver may take down with it."""
    pytest.importorskip("gymnasium_robotics")
    monkeypatch.setenv("MUJOCO_GL", "")  # so that it is put back
    try:
        stage.let_mujoco_draw()
    except CapabilityError as error:
        pytest.skip(str(error))
    places = os.pathsep.join([str(ROOT / "plugins"), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ROBOT], env={**os.environ, "PYTHONPATH": places, "MUJOCO_GL": ""},
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode < 0:
        pytest.skip(f"the driver ended the process with signal {-done.returncode}")
    assert done.stdout.split() == ["uint8", "True"], done.stderr


def test_without_a_library_for_it_mujoco_is_refused(monkeypatch):
    def missing(library):
        raise ImportError(f"no lib{library}.so")

    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(stage, "_make_canvas", missing)
    with pytest.raises(CapabilityError, match=r"\(egl: no libegl.so; osmesa: no libosmesa.so\); install a library"):
        stage.let_mujoco_draw()


def test_a_drawing_that_fails_is_one_line():
    env = core("trust-region-climbing-v0")
    del env.payoff
    with pytest.raises(CapabilityError, match="MatrixGameEnv cannot be drawn here .AttributeError"):
        drawing_of(env, "climbing").look(env, None)


def test_actions_by_name():
    spread = core("pz-mpe-simple-spread-v3")
    assert [worlds.mpe_action(spread, 0, a) for a in range(5)] == ["stay", "left", "right", "down", "up"]
    push = np.array([0.5, 0.1, 0.4, 0.0, 1.0])  # nothing, left, right, down, up
    assert worlds.mpe_action(core("pz-mpe-simple-spread-v3", continuous_actions=True), 0, push) == "(+0.3, +1.0)"
    both = core("pz-mpe-simple-reference-v3")
    assert worlds.mpe_action(both, 0, 11) == "left says C"
    speaker = core("pz-mpe-simple-speaker-listener-v4")
    assert worlds.mpe_action(speaker, 0, 1) == "says B" and worlds.mpe_action(speaker, 1, 4) == "up"
    food = core("lbforaging:Foraging-5x5-2p-1f-v3")
    assert drawing_of(food, "").words(food, [5, 1]) == ["load", "north"]
    assert plain(np.array([0.25, -1])) == "+0.2 -1.0" and plain(3) == "3"


def test_vmas_moves_as_they_are_called():
    pytest.importorskip("vmas")
    env = core("vmas-transport")
    world, named = env._env.unwrapped.world, {}
    for action in range(9):
        env.reset()
        before = world.agents[0].state.pos[0].clone()
        env.step([action, 0, 0, 0])
        named[worlds.vmas_action(env, 0, action)] = torch.sign(
            (world.agents[0].state.pos[0] - before).round(decimals=5)
        )
    x, y = {"left": -1, "right": 1}, {"down": -1, "up": 1}
    for name, moved in named.items():
        words = name.split()
        assert moved.tolist() == [sum(x.get(w, 0) for w in words), sum(y.get(w, 0) for w in words)], name
    assert len(named) == 9


def test_a_film_keeps_its_scale():
    one, other = Sketch([Disc(0, 0, 1, AGENTS[0])]), Sketch([Disc(4, 0, 1, AGENTS[0])])
    left, bottom, right, top = common_view([one, other])
    assert left < -1 and right > 5 and bottom < -1 and top > 1
    width = np.asarray(paint(one, (-2, -2, 2, 2), 100, 50)).shape
    assert width == (50, 100, 3)  # not distorted, but with room at the sides


def test_the_package_is_light():
    """What knows environments imports none of them."""
    for name in ("drawings", "worlds", "boards"):
        text = importlib.util.find_spec(f"epymarl_trust_region.watch.{name}").loader.get_source(None)
        assert not any(word in text for word in ("import mpe2", "import vmas", "import jax", "import lbforaging"))
