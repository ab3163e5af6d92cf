"""Rollouts from B environments in this process, equal to those of EPyMARL's parallel runner, field by field.

Shapes: B environments, T+1 observations per episode, N agents.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from epymarl_trust_region.errors import ConfigError, NonFiniteError
from epymarl_trust_region.suite.lite.batched import make_batched, share
from epymarl_trust_region.suite.lite.episode_batch import EpisodeBatch
from epymarl_trust_region.suite.lite.gymma import GymmaEnv


class Runner:
    """Steps the environments of one batch together and logs their returns.

    It reads from `args`: batch_size_run, env_args (with its seed; environment i gets seed + i), common_reward,
    reward_scalarisation, device, render, test_nepisode, runner_log_interval. Public: `batch_size`, `t_env` (environment
    steps taken in training), `log_train_stats_t` (the step of the last training log).
    """

    def __init__(self, args, logger) -> None:
        self.args = args
        self.logger = logger
        self.batch_size = args.batch_size_run
        if getattr(args, "runner", None) == "episode" and self.batch_size != 1:
            raise ConfigError(f"runner=episode needs batch_size_run=1, not {self.batch_size}; or set runner=parallel")
        self.batched = make_batched(args, self._make_env)
        # A batched form needs one environment beside it, for its sizes.
        self.envs = [self._make_env(i) for i in range(1 if self.batched else self.batch_size)]
        self.t_env = 0
        self.train_returns: list = []
        self.test_returns: list = []
        self.train_stats: Counter = Counter()
        self.test_stats: Counter = Counter()
        self.log_train_stats_t = -100_000  # so that the first rollout is logged

    def _make_env(self, index: int) -> GymmaEnv:
        args = self.args
        env_args = {**args.env_args, "seed": args.env_args["seed"] + index, "common_reward": args.common_reward}
        return GymmaEnv(**{**env_args, "reward_scalarisation": args.reward_scalarisation})

    def setup(self, scheme, groups, preprocess, mac) -> None:
        """Say what to record and who acts; call it once, before `run`."""
        self.scheme, self.groups, self.preprocess, self.mac = scheme, groups, preprocess, mac

    def get_env_info(self) -> dict[str, int]:
        return self.envs[0].get_env_info()

    def save_replay(self) -> None:
        self.envs[0].save_replay()

    def close_env(self) -> None:
        for env in self.envs:
            env.close()

    def run(self, test_mode: bool = False) -> EpisodeBatch:
        """Play one episode per environment and log what is due.

        Actions are also chosen, stored and never played at an episode's last observation: learners may bootstrap there.

        Returns:
            A batch of its own memory, [B, T+1, ...]; steps after an episode's end are zero.

        Raises:
            NonFiniteError: a reward is NaN or infinite. Nothing has been learnt from it.
        """
        rollout = _BatchedRollout(self) if self.batched else _Rollout(self)
        self.mac.init_hidden(batch_size=self.batch_size)
        listed, alive, t = list(range(self.batch_size)), list(range(self.batch_size)), 0
        while True:
            batch = rollout.up_to(t)
            actions = self.mac.select_actions(batch, t_ep=t, t_env=self.t_env, bs=listed, test_mode=test_mode)
            batch.update({"actions": actions.unsqueeze(1)}, bs=listed, ts=t, mark_filled=False)
            if not alive:
                break
            joint = dict(zip(listed, actions.cpu().numpy(), strict=True))
            listed, alive = alive, rollout.play(alive, t, joint)
            if test_mode and self.args.render and listed[0] == 0:
                self.envs[0].render()
            t += 1
        if not test_mode:
            self.t_env += sum(rollout.lengths)
        self._count(rollout, test_mode)
        return batch

    def _count(self, rollout: _Rollout, test_mode: bool) -> None:
        returns, stats = (self.test_returns, self.test_stats) if test_mode else (self.train_returns, self.train_stats)
        returns.extend(rollout.returns)
        stats.update(n_episodes=self.batch_size, ep_length=sum(rollout.lengths))
        for info in rollout.final_infos:
            stats.update(info)
        prefix = "test_" if test_mode else ""
        n_test = max(1, self.args.test_nepisode // self.batch_size) * self.batch_size
        if test_mode and len(returns) == n_test:
            self._log(returns, stats, prefix)
        elif self.t_env - self.log_train_stats_t >= self.args.runner_log_interval:
            self._log(returns, stats, prefix)
            epsilon = getattr(getattr(self.mac, "action_selector", None), "epsilon", None)
            if epsilon is not None:
                self.logger.log_stat("epsilon", epsilon, self.t_env)
            self.log_train_stats_t = self.t_env

    def _log(self, returns: list, stats: Counter, prefix: str) -> None:
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
        returns.clear()
        stats.clear()


class _Rollout:
    """One rollout as it grows: the batch, and numpy views that share its memory and are cheap to write to."""

    def __init__(self, runner: Runner) -> None:
        self.envs, args = runner.envs, runner.args
        self.env_name = args.env_args.get("key")
        size, length = runner.batch_size, self.envs[0].episode_limit + 1
        new = (runner.scheme, runner.groups, size, length)
        self.host = EpisodeBatch(*new, preprocess=runner.preprocess)
        self.views = {key: field.numpy() for key, field in self.host.data.transition_data.items()}
        # Elsewhere than on the CPU, what MACs read is a copy that follows step by step.
        on_host = str(args.device) == "cpu"
        self.batch = self.host if on_host else EpisodeBatch(*new, preprocess=runner.preprocess, device=args.device)
        self.returns = [0 if args.common_reward else np.zeros(self.envs[0].n_agents) for _ in range(size)]
        self.lengths = [0] * size
        self.final_infos: list[dict] = []  # in order of termination
        self.reset()

    def reset(self) -> None:
        """Start an episode in every environment."""
        for i, env in enumerate(self.envs):
            env.reset()
            self._observe(i, 0)

    def play(self, alive: list[int], t: int, actions: dict[int, np.ndarray]) -> list[int]:
        """Play step t in the environments `alive`; gives those whose episodes go on."""
        return [i for i in alive if not self.step(i, t, actions[i])]

    def _observe(self, i: int, t: int) -> None:
        env, views = self.envs[i], self.views
        views["state"][i, t] = env.get_state()
        views["obs"][i, t] = env.get_obs()
        views["avail_actions"][i, t] = env.get_avail_actions()
        views["filled"][i, t] = 1

    def step(self, i: int, t: int, actions: np.ndarray) -> bool:
        """Play step t in environment i; gives whether its episode has ended."""
        _, reward, terminated, truncated, info = self.envs[i].step(actions)
        self._check(reward, i, t)
        ended = terminated or truncated
        self.views["reward"][i, t] = reward
        self.views["terminated"][i, t] = ended and not info.get("episode_limit", False)
        self.returns[i] += reward
        self.lengths[i] += 1
        if ended:
            self.final_infos.append(info)
        self._observe(i, t + 1)
        return ended

    def _check(self, reward, i: int, t: int) -> None:
        if not np.isfinite(reward).all():
            raise NonFiniteError(
                f"environment {i} ({self.env_name}) gave the reward {reward} at step {t} of its episode; "
                "training stops before it learns from that. Look for a division by zero in the environment"
            )

    def up_to(self, t: int) -> EpisodeBatch:
        """The batch with all that MACs may read at step t: observations up to t, rewards up to t-1."""
        if self.batch is not self.host:
            for key in ("state", "obs", "avail_actions", "filled", "reward", "terminated"):
                recent = slice(max(t - 1, 0), t + 1)
                self.batch[key][:, recent] = self.host[key][:, recent].to(self.batch.device)
        return self.batch


class _BatchedRollout(_Rollout):
    """The same, with all environments as one; their episodes all end together."""

    def __init__(self, runner: Runner) -> None:
        self.batched, self.args = runner.batched, runner.args
        super().__init__(runner)

    def reset(self) -> None:
        self._show(self.batched.reset(), 0)

    def _show(self, obs: np.ndarray, t: int) -> None:
        self.views["obs"][:, t] = obs
        self.views["state"][:, t] = obs.reshape(len(obs), -1)
        self.views["avail_actions"][:, t] = self.envs[0].get_avail_actions()
        self.views["filled"][:, t] = 1

    def play(self, alive: list[int], t: int, actions: dict[int, np.ndarray]) -> list[int]:
        obs, rewards, ended = self.batched.step(np.stack([actions[i] for i in alive]))
        rewards = share(rewards, self.args)
        ended = ended or t + 1 == self.envs[0].episode_limit
        self.views["reward"][:, t] = rewards.reshape(len(alive), -1)
        self.views["terminated"][:, t] = ended
        self.returns = [total + reward for total, reward in zip(self.returns, rewards, strict=True)]
        self.lengths = [length + 1 for length in self.lengths]
        self._show(obs, t + 1)
        return [] if ended else alive
