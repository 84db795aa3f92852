"""The inventory of partitions that nobody will make without help: quarantined, or tried too often. Pure.

What belongs here: the table, its contract, and how it follows from the lake's state and the history of runs. What does
not: asking Dagster for that history (`failure_assets`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd
import pandera.pandas as pa

from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.foundation.freshness import Freshness, Key, State
from butterquant_assets.monitoring.alerts import quarantined, reason_of

NAME = "monitoring/failed_partitions"
WHOLE = "all"  # the partition of a table that has none
QUARANTINED, EXHAUSTED = "quarantined", "exhausted"

Partition = tuple[str, Key]


@dataclass(frozen=True)
class PastRun:
    """A finished run, as far as it tells about partitions.

    Parameters
    ----------
    run_id, at
        which, and when it ended (UTC)
    success
        how it ended
    assets
        what it was to make; None for everything
    months
        first and last month it covered; None where it had no months
    broken
        the assets whose own step failed; empty where the run failed outside of any step, which concerns all of them
    message
        the innermost error; empty for a success
    """

    run_id: str
    at: datetime
    success: bool
    assets: frozenset[str] | None = None
    months: tuple[str, str] | None = None
    broken: frozenset[str] = frozenset()
    message: str = ""

    def covers(self, name: str, key: Key) -> bool:
        """Whether it was to make this partition."""
        asked = self.assets is None or name in self.assets
        return asked and (key is None or self.months is None or self.months[0] <= key <= self.months[1])

    def failed_at(self, name: str) -> bool:
        """Whether it failed at this asset, rather than before or after it."""
        return not self.success and (not self.broken or name in self.broken)


@dataclass(frozen=True)
class Rejection:
    """One frame that was put into quarantine: when (UTC), by which run, and the identity of frame and code."""

    at: datetime
    run_id: str
    identity: str


CONTRACT = Contract(
    NAME,
    pa.DataFrameSchema(
        {
            "asset": pa.Column("str", description="asset key, group/name"),
            "partition": pa.Column("str", description="month, or 'all' for a table without partitions"),
            "state": pa.Column(
                "str",
                pa.Check.isin([QUARANTINED, EXHAUSTED]),
                description="quarantined: its newest attempt failed its checks; exhausted: its runs failed too often",
            ),
            "since": pa.Column(
                "datetime64[us]",
                nullable=True,
                description="first failure without a success since; missing where the event log no longer knows",
                metadata={"unit": "UTC"},
            ),
            "attempts": pa.Column(
                "int64",
                pa.Check.ge(0),
                description="failed attempts since then: different frames that were refused, or failed runs",
                metadata={"unit": "count"},
            ),
            "reason": pa.Column("str", description="why the newest attempt failed"),
            "run_id": pa.Column(
                "str", nullable=True, description="run of the newest failed attempt; missing where none is known"
            ),
            "waiting_partitions": pa.Column(
                "int64",
                pa.Check.ge(0),
                description="partitions that are not current and read this one, directly or through others",
                metadata={"unit": "count"},
            ),
            "waiting_assets": pa.Column("str", description="their assets, with how many partitions of each"),
        },
        strict=True,
        ordered=True,
        description="Partitions that are quarantined, or whose runs failed so often that no further one is started; "
        "as of the moment this was materialised.",
    ),
    ("asset", "partition"),
)


def exhausted(freshness: Freshness, runs: Sequence[PastRun], max_attempts: int) -> dict[Partition, list[PastRun]]:
    """Stale partitions with their failed runs, newest first, where these are at least `max_attempts`.

    Parameters
    ----------
    freshness
        the state of the lake
    runs
        finished runs, newest first
    max_attempts
        failed runs in a row after which no further one is started
    """
    tried = {at: _failures(*at, runs) for at in stale_partitions(freshness)}
    return {at: failures for at, failures in tried.items() if len(failures) >= max_attempts}


def stale_partitions(freshness: Freshness) -> list[Partition]:
    """Partitions that a run is to make."""
    wanted = ((name, key) for name, node in freshness.nodes.items() for key in node.partitions())
    return [at for at in wanted if freshness.judge(*at).state is State.STALE]


def inventory(
    freshness: Freshness,
    runs: Sequence[PastRun],
    rejections: Mapping[Partition, Sequence[Rejection]],
    max_attempts: int,
) -> pd.DataFrame:
    """The table of `CONTRACT`: one row per failed partition, in the contract's order.

    Parameters
    ----------
    freshness
        the state of the lake
    runs
        finished runs, newest first
    rejections
        of each quarantined partition, newest first, without those before its last success
    max_attempts
        as in `exhausted`
    """
    bad = {(name, key): held for name in freshness.nodes for key, held in quarantined(freshness, name).items()}
    spent = {at: failures for at, failures in exhausted(freshness, runs, max_attempts).items() if at not in bad}
    waiting = dependants(freshness, frozenset(bad.keys() | spent.keys()))
    rows = []
    for at, held in bad.items():
        refused = rejections.get(at, ())
        rows.append(
            _row(at, QUARANTINED, len({r.identity for r in refused}), reason_of(held), waiting[at])
            | _times([(r.at, r.run_id) for r in refused])
        )
    for at, failures in spent.items():
        reason = failures[0].message or "the run ended without an error message"
        rows.append(
            _row(at, EXHAUSTED, len(failures), reason, waiting[at]) | _times([(r.at, r.run_id) for r in failures])
        )
    columns = CONTRACT.schema.columns
    frame = pd.DataFrame(rows, columns=list(columns))
    return CONTRACT.arrange(frame.astype({name: str(column.dtype) for name, column in columns.items()}))


def dependants(freshness: Freshness, failed: frozenset[Partition]) -> dict[Partition, Counter[str]]:
    """For each failed partition: partitions that are not current and read it, directly or through others, by asset.

    Only what is stale or waiting counts; a partition that is current does not miss anything.
    """
    held_up: dict[Partition, frozenset[Partition]] = {}
    found: dict[Partition, Counter[str]] = {at: Counter() for at in failed}
    for name, node in freshness.nodes.items():
        windows = [window for window in node.reads if not window.asset.startswith("source:")]
        for key in node.partitions():
            if freshness.judge(name, key).state not in (State.STALE, State.WAITING):
                continue
            read = {(w.asset, each) for w in windows for each in freshness.window_keys(w, key)}
            causes = (read & failed).union(*(held_up.get(at, frozenset()) for at in read))
            held_up[name, key] = frozenset(causes)
            for cause in causes:
                found[cause][name] += 1
    return found


def _failures(name: str, key: Key, runs: Sequence[PastRun]) -> list[PastRun]:
    """Failed runs of one partition since the last run that succeeded with it, newest first."""
    failures = []
    for run in runs:
        if not run.covers(name, key):
            continue
        if run.success:
            break
        if run.failed_at(name):
            failures.append(run)
    return failures


def _row(at: Partition, state: str, attempts: int, reason: str, waiting: Counter[str]) -> dict[str, object]:
    return {
        "asset": at[0],
        "partition": at[1] or WHOLE,
        "state": state,
        "attempts": attempts,
        "reason": reason,
        "waiting_partitions": sum(waiting.values()),
        "waiting_assets": ", ".join(f"{name} ({count})" for name, count in sorted(waiting.items())),
    }


def _times(newest_first: Sequence[tuple[datetime, str]]) -> dict[str, object]:
    if not newest_first:
        return {"since": pd.NaT, "run_id": None}
    return {"since": newest_first[-1][0].astimezone(UTC).replace(tzinfo=None), "run_id": newest_first[0][1]}
