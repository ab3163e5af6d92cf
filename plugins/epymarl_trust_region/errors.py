"""The errors a user can meet. Each message names the thing that is wrong and the remedy, in that order.

They derive from Sacred's own error type, so that Sacred prints the message alone; `--debug` brings the traceback back.
"""

from __future__ import annotations

import errno
import os
import warnings
from pathlib import Path

# Sacred imports pkg_resources, which says at length that it is deprecated; a user of this plugin cannot help it.
warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)

from sacred.utils import SacredError  # noqa: E402


class TrustRegionError(SacredError):
    """Base of all errors that this plugin raises on purpose."""

    def __init__(self, message: str) -> None:
        super().__init__(message, print_traceback=False)


class ConfigError(TrustRegionError):
    """A key or value in a yaml file or on the command line is unknown, missing or out of range."""


class CapabilityError(ConfigError):
    """Each value is fine, but the algorithm has no meaning for this combination (say, shared actors in HAPPO)."""


class SuiteError(TrustRegionError):
    """The host checkout cannot be found, fetched, imported, patched or un-patched."""


class EnvironmentMissingError(TrustRegionError):
    """The environment id is not registered, or the code behind it is missing or cannot be imported."""


class CheckpointError(TrustRegionError):
    """A checkpoint is missing, empty, truncated, or made for another task."""


class StorageError(TrustRegionError):
    """What a run writes does not fit on its disk, or may not be written there."""

    #: Of OSErrors that mean this, whatever was written.
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

    @classmethod
    def of(cls, path: str | os.PathLike, error: OSError, key: str = "local_results_path") -> StorageError:
        """The error for an OSError that was met while `path` was written; `key` names another place."""
        disk, reason = _mount_point(Path(path)), error.strerror or type(error).__name__
        elsewhere = f"or write to another disk with {key}=FOLDER"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what = "no space left on" if error.errno == errno.ENOSPC else "the quota is used up on"
            return cls(f"{what} {disk}, where {path} is to be written; free some there, {elsewhere}")
        return cls(f"{path} cannot be written ({reason}, on {disk}); let this user write there, {elsewhere}")


def _mount_point(path: Path) -> Path:
    return next((place for place in path.absolute().parents if os.path.ismount(place)), path.absolute().parent)


class DataError(TrustRegionError):
    """Recorded episodes are missing, damaged, of another format, or made for another task; or cannot be written."""


class NonFiniteError(TrustRegionError):
    """A reward, observation or gradient is NaN or infinite."""


class EnvironmentFaultError(TrustRegionError):
    """An environment gave something of a wrong number, shape or kind."""


class WorkerDiedError(TrustRegionError):
    """An environment's worker process ended before it was told to."""
