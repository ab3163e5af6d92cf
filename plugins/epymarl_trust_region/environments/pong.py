"""Pong for two players as a Gymnasium environment, in the shape that `gymma` expects: PettingZoo's, zero-sum.

The emulator is the package multi-agent-ale-py, the cartridge that of ale-py's wheel. Rewards are individual: use it
with `common_reward=False`. Importing this module loads neither. Shape letters: N = 2 agents, O observation.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from epymarl_trust_region.errors import ConfigError, EnvironmentMissingError

_PLAYERS = ("first_0", "second_0")
_CLASSIC = 4  # the cartridge's number of table tennis for two
_BACKGROUND, _BRIGHTEST = 87.0, 236.0  # greys of the field, and of ball and walls
_ROWS = slice(28, 196)  # of 210: the field and a strip of its walls, without the score
SIDE = 42  # pixels of a picture: blocks of 4 x 4
_INSTALL = "pip install -c constraints.txt -e '.[atari]'"


class PongEnv(gymnasium.Env):
    """A point pays who makes it 1 and costs the other 1; it ends when one has made `points`.

    Both see the same: the first player's paddle is on the right. Of a player who lets the time for a serve run out the
    cartridge takes a point; that pays the other one, too.

    Args:
        observations: "ram": the machine's 128 bytes, over 255; "pixels": the last `stack` pictures of 42 x 42 greys,
            0 for the background and 1 for the ball, in a row [stack * 42 * 42], the newest last.
        stack: pictures; of the RAM there is one.
        frame_skip: frames for which an action is kept.
        noop_max: frames before the first action, of a number drawn anew for each episode from 0 to this.
        points: 1 to 21.
        render_mode: "rgb_array" to draw it, or None.

    Raises:
        ConfigError: an argument is out of range.
        EnvironmentMissingError: a package is not installed.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}

    def __init__(
        self,
        observations: str = "ram",
        stack: int = 2,
        frame_skip: int = 4,
        noop_max: int = 30,
        points: int = 21,
        render_mode: str | None = None,
    ) -> None:
        if observations not in ("ram", "pixels"):
            raise ConfigError(f"env_args.observations is {observations!r}: choose ram or pixels")
        ranges = {"stack": (stack, 1, 8), "frame_skip": (frame_skip, 1, 60), "noop_max": (noop_max, 0, 1000)}
        for name, (value, low, high) in (ranges | {"points": (points, 1, 21)}).items():
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(f"env_args.{name} is {value!r}: give a whole number from {low} to {high}")
        self._pixels, self._skip, self._noop_max, self._points = observations == "pixels", frame_skip, noop_max, points
        self.render_mode = render_mode
        self._console = _console("grayscale_image" if self._pixels else "ram")
        self.n_agents, self.agent_names = 2, list(_PLAYERS)
        size = stack * SIDE**2 if self._pixels else 128
        self._views = np.zeros((stack if self._pixels else 1, size // (stack if self._pixels else 1)), np.float32)
        self._score = np.zeros(2, int)
        self.action_space = spaces.Tuple([self._console.action_space(player) for player in _PLAYERS])
        self.observation_space = spaces.Tuple([spaces.Box(0.0, 1.0, (size,), np.float32)] * 2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[np.ndarray, ...], dict]:
        super().reset(seed=seed)
        seen, _ = self._console.reset(seed=seed)
        self._score[:] = 0
        for _ in range(self.np_random.integers(self._noop_max + 1)):
            seen = self._console.step(dict.fromkeys(_PLAYERS, 0))[0]
        self._views[:] = self._view(seen)
        return self._look(), {}

    def step(  # type: ignore[override]  # Gymnasium knows one reward alone
        self, actions: Sequence[Any]
    ) -> tuple[tuple[np.ndarray, ...], list[float], bool, bool, dict]:
        """Keep both actions for `frame_skip` frames; gives two rewards, 1 and -1 for a point and else 0.

        Raises:
            ValueError: an action does not exist.
        """
        joint = tuple(int(action) for action in actions)
        if not self.action_space.contains(joint):
            raise ValueError(f"joint action {joint} is not in the action space {self.action_space}")
        won, over = 0, False
        for _ in range(self._skip):
            seen, paid, ended, _, _ = self._console.step(dict(zip(_PLAYERS, joint, strict=True)))
            point = int(np.sign(paid.get(_PLAYERS[0], 0) - paid.get(_PLAYERS[1], 0)))
            won += point
            self._score += (point > 0, point < 0)
            over = any(ended.values()) or bool(self._score.max() >= self._points)
            if over:
                break
        self._views[:-1] = self._views[1:]
        self._views[-1] = self._view(seen)
        return self._look(), [float(won), float(-won)], over, False, {}

    def render(self) -> Any:
        """The screen, [210, 160, 3]."""
        return self._console.ale.getScreenRGB()

    def state_dict(self) -> dict[str, Any]:
        """What the next steps and episodes depend on."""
        return {
            "emulator": np.array(self._console.clone_full_state()), "agents": list(self._console.agents),
            "frame": self._console.frame, "views": self._views.copy(), "score": self._score.copy(),
            "generator": self.np_random.bit_generator.state,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._console.restore_full_state(np.asarray(state["emulator"], np.uint8))
        self._console.agents, self._console.frame = list(state["agents"]), state["frame"]
        self._views[:], self._score[:] = state["views"], state["score"]
        self.np_random.bit_generator.state = state["generator"]

    def close(self) -> None:
        self._console.close()

    def _view(self, seen: dict[str, np.ndarray]) -> np.ndarray:
        whole = next(iter(seen.values()))
        if not self._pixels:
            return whole.astype(np.float32) / 255
        field = np.pad(np.abs(whole[_ROWS, :, 0] - np.float32(_BACKGROUND)), ((0, 0), (4, 4)))
        blocks = field.reshape(SIDE, 4, SIDE, 4).mean((1, 3)) / (_BRIGHTEST - _BACKGROUND)
        return np.minimum(blocks, 1).astype(np.float32).reshape(-1)

    def _look(self) -> tuple[np.ndarray, ...]:
        flat = self._views.reshape(-1)
        return flat.copy(), flat.copy()


def _console(seen_as: str) -> Any:
    try:
        from pettingzoo.atari.base_atari_env import ParallelAtariEnv
    except ModuleNotFoundError as error:
        raise EnvironmentMissingError(f"Pong needs PettingZoo's Atari ({error}); {_INSTALL}") from error
    found = importlib.util.find_spec("ale_py")  # for its cartridges: the package itself is another emulator
    if found is None or found.origin is None:
        raise EnvironmentMissingError(f"Pong needs the cartridge that is in the package ale-py; {_INSTALL}")
    # Not `pong_v3.parallel_env`: its layers turn every frame into two turns and back.
    return ParallelAtariEnv(
        game="pong", num_players=2, mode_num=_CLASSIC, obs_type=seen_as,
        auto_rom_install_path=os.path.dirname(found.origin),
    )  # fmt: skip
