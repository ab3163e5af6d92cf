"""Multi-agent MuJoCo against the package that describes it, number for number, and what it refuses."""

from __future__ import annotations

import importlib.util
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch as th
import yaml
from epymarl_trust_region.environments import mamujoco_tasks
from epymarl_trust_region.environments.mamujoco import MaMuJoCoEnv
from epymarl_trust_region.environments.mamujoco_sight import local_sight
from epymarl_trust_region.errors import CapabilityError, ConfigError, EnvironmentMissingError

if importlib.util.find_spec("gymnasium_robotics") is None or importlib.util.find_spec("mujoco") is None:
    pytest.skip("gymnasium-robotics or mujoco is not installed; mujoco 4 needs Python 3.11", allow_module_level=True)

CONFIG = yaml.safe_load((Path(__file__).resolve().parents[2] / "configs/envs/mamujoco.yaml").read_text())
TEAM = {"common_reward": True, "reward_scalarisation": "sum"}

# The joints of each agent, where the package has no partition of that name: in the order of the actuators.
OWN = {
    ("Ant", "8x1"): "hip4|ankle4|hip1|ankle1|hip2|ankle2|hip3|ankle3",
    ("HalfCheetah", "3x2"): "bthigh bshin|bfoot fthigh|fshin ffoot",
    ("HalfCheetah", "1x6"): "bthigh bshin bfoot fthigh fshin ffoot",
    ("Walker2d", "3x2"): "thigh_joint leg_joint|foot_joint thigh_left_joint|leg_left_joint foot_left_joint",
    ("Walker2d", "6x1"): "thigh_joint|leg_joint|foot_joint|thigh_left_joint|leg_left_joint|foot_left_joint",
}
for humanoid in ("Humanoid", "HumanoidStandup"):
    OWN[humanoid, "17x1"] = (
        "abdomen_y|abdomen_z|abdomen_x|right_hip_x|right_hip_z|right_hip_y|right_knee|left_hip_x|left_hip_z|left_hip_y|"
        "left_knee|right_shoulder1|right_shoulder2|right_elbow|left_shoulder1|left_shoulder2|left_elbow"
    )
TABLE_6 = [  # of the paper: robot, partition, actions of each agent
    ("Ant", "2x4", [4, 4]),
    ("Ant", "4x2", [2] * 4),
    ("Ant", "8x1", [1] * 8),
    ("HalfCheetah", "2x3", [3, 3]),
    ("HalfCheetah", "3x2", [2] * 3),
    ("HalfCheetah", "6x1", [1] * 6),
    ("Walker2d", "2x3", [3, 3]),
    ("Walker2d", "3x2", [2] * 3),
    ("Walker2d", "6x1", [1] * 6),
    ("Humanoid", "17x1", [1] * 17),
    ("HumanoidStandup", "17x1", [1] * 17),
    ("Swimmer", "10x2", [2] * 10),
    ("Hopper", "3x1", [1] * 3),
]
OTHERS = [
    ("Ant", "2x4d", [4, 4]),
    ("HalfCheetah", "1x6", [6]),
    ("Humanoid", "9|8", [9, 8]),
    ("HumanoidStandup", "9|8", [9, 8]),
    ("ManySegmentAnt", "2x2", [8, 8]),
    ("ManySegmentSwimmer", "3x1", [1] * 3),
    ("Reacher", "2x1", [1, 1]),
    ("Swimmer", "2x1", [1, 1]),
]


def make(scenario="HalfCheetah", partition="6x1", time_limit=80, seed=3, **changes):
    return MaMuJoCoEnv(scenario, partition, **{"time_limit": time_limit, "seed": seed, **TEAM, **changes})


def package(scenario, partition, time_limit, obsk=1, **options):
    """The package's own environment, wrappers and all."""
    from gymnasium_robotics import mamujoco_v1

    factorization = None
    if labels := OWN.get((scenario, partition)):
        parts, edges, roots = mamujoco_v1.get_parts_and_edges(scenario, None)
        joints = {joint.label: joint for part in parts for joint in part}
        parts = [tuple(joints[label] for label in own.split()) for own in labels.split("|")]
        factorization = {"partition": parts, "edges": edges, "globals": roots}
    if (scenario, partition) == ("Swimmer", "10x2"):
        scenario = "ManySegmentSwimmer"
    options |= {"agent_obsk": obsk, "agent_factorization": factorization, "max_episode_steps": time_limit}
    with mamujoco_tasks._without_noise():
        return mamujoco_v1.parallel_env(scenario, partition, **options)


def padded(rows) -> np.ndarray:
    """[N, longest] float32, zeros at the ends."""
    table = np.zeros((len(rows), max(map(len, rows))), np.float32)
    for padded_row, row in zip(table, rows, strict=True):
        padded_row[: len(row)] = row
    return table


def draw(generator, env, sizes) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """One action for us, beyond the box and with rubbish in the padding; and the same for the package, in the box."""
    high = env.get_env_info()["action_high"].max()
    actions = generator.uniform(-1.3 * high, 1.3 * high, (len(sizes), max(sizes))).astype(np.float32)
    inside = {f"agent_{i}": np.clip(actions[i, :n], -high, high) for i, n in enumerate(sizes)}
    actions[env.get_avail_actions() == 0] = np.nan
    return actions, inside


def same_game(full, local, theirs, sizes, steps) -> dict[str, int]:
    """Play all three and compare; gives how often episodes ended, and how."""
    generator, ends = np.random.default_rng(5), {"terminated": 0, "truncated": 0}
    (seen, _), _, _ = theirs.reset(seed=3), full.reset(), local.reset()
    for _ in range(steps):
        state = theirs.state().astype(np.float32)
        assert full.get_state().dtype == full.get_obs().dtype == local.get_obs().dtype == np.float32
        np.testing.assert_array_equal(full.get_state(), state, strict=True)
        np.testing.assert_array_equal(local.get_state(), state, strict=True)
        np.testing.assert_array_equal(full.get_obs(), np.stack([state] * len(sizes)), strict=True)
        np.testing.assert_array_equal(local.get_obs(), padded(list(seen.values())), strict=True)
        actions, inside = draw(generator, full, sizes)
        seen, rewards, terminated, truncated, _ = theirs.step(inside)
        for env in (full, local):
            obs, reward, *flags, info = env.step(actions)
            assert obs is env.get_obs() and type(reward) is float and [type(flag) for flag in flags] == [bool, bool]
            assert {reward} == set(rewards.values())
            assert flags == [terminated["agent_0"], truncated["agent_0"]]
            assert info == ({"episode_limit": True} if flags == [False, True] else {})
        ends["terminated"] += flags[0]
        ends["truncated"] += flags[1]
        if any(flags):
            (seen, _), _, _ = theirs.reset(), full.reset(), local.reset()
    return ends


@pytest.mark.parametrize("scenario, partition, sizes", TABLE_6 + OTHERS)
def test_every_step_is_the_packages(scenario, partition, sizes):
    full, local = make(scenario, partition), make(scenario, partition, obs="local", obsk=1)
    ends = same_game(full, local, package(scenario, partition, 80), sizes, steps=240)
    often = {"Ant", "Hopper", "Humanoid", "Walker2d"}  # those that fall; the others are cut
    assert (ends["terminated"] > 0) == (scenario in often)
    assert ends["truncated"] > 0 or scenario in often
    info = full.get_env_info()
    assert (info["n_agents"], info["n_actions"], info["episode_limit"]) == (len(sizes), max(sizes), 80)
    assert info["state_shape"] == info["obs_shape"] == len(full.get_state())
    assert local.get_env_info()["obs_shape"] == local.get_obs().shape[1]
    for env in (full, local):
        env.close()


@pytest.mark.parametrize("obsk", [0, 2, 5])
@pytest.mark.parametrize("scenario, partition, sizes", [("Ant", "4x2", [2] * 4), ("Walker2d", "3x2", [2] * 3)])
def test_how_far_an_agent_sees(scenario, partition, sizes, obsk):
    local = make(scenario, partition, obs="local", obsk=obsk)
    same_game(make(scenario, partition), local, package(scenario, partition, 80, obsk), sizes, steps=60)


def test_joints_of_one_label_stand_in_a_fixed_order():
    """Two joints of Pusher have one label, and the package sorts a set by labels: their order is by chance."""
    local, theirs = make("Pusher", "3p", obs="local"), package("Pusher", "3p", 80)
    for depths in theirs.k_dicts:
        for joints in depths.values():
            joints.sort(key=lambda joint: (joint.label, joint.act_ids))
    same_game(make("Pusher", "3p"), local, theirs, [3, 1, 3], steps=120)


def test_what_the_package_computes_is_asked_of_it():
    described = mamujoco_tasks.make("HalfCheetah", "6x1", 1, {})
    described.agent_action_partitions[0][0].extra_obs = {"qpos": lambda data: np.sin(data.qpos[-6:-5])}
    look = local_sight(described)
    for _ in range(3):
        described.single_agent_env.step(np.ones(6))
        np.testing.assert_array_equal(look(), padded([described._get_obs_agent(i) for i in range(6)]))


def test_agents_with_fewer_actions_are_padded():
    env = make("Humanoid", "9|8")
    assert env.get_avail_actions().tolist() == [[1] * 9, [1] * 8 + [0]]
    info = env.get_env_info()
    high = np.float32(0.4)
    for name, bound in (("action_high", high), ("action_low", -high)):
        assert info[name].dtype == np.float32
        assert info[name].tolist() == [[bound] * 9, [bound] * 8 + [0.0]]
    pusher = make("Pusher", "3p")
    assert pusher.get_avail_actions().tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 1]]
    assert pusher.get_env_info()["action_low"].tolist() == [[-2, -2, -2], [-2, 0, 0], [-2, -2, -2]]
    env.get_avail_actions()[:] = 7  # a copy
    assert env.get_avail_actions().max() == 1


def test_an_action_moves_its_own_joint():
    """HalfCheetah 3x2: agent 1 has bfoot and fthigh, the actuators 2 and 3 of Gymnasium's bthigh, bshin, ..., ffoot."""
    env = make("HalfCheetah", "3x2")
    env.reset()
    env.step(np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]))
    assert env.simulator.data.ctrl.tolist() == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    env = make("Walker2d", "2x3")  # the package's: foot, leg, thigh, where the actuators are thigh, leg, foot
    env.reset()
    env.step(np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]))
    assert env.simulator.data.ctrl.tolist() == [0.3, 0.2, 0.1, 0.6, 0.5, 0.4]


def test_what_lies_outside_the_box_is_clipped_to_it():
    far, edge = make("Humanoid", "17x1"), make("Humanoid", "17x1")
    for env in (far, edge):
        env.reset()
    signs = np.sign(np.arange(17) - 7.5)[:, None]
    (_, paid_far, *_), (_, paid_edge, *_) = far.step(50.0 * signs), edge.step(np.float32(0.4) * signs)
    assert paid_far == paid_edge
    np.testing.assert_array_equal(far.get_obs(), edge.get_obs())


def play(env, steps, seed=0):
    generator, trace = np.random.default_rng(seed), []
    n, a = env.get_avail_actions().shape
    for _ in range(steps):
        obs, reward, terminated, truncated, _ = env.step(generator.uniform(-1, 1, (n, a)))
        trace.append((obs, reward, terminated, truncated))
        if terminated or truncated:
            trace.append(env.reset()[0])
    return trace


def test_a_seed_decides_all_episodes_and_nothing_else_does():
    same, other = [make(seed=4), make(seed=4)], make(seed=5)
    starts = [env.reset()[0] for env in same]
    np.testing.assert_array_equal(*starts)
    assert not np.array_equal(other.reset()[0], starts[0])
    np.random.seed(0)
    play(same[0], 80), play(same[1], 30)  # both are in their second or later episode then
    same[1].reset()
    np.testing.assert_array_equal(same[0].get_obs(), same[1].get_obs())
    np.testing.assert_array_equal(other.reset(seed=4)[0], starts[0])


def test_what_was_seen_is_not_overwritten():
    env = make(obs="local")
    obs, _ = env.reset()
    state, kept = env.get_state(), (obs.copy(), env.get_state().copy())
    play(env, 3)
    np.testing.assert_array_equal(obs, kept[0])
    np.testing.assert_array_equal(state, kept[1])


def test_an_episode_can_end_and_be_cut_at_once():
    env = make("Hopper", "3x1", time_limit=500)
    env.reset()
    length = 1
    while not env.step(np.zeros((3, 1)))[2]:
        length += 1
    assert 10 < length < 500
    env, theirs = make("Hopper", "3x1", time_limit=length), package("Hopper", "3x1", length)
    env.reset(), theirs.reset(seed=3)
    for _ in range(length):
        _, _, terminated, truncated, info = env.step(np.zeros((3, 1)))
        _, _, ends, cuts, _ = theirs.step({f"agent_{i}": np.zeros(1) for i in range(3)})
        assert (terminated, truncated) == (ends["agent_0"], cuts["agent_0"])
    assert (terminated, truncated, info) == (True, True, {})


def test_one_reward_is_paid_once_or_to_each():
    team, each = make(), make(common_reward=False)
    mean = make(reward_scalarisation="mean")
    for env in (team, each, mean):
        env.reset()
    moves = np.full((6, 1), 0.5)
    reward = team.step(moves)[1]
    assert each.step(moves)[1] == [reward] * 6 and mean.step(moves)[1] == reward


@pytest.mark.parametrize("moves", [th.full((6, 1), 0.5), [[0.5]] * 6, np.full((6, 1), 0.5, np.float32)])
def test_actions_may_come_in_many_forms(moves):
    env, other = make(), make()
    env.reset(), other.reset()
    assert env.step(moves)[1] == other.step(np.full((6, 1), 0.5))[1]


@pytest.mark.parametrize("moves", [[0, 1, 0, 1, 0, 1], np.zeros((6, 2)), np.zeros((1, 6))])
def test_discrete_actions_are_refused(moves):
    env = make()
    env.reset()
    with pytest.raises(CapabilityError, match=r"shape \(6, 1\), .* got shape .*Gaussian"):
        env.step(moves)


@pytest.mark.parametrize("scenario, partition", [("Ant", "4x2"), ("Humanoid", "9|8"), ("Pusher", "3p")])
def test_a_pickled_state_goes_on_bit_for_bit(scenario, partition):
    """In the middle of an episode, contacts and all; and the episodes after it begin alike."""
    env = make(scenario, partition, obs="local")
    env.reset()
    play(env, 25)
    kept, at_hand = pickle.dumps(env.state_dict()), env.state_dict()
    ahead = play(env, 120, seed=1)
    other = make(scenario, partition, seed=99, obs="local")
    other.reset()
    play(other, 7)
    for again, state in ((env, at_hand), (other, pickle.loads(kept))):
        again.load_state_dict(state)
        for expected, found in zip(ahead, play(again, 120, seed=1), strict=True):
            np.testing.assert_array_equal(expected[0], found[0])
            assert isinstance(expected, np.ndarray) or expected[1:] == found[1:]


def test_options_reach_the_simulator():
    stubborn = make("Hopper", "3x1", time_limit=300, terminate_when_unhealthy=False, healthy_z_range=[0.7, 2])
    stubborn.reset()
    trace = play(stubborn, 300)
    assert [step[3] for step in trace[:300]] == [False] * 299 + [True] and not any(step[2] for step in trace[:300])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"scenario": "HalfCheeta"}, r"env_args.scenario=HalfCheeta is unknown \(did you mean HalfCheetah\?\); there"),
        ({"scenario": "HalfCheetah-v5"}, r"did you mean HalfCheetah\?"),
        ({"scenario": None}, "env_args.scenario=None is unknown; there are Ant, HalfCheetah, .*Walker2d"),
        ({"scenario": ["Ant"]}, "env_args.scenario=.* is unknown"),
        ({"scenario": "CoupledHalfCheetah", "partition": "1p1"}, "CoupledHalfCheetah cannot be played: .*mujoco 4"),
        ({"partition": "4x2"}, "env_args.partition=4x2 is unknown for HalfCheetah; there are 1x6, 2x3, 3x2, 6x1$"),
        ({"partition": None}, "env_args.partition=None is unknown for HalfCheetah"),
        ({"scenario": "Humanoid"}, r"there are 17x1, 1x17, 9\|8$"),
        ({"scenario": "Swimmer"}, "there are 1x2, 2x1, 10x2 .*scenario=ManySegmentSwimmer"),
        ({"scenario": "ManySegmentSwimmer", "partition": "0x2"}, "needs AGENTSxSEGMENTS"),
        ({"time_limit": 0}, "env_args.time_limit=0"),
        ({"time_limit": True}, "env_args.time_limit=True"),
        ({"obs": "all"}, "env_args.obs=all: choose full .* or local"),
        ({"obsk": -1}, "env_args.obsk=-1"),
        ({"obsk": None}, "env_args.obsk=None"),
        ({"render_mode": "ansi"}, "env_args.render_mode=ansi"),
        ({"ctrl_cost_wieght": 1}, r"env_args.ctrl_cost_wieght is unknown .*did you mean env_args.ctrl_cost_weight\?"),
        ({"xml_file": "a.xml"}, "env_args.xml_file is unknown for HalfCheetah"),
        ({"exclude_current_positions_from_observation": False}, "is unknown for HalfCheetah"),
        ({"frame_skip": "many"}, "env_args.frame_skip=many cannot be used: give it a value like 5$"),
        ({"frame_skip": 2.5}, "env_args.frame_skip=2.5 cannot be used"),
        ({"ctrl_cost_weight": "low"}, "env_args.ctrl_cost_weight=low cannot be used: give it a value like 0.1$"),
        ({"ctrl_cost_weight": True}, "env_args.ctrl_cost_weight=True cannot be used"),
        ({"scenario": "Hopper", "partition": "3x1", "terminate_when_unhealthy": 0}, "give it a value like True$"),
        ({"scenario": "Hopper", "partition": "3x1", "healthy_z_range": [0.7]}, r"healthy_z_range=\[0.7\] cannot be"),
        ({"scenario": "Ant", "partition": "4x2", "main_body": "leg_of_wood"}, "main_body=leg_of_wood cannot be used"),
        ({"width": "wide"}, "env_args.width=wide: give the pixels"),
    ],
)
def test_what_names_no_task_is_refused_in_one_line(changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make(**changes)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", None)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    with pytest.raises(EnvironmentMissingError, match=r"Error: .*mujoco.*\); pip install -c .* -e '.\[mujoco\]'$"):
        mamujoco_tasks.check("HalfCheetah", "6x1", 1000)
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with pytest.raises(EnvironmentMissingError, match=r"\); unset MUJOCO_GL \(it is osmesa\), or pip install"):
        mamujoco_tasks.check("HalfCheetah", "6x1", 1000)


def test_nothing_is_said_or_written_that_nobody_can_act_on(own_folder, capfd):
    make().close()
    assert capfd.readouterr() == ("", "") and list(own_folder.iterdir()) == []
    import mujoco

    assert mujoco.get_mju_user_warning() is None  # later ones are MuJoCo's own affair
    with mamujoco_tasks._without_noise():
        print("AdroitHandRelocateDense-v1 and others", "something else", sep="\n", file=sys.stderr)
    assert capfd.readouterr().err == "something else\n"


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # GLFW's, without a screen
def test_it_says_how_it_can_be_drawn():
    env = make()
    with pytest.raises(CapabilityError, match="env_args.render_mode=human or rgb_array"):
        env.render()
    with pytest.raises(CapabilityError, match="save_replay=False"):
        env.save_replay()
    env = make(render_mode="rgb_array", width=64, height=48)
    env.reset()
    try:
        frame = env.render()
    except CapabilityError as error:  # no graphics here
        assert "MUJOCO_GL=egl" in str(error) and "\n" not in str(error)
    else:
        assert frame.shape == (48, 64, 3) and frame.dtype == np.uint8 and frame.std() > 0


def test_the_yaml_makes_the_environment_that_it_says():
    assert CONFIG["env"] == "mamujoco"
    env = MaMuJoCoEnv(**CONFIG["env_args"], seed=0, **TEAM)
    assert (env.n_agents, env.episode_limit, env.get_stats()) == (6, 1000, {})
    assert env.get_obs().shape == (6, 17)
