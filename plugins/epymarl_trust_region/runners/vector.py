"""The runner `vector`: the same rollouts as the suite's `parallel`, from one process per core and without its waiting.

Shape letters: B environments, T+1 observations per episode, N agents.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from ..cores import cores
from ..environments import smaclite_search
from ..errors import CapabilityError, ConfigError
from ..interfaces import Args, Logger, Scheme
from .batched_form import make_batched
from .env_group import BatchedEnvGroup, Ended, EnvGroup, Field
from .exploitability import Exploitability, exploitability_of
from .workers import Worker

_log = logging.getLogger(__name__)


class VectorRunner:
    """Plays one episode in each of B environments, all of them step by step together, and logs their returns.

    Where a batched form of the environment gives the same numbers, it is stepped as one; else the environments are
    shared out among processes, one per core, of which this one is the first. All write into one shared batch.

    It reads from `args`: env, env_args (environment i gets seed + i), batch_size_run, common_reward,
    reward_scalarisation, device, render, test_nepisode, runner_log_interval; and, where the configuration has them,
    env_processes and batched_envs. Public: `batch_size`, `t_env` (environment steps taken in training) and
    `log_train_stats_t` (the step of the last training log), which the suite's `run` reads and sets; and `cut`, whether
    a limit cut each of the last rollout's episodes.
    """

    # Who plays some of the environments, and who all as one.
    env_group_class: type[EnvGroup] = EnvGroup
    batched_group_class: type[BatchedEnvGroup] = BatchedEnvGroup
    streams = False  # whether an environment begins its next episode while others are in the midst of theirs
    own_memory = True  # whether a rollout stays as it is when the next is played; a host that keeps none may say False

    def __init__(
        self, args: Args, logger: Logger, episode_batch: Callable[..., Any], make_environment: Callable[..., Any]
    ) -> None:
        """
        Args:
            args: the suite's arguments.
            logger: the suite's logger.
            episode_batch: the host's class EpisodeBatch.
            make_environment: the host's constructor of `args.env`, called with keywords.

        Raises:
            ConfigError: runner=episode with several environments.
        """
        self.args, self.logger = args, logger
        self.episode_batch = episode_batch
        self.batch_size = args.batch_size_run
        if getattr(args, "runner", None) == "episode" and self.batch_size != 1:
            raise ConfigError(f"runner=episode needs batch_size_run=1, not {self.batch_size}; or set runner=vector")
        self._make_env = partial(_make_env, make_environment, dict(args.env_args), _reward_arguments(args))
        self.task = str(args.env_args.get("map_name") or args.env_args.get("key")).rpartition(":")[2]
        self.workers: list[Worker] = []
        self._share_out()
        self.t_env = 0
        self.train_returns: list = []
        self.test_returns: list = []
        self.train_stats: Counter = Counter()
        self.test_stats: Counter = Counter()
        self.cut: list[bool] = []
        self.rollout_return: float | None = None  # of the last training rollout's episodes; None if none ended in it
        self.exploitability: Exploitability | None = None  # in games where it is exact
        self.log_train_stats_t = -100_000  # so that the first rollout is logged

    def _share_out(self) -> None:
        batched = make_batched(self.args, self._make_env, self.streams)
        processes = min(getattr(self.args, "env_processes", None) or cores(), self.batch_size)
        # The last block is the smallest, and this process's: it has the networks to run as well.
        blocks = [block.tolist() for block in np.array_split(np.arange(self.batch_size)[::-1], processes)]
        own, *others = [sorted(block) for block in reversed(blocks)]
        self._blocks = [] if batched else others
        # A batched form needs one environment beside it, for its sizes and for what only it can do.
        self.own = self.env_group_class(self._make_env, own[:1] if batched else own, self.task)
        self.env_info = self.own.envs[0].get_env_info()
        self.episode_limit = self.env_info["episode_limit"]
        self.continuous = "action_low" in self.env_info
        self.env_group: EnvGroup | BatchedEnvGroup = self.own
        if batched:
            env, reward = batched
            self.env_group = self.batched_group_class(env, self.batch_size, self.episode_limit, reward, self.task)
            _log.info(f"{self.batch_size} environments ({self.task}) as one: {type(env).__name__}")
        else:
            _log.info(
                f"{self.batch_size} environments ({self.task}) in {processes} process{'es' if processes > 1 else ''}"
            )

    def extend_scheme(self, scheme: dict, preprocess: dict) -> None:
        """Add `truncated` to the scheme of the batch: 1 at the last step of an episode that a limit cut.

        The host calls it before it makes its buffer; a second call changes nothing. `terminated` stays what the suite's
        own runners write: it is 1 at most limits too. Where actions are real-valued, `actions` is [N, A] floats, the
        policies' own draws, and has no indicators.
        """
        scheme.setdefault("truncated", {"vshape": (1,), "dtype": torch.uint8})
        if self.continuous:
            width = self.env_info["n_actions"]
            scheme["actions"] = {"vshape": (width,), "group": "agents", "dtype": torch.float32}
            preprocess.pop("actions", None)

    def setup(self, scheme: Scheme, groups: dict[str, int], preprocess: dict[str, Any], mac: Any) -> None:
        """Say what to record and who acts; starts the workers. Call it once, before `run`."""
        self.mac, self.preprocess = mac, preprocess or {}
        new = (scheme, groups, self.batch_size, self.episode_limit + 1)
        self._make_batch = partial(self.episode_batch, scheme, groups, max_seq_length=1, preprocess=preprocess)
        self.live = self.episode_batch(*new, preprocess=preprocess, device="cpu")
        limit = self.env_info["episode_limit"]
        self.exploitability = exploitability_of(self.own.envs[0], limit, mac, self.args)
        fields = self.live.data.transition_data
        shared = {key: Field.like(field.numpy()) for key, field in fields.items()}
        fields |= {key: torch.from_numpy(field.array()) for key, field in shared.items()}
        self.env_group.attach(shared)
        timeout_s = getattr(self.args, "env_timeout", None)
        self.workers = [
            Worker(
                number,
                partial(self.env_group_class, self._make_env, block, self.task),
                block,
                self.task,
                shared,
                timeout_s,
            )
            for number, block in enumerate(self._blocks, 1)
        ]
        # Elsewhere than on the CPU, what MACs read is a copy that follows step by step.
        self.shown = self.live
        if str(self.args.device) != "cpu":
            self.shown = self.episode_batch(*new, preprocess=preprocess, device=self.args.device)

    def get_env_info(self) -> dict[str, int]:
        """The sizes that MAC and learner are built from."""
        return self.env_info

    def save_replay(self) -> None:
        """Let the first environment save a replay, if it can."""
        self.own.envs[0].save_replay()

    def close_env(self) -> None:
        """Close the environments and end the workers."""
        for worker in self.workers:
            worker.begin_close()
        for worker in self.workers:
            worker.close()
        self.env_group.close()
        if self.env_group is not self.own:
            self.own.close()

    def run(self, test_mode: bool = False) -> Any:
        """Play one episode per environment and log what is due.

        Actions are also chosen, stored and never played at an episode's last observation: learners may bootstrap there.

        Returns:
            An EpisodeBatch, [B, T+1, ...]; steps after an episode's end are zero. It has memory of its own, or is good
            until the next run (`own_memory`).

        Raises:
            EnvironmentFaultError, NonFiniteError: an environment gave what nothing can be learnt from, and nothing was.
            WorkerDiedError: a worker process is gone, or its environment failed.
            CapabilityError: `render` is set, and the first environment cannot be drawn.
        """
        if self.exploitability and not test_mode:
            self.exploitability.note(self._probabilities(self.exploitability))
        episodes = self._play(test_mode)
        self.cut = [episode.cut for episode in sorted(episodes, key=lambda episode: episode.index)]
        if not test_mode:
            self.t_env += self._steps_taken(episodes)
            totals = [np.sum(episode.episode_return) for episode in episodes]
            self.rollout_return = float(np.mean(totals)) if totals else None
        self._count(episodes, test_mode)
        return self._given()

    def best_response_gains(self) -> np.ndarray | None:
        """What each agent would win more by a best response alone, [N]; None where that is not known exactly."""
        exact = self.exploitability
        return None if exact is None else exact.gains(self._probabilities(exact))

    def _probabilities(self, exploitability: Exploitability) -> np.ndarray:
        """The policies that play, in every state of the game."""
        return exploitability.probabilities(self.mac, partial(self._make_batch, device=self.args.device))

    def _steps_taken(self, episodes: list[Ended]) -> int:
        return sum(episode.length for episode in episodes)

    def _play(self, test_mode: bool) -> list[Ended]:
        """One rollout into the shared batch; gives the episodes in the order in which they ended."""
        self._clear()
        self._all("reset")
        self.mac.init_hidden(batch_size=self.batch_size)
        listed, alive, t = list(range(self.batch_size)), list(range(self.batch_size)), 0
        episodes: list[Ended] = []
        while True:
            self._show(t)
            with torch.inference_mode():  # for the networks alone: environments may compute with torch themselves
                actions = self.mac.select_actions(self.shown, t_ep=t, t_env=self.t_env, bs=listed, test_mode=test_mode)
            self._store(actions, listed, t)
            if not alive:
                return episodes
            ended = self._all("step", t)
            episodes += ended
            over = {episode.index for episode in ended}
            listed, alive = alive, [i for i in alive if i not in over] if over else alive
            if test_mode and self.args.render and listed[0] == 0:
                self._draw()
            t += 1

    def _draw(self) -> None:
        try:
            self.own.envs[0].render()
        except Exception as error:  # whatever a package for windows raises, the commonest without a screen
            raise CapabilityError(cannot_draw(self.task, error)) from error

    def _all(self, what: str, *arguments: Any) -> list[Ended]:
        """Let all shares do the same thing at the same time."""
        for worker in self.workers:
            getattr(worker, f"begin_{what}")(*arguments)
        ended = getattr(self.env_group, what)(*arguments) or []
        for worker in self.workers:  # in the order of the environments
            ended += worker.finish()
        return ended

    def _clear(self) -> None:
        for field in self.live.data.transition_data.values():
            field.zero_()

    def _given(self) -> Any:
        """The rollout in an EpisodeBatch of its own."""
        batch = self.shown
        fields = {k: field.clone() if self.own_memory else field for k, field in batch.data.transition_data.items()}
        data = SimpleNamespace(transition_data=fields, episode_data={})
        size = (batch.batch_size, batch.max_seq_length)
        return self.episode_batch(batch.scheme, batch.groups, *size, data=data, device=batch.device)

    def _show(self, t: int) -> None:
        """Bring the copy that MACs read up to date: observations up to step t, rewards up to t-1."""
        if self.shown is self.live:
            return
        if t == 0:
            for key, field in self.shown.data.transition_data.items():
                field.copy_(self.live[key])
        recent = slice(max(t - 1, 0), t + 1)
        for key in ("state", "obs", "avail_actions", "filled", "reward", "terminated", "truncated", "mask"):
            if key in self.shown.scheme:
                self.shown[key][:, recent] = self.live[key][:, recent].to(self.shown.device)

    def _store(self, actions: torch.Tensor, listed: list[int], t: int) -> None:
        """Keep the actions [len(listed), N], and what the suite derives from them (their indicators)."""
        rows = slice(None) if len(listed) == self.batch_size else listed
        derived, transforms = self.preprocess.get("actions", (None, ()))
        for batch in [self.live] if self.shown is self.live else [self.live, self.shown]:
            chosen = (actions if self.continuous else actions.unsqueeze(-1)).to(batch.device)
            batch["actions"][rows, t] = chosen
            for transform in transforms:
                chosen = transform.transform(chosen)
            if derived:
                batch[derived][rows, t] = chosen

    # What goes on after a stop ---------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What the next rollouts and their statistics depend on, between two of them: plain data and NumPy's arrays."""
        for worker in self.workers:
            worker.begin_state_dict()
        envs, processes = self.env_group.state_dict(), dict[str, Any]()
        for answer in [worker.answer() for worker in self.workers]:
            envs |= answer["envs"]
            processes |= answer["processes"]
        statistics: dict[str, Any] = {name: list(getattr(self, name)) for name in ("train_returns", "test_returns")}
        statistics |= {name: dict(getattr(self, name)) for name in ("train_stats", "test_stats")}
        numbers = {"t_env": self.t_env, "log_train_stats_t": self.log_train_stats_t}
        if self.exploitability:
            statistics["exploitability"] = self.exploitability.state_dict()
        return {"envs": envs, "processes": processes, **statistics, **numbers}

    def load_state_dict(self, state: dict[str, Any]) -> list[str]:
        """Go on from `state_dict` of a runner of the same configuration.

        Returns:
            What of the environments does not go on as it was, in words, each once; empty if all does.
        """
        for name in ("t_env", "log_train_stats_t", "train_returns", "test_returns"):
            setattr(self, name, state[name])
        self.train_stats, self.test_stats = Counter(state["train_stats"]), Counter(state["test_stats"])
        if self.exploitability:
            self.exploitability.load_state_dict(state["exploitability"])
        for worker in self.workers:
            worker.begin_load_state_dict(state, self.t_env)
        lost = self.env_group.load_state_dict(state["envs"], self.t_env)
        for worker in self.workers:
            lost += worker.answer() or []
        return list(dict.fromkeys(f"{self.task}: {text}" for text in lost))

    # Statistics, as the suite's own runners log them -------------------------------------------------------------

    def _count(self, episodes: list[Ended], test_mode: bool) -> None:
        returns, stats = (self.test_returns, self.test_stats) if test_mode else (self.train_returns, self.train_stats)
        returns.extend(episode.episode_return for episode in sorted(episodes, key=lambda episode: episode.index))
        stats.update(n_episodes=len(episodes), ep_length=sum(episode.length for episode in episodes))
        for episode in episodes:
            stats.update(episode.info)
        n_test = max(1, self.args.test_nepisode // self.batch_size) * self.batch_size
        if test_mode and len(returns) == n_test:
            self._log_all(returns, stats, "test_")
        elif returns and self.t_env - self.log_train_stats_t >= self.args.runner_log_interval:
            self._log_all(returns, stats, "test_" if test_mode else "")
            epsilon = getattr(getattr(self.mac, "action_selector", None), "epsilon", None)
            if epsilon is not None:
                self.logger.log_stat("epsilon", epsilon, self.t_env)
            self.log_train_stats_t = self.t_env

    def _log_all(self, returns: list, stats: Counter, prefix: str) -> None:
        """Log means over the episodes since the last log, and forget them."""
        table = np.array(returns)
        columns = {"return": table}
        if not self.args.common_reward:
            columns = {f"agent_{i}_return": table[:, i] for i in range(table.shape[1])}
            columns["total_return"] = table.sum(axis=-1)
        for name, column in columns.items():
            self.logger.log_stat(f"{prefix}{name}_mean", column.mean(), self.t_env)
            self.logger.log_stat(f"{prefix}{name}_std", column.std(), self.t_env)
        episodes = stats.pop("n_episodes")
        for name, total in stats.items():
            self.logger.log_stat(f"{prefix}{name}_mean", total / episodes, self.t_env)
        if self.exploitability and prefix:
            for name, value in self.exploitability.statistics(self._probabilities(self.exploitability)).items():
                self.logger.log_stat(name, value, self.t_env)
        returns.clear()
        stats.clear()


def cannot_draw(task: str, error: Exception) -> str:
    """What to say of an environment that fails when it is drawn; most often there is no screen."""
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    name = task.rpartition(":")[2]
    return f"render=True: {name} cannot be drawn here ({reason}); set render=False, or run it where there is a screen"


def _reward_arguments(args: Args) -> dict:
    return {"common_reward": args.common_reward, "reward_scalarisation": args.reward_scalarisation}


def _make_env(
    make_environment: Callable[..., Any], env_args: dict, reward_arguments: dict, index: int, *more: int
) -> Any:
    """Environment `index` of the rollout. Only the first may have a window.

    Args:
        more: numbers from which, with its own seed, another seed is made.
    """
    seed = env_args["seed"] + index
    if more:
        seed = int(np.random.SeedSequence([seed, *more]).generate_state(1)[0] >> 1)
    arguments = {**env_args, **reward_arguments, "seed": seed}
    if index and arguments.get("render_mode") == "human":
        del arguments["render_mode"]
    env = make_environment(**arguments)
    smaclite_search.hasten(env)
    return env
