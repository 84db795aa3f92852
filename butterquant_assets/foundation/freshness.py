"""What is stale, and why: one pure decision, used by the command line, by the assets and by the sensor.

The truth lies in the lake. Each file's footer holds the content hashes of what was read, of the code and of the
configuration; a partition is stale when these are no longer what they would be now. Dagster's own data versions cannot
judge this (a run over a range gives all its partitions one version, and provenance ignores partitions).

This module reads nothing: callers hand it a `Snapshot` of what lies where.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from butterquant_assets.foundation.calendar import Unit, shift_key
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.foundation.lake import Footer, combine

By = Literal["content", "group", "partition", "in_force"]
PART_OF_A_FILE: tuple[By, ...] = ("partition", "in_force")
NOT_IN_WAREHOUSE = "the warehouse does not hold it"
Key = str | None  # a month or a day, or None for an unpartitioned asset


class State(StrEnum):
    """What a partition is."""

    CURRENT = "current"
    STALE = "stale"
    QUARANTINED = "quarantined"  # its newest attempt failed its checks, and nothing it depends on has changed since
    WAITING = "waiting"  # something it reads is quarantined, or waits itself and has never been made
    UNWANTED = "unwanted"  # outside what this asset covers


@dataclass(frozen=True)
class Window:
    """Which part of another asset (or of the source) one partition reads.

    Parameters
    ----------
    asset
        ``group/name``, or ``source:dataset``
    first, last
        months (days) relative to the reader's own; ignored by an unpartitioned reader, which reads them all
    by
        what the dependency is on: ``content`` of each file; ``group``: content per group (per ticker), so that a
        correction costs only its own rows; ``partition``: the digest under the reader's own key in an unpartitioned
        file, so that news of one month concerns that month; ``in_force``: the digest there under the reader's own key
        and the last one before it, for a table whose rows hold from their time on until others follow
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
    keys
        the months or days it covers, ascending; None for an unpartitioned asset
    reads
        its windows
    code, config
        what their hashes are now
    unit
        of its keys; what it reads by key has the same
    in_warehouse
        whether it writes rows to the warehouse too
    """

    name: str
    keys: tuple[str, ...] | None
    reads: tuple[Window, ...]
    code: str
    config: str
    unit: Unit = "month"
    in_warehouse: bool = False

    def partitions(self) -> tuple[Key, ...]:
        """Its partitions: its keys, or the one None."""
        return (None,) if self.keys is None else self.keys

    def covers(self, key: Key) -> bool:
        """Whether `key` is one of its partitions."""
        if self.keys is None or key is None:
            return self.keys is None and key is None
        place = bisect_left(self.keys, key)
        return place < len(self.keys) and self.keys[place] == key


@dataclass(frozen=True)
class Held:
    """What lies in the lake for one partition: a published footer, a quarantined one, or a reason why unreadable.

    And what lies elsewhere: files it names that are missing or altered, and whether its rows are in the warehouse.
    """

    footer: Footer | None = None
    quarantine: Footer | None = None
    damage: str | None = None
    missing_artifacts: tuple[str, ...] = ()
    in_warehouse: bool = True


@dataclass
class Snapshot:
    """Everything the decision needs: what lies in the lake, and what the source and the ledgers hold now."""

    held: dict[str, dict[Key, Held]] = field(default_factory=dict)
    source: dict[str, dict[str, str]] = field(
        default_factory=dict
    )  # dataset -> month or day, or part of a ledger -> fingerprint

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

    @classmethod
    def joined(cls, parts: Sequence[Freshness]) -> Freshness:
        """Decisions over several graphs at once, none of which reads from another."""
        if len(parts) == 1:
            return parts[0]
        held = {name: keys for part in parts for name, keys in part.snapshot.held.items()}
        source = {name: keys for part in parts for name, keys in part.snapshot.source.items()}
        if len(source) < sum(len(part.snapshot.source) for part in parts):
            raise ConfigError("two graphs call a dataset of their sources by the same name: rename one of them")
        return cls([node for part in parts for node in part.nodes.values()], Snapshot(held, source))

    # -- inputs

    def inputs(self, name: str, key: Key) -> dict[str, str]:
        """Content hashes of everything that partition `key` of asset `name` reads now, by name of input.

        Group-wise inputs appear as ``asset|group``, for every group the window holds. Also for those without a row in
        the partition: one that is new, or corrected, may get its first row by it.
        """
        result: dict[str, str] = {}
        for window in self.nodes[name].reads:
            if window.by == "group":
                result |= self._group_inputs(window, key)
            else:
                result[window.asset] = self._content_input(window, key)
        return result

    def _content_input(self, window: Window, key: Key) -> str:
        if window.asset.startswith("source:"):
            fingerprints = self.snapshot.source.get(window.asset.removeprefix("source:"), {})
            return combine(f"{read}={fingerprints.get(str(read), '')}" for read in self.window_keys(window, key))
        if window.by in PART_OF_A_FILE:
            footer = self.snapshot.entry(window.asset, None).footer
            digests = footer.digests if footer else {}
            if window.by == "partition":
                return digests.get(str(key), "")
            return combine(f"{read}={digests[read]}" for read in self.in_force(window, str(key)))
        return combine(
            f"{read}={footer.content}"
            for read in self.window_keys(window, key)
            if (footer := self.snapshot.entry(window.asset, read).footer)
        )

    def _group_inputs(self, window: Window, key: Key) -> dict[str, str]:
        footers = [
            (read, footer.digests)
            for read in self.window_keys(window, key)
            if (footer := self.snapshot.entry(window.asset, read).footer)
        ]
        names = sorted({name for _, digests in footers for name in digests})
        return {
            f"{window.asset}|{name}": combine(f"{read}={digests[name]}" for read, digests in footers if name in digests)
            for name in names
        }

    def in_force(self, window: Window, key: str) -> tuple[str, ...]:
        """Keys in an unpartitioned file whose rows hold at some time of `key`: its own, and the last before it."""
        footer = self.snapshot.entry(window.asset, None).footer
        held = sorted(footer.digests) if footer else []
        return tuple(held[max(0, bisect_left(held, key) - 1) : bisect_right(held, key)])

    def window_keys(self, window: Window, key: Key) -> tuple[Key, ...]:
        """The partitions of `window.asset` that partition `key` of its reader reads."""
        if window.asset.startswith("source:"):
            held = self.snapshot.source.get(window.asset.removeprefix("source:"), {})
            return tuple(sorted(held)) if key is None else (key,)
        node = self.nodes[window.asset]
        if node.keys is None:
            return (None,)
        if key is None:
            return node.keys
        first, last = shift_key(key, window.first, node.unit), shift_key(key, window.last, node.unit)
        return node.keys[bisect_left(node.keys, first) : bisect_right(node.keys, last)]

    # -- judgement

    def judge(self, name: str, key: Key) -> Judgement:
        """The state of one partition against what lies in the lake at this moment."""
        if (name, key) not in self._judged:
            self._judged[name, key] = self._judge(name, key)
        return self._judged[name, key]

    def _judge(self, name: str, key: Key) -> Judgement:
        node = self.nodes[name]
        if not node.covers(key):
            return Judgement(State.UNWANTED, (f"outside the {node.unit}s this asset covers",))
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
        if node.in_warehouse and not held.in_warehouse:
            reasons, groups = [*reasons, NOT_IN_WAREHOUSE], None
        return Judgement(State.STALE, tuple(reasons), groups) if reasons else CURRENT

    def _waits_for(self, node: Node, key: Key) -> tuple[str, ...]:
        waits = []
        for window in node.reads:
            if window.asset.startswith("source:"):
                continue
            if self.nodes[window.asset].keys == ():
                waits.append(f"waits for {window.asset}, which covers nothing yet")
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
        now = self.inputs(node.name, key)
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
        A dependence on part of an unpartitioned file (``by="partition"``, ``"in_force"``) does not spread: when such a
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

    def key_range(self) -> tuple[str, str] | None:
        """First and last month (day) a run must include, or None when none is concerned."""
        concerned = sorted({key for keys in self.affected.values() for key in keys if key is not None})
        return (concerned[0], concerned[-1]) if concerned else None


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
            if affected.get(window.asset) and window.by not in PART_OF_A_FILE
            for key in node.partitions()
            if not affected[window.asset].isdisjoint(freshness.window_keys(window, key))
        }
        affected[name] = frozenset(stale[name]) | reached
    return Plan(stale, affected, problems)


def _some(names: Sequence[str], limit: int = 3) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
