"""What of a home has outlived its use, and removing that and nothing else.

Only what can be made again or was superseded is ever removed, and only when it is older than the caller says. A model
version is kept when anything names it: the registry in any role, its history, a decision, a row of daily_metrics or of
the feedback ledger, the pointer file, a file of the lake, or a kept version that was made from it. An edge: it does
I/O and knows no Dagster. What does not belong here: Dagster's own runs and events (`orchestration.pruning`), and when
to prune (schedules, the command line).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from butterquant_assets.foundation.calendar import Unit
from butterquant_assets.foundation.freshness import Freshness, Node, State
from butterquant_assets.foundation.lake import Lake
from butterquant_assets.foundation.lake_listing import DAMAGED, QUARANTINE, LakeFile
from butterquant_assets.foundation.model_content import versions_in
from butterquant_assets.foundation.model_store import ModelStore, StoredVersion
from butterquant_assets.foundation.warehouse import Warehouse

Spans = Mapping[Unit, tuple[str, str]]
_WRITTEN: dict[Unit, re.Pattern[str]] = {
    "month": re.compile(r"\d{4}-\d{2}"),
    "day": re.compile(r"\d{4}-\d{2}-\d{2}"),
}


@dataclass(frozen=True)
class Removal:
    """One thing that was removed, or would be.

    Parameters
    ----------
    kind
        ``temporary``, ``quarantine``, ``damaged``, ``partition``, ``model`` or ``run``
    what
        path, version or run id
    why
        in words
    bytes
        freed, 0 where it cannot be told
    """

    kind: str
    what: str
    why: str
    bytes: int = 0


@dataclass(frozen=True)
class Pruned:
    """What was removed, and how much was kept for which reason."""

    removed: tuple[Removal, ...] = ()
    kept: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Pruned) -> Pruned:
        """Both together."""
        return Pruned(self.removed + other.removed, dict(Counter(self.kept) + Counter(other.kept)))


@dataclass(frozen=True)
class Report:
    """One act of pruning.

    Parameters
    ----------
    older_than_days, dry_run
        what was asked for; a dry run removes nothing
    pruned
        what was removed (or would be) and what was kept
    """

    older_than_days: int
    dry_run: bool
    pruned: Pruned

    def to_json(self) -> dict[str, Any]:
        """Plain values: ``removed`` one by one, ``counts`` and ``bytes`` by kind, ``kept`` by reason."""
        counts: Counter[str] = Counter(removal.kind for removal in self.pruned.removed)
        sizes: Counter[str] = Counter()
        for removal in self.pruned.removed:
            sizes[removal.kind] += removal.bytes
        return {
            "older_than_days": self.older_than_days,
            "dry_run": self.dry_run,
            "counts": dict(sorted(counts.items())),
            "bytes": dict(sorted(sizes.items())),
            "kept": dict(sorted(self.pruned.kept.items())),
            "removed": [asdict(removal) for removal in self.pruned.removed],
        }


# -- lake


def prune_lake(lake: Lake, freshness: Freshness, spans: Spans, *, before: datetime, dry_run: bool = False) -> Pruned:
    """Remove from the lake what no reader will ask for again.

    Parameters
    ----------
    lake
        the lake
    freshness
        judgements about it: a quarantined frame that still says why its partition is not published is kept
    spans
        first and last month (day) that the home covers, by unit. What lies inside is kept, also months that an asset
        of recent months has left behind: they are history. Nothing of a unit that is not named is removed for this
    before
        only files last changed before this time (UTC)
    dry_run
        list, and remove nothing
    """
    removed: list[Removal] = []
    kept: Counter[str] = Counter()
    for file in lake.files():
        verdict = _lake_verdict(file, freshness, spans)
        if verdict is None:
            continue
        kind, why = verdict
        if not kind:
            kept[why] += 1
        elif file.modified >= before:
            kept[f"{kind}: too young"] += 1
        else:
            removed.append(Removal(kind, file.path, why, file.bytes))
            if not dry_run:
                lake.remove(file)
    return Pruned(tuple(removed), dict(kept))


def _lake_verdict(file: LakeFile, freshness: Freshness, spans: Spans) -> tuple[str, str] | None:
    """Kind and reason of a file that may go, ("", reason) for one worth a word that stays, None for any other."""
    if file.temporary:
        return "temporary", "a writer that died left it"
    if not file.asset:
        return "", "lake: not one of its files"
    node = freshness.nodes.get(file.asset)
    if node is None:
        return "", "lake: asset that this version does not know"
    if (node.keys is None) != (file.partition is None):
        return "partition", "an older version divided this asset otherwise"
    span = spans.get(node.unit)
    if span and _outside(node, file.partition, span):
        return "partition", f"lies outside {span[0]} .. {span[1]}, the span of the home"
    if file.area == DAMAGED:
        return "damaged", "was made again since, or will be"
    if file.area == QUARANTINE:
        if freshness.judge(file.asset, file.partition).state is State.QUARANTINED:
            return "", "quarantine: still says why its partition is not published"
        return "quarantine", "what it was made from has changed since"
    return None


def _outside(node: Node, partition: str | None, span: tuple[str, str]) -> bool:
    if node.keys is None or partition is None or not _WRITTEN[node.unit].fullmatch(partition):
        return False
    return not span[0] <= partition <= span[1] and not node.covers(partition)


def prune_temporaries(folders: Iterable[Path], *, before: datetime, dry_run: bool = False) -> Pruned:
    """Remove unfinished files that dead writers left in local folders.

    Parameters
    ----------
    folders
        where to look, at any depth; those that do not exist are passed over
    before
        only files last changed before this time (UTC): a writer is at a file for seconds
    dry_run
        list, and remove nothing
    """
    removed = []
    for folder in folders:
        for path in sorted(folder.rglob(".*.tmp")) if folder.is_dir() else ():
            try:
                facts = path.stat()
            except FileNotFoundError:
                continue  # its writer has just finished
            if facts.st_mtime < before.timestamp():
                removed.append(Removal("temporary", str(path), "a writer that died left it", facts.st_size))
                if not dry_run:
                    path.unlink(missing_ok=True)
    return Pruned(tuple(removed))


# -- models


def referenced_versions(warehouse: Warehouse, store: ModelStore, freshness: Freshness) -> dict[str, str]:
    """Every version that something names, with what names it (the first found).

    Parameters
    ----------
    warehouse
        migrated
    store
        for its pointer files
    freshness
        for the footers of the lake: an asset's own model, and the artifacts it lists

    Raises
    ------
    ModelStoreError, WarehouseError
        if a pointer or the warehouse cannot be read: what cannot be asked may refer to anything.
    """
    found: dict[str, str] = {}
    mentions = warehouse.fetch("model_references")
    for source, text in zip(mentions["source"], mentions["mention"], strict=True):
        for version in versions_in(text):
            found.setdefault(version, str(source))
    for name in sorted({stored.name for stored in store.stored()}):
        champion = store.champion(name)
        if champion:
            found.setdefault(champion, "pointer to the champion")
    for asset, held in freshness.snapshot.held.items():
        for entry in held.values():
            for footer in (entry.footer, entry.quarantine):
                for version in versions_in(footer.to_bytes().decode()) if footer else ():
                    found.setdefault(version, f"file of {asset}")
    return found


def prune_models(
    store: ModelStore,
    references: Callable[[], Mapping[str, str]],
    *,
    before: datetime,
    dry_run: bool = False,
) -> Pruned:
    """Remove versions that nothing names: trainings never published, and versions replaced before anybody used them.

    Parameters
    ----------
    store
        the model store
    references
        asked once, after the versions were listed: what was trained meanwhile is not on the list
    before
        only versions last changed before this time (UTC)
    dry_run
        list, and remove nothing
    """
    stored = store.stored()
    kept_for = dict(references())
    reasons = {one: kept_for.get(one.version) or ("too young" if one.modified >= before else "") for one in stored}
    _keep_what_they_name(store, reasons)
    removed = []
    for one, reason in reasons.items():
        if reason:
            continue
        why = "nothing names it" if one.published else "its training was never published, and nothing names it"
        removed.append(Removal("model", f"{one.name} {one.version}", why, one.bytes))
        if not dry_run:
            store.remove(one.name, one.version)
    kept = Counter(f"model: {reason}" for reason in reasons.values() if reason)
    return Pruned(tuple(removed), dict(kept))


def _keep_what_they_name(store: ModelStore, reasons: dict[StoredVersion, str]) -> None:
    """Kept versions keep those their records name, and those theirs: an update refers to its parent."""
    by_version: dict[str, list[StoredVersion]] = {}
    for one in reasons:
        by_version.setdefault(one.version, []).append(one)
    waiting = [one for one, reason in reasons.items() if reason]
    while waiting:
        child = waiting.pop()
        for version in store.mentions(child.name, child.version):
            for parent in by_version.get(version, ()):
                if not reasons[parent]:
                    reasons[parent] = "named by a version that is kept"
                    waiting.append(parent)
