"""Rebuilding the stale partitions of one asset, and publishing or quarantining what came out.

This is the only way into the lake for declared assets. It asks freshness which of the given partitions, and which rows
of them, are stale; calls the asset's function for those in batches; keeps the other rows; checks every partition
against its contract; and publishes it, or, when a check fails, leaves the last good file and quarantines the frame.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import groupby

import pandas as pd

from butterquant_assets.foundation.calendar import KEY_FORMATS, Unit, key_of
from butterquant_assets.foundation.contracts import Contract, Verdict
from butterquant_assets.foundation.errors import LakeError
from butterquant_assets.foundation.files import locked, write_atomically
from butterquant_assets.foundation.freshness import Freshness, Judgement, Key, State
from butterquant_assets.foundation.lake import Footer, content_hash, group_digests
from butterquant_assets.foundation.warehouse_receipts import forget_receipts, give_receipts
from butterquant_assets.orchestration.declaration import LakeAsset, Result, Work
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.partitions import split_by_key
from butterquant_assets.orchestration.progress import report_progress

REBUILT, KEPT, QUARANTINED, WAITING, UNWANTED = "rebuilt", "unchanged", "quarantined", "waiting", "not covered"
MONTH = len("2018-01")
_ACTION = {
    State.CURRENT: KEPT,
    State.QUARANTINED: QUARANTINED,
    State.WAITING: WAITING,
    State.UNWANTED: UNWANTED,
}


@dataclass(frozen=True)
class Done:
    """What happened to one partition of one output."""

    action: str
    reasons: tuple[str, ...]
    footer: Footer | None = None
    rows_recomputed: int = 0


@dataclass
class Rebuilt:
    """What happened to all partitions of all outputs of one asset, and the plots it drew."""

    outcomes: dict[str, dict[Key, Done]] = field(default_factory=dict)
    plots: dict[str, bytes] = field(default_factory=dict)

    def count(self, name: str, action: str) -> int:
        """Partitions of output `name` with that action."""
        return sum(done.action == action for done in self.outcomes[name].values())


def rebuild(house: House, declaration: LakeAsset, keys: Sequence[Key], *, force: bool = False) -> Rebuilt:
    """Bring the given partitions of one asset up to date.

    Parameters
    ----------
    house
        where everything lies
    declaration
        the asset
    keys
        partitions to look at; those that are current are left alone
    force
        rebuild them all the same
    """
    with writing(house, declaration, keys):
        return _rebuild_locked(house, declaration, keys, force)


@contextmanager
def writing(house: House, declaration: LakeAsset, keys: Sequence[Key]) -> Iterator[None]:
    """Be the only one who writes those partitions of an asset; waits for others."""
    # One lock a month, taken in order: runs over other months work beside this one, runs over the same ones wait. Days
    # share their month's lock: each lock held is an open file, and years of days would exhaust what a process may open.
    locks = house.settings.home / "locks"
    name = declaration.names[0].replace("/", ".")
    with ExitStack() as held:
        for part in sorted({"" if key is None else f".{key[:MONTH]}" for key in keys}):
            held.enter_context(locked(locks / f"{name}{part}"))
        yield


def _rebuild_locked(house: House, declaration: LakeAsset, keys: Sequence[Key], force: bool) -> Rebuilt:
    freshness = house.freshness()
    judged = {key: _judge(freshness, declaration, key, force) for key in keys}
    result = Rebuilt({name: {} for name in declaration.names})
    for key, judgement in judged.items():
        if judgement.state is not State.STALE:
            for name in declaration.names:
                held = freshness.snapshot.entry(name, key)
                if judgement.state is State.CURRENT and held.quarantine is not None:
                    house.lake.release(name, key)
                result.outcomes[name][key] = Done(_ACTION[judgement.state], judgement.reasons, held.footer)
    stale = [(key, judgement) for key, judgement in judged.items() if judgement.state is State.STALE]
    finished = 0
    for batch in _batches(stale, declaration.batch):
        report_progress(declaration.names[0], [key for key, _ in batch], finished, len(stale))
        _rebuild_batch(house, freshness, declaration, batch, result)
        finished += len(batch)
    return result


def release_obsolete(house: House, freshness: Freshness) -> int:
    """Remove quarantined frames whose cause was taken back, so that the published file is current; returns how many."""
    obsolete = [
        (name, key)
        for name, held in freshness.snapshot.held.items()
        for key, entry in held.items()
        if entry.quarantine is not None and freshness.judge(name, key).state is State.CURRENT
    ]
    for name, key in obsolete:
        house.lake.release(name, key)
    return len(obsolete)


def _judge(freshness: Freshness, declaration: LakeAsset, key: Key, force: bool) -> Judgement:
    """One judgement for all outputs of an asset: the worst of them."""
    judgements = [freshness.judge(name, key) for name in declaration.names]
    for state in (State.UNWANTED, State.WAITING):
        if any(j.state is state for j in judgements):
            return next(j for j in judgements if j.state is state)
    if force:
        return Judgement(State.STALE, ("asked for",))
    stale = [j for j in judgements if j.state is State.STALE]
    if stale:
        reasons = tuple(dict.fromkeys(reason for j in stale for reason in j.reasons))
        groups = None if any(j.groups is None for j in stale) else frozenset().union(*(j.groups or () for j in stale))
        return Judgement(State.STALE, reasons, groups)
    return next((j for j in judgements if j.state is State.QUARANTINED), judgements[0])


def _batches(stale: Sequence[tuple[Key, Judgement]], size: int) -> Iterable[list[tuple[Key, Judgement]]]:
    """Runs of partitions that want the same groups, at most `size` at a time."""
    for _, run in groupby(stale, key=lambda item: item[1].groups):
        members = list(run)
        for start in range(0, len(members), size):
            yield members[start : start + size]


def _rebuild_batch(
    house: House,
    freshness: Freshness,
    declaration: LakeAsset,
    batch: Sequence[tuple[Key, Judgement]],
    result: Rebuilt,
) -> None:
    groups = batch[0][1].groups if declaration.group else None
    keys = tuple(key for key, _ in batch)
    work = Work(keys, groups, house.config(declaration), house, freshness, declaration)
    _remove_altered(house, freshness, declaration, keys)
    if declaration.in_warehouse:
        names = [(name, key) for name in declaration.names for key in keys]
        forget_receipts(house.settings.warehouse_location, names)
    made = declaration.compute(work)
    if isinstance(made, pd.DataFrame):
        made = Result({declaration.names[0].split("/")[1]: made})
    stored = _store_plots(house, declaration, made.plots)
    # A plot of a partitioned asset shows the keys that were made together last: the next run over some of them draws
    # another, which must not make the others stale.
    artifacts = dict(made.artifacts) | (stored if declaration.axis is None else {})
    result.plots.update(made.plots)
    unit = freshness.nodes[declaration.names[0]].unit
    frames = {c.table: _by_key(c, made.frames[c.table.split("/")[1]], keys, unit) for c in declaration.contracts}
    whole = {
        c.table: [_with_kept_rows(house, freshness, declaration, c, frames[c.table][key], key, groups) for key in keys]
        for c in declaration.contracts
    }
    judged = {c.table: c.validate_all(whole[c.table]) for c in declaration.contracts}
    published: dict[tuple[str, Key], Footer] = {}
    for position, (key, judgement) in enumerate(batch):
        parts = {name: tables[position] for name, tables in whole.items()}
        faults = made.faults.get(key, {})
        verdicts = {name: Verdict({**judged[name][position].checks, **faults}) for name in parts}
        inputs = freshness.inputs(declaration.names[0], key)
        node = freshness.nodes[declaration.names[0]]
        summary = declaration.summarise(parts)
        passed = all(verdict.passed for verdict in verdicts.values())
        for contract in declaration.contracts:
            name, frame = contract.table, parts[contract.table]
            footer = Footer(
                content=content_hash(frame),
                inputs=inputs,
                code=node.code,
                config=node.config,
                verdict=verdicts[name],
                rows=len(frame),
                digests=_digests(declaration, contract, frame),
                artifacts=artifacts,
                facts={**made.facts.get(key, {}), **summary, "warnings": dict(made.warnings.get(key, {}))},
            )
            # One bad output holds back its siblings: they were made together and must not disagree.
            (house.lake.write if passed else house.lake.quarantine)(name, key, frame, footer)
            action = REBUILT if passed else QUARANTINED
            failed = [reason for verdict in verdicts.values() for reason in verdict.reasons()]
            reasons = judgement.reasons if passed else tuple(failed)
            result.outcomes[name][key] = Done(action, reasons, footer, len(frames[name][key]))
            if passed:
                published[name, key] = footer
    if declaration.in_warehouse:
        give_receipts(house.settings.warehouse_location, published)


def _remove_altered(house: House, freshness: Freshness, declaration: LakeAsset, keys: Sequence[Key]) -> None:
    """Remove artifacts whose content is no longer theirs: the stores refuse other content in their place."""
    for name in declaration.names:
        for key in keys:
            for path in freshness.snapshot.entry(name, key).missing_artifacts:
                (house.settings.home / path).unlink(missing_ok=True)


def _by_key(contract: Contract, frame: pd.DataFrame, keys: Sequence[Key], unit: Unit) -> dict[Key, pd.DataFrame]:
    """A frame split by partition, each part in stored order."""
    if keys == (None,):
        return {None: contract.arrange(frame)}
    parts = split_by_key(frame, contract.time or "session", unit)
    if strays := sorted(parts.keys() - {str(key) for key in keys}):
        raise ValueError(f"{contract.table} was asked for {keys[0]} .. {keys[-1]} and made rows for {strays[:3]}")
    return {key: contract.arrange(parts.get(str(key), frame.iloc[:0])) for key in keys}


def _with_kept_rows(
    house: House,
    freshness: Freshness,
    declaration: LakeAsset,
    contract: Contract,
    fresh: pd.DataFrame,
    key: Key,
    groups: frozenset[str] | None,
) -> pd.DataFrame:
    """Rebuilt rows together with the published rows of groups that were not concerned."""
    if groups is None:
        return fresh
    old = house.lake.read(contract.table, None if key is None else [key])
    footer = freshness.snapshot.entry(contract.table, key).footer
    if footer is None or content_hash(old) != footer.content:
        raise LakeError(f"{contract.table} {key or ''} was changed while it was being rebuilt: run again")
    kept = old[~old[declaration.group].isin(groups)]
    return contract.arrange(pd.concat([kept, fresh], ignore_index=True) if len(fresh) else kept)


def _digests(declaration: LakeAsset, contract: Contract, frame: pd.DataFrame) -> dict[str, str]:
    if declaration.digest in KEY_FORMATS:
        return group_digests(frame, pd.Series(key_of(frame[contract.time or "session"], declaration.digest)))
    if declaration.digest is not None and declaration.digest in frame:
        return group_digests(frame, declaration.digest)
    return {}


def _store_plots(house: House, declaration: LakeAsset, plots: Mapping[str, bytes]) -> dict[str, str]:
    stored = {}
    for name, png in sorted(plots.items()):
        relative = f"plots/{declaration.names[0]}/{name}.png"
        path = house.settings.home / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, png)
        stored[relative] = hashlib.sha256(png).hexdigest()
    return stored
