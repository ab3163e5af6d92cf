"""How each environment is drawn, and what its actions are called: the one list of them.

An environment is known by the name of its class or of one of its bases, so nothing is imported to look it up. What is
not here may draw itself: its `metadata["render_modes"]` has `rgb_array`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import CapabilityError
from . import boards, worlds

ITSELF = "rgb_array"


class Drawing(NamedTuple):
    """What is drawn of an environment."""

    #: (the environment itself, the last actions or None) -> Sketch; None: it draws itself, an array.
    sketch: Callable[[Any, Any], Any] | None = None
    #: (the environment itself, agent, its action) -> a word or two.
    action: Callable[[Any, int, Any], str] | None = None

    def look(self, core: Any, actions: Any) -> Any:
        """A Sketch, or red, green and blue [height, width, 3].

        Raises:
            CapabilityError: the environment cannot draw itself here.
        """
        try:
            if self.sketch:
                return self.sketch(core, actions)
            picture = np.asarray(core.render())
        except CapabilityError:
            raise
        except Exception as error:  # its package's, most often without a screen; or another version of the package
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            how = "be drawn" if self.sketch else "draw itself"
            raise CapabilityError(f"{type(core).__name__} cannot {how} here ({reason}); watch it elsewhere") from error
        if picture.ndim != 3 or picture.shape[2] not in (3, 4):
            raise CapabilityError(
                f"{type(core).__name__}.render() gives no picture of shape [height, width, 3] with "
                f"render_mode={ITSELF}; let it return one"
            )
        return picture[..., :3].astype(np.uint8)

    def words(self, core: Any, actions: Any) -> list[str]:
        """What each agent has done."""
        say = self.action or (lambda core, agent, action: plain(action))
        return [say(core, agent, action) for agent, action in enumerate(actions)]


def plain(action: Any) -> str:
    """A number, or a few."""
    if not isinstance(action, np.ndarray):
        return str(action)
    return " ".join(f"{value:+.1f}" for value in action[:6]) + (" ..." if len(action) > 6 else "")


def _named(*names: str) -> Callable[[Any, int, Any], str]:
    return lambda core, agent, action: names[action] if action < len(names) else str(action)


_OURS = "epymarl_trust_region.environments"
_DRAWINGS = {
    f"{_OURS}.mpe.ParallelMPE": Drawing(worlds.mpe, worlds.mpe_action),
    f"{_OURS}.vmas.VMASEnv": Drawing(worlds.vmas, worlds.vmas_action),
    f"{_OURS}.smax.SMAXEnv": Drawing(worlds.smax, worlds.smax_action),
    f"{_OURS}.games.grid_env._GridEnv": Drawing(None, _named("down", "left", "up", "right", "stay")),
    f"{_OURS}.games.matrix_env.MatrixGameEnv": Drawing(boards.matrix_game),
    f"{_OURS}.games.table_env.TableGameEnv": Drawing(boards.table_game),
    f"{_OURS}.games.potential_env.CongestionEnv": Drawing(boards.congestion, _named("up", "down")),
    f"{_OURS}.games.potential_env.DistancingEnv": Drawing(boards.distancing, lambda core, i, a: f"facility {a}"),
    f"{_OURS}.mamujoco.MaMuJoCoEnv": Drawing(),
    "lbforaging.foraging.environment.ForagingEnv": Drawing(
        boards.lbf, _named("stay", "north", "south", "west", "east", "load")
    ),
    "rware.warehouse.Warehouse": Drawing(boards.rware, _named("stay", "forward", "turn left", "turn right", "load")),
}


def drawing_of(core: Any, task: str) -> Drawing:
    """How an environment is drawn.

    Raises:
        CapabilityError: neither is it known here, nor does it say that it draws itself.
    """
    for cls in type(core).__mro__:
        if found := _DRAWINGS.get(f"{cls.__module__}.{cls.__qualname__}"):
            return found
    if ITSELF in _render_modes(core):
        return Drawing()
    raise CapabilityError(
        f"there is no drawing for {task}; let its render() return red, green and blue [height, width, 3], and its "
        f'metadata["render_modes"] name {ITSELF}'
    )


def _render_modes(core: Any) -> Sequence[str]:
    return (getattr(core, "metadata", None) or {}).get("render_modes") or ()
