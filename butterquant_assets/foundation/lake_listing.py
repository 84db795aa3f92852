"""What a listing of the lake's folder shows: which asset and partition a file holds, told by its place, unread. Pure.

What does not belong here: asking a file system for the listing, and opening what it shows (`lake`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

QUARANTINE, DAMAGED = "_quarantine", "_damaged"
"""Areas beside the published files: frames that failed their contract, and files that turned out to be damaged."""

Version = tuple[str, float, int]  # what the store calls it, time of writing, size


@dataclass(frozen=True)
class LakeFile:
    """One file of a lake as a listing shows it, unread.

    Parameters
    ----------
    path
        inside the file system
    area
        empty for a published file, else ``_quarantine`` or ``_damaged``
    asset, partition
        what it holds; the asset is empty for a file that is none of the lake's
    temporary
        whether it is a writer's unfinished file
    bytes, modified
        size, and time of its last change (UTC)
    version
        what tells it from its successors under the same name; None where the file system says nothing that surely does
    """

    path: str
    area: str
    asset: str
    partition: str | None
    temporary: bool
    bytes: int
    modified: datetime
    version: Version | None = None


def listed(path: str, inside: str, detail: Mapping[str, Any]) -> LakeFile:
    """One entry of a listing; `inside` is its path within the lake."""
    parts = inside.split("/")
    area = parts.pop(0) if parts[0] in (QUARANTINE, DAMAGED) else ""
    temporary = parts[-1].startswith(".") and parts[-1].endswith(".tmp")
    names = [*parts[:-1], parts[-1].removesuffix(".parquet")]
    ours = not temporary and parts[-1].endswith(".parquet") and len(names) in (2, 3)
    return LakeFile(
        path=path,
        area=area,
        asset="/".join(names[:2]) if ours else "",
        partition=names[2] if ours and len(names) == 3 else None,
        temporary=temporary,
        bytes=int(detail.get("size") or 0),
        # Where the time is unknown: as young as can be, so that nothing is removed for its age.
        modified=_modified(detail) or datetime.now(UTC),
        version=_version(detail),
    )


def _modified(detail: Mapping[str, Any]) -> datetime | None:
    """Time of the last change; each file system has its own name for it."""
    for name in ("mtime", "LastModified", "last_modified", "modified", "created"):
        value = detail.get(name)
        if isinstance(value, datetime):
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
    return None


def _version(detail: Mapping[str, Any]) -> Version | None:
    tag, modified = detail.get("ETag") or detail.get("etag"), _modified(detail)
    size = int(detail.get("size") or 0)
    if tag:
        # The tag is a hash of the content, which may come back; whole seconds, for one store's listing has the
        # fractions and the answer about one file has not.
        return str(tag), modified.timestamp() // 1 if modified else 0.0, size
    # Without a tag, times in whole seconds would not tell two files written within one second.
    return ("", modified.timestamp(), size) if modified and modified.microsecond else None
