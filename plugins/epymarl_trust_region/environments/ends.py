"""How an episode ended, as one pair of flags for the team."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def fold(terminated: Any, truncated: Any) -> tuple[bool, bool]:
    """Gymnasium's two flags, of which either may be one for the team or one per agent (a list, an array, a dict).

    An episode is over when every agent is terminated or truncated. It is terminated if every agent is; else somebody
    was cut off, and so was the team. Flags for the team are given back as they are: both are set where an episode ended
    by itself at the step of a limit.

    Returns:
        terminated, truncated; the episode is over if either is set.
    """
    if isinstance(terminated, bool | np.bool_) and isinstance(truncated, bool | np.bool_):
        return bool(terminated), bool(truncated)
    ended, cut = (np.asarray(list(x.values()) if isinstance(x, Mapping) else x, bool) for x in (terminated, truncated))
    by_itself, over = bool(ended.all()), bool((ended | cut).all())
    return by_itself, over and (bool(cut.all()) or not by_itself)
