"""What EPyMARL does in the situations that patches/ are about: a script, which test_patch_series.py runs.

`python epymarl_probes.py JOBS.json` takes a list of jobs [source, probe, patience]: a checkout's `src`, one of the
functions below, and seconds to wait for what may never come. Each job has a process of its own, forked from one that
has imported what takes long, and its result is a line of JSON. Nothing of this plugin takes part.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import json
import logging
import os
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import lbforaging  # noqa: F401
import numpy as np
import sacred  # noqa: F401
import torch
import yaml
from gymnasium.spaces import Box, Discrete, Tuple

PATIENCE = [0.0]  # seconds, of this job
STUB = str(Path(__file__).parents[2] / "plugins/epymarl_trust_region/suite/stubs")
LIMIT = 4  # steps of an episode
SCHEME = {
    "state": {"vshape": 6},
    "obs": {"vshape": 3, "group": "agents"},
    "actions": {"vshape": (1,), "group": "agents", "dtype": torch.long},
    "avail_actions": {"vshape": (2,), "group": "agents", "dtype": torch.int},
    "terminated": {"vshape": (1,), "dtype": torch.uint8},
    "reward": {"vshape": (1,)},
}


class Count(gymnasium.Env):
    """Two agents whose observation is the step. Ends at step `ends_at`; its process does at `dies_at`.

    Says that no limit has cut it: for the team, or for each agent.
    """

    n_agents = 2
    observation_space = Tuple([Box(-1, 9, (3,), np.float32)] * 2)
    action_space = Tuple([Discrete(2)] * 2)

    def __init__(self, ends_at: int = 0, dies_at: int = 0, per_agent: bool = False) -> None:
        self.ends_at, self.dies_at, self.t = ends_at, dies_at, 0
        self.truncated = [False, False] if per_agent else False

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return self._obs(), {}

    def step(self, actions):
        self.t += 1
        if self.t == self.dies_at:
            os._exit(3)
        return self._obs(), [1.0, 1.0], self.t == self.ends_at, self.truncated, {}

    def _obs(self):
        return tuple(np.full(3, self.t, np.float32) for _ in range(2))


def config(algorithm: str = "mappo", **overrides) -> dict:
    """The suite's own configuration of a small run, of `Count`."""
    merged: dict = {}
    for name in ("default", "envs/gymma", f"algs/{algorithm}"):
        merged |= yaml.safe_load((Path(sys.path[0]) / "config" / f"{name}.yaml").read_text())
    sizes = {"batch_size_run": 2, "batch_size": 2, "buffer_size": 2, "test_nepisode": 2, "hidden_dim": 8}
    env = {"key": "Count-v0", "time_limit": LIMIT, "pretrained_wrapper": None, "seed": 1}
    env |= overrides.pop("env_args", {})
    return merged | sizes | {"use_cuda": False, "device": "cpu", "seed": 1, "env_args": env} | overrides


def runner(kind: str = "parallel", **overrides):
    """One of the suite's runners, with agents that always choose action 0."""
    from components.transforms import OneHot
    from runners import REGISTRY

    def select_actions(batch, t_ep, t_env, bs=slice(None), test_mode=False):
        return torch.zeros(len(range(batch.batch_size)[bs] if isinstance(bs, slice) else bs), 2, dtype=torch.long)

    size = {"batch_size_run": 1} if kind == "episode" else {}
    args = SimpleNamespace(**config(**size, **overrides), n_agents=2)
    made = REGISTRY[kind](args, SimpleNamespace(log_stat=lambda *_: None))
    mac = SimpleNamespace(select_actions=select_actions, init_hidden=lambda batch_size: None, action_selector=None)
    preprocess = {"actions": ("actions_onehot", [OneHot(out_dim=2)])}
    made.setup(copy.deepcopy(SCHEME), {"agents": 2}, preprocess, mac)
    return made


def worker_death() -> str:
    """What becomes of a run, one of whose workers ends in the middle of a step."""

    def give_up(*_) -> None:
        raise TimeoutError

    made = runner(env_args={"dies_at": 2})
    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE[0])
    try:
        made.run()
        return "ran"
    except (TimeoutError, EOFError, ConnectionError) as error:
        return "hung" if isinstance(error, TimeoutError) else "ended"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for process in made.ps:
            process.kill()


def orphans() -> int:
    """How many workers are left of a run that was killed."""
    get, put = os.pipe()
    if (run := os.fork()) == 0:
        made = runner(batch_size_run=3)
        os.write(put, json.dumps([process.pid for process in made.ps]).encode())
        time.sleep(600)
    workers = json.loads(os.read(get, 1000))
    os.kill(run, signal.SIGKILL)
    os.waitpid(run, 0)
    deadline = time.monotonic() + PATIENCE[0]
    while (left := [pid for pid in workers if _lives(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return len(left)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def closing() -> list[bool]:
    """Whether pipes and workers are gone when `close_env` returns, after a run like any other."""
    made = runner()
    made.run()
    made.close_env()
    return [all(conn.closed for conn in made.parent_conns), all(process.exitcode == 0 for process in made.ps)]


def old_policy() -> bool:
    """Whether the policy against which PPO takes its ratios is the one that it has loaded."""
    from controllers import REGISTRY as controllers
    from learners.ppo_learner import PPOLearner

    args = SimpleNamespace(**config(), n_agents=2, n_actions=2, state_shape=6)
    scheme = SCHEME | {"actions_onehot": {"vshape": (2,), "group": "agents"}}

    def learner():
        return PPOLearner(controllers["basic_mac"](scheme, {"agents": 2}, args), scheme, None, args)

    learner().save_models(".")
    other = learner()
    other.load_models(".")
    pairs = zip(other.mac.parameters(), other.old_mac.parameters(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def time_limit() -> dict[str, list[int]]:
    """`terminated` in the last step: cut there, likewise with the option, ended there with it, ended before with it."""
    last = {}
    for kind in ("episode", "parallel"):
        last[kind] = []
        for option, ends_at in ((False, 0), (True, 0), (True, LIMIT), (True, LIMIT - 2)):
            made = runner(kind, bootstrap_time_limit=option, env_args={"ends_at": ends_at})
            batch = made.run()
            made.close_env()
            last[kind].append(int(batch["terminated"][0, (ends_at or LIMIT) - 1, 0]))
    return last


def mpe2() -> list:
    """An id of PettingZoo's particle environments: whether there is one, and what the suite makes of it."""
    import envs

    if "pz-mpe-simple-spread-v3" not in gymnasium.registry:
        return [False]
    arguments = config(env_args={"key": "pz-mpe-simple-spread-v3"})["env_args"]
    env = envs.REGISTRY["gymma"](**arguments, common_reward=True, reward_scalarisation="sum")
    env.reset()
    env.step([0, 0, 0])
    return [True, env.n_agents, env.get_obs_size()]


def cuts_per_agent() -> int:
    """The steps of an episode whose environment says for each agent that it was not cut."""
    made = runner("episode", env_args={"per_agent": True})
    made.run()
    made.close_env()
    return made.t


def pettingzoo_end() -> list:
    """Rewards, an observation, `terminated` and `truncated` of the last of three steps, after which it is cut."""

    class Parallel:
        agents = ["a", "b"]
        num_agents = 2
        action_spaces = {name: Discrete(2) for name in agents}
        observation_spaces = {name: Box(0, 9, (1,)) for name in agents}

        def reset(self, *args, **kwargs):
            self.agents, self.t = ["a", "b"], 0
            return {name: np.zeros(1) for name in self.agents}, {}

        def step(self, actions):
            played, self.t = self.agents, self.t + 1
            self.agents = played if self.t < 3 else []
            each = (np.full(1, self.t), float(self.t), False, self.t == 3, {})
            return tuple({name: value for name in played} for value in each)

    sys.modules["pettingzoo.made"] = sys.modules["pettingzoo.made.up"] = SimpleNamespace(parallel_env=Parallel)
    from envs.pz_wrapper import PettingZooWrapper

    env = PettingZooWrapper("made", "up")
    env.reset()
    obs, rewards, terminated, truncated, _ = [env.step([0, 0]) for _ in range(3)][-1]
    return [list(rewards), int(obs[0][0]), terminated, truncated]


def smaclite() -> str:
    """What `import envs` does where there is no SMAClite."""
    sys.path.remove(STUB)
    try:
        import envs
    except ImportError as error:
        return str(error)
    return ", ".join(sorted(envs.REGISTRY))


def indexing() -> list:
    """What PyTorch says of the index of a batch, and what comes of it."""
    from components.episode_buffer import EpisodeBatch

    batch = EpisodeBatch({"x": {"vshape": (1,)}}, {}, 2, 3)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        batch.update({"x": [[1.0], [2.0]]}, ts=0)
        batch.update({"x": torch.full((1, 1), 5.0)}, bs=[1], ts=2)
        parts = [batch[:, :2]["x"], batch[[1]]["x"], batch[0]["x"]]
    return [any("non-tuple" in str(one.message) for one in said), [part.flatten().tolist() for part in parts]]


def tensorboard() -> list | str:
    """What a logger writes for TensorBoard, by PyTorch's writer."""
    written: list = []

    class Writer:
        def __init__(self, folder):
            written.append(folder)

        def add_scalar(self, *what):
            written.append(what)

        def close(self):
            written.append("closed")

    sys.modules["torch.utils.tensorboard"] = SimpleNamespace(SummaryWriter=Writer)
    sys.modules["tensorboard_logger"] = None  # no longer imports; here not even if it is installed
    from utils.logging import Logger

    logger = Logger(logging.getLogger())
    try:
        logger.setup_tb("somewhere")
    except ImportError:
        return "no tensorboard_logger"
    logger.log_stat("loss", 0.5, 10)
    logger.finish()
    return written


def packages() -> list:
    """The files that today's Python warns of, deprecated calls of Sacred's, and whether Sacred's needs are told."""
    source = Path(sys.path[0])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for file in sorted(source.rglob("*.py")):
            compile(file.read_text(), str(file), "exec")
    requirements = (source.parent / "requirements.txt").read_text().splitlines()
    calls = (source / "main.py").read_text().count("FileStorageObserver.create(")
    return [sorted({Path(one.filename).name for one in said}), calls, "setuptools<82" in requirements]


def pac() -> list | str:
    """Without torch_scatter: how many edges of a graph each of three agents has, and what messages add up to."""
    sys.modules["torch_scatter"] = None
    try:
        from modules.critics import pac_dcg_ns
    except ImportError:
        return "no torch_scatter"
    critic = object.__new__(pac_dcg_ns.DCGCriticNS)
    critic.n_agents = 3
    critic._set_edges([(0, 1), (0, 2)])
    sums = pac_dcg_ns.scatter_add(torch.tensor([[[1.0], [2.0], [4.0]]]), torch.tensor([0, 2, 0]), dim=1, dim_size=3)
    return [critic.edges_n_in.tolist(), sums.flatten().tolist()]


def last_model() -> list[int]:
    """The steps at which a short run has saved models. An episode has four steps, and there are two at a time."""
    import run

    sacred_run = SimpleNamespace(info={}, log_scalar=lambda *_: None)
    run.run(sacred_run, config(save_model=True, t_max=30, local_results_path="results"), logging.getLogger())
    return sorted(int(folder.name) for folder in Path("results/models").glob("*/*"))


def _job(source: str, probe: str, patience: float, put: int) -> None:
    sys.path[:0] = [source]
    sys.path.append(STUB)
    PATIENCE[0] = patience
    gymnasium.register("Count-v0", Count, disable_env_checker=True)
    Path(probe).mkdir(exist_ok=True)
    os.chdir(probe)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            result = globals()[probe]()
    except BaseException:
        result = traceback.format_exc()
    os.write(put, json.dumps(result).encode())
    os._exit(0)


def main() -> None:
    torch.set_num_threads(1)
    gc.freeze()
    for number, (source, probe, patience) in enumerate(json.loads(Path(sys.argv[1]).read_text())):
        get, put = os.pipe()
        folder = Path(f"job-{number}").resolve()
        folder.mkdir()
        if (child := os.fork()) == 0:
            os.chdir(folder)
            _job(source, probe, patience, put)
        os.close(put)
        os.waitpid(child, 0)
        print(os.read(get, 100_000).decode() or '"died"', flush=True)
        os.close(get)


if __name__ == "__main__":
    main()
