"""Roles: which agents play together against the others."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import ConfigError

#: The agents of role 0 and of role 1.
Roles = tuple[tuple[int, ...], tuple[int, ...]]


def roles_of(words: str | None, n_agents: int, names: Sequence[str] | None, task: str) -> Roles:
    """The two roles of a task.

    Args:
        words: what the user says, as "0 1 2|3"; None: of two agents each has a role, and of more those whose names are
            alike but for a number, as MPE's adversary_0 and adversary_1.
        names: the agents', where the environment has names.

    Raises:
        ConfigError: they are no two roles, or nothing is said and the names do not say it.
    """
    if words is not None:
        return _told(words, n_agents, task)
    if n_agents == 2:
        return (0,), (1,)
    groups: dict[str, list[int]] = {}
    for agent, name in enumerate(names or ()):
        groups.setdefault(re.sub(r"_?\d+$", "", name), []).append(agent)
    if len(groups) == 2:
        first, second = groups.values()
        return tuple(first), tuple(second)
    who = f" ({', '.join(names)})" if names else ""
    raise ConfigError(
        f"{task} has {n_agents} agents{who}, and crossplay cannot know who play together; say it, as in "
        f"--roles '{' '.join(map(str, range(n_agents - 1)))}|{n_agents - 1}'"
    )


def _told(words: str, n_agents: int, task: str) -> Roles:
    parts = [part.split() for part in words.split("|")]
    numbers = [word for part in parts for word in part]
    if len(parts) != 2 or not all(parts) or not all(word.isascii() and word.isdigit() for word in numbers):
        raise ConfigError(f"--roles='{words}' are no two roles; give the numbers of their agents, as in '0 1 2|3'")
    first, second = (tuple(int(word) for word in part) for part in parts)
    if sorted(first + second) != list(range(n_agents)):
        raise ConfigError(
            f"--roles='{words}' has to name each of the {n_agents} agents of {task} once: 0 to {n_agents - 1}"
        )
    return first, second
