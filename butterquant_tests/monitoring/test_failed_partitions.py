from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd

from butterquant_assets.foundation.freshness import Held, State
from butterquant_assets.monitoring.failed_partitions import CONTRACT, PastRun, Rejection, dependants, inventory
from butterquant_tests.monitoring.alert_cases import BARS, FEATURES, MODEL, Lake

AT = datetime(2026, 3, 2, 6, tzinfo=UTC)


def run(number: int, *, success: bool = False, **rest: object) -> PastRun:
    """Run `number`, the higher the later."""
    message = "" if success else f"error {number}"
    return PastRun(f"r{number}", AT + timedelta(hours=number), success, message=message, **rest)  # type: ignore[arg-type]


def taken(lake: Lake, runs: list[PastRun], rejections: dict | None = None) -> list[dict]:
    newest_first = sorted(runs, key=lambda run: run.at, reverse=True)
    frame = inventory(lake.freshness(), newest_first, rejections or {}, 3)
    assert CONTRACT.validate(frame).passed
    return frame.to_dict("records")


def test_where_nothing_failed_the_table_is_empty_and_valid() -> None:
    assert taken(Lake(), []) == []


def test_a_quarantined_partition_is_listed_with_its_attempts_and_who_waits() -> None:
    lake = Lake()
    lake.quarantine(BARS, "2026-02")
    refused = [Rejection(AT + timedelta(hours=n), f"r{n}", f"content {n // 2}") for n in (3, 2, 1)]
    (row,) = taken(lake, [], {(BARS, "2026-02"): refused})
    assert (row["asset"], row["partition"], row["state"]) == (BARS, "2026-02", "quarantined")
    assert row["since"] == pd.Timestamp("2026-03-02 07:00")
    assert (row["attempts"], row["run_id"]) == (2, "r3")  # two different frames; the third look found the same one
    assert row["reason"].startswith("prices: 2 rows")
    # The features of that month wait; the model reads the last good ones and misses nothing.
    assert (row["waiting_partitions"], row["waiting_assets"]) == (1, f"{FEATURES} (1)")


def test_what_the_event_log_forgot_is_missing_and_not_zero_or_now() -> None:
    lake = Lake()
    lake.quarantine(BARS, "2026-02")
    (row,) = taken(lake, [])
    assert pd.isna(row["since"])
    assert pd.isna(row["run_id"])


def test_a_stale_partition_is_listed_once_its_runs_have_failed_too_often() -> None:
    lake = Lake()
    lake.correct("2026-02")
    covering = {"months": ("2026-01", "2026-02"), "assets": frozenset({BARS, FEATURES}), "broken": frozenset({BARS})}
    failures = [run(n, **covering) for n in (1, 2, 3)]
    assert taken(lake, failures[:2]) == []
    (row,) = taken(lake, failures)
    assert (row["asset"], row["partition"], row["state"], row["attempts"]) == (BARS, "2026-02", "exhausted", 3)
    assert (row["reason"], row["run_id"], row["since"]) == ("error 3", "r3", pd.Timestamp("2026-03-02 07:00"))
    assert taken(lake, [run(0, **covering), run(1, success=True, **covering), *failures[1:]]) == []


def test_only_runs_of_that_month_and_asset_count() -> None:
    lake = Lake()
    lake.correct("2026-02")
    other = [run(n, months=("2026-03", "2026-03")) for n in range(3)]
    others = [run(n, assets=frozenset({MODEL})) for n in range(3)]
    after = [run(n, broken=frozenset({FEATURES})) for n in range(3)]
    assert taken(lake, other) == taken(lake, others) == taken(lake, after) == []
    assert len(taken(lake, [run(n) for n in range(3)])) == 1  # died outside of any step: all it covered failed


def test_a_current_partition_is_not_listed_whatever_failed_before() -> None:
    assert taken(Lake(), [run(n) for n in range(5)]) == []


def test_dependants_are_counted_through_what_waits_and_through_what_is_stale() -> None:
    lake = Lake()
    lake.quarantine(BARS, "2026-02")
    lake.held[FEATURES]["2026-02"] = Held()
    freshness = lake.freshness()
    assert freshness.judge(FEATURES, "2026-02").state is State.WAITING
    assert freshness.judge(MODEL, None).state is State.WAITING
    found = dependants(freshness, frozenset({(BARS, "2026-02")}))
    assert found[BARS, "2026-02"] == {FEATURES: 1, MODEL: 1}
    lake = Lake()
    lake.held[BARS]["2026-01"] = Held()  # never made, and its runs fail
    found = dependants(lake.freshness(), frozenset({(BARS, "2026-01")}))
    assert found[BARS, "2026-01"] == {FEATURES: 1}  # the model reads features that are still what they were
