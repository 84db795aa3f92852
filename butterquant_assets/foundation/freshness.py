"""What is stale, and why: one pure decision, used by the command line, by the assets and by the sensor.

The truth lies in the lake. Each file's footer holds the content hashes of what was read, of the code and of the
configuration; a partition is stale when these are no longer what they would be now. Dagster's own data versions cannot
judge this (a run over a range gives all its partitions one version, and provenance ignores partitions).

This module reads nothing: callers hand it a `Snapshot` of what lies where.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from butterquant_assets.foundation.calendar import shift_month
from butterquant_assets.foundation.lake import Footer, combine

By = Literal["content", "group", "partition"]
Key = str | None  # a month, or None for an unpartitioned asset


class State(StrEnum):
    """What a partition is."""

    CURRENT = "current"
    STALE = "stale"
    QUARANTINED = "quarantined"  # its newest attempt failed its checks, and nothing it depends on has changed since
    WAITING = "waiting"  # something it reads is quarantined, or waits itself and has never been made
    UNWANTED = "unwanted"  # outside the months this asset covers


@dataclass(frozen=True)
class Window:
    """Which part of another asset (or of the source) one partition reads.

    Parameters
    ----------
    asset
        ``group/name``, or ``source:dataset``
    first, last
        months relative to the reader's own; ignored by an unpartitioned reader, which reads them all
    by
        what the dependency is on: ``content`` of each file; ``group``: content per group (per ticker), so that a
        correction costs only its own rows; ``partition``: the digest under the reader's own month in an unpartitioned
        file, so that news of one month concerns that month
    """

    asset: str
    first: int = 0
    last: int = 0
    by: By = "content"


@dataclass(frozen=True)
class Node:
    """An asset as freshness sees it.

    Parameters
    ----------
    name
        ``group/name``
    months
        the months it covers, ascending; None for an unpartitioned asset
    reads
        its windows
    code, config
        what their hashes are now
    """

    name: str
    months: tuple[str, ...] | None
    reads: tuple[Window, ...]
    code: str
    config: str

    def partitions(self) -> tuple[Key, ...]:
        """Its partitions: months, or the one None."""
        return (None,) if self.months is None else self.months


@dataclass(frozen=True)
class Held:
    """What lies in the lake for one partition: a published footer, a quarantined one, or a reason why unreadable."""

    footer: Footer | None = None
    quarantine: Footer | None = None
    damage: str | None = None
    missing_artifacts: tuple[str, ...] = ()


@dataclass
class Snapshot:
    """Everything the decision needs: what lies in the lake, and what the source and the ledgers hold now."""

    held: dict[str, dict[Key, Held]] = field(default_factory=dict)
    source: dict[str, dict[str, str]] = field(
        default_factory=dict
    )  # dataset -> month, or part of a ledger -> fingerprint

    def entry(self, asset: str, key: Key) -> Held:
        """What lies there; an empty `Held` for nothing."""
        return self.held.get(asset, {}).get(key) or Held()


@dataclass(frozen=True)
class Judgement:
    """The state of one partition with its reasons, and which groups of rows are concerned (None: all)."""

    state: State
    reasons: tuple[str, ...] = ()
    groups: frozenset[str] | None = None


CURRENT = Judgement(State.CURRENT)


class Freshness:
    """Decisions over one set of nodes and one snapshot.

    Parameters
    ----------
    nodes
        all assets, in an order in which inputs come before their readers
    snapshot
        what lies where
    """

    def __init__(self, nodes: Sequence[Node], snapshot: Snapshot) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.snapshot = snapshot
        self._judged: dict[tuple[str, Key], Judgement] = {}

    # -- inputs

    def inputs(self, name: str, key: Key, groups: Iterable[str] | None = None) -> dict[str, str]:
        """Content hashes of everything that partition `key` of asset `name` reads now, by name of input.

        Group-wise inputs appear as ``asset|group``; `groups` limits which groups are listed.
        """
        result: dict[str, str] = {}
        for window in self.nodes[name].reads:
            if window.by == "group":
                result |= self._group_inputs(window, key, groups)
            else:
                result[window.asset] = self._content_input(window, key)
        return result

    def _content_input(self, window: Window, key: Key) -> str:
        if window.asset.startswith("source:"):
            fingerprints = self.snapshot.source.get(window.asset.removeprefix("source:"), {})
            return combine(f"{month}={fingerprints.get(str(month), '')}" for month in self.window_keys(window, key))
        if window.by == "partition":
            footer = self.snapshot.entry(window.asset, None).footer
            return footer.digests.get(str(key), "") if footer else ""
        return combine(
            f"{read}={footer.content}"
            for read in self.window_keys(window, key)
            if (footer := self.snapshot.entry(window.asset, read).footer)
        )

    def _group_inputs(self, window: Window, key: Key, groups: Iterable[str] | None) -> dict[str, str]:
        footers = [
            (read, footer.digests)
            for read in self.window_keys(window, key)
            if (footer := self.snapshot.entry(window.asset, read).footer)
        ]
        names = sorted({name for _, digests in footers for name in digests} if groups is None else set(groups))
        return {
            f"{window.asset}|{name}": combine(f"{read}={digests[name]}" for read, digests in footers if name in digests)
            for name in names
        }

    def window_keys(self, window: Window, key: Key) -> tuple[Key, ...]:
        """The partitions of `window.asset` that partition `key` of its reader reads."""
        if window.asset.startswith("source:"):
            months = self.snapshot.source.get(window.asset.removeprefix("source:"), {})
            return tuple(sorted(months)) if key is None else (key,)
        node = self.nodes[window.asset]
        if node.months is None:
            return (None,)
        if key is None:
            return node.months
        first, last = shift_month(key, window.first), shift_month(key, window.last)
        return tuple(month for month in node.months if first <= month <= last)

    # -- judgement

    def judge(self, name: str, key: Key) -> Judgement:
        """The state of one partition against what lies in the lake at this moment."""
        if (name, key) not in self._judged:
            self._judged[name, key] = self._judge(name, key)
        return self._judged[name, key]

    def _judge(self, name: str, key: Key) -> Judgement:
        node = self.nodes[name]
        if node.months is not None and key not in node.months:
            return Judgement(State.UNWANTED, ("outside the months this asset covers",))
        if waits := self._waits_for(node, key):
            return Judgement(State.WAITING, waits)
        held = self.snapshot.entry(name, key)
        if held.quarantine is not None and not self._differences(node, key, held.quarantine)[0]:
            return Judgement(State.QUARANTINED, tuple(held.quarantine.verdict.reasons()))
        if held.damage is not None:
            return Judgement(State.STALE, (held.damage,))
        if held.footer is None:
            return Judgement(State.STALE, ("missing",))
        reasons, groups = self._differences(node, key, held.footer)
        if held.missing_artifacts:
            reasons, groups = [*reasons, f"missing or altered {', '.join(held.missing_artifacts)}"], None
        return Judgement(State.STALE, tuple(reasons), groups) if reasons else CURRENT

    def _waits_for(self, node: Node, key: Key) -> tuple[str, ...]:
        waits = []
        for window in node.reads:
            if window.asset.startswith("source:"):
                continue
            for read in self.window_keys(window, key):
                state = self.judge(window.asset, read).state
                nothing_yet = self.snapshot.entry(window.asset, read).footer is None
                if state is State.QUARANTINED or (state is State.WAITING and nothing_yet):
                    waits.append(f"waits for {window.asset} {read or ''}".rstrip() + f" ({state})")
        return tuple(waits)

    def _differences(self, node: Node, key: Key, footer: Footer) -> tuple[list[str], frozenset[str] | None]:
        """Reasons why a footer is out of date, and the groups concerned (None: all rows)."""
        reasons = []
        if footer.code != node.code:
            reasons.append("code changed")
        if footer.config != node.config:
            reasons.append("configuration changed")
        known = {name.split("|", 1)[1] for name in footer.inputs if "|" in name}
        now = self.inputs(node.name, key, known)
        changed = sorted(name for name in now.keys() | footer.inputs.keys() if now.get(name) != footer.inputs.get(name))
        reasons += [f"{name} changed" for name in changed if "|" not in name]
        by_asset: dict[str, list[str]] = {}
        for asset, group in (name.split("|", 1) for name in changed if "|" in name):
            by_asset.setdefault(asset, []).append(group)
        # Rows can be rebuilt alone only when nothing but their own groups' input has changed.
        groups = None if reasons else frozenset(group for names in by_asset.values() for group in names)
        reasons += [f"{asset} changed for {_some(names)}" for asset, names in by_asset.items()]
        return reasons, groups


@dataclass(frozen=True)
class Plan:
    """What a run would have to look at.

    Parameters
    ----------
    stale
        partitions that are stale now, with their judgement, by asset
    affected
        `stale`, and the partitions that read something stale, so that they may become stale while the run proceeds.
        A dependence on one month's digest in an unpartitioned file (``by="partition"``) does not spread: when such a
        digest turns out to differ, its month is stale in the next plan. Otherwise every correction would reach all
        months.
    problems
        quarantined and waiting partitions
    """

    stale: Mapping[str, Mapping[Key, Judgement]]
    affected: Mapping[str, frozenset[Key]]
    problems: Mapping[str, Mapping[Key, Judgement]]

    @property
    def nothing_to_do(self) -> bool:
        """True when no partition is stale."""
        return not any(self.stale.values())

    def assets(self) -> list[str]:
        """Assets a run must include."""
        return [name for name in self.affected if self.affected[name]]

    def month_range(self) -> tuple[str, str] | None:
        """First and last month a run must include, or None when no month is concerned."""
        months = sorted({key for keys in self.affected.values() for key in keys if key is not None})
        return (months[0], months[-1]) if months else None


def plan(freshness: Freshness, selection: Iterable[str] | None = None) -> Plan:
    """What is stale now, and what that may reach, within `selection` (by default everything)."""
    chosen = set(freshness.nodes if selection is None else selection)
    stale: dict[str, dict[Key, Judgement]] = {}
    affected: dict[str, frozenset[Key]] = {}
    problems: dict[str, dict[Key, Judgement]] = {}
    for name, node in freshness.nodes.items():
        if name not in chosen:
            continue
        judged = {key: freshness.judge(name, key) for key in node.partitions()}
        stale[name] = {key: j for key, j in judged.items() if j.state is State.STALE}
        problems[name] = {key: j for key, j in judged.items() if j.state in (State.QUARANTINED, State.WAITING)}
        reached = {
            key
            for window in node.reads
            if affected.get(window.asset) and window.by != "partition"
            for key in node.partitions()
            if not affected[window.asset].isdisjoint(freshness.window_keys(window, key))
        }
        affected[name] = frozenset(stale[name]) | reached
    return Plan(stale, affected, problems)


def _some(names: Sequence[str], limit: int = 3) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
