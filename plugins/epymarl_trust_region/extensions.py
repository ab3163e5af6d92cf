"""What a user's own packages add: classes that a configuration names as "module:Class"."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import ConfigError


def load_class(name: str, key: str) -> Any:
    """What "module:Class" names.

    Args:
        key: the key of the configuration that names it, for messages.

    Raises:
        ConfigError: it cannot be imported, or the module has no such name.
    """
    place, _, attribute = name.partition(":")
    if not place or not attribute:
        raise ConfigError(f"{key}={name} does not name a class; give module:Class, as in my_networks:Wide")
    try:
        module = importlib.import_module(place)
    except Exception as error:  # whatever the user's own module raises while it is imported
        raise ConfigError(f"{key}={name}: importing {place} fails ({type(error).__name__}: {error})") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise ConfigError(f"{key}={name}: {module.__file__ or place} has no {attribute}") from None
