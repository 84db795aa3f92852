"""The embedded Dagster instance under a home directory: its configuration and its storage, made once and safely.

What belongs here: how ``<home>/dagster`` comes to be. What does not: what runs on it, and production instances, which
are described by the ``dagster.yaml`` at the top of the project.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

INSTANCE = "dagster"  # folder of the embedded instance in a home
PROFILE = Path(__file__).parent / "profiles" / "embedded.yaml"

_CONFIG = "dagster.yaml"
_MARKER = "butterquant.json"
_LOCK = ".dagster.lock"
_UNFINISHED = ".dagster.unfinished"


def prepare_home(home: Path) -> Path:
    """Make the embedded Dagster instance of a home directory ready and return its DAGSTER_HOME.

    Webserver and daemon started together on an empty SQLite home break it for good: both create the tables, and the
    migration history ends with more than one head. So storage is made here, by one process under a file lock, beside
    its final place, and moved there complete: whoever sees ``<home>/dagster`` sees it finished, even when an earlier
    process was killed at it. When Dagster was upgraded since, its storage is migrated under the same lock.

    The embedded profile is written as ``dagster.yaml``, and replaced when a new version of this package brings a new
    one, but never where a user edited it.

    Parameters
    ----------
    home
        home directory of the product; created when it does not exist

    Returns
    -------
    ``<home>/dagster`` as an absolute path, the value for the environment variable DAGSTER_HOME. Quick, and without
    importing Dagster, when nothing is to be done.
    """
    home = Path(home).resolve()
    folder = home / INSTANCE
    if _is_ready(folder):
        return folder
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home / _LOCK):
        if not folder.exists():
            _create(folder, home / _UNFINISHED)
        elif not _is_ready(folder):
            _update(folder)
    return folder


def dagster_environment(home: Path) -> dict[str, str]:
    """The environment of a process that works on the embedded instance of a home, which is made ready for it.

    Events are asked for in batches. PostgreSQL, and SQLite in `event_batches`, write each at once; for the plain SQLite
    of the daemon's runs a batch is only the same single writes a little later. (It is left plain: to keep a run's
    database open is safe for the one process that fills it, not for those that read, delete and prune beside it.)
    """
    from butterquant_assets.orchestration.event_batches import batch_variables

    own = {"DAGSTER_HOME": str(prepare_home(home)), "BUTTERQUANT_HOME": str(home)}
    return {**os.environ, **batch_variables(), **own}


def _is_ready(folder: Path) -> bool:
    return (folder / _CONFIG).is_file() and _read_marker(folder) == _wanted()


def _wanted() -> dict[str, str]:
    return {"dagster": importlib.metadata.version("dagster"), "profile": _digest(PROFILE)}


def _read_marker(folder: Path) -> dict[str, str] | None:
    """What `_update` or `_create` last finished; None when neither did, or the file was damaged."""
    try:
        marker = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return marker if isinstance(marker, dict) else None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _create(folder: Path, unfinished: Path) -> None:
    if unfinished.exists():
        shutil.rmtree(unfinished)  # of a process that was killed; the lock says that none is at it now
    unfinished.mkdir()
    _write(unfinished / _CONFIG, PROFILE.read_bytes())
    _make_storage(unfinished, upgrade=False)
    _write(unfinished / _MARKER, json.dumps(_wanted()).encode())
    unfinished.rename(folder)


def _update(folder: Path) -> None:
    marker = _read_marker(folder)
    config = folder / _CONFIG
    ours = marker is not None and config.is_file() and _digest(config) == marker.get("profile")
    if ours or not config.is_file():
        _write(config, PROFILE.read_bytes())
    if marker is None or marker.get("dagster") != _wanted()["dagster"]:
        _make_storage(folder, upgrade=True)
    _write(folder / _MARKER, json.dumps(_wanted()).encode())


def _make_storage(folder: Path, upgrade: bool) -> None:
    """Create the storage of an instance where there is none, and bring an older one to this version of Dagster."""
    from dagster import DagsterInstance

    # An upgrade prints its progress; standard output belongs to the answer of the command that called.
    with contextlib.redirect_stdout(sys.stderr), DagsterInstance.from_config(str(folder)) as instance:
        instance.get_runs(limit=1)
        instance.get_asset_keys(limit=1)
        instance.all_instigator_state()
        if upgrade:
            instance.upgrade()


def _write(path: Path, content: bytes) -> None:
    """Write a file so that others see the old content or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock that the operating system releases even when the process is killed."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
