"""`epymarl-tr watch`: the team plays as in an evaluation, each step has its frame, and faults are one line."""

from __future__ import annotations

import itertools
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from epymarl_trust_region import cli
from epymarl_trust_region.modules import files
from epymarl_trust_region.suite import resume
from epymarl_trust_region.suite.selection import lite_host
from epymarl_trust_region.watch import command, drawings, stage
from epymarl_trust_region.watch.frames import Title, as_text, frames, said_of
from epymarl_trust_region.watch.play import Film, Shot
from epymarl_trust_region.watch.sketch import Disc, Sketch
from PIL import Image
from resuming import SacredRun, configured, last_checkpoint, play

SPEAKER = "pz-mpe-simple-speaker-listener-v4"
SPREAD = {"key": "pz-mpe-simple-spread-v3", "time_limit": 6}
TEAMS = {
    "spread": ("happo", SPREAD, {}),
    "greedy": ("ir_mappo", SPREAD, {"test_greedy": True}),
    "recurrent": ("jr_ppo", SPREAD, {"use_rnn": True, "obs_last_action": True}),
    "streams": ("happo", SPREAD, {"rollout_steps": 4, "actor_num_mini_batch": 2, "buffer_size": 3}),
    "foraging": ("happo", {"key": "lbforaging:Foraging-5x5-2p-1f-v3", "time_limit": 6}, {}),
    "switch": ("matrl", {"key": "trust-region-switch-v0", "time_limit": 5, "n_agents": 2}, {}),
    "in turn": ("log_linear_ppo", {"key": "trust-region-climbing-v0", "time_limit": 2, "max_steps": 2}, {}),
    "floats": ("hatrpo", {**SPREAD, "continuous_actions": True}, {}),
    "robot": ("happo", {"scenario": "Hopper", "partition": "3x1", "time_limit": 6}, {}),
    "each": ("ipg", {"key": "trust-region-congestion-v0", "time_limit": 3}, {"common_reward": False}),
}


@pytest.fixture(autouse=True)
def folder(own_folder, monkeypatch):
    return own_folder


@pytest.fixture(scope="module")
def spread(tmp_path_factory) -> Path:
    """A step's folder of a team that has been trained for a moment; it is not to be changed."""
    return trained("spread", tmp_path_factory.mktemp("spread"))


def family(env_args: dict) -> str:
    return "mamujoco" if "scenario" in env_args else "gymma"


def trained(team: str, at: Path) -> Path:
    algorithm, env_args, more = TEAMS[team]
    if team == "robot":
        pytest.importorskip("gymnasium_robotics")
    play(configured(at, algorithm, family(env_args), env_args, t_max=1, test_interval=10**6, **more))
    return last_checkpoint(at)


def evaluated(team: tuple, checkpoint: Path, seed: int, episodes: int = 3) -> SacredRun:
    """Test episodes of one environment, by the host's own evaluation."""
    algorithm, env_args, more = team
    more = {key: value for key, value in more.items() if key not in ("rollout_steps", "buffer_size")}
    more |= {"evaluate": True, "checkpoint_path": str(checkpoint.parent), "test_nepisode": episodes, "seed": seed}
    one = dict.fromkeys(("batch_size_run", "batch_size", "buffer_size"), 1) | {"save_model": False}
    config = configured(checkpoint.parent, algorithm, family(env_args), env_args, **more, **one)
    config["env_args"]["seed"] = seed
    return play(config)[0]


def watched(monkeypatch, *words: str):
    """The film of a successful command."""
    made, original = [], command.film

    def kept(*arguments):
        made.append(original(*arguments))
        return made[0]

    with monkeypatch.context() as patch:
        patch.setattr(command, "film", kept)
        assert cli.main(["watch", *words]) == 0
    return made[0]


def refused(capsys, *words: str) -> str:
    capsys.readouterr()
    assert cli.main(["watch", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("team", TEAMS)
def test_the_episodes_are_those_of_an_evaluation_and_every_step_has_its_frame(team, tmp_path, monkeypatch):
    checkpoint = trained(team, tmp_path / "trained")
    if team == "robot":  # MuJoCo's drawing is tested apart: where there is no screen a driver may end the process
        pictures = itertools.count()
        grey = lambda *_: np.full((8, 8, 3), next(pictures), np.uint8)  # noqa: E731
        monkeypatch.setattr(drawings.Drawing, "look", grey)
        monkeypatch.setattr(stage, "let_mujoco_draw", lambda: None)
    film = watched(monkeypatch, str(checkpoint.parent), "--out", "team.gif", "with", "seed=11")
    logged = evaluated(TEAMS[team], checkpoint, seed=11).info
    table = np.array(film.returns)
    if table.ndim == 1:
        assert [table.mean(), table.std()] == [logged["test_return_mean"][-1], logged["test_return_std"][-1]]
    else:
        assert [column.mean() for column in table.T] == [
            logged[f"test_agent_{i}_return_mean"][-1] for i in range(table.shape[1])
        ]
    assert np.mean(film.lengths) == logged["test_ep_length_mean"][-1]
    assert [(shot.episode, shot.step) for shot in film.shots] == [
        (number, step) for number, length in enumerate(film.lengths, 1) for step in range(length + 1)
    ]
    assert [shot.last for shot in film.shots] == [shot.step == film.lengths[shot.episode - 1] for shot in film.shots]
    assert all(np.array_equal(shot.total, film.returns[shot.episode - 1]) for shot in film.shots if shot.last)
    with Image.open("team.gif") as gif:
        assert gif.n_frames == len(film.shots)
        gif.seek(film.lengths[0])
        assert gif.info["duration"] == 1500
        gif.seek(1)
        assert gif.info["duration"] == 200


def test_words_are_of_what_is_played_and_not_of_padding_and_draws_beyond_the_bounds():
    config = configured(Path(), "happo", "gymma", {"key": SPEAKER, "time_limit": 6, "continuous_actions": True})
    host = lite_host()
    env = host.environments["gymma"](**config["env_args"], common_reward=True, reward_scalarisation="sum")
    env.reset()
    film = Film(env, "speaker")
    film.begin()
    film.note(np.array([[-0.5, -0.2, 0.3, 0.9, 0.9], [0.0, -0.8, 1.7, 0.0, 0.0]], np.float32), 0.0, True)
    assert film.shots[-1].words == ["says C", "(+1.0, +0.0)"]


def test_what_the_command_says(spread, monkeypatch, capsys):
    step, run = spread.name, spread.parent
    film = watched(
        monkeypatch, str(spread), "--episodes", "2", "--greedy", "--every", "4", "with", "env_args.time_limit=5"
    )
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("happo on pz-mpe-simple-spread-v3, from ")
    assert said[0].endswith(f"{run.name}/{step}: likeliest actions, seed 4")
    assert said[1:3] == [f"episode {i + 1}    return {film.returns[i]:.2f}, 5 steps" for i in range(2)]
    assert said[3].startswith("file         pz-mpe-simple-spread-v3-happo.gif (6 frames, ")
    assert [shot.step for shot in film.shots] == [0, 4, 5, 0, 4, 5]


def test_the_newest_complete_step_is_taken_or_the_one_that_is_named(spread, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    for step in ("18", "500", "900"):
        shutil.copytree(spread, run / step)
    (run / "900" / "agent.th").unlink()
    for words, step in (((), "500"), (("--load-step", "20"), "18")):
        watched(monkeypatch, str(run), "--episodes", "1", *words)
        out, err = capsys.readouterr()
        assert f"run/{step}: " in out and ("run/900 is incomplete (it lacks agent.th)" in err) == (step == "500")
    assert "--load-step=5 does nothing" in refused(capsys, str(run / "18"), "--load-step", "5")


def test_an_older_checkpoint_is_told_what_it_was_trained_with(spread, tmp_path, monkeypatch, capsys):
    old = tmp_path / "old" / spread.name
    shutil.copytree(spread, old)
    for name in ("run.th", files.CHECKSUMS_FILE):
        (old / name).unlink()
    line = refused(capsys, str(old.parent))
    assert "older version" in line and "--config-from results/sacred/ALGORITHM/TASK/RUN" in line
    config = configured(tmp_path, "happo", "gymma", SPREAD)
    config["env_args"].pop("seed")
    Path("config.json").write_text(json.dumps(config | {"plugin": {"host": "lite"}}))
    one = watched(monkeypatch, str(old.parent), "--config-from", ".")
    assert one.returns == watched(monkeypatch, str(spread)).returns
    assert "no folder of a run" in refused(capsys, str(old.parent), "--config-from", "nowhere")


def test_text_and_pictures_follow_the_state():
    def shot(x: float, step: int, total=1.5) -> Shot:
        return Shot(Sketch([Disc(x, 0, 0.5, (200, 0, 0))], (-2, -2, 2, 2)), 1, step, total, ["left"], False)

    assert said_of(shot(0, 17), 3) == "episode 1 of 3   step 17   return 1.50"
    assert as_text(np.array([1.0, -3.0])) == "-2.00 (1.00, -3.00)" and as_text(np.ones(9)) == "9.00"
    a, b, c = (np.asarray(image) for image in frames([shot(-1, 1), shot(1, 1), shot(1, 2)], Title("t", "b", 3), 200))
    top = 62  # of the picture, which is 200 by 200: x=-1 lies at column 50, x=1 at 150
    assert tuple(a[top + 100, 50]) == (200, 0, 0) == tuple(b[top + 100, 150])
    assert tuple(a[top + 100, 150]) == (255, 255, 255) == tuple(b[top + 100, 50])
    assert (b[top:] == c[top:]).all() and (b[:top] != c[:top]).any()  # another step, and nothing else


OWN = """
import gymnasium, numpy as np
class Env(gymnasium.Env):
    metadata = {"render_modes": %s}
    action_space = gymnasium.spaces.Tuple([gymnasium.spaces.Discrete(2)] * 2)
    observation_space = gymnasium.spaces.Tuple([gymnasium.spaces.Box(0, 1, (1,), np.float32)] * 2)
    n_agents = 2
    def __init__(self, render_mode=None): self.render_mode, self.t = render_mode, 0
    def _seen(self): return [np.zeros(1, np.float32)] * 2
    def reset(self, seed=None, options=None): self.t = 0; return self._seen(), {}
    def step(self, actions): self.t += 1; return self._seen(), [np.random.random()] * 2, self.t == 3, False, {}
    def render(self): %s
gymnasium.register("%s-v0", Env)
"""


def of_ones_own(at: Path, name: str, modes: str, render: str) -> str:
    """A checkpoint of a team in an environment of the user's own."""
    Path(f"{name}.py").write_text(OWN % (modes, render, name))
    play(configured(at / name, "happo", "gymma", {"key": f"{name}:{name}-v0", "time_limit": 5}, t_max=1))
    return str(last_checkpoint(at / name).parent)


def test_an_environment_of_ones_own_draws_itself(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(tmp_path))
    picture = "return np.full((30, 60, 3), 10 * self.t, np.uint8)"
    run = of_ones_own(tmp_path, "drawn", "['rgb_array']", picture)
    line = refused(capsys, run)
    assert (
        "name it yourself: add env_args.key=drawn:drawn-v0 after `with`" in line
    )  # whose code it is, only the user knows
    film = watched(monkeypatch, run, "--episodes", "1", "--out", "own.gif", "with", "env_args.key=drawn:drawn-v0")
    assert [shot.picture.max() for shot in film.shots] == [0, 10, 20, 30]
    team = ("happo", {"key": "drawn:drawn-v0", "time_limit": 5}, {})  # it draws from the process's random numbers
    (step,) = Path(run).iterdir()
    assert film.returns == evaluated(team, step, seed=4, episodes=1).info["test_return_mean"]
    with Image.open("own.gif") as gif:
        assert gif.size == (360, 62 + 180 + 28)
    for name, modes, render, told in (
        ("undrawn", "['human']", "pass", "there is no drawing for undrawn-v0"),
        ("broken", "['rgb_array']", "raise OSError('no screen')", "Env cannot draw itself here (OSError: no screen)"),
        ("empty", "['rgb_array']", "return None", "gives no picture of shape [height, width, 3]"),
    ):
        run = of_ones_own(tmp_path, name, modes, render)
        assert told in refused(capsys, run, "with", f"env_args.key={name}:{name}-v0")


WRONG = {
    "nowhere": ("nowhere is no folder", ["nowhere"]),
    "untrained": (". holds no saved models", ["."]),
    "nothing said": ("CHECKPOINT", []),
    "flag": ("--episode", ["RUN", "--episode", "3"]),
    "episodes": ("0 is no whole number from 1 on", ["RUN", "--episodes", "0"]),
    "fps": ("no number from 0.1 to 50", ["RUN", "--fps", "nan"]),
    "format": ("--out=team.avi: give it one of the endings .gif and .mp4", ["RUN", "--out", "team.avi"]),
    "folder": ("there is no folder there", ["RUN", "--out", "there/team.gif"]),
    "near miss": ("did you mean env_args.time_limit?", ["RUN", "with", "env_args.time_limt=3"]),
    "unknown": ("unknown key `epss_clip`", ["RUN", "with", "epss_clip=3"]),
    "of no use": ("lr in the command line changes nothing that can be watched", ["RUN", "with", "lr=0.1"]),
    "value": ("env_args.time_limit=0", ["RUN", "with", "env_args.time_limit=0"]),
    "seed": ("seed", ["RUN", "with", "seed=-1"]),
    "other sizes": ("was made for another task", ["RUN", "with", "env_args.N=4"]),
    "no argument": ("the environment cannot be made", ["RUN", "with", "env_args.colour=4"]),
    "missing": ("nowhere:some-v0", ["RUN", "with", "env_args.key=nowhere:some-v0"]),
    "word": ("`mine.yaml` in the command line is no key=value", ["RUN", "with", "mine.yaml"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_watched_is_refused_in_one_line(case, spread, capsys, own_folder):
    told, words = WRONG[case]
    line = refused(capsys, *[str(spread.parent) if word == "RUN" else word for word in words])
    assert line.startswith("error: ") and told in line
    assert not list(own_folder.iterdir())


def test_a_video_needs_a_package(spread, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    assert "pip install imageio imageio-ffmpeg" in refused(capsys, str(spread), "--out", "team.mp4")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("learner", "q_learner", "is none of this plugin's algorithms"),
        ("env", "sc2", "env=sc2 is an environment of EPyMARL's"),
        ("actor_network", "mine:Net", "names code to import, actor_network=mine:Net"),
        ("env_args", 3, "was made for another task or network"),
        ("gamma", "much", "gamma"),
    ],
)
def test_configurations_of_others(key, value, told, spread, capsys):
    config = configured(Path("."), "happo", "gymma", SPREAD)
    Path("config.json").write_text(json.dumps(config | {key: value}))
    assert told in refused(capsys, str(spread), "--config-from", ".")


def test_a_checkpoint_of_anyones_makes_nothing_be_written(spread, tmp_path, monkeypatch):
    tampered = tmp_path / "run" / spread.name
    shutil.copytree(spread, tampered)
    (tampered / files.CHECKSUMS_FILE).unlink()
    said = resume.read(tampered)["configuration"]
    more = {"save_episodes": "episodes", "save_model": True, "local_results_path": "elsewhere", "plugin.host": "x"}
    resume.write(tampered, {**said, **more}, {})
    before = set(tmp_path.rglob("*"))
    assert watched(monkeypatch, str(tampered)).returns == watched(monkeypatch, str(spread)).returns
    assert {path.name for path in set(tmp_path.rglob("*")) - before} == {"pz-mpe-simple-spread-v3-happo.gif"}


def test_a_full_disk_is_one_line(spread, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    logging.getLogger().handlers.clear()
    line = refused(capsys, str(spread), "--episodes", "1")
    assert "no space left" in line and "--out=FOLDER" in line
