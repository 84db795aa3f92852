"""Which failures of runs are the same one, and when each is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from butterquant_assets.monitoring.alert_state import AlertState, not_ahead, observe
from butterquant_assets.monitoring.alerts import Alert, Kind, Phase
from butterquant_assets.monitoring.run_failures import (
    REMEMBERED,
    SILENT,
    FailedRun,
    Failing,
    SucceededRun,
    after_runs,
    alike,
    failure_identity,
)

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = timedelta(hours=24)
UI = "http://ui:3000"
COLLECT = ("collect_hours",)
BLOCKED = "SourceError: OKX answers 451 (request 81bd-{n}) at 2026-03-0{n} 12:0{n}"


class Watch:
    """What is told of runs, look by look."""

    def __init__(self) -> None:
        self.failing: dict[str, Failing] = {}
        self.place = 0

    def failed(
        self,
        message: str = "no answer",
        job: str = "collect",
        steps: tuple[str, ...] = COLLECT,
        months: tuple[str, str] | None = None,
    ) -> FailedRun:
        self.place += 1
        return FailedRun(f"{self.place:08}-failed", job, message, steps, self.place, months)

    def succeeded(
        self, job: str = "collect", steps: tuple[str, ...] = COLLECT, months: tuple[str, str] | None = None
    ) -> SucceededRun:
        self.place += 1
        return SucceededRun(f"{self.place:08}-done", job, frozenset(steps), self.place, months)

    def look(self, at: datetime, *runs: FailedRun | SucceededRun) -> list[Alert]:
        # Through the JSON a restart would read, so that every test is a test of restarts.
        state = AlertState.from_json(AlertState(failing=self.failing).to_json())
        self.failing, alerts = after_runs(
            not_ahead(state, at).failing,
            [run for run in runs if isinstance(run, FailedRun)],
            [run for run in runs if isinstance(run, SucceededRun)],
            now=at,
            repeat=DAY,
            ui_url=UI,
        )
        assert all(not alert.lasting and alert.kind is Kind.RUN_FAILED for alert in alerts)
        return alerts

    def phases(self, at: datetime, *runs: FailedRun | SucceededRun) -> list[Phase]:
        return [alert.phase for alert in self.look(at, *runs)]


def test_an_hourly_job_that_fails_for_a_week_is_told_once_a_day_and_its_recovery_once() -> None:
    watch, told = Watch(), []
    for hour in range(7 * 24):
        for alert in watch.look(NOON + timedelta(hours=hour), watch.failed(BLOCKED.format(n=hour % 10))):
            told.append((hour, alert.phase))
    assert told == [(0, Phase.EVENT)] + [(24 * day, Phase.AGAIN) for day in range(1, 7)]
    cure = watch.succeeded()
    (end,) = watch.look(NOON + timedelta(days=7), cure)
    assert (end.phase, end.subject, end.link) == (Phase.RESOLVED, "collect", f"{UI}/runs/{cure.run_id}")
    assert "168 runs failed alike" in end.text
    assert watch.look(NOON + timedelta(days=8), cure) == []


def test_a_first_failure_says_what_broke_and_a_later_message_how_often_it_did() -> None:
    watch = Watch()
    run = watch.failed("SourceError: no answer")
    (first,) = watch.look(NOON, run)
    assert (first.subject, first.text) == (f"collect {run.run_id[:8]}", "SourceError: no answer")
    assert first.link == f"{UI}/runs/{run.run_id}"
    watch.look(NOON + timedelta(hours=1), watch.failed("SourceError: no answer"))
    (later,) = watch.look(NOON + DAY)  # nothing new has failed, but one failure was never told
    assert later.text == "SourceError: no answer; 1 more run has failed alike, 2 in 24 h"
    assert watch.look(NOON + 2 * DAY) == []
    assert Watch().look(NOON, watch.failed(""))[0].text == SILENT


@pytest.mark.parametrize("steps", [COLLECT, ()])
def test_a_backfill_of_other_months_ends_nothing(steps: tuple[str, ...]) -> None:
    watch = Watch()
    assert watch.phases(NOON, watch.failed(months=("2024-01", "2024-06"), steps=steps)) == [Phase.EVENT]
    assert watch.look(NOON + DAY / 4, watch.succeeded(months=("2010-01", "2023-12"))) == []
    # What had been published before it failed is not made again.
    assert watch.phases(NOON + DAY / 2, watch.succeeded(months=("2024-04", "2024-06"))) == [Phase.RESOLVED]


def test_a_run_without_months_was_about_all_of_them_and_the_newest_failure_says_which_are_open() -> None:
    watch = Watch()
    watch.look(NOON, watch.failed(months=("2024-01", "2024-01")), watch.failed(months=("2024-02", "2024-02")))
    assert watch.look(NOON + DAY / 4, watch.succeeded(months=("2024-01", "2024-01"))) == []
    assert watch.phases(NOON + DAY / 2, watch.succeeded()) == [Phase.RESOLVED]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("KeyError: 'r1b2' at 0x7f3a in run 41", "KeyError: 'c9d8' at 0x81ff in run 7", True),
        ("timed out after 30 s\n", "timed out after  31 s", True),
        ("SourceError: no answer", "LakeError: no answer", False),
    ],
)
def test_failures_are_alike_but_for_ids_numbers_and_times(one: str, other: str, same: bool) -> None:
    assert (alike(one) == alike(other)) == same


def test_another_job_another_step_or_another_error_is_another_failure() -> None:
    identities = {
        failure_identity(job, steps, message)
        for job in ("collect", "refresh")
        for steps in (("raw",), ("raw", "total"))
        for message in ("no answer", "disk full")
    }
    assert len(identities) == 8
    assert failure_identity("refresh", ("b", "a"), "x") == failure_identity("refresh", ("a", "b"), "x")


def test_only_a_later_run_that_did_what_failed_is_a_recovery() -> None:
    watch = Watch()
    earlier = watch.succeeded("refresh", ("raw", "total"))
    watch.look(NOON, watch.failed(job="refresh", steps=("total",)))
    elsewhere = watch.succeeded("refresh", ("raw",))
    assert watch.phases(NOON, earlier, elsewhere) == []
    assert watch.phases(NOON, watch.succeeded("__ASSET_JOB", ("total",))) == [Phase.RESOLVED]


def test_a_run_that_failed_outside_of_its_steps_is_over_with_the_next_success_of_its_job() -> None:
    watch = Watch()
    watch.look(NOON, watch.failed("its process 7 died", steps=()))
    assert watch.phases(NOON, watch.succeeded("refresh", ("raw",))) == []
    assert watch.phases(NOON, watch.succeeded("collect", COLLECT)) == [Phase.RESOLVED]


def test_a_job_that_fails_and_recovers_by_turns_is_told_less_and_less() -> None:
    watch, told = Watch(), []
    for hour in range(0, 24 * 10, 2):
        told += [hour] * len(watch.look(NOON + timedelta(hours=hour), watch.failed()))
        told += [hour] * len(watch.look(NOON + timedelta(hours=hour + 1), watch.succeeded()))
    assert sum(hour < 24 for hour in told) <= 10
    for day in range(2, 10):
        assert 1 <= sum(day * 24 <= hour < (day + 1) * 24 for hour in told) <= 2


def test_a_failure_soon_after_a_recovery_is_told_within_hours_though_nothing_fails_again() -> None:
    watch = Watch()
    watch.look(NOON, watch.failed())
    assert watch.phases(NOON, watch.succeeded()) == [Phase.RESOLVED]
    assert watch.phases(NOON + timedelta(minutes=5), watch.failed()) == []
    (alert,) = watch.look(NOON + timedelta(hours=2))
    assert (alert.phase, "it had recovered before" in alert.text) == (Phase.EVENT, True)
    assert watch.phases(NOON + timedelta(hours=3), watch.succeeded()) == [Phase.RESOLVED]


def test_after_a_long_quiet_time_it_is_news() -> None:
    watch = Watch()
    watch.look(NOON, watch.failed())
    (alert,) = watch.look(NOON + 7 * DAY, watch.failed())
    assert (alert.phase, alert.text) == (Phase.EVENT, "no answer")


def test_an_error_that_reads_otherwise_with_every_run_is_told_a_few_times_a_day() -> None:
    watch, told = Watch(), 0
    for hour in range(24):
        words = "".join(chr(97 + int(digit)) for digit in str(hour))
        told += len(watch.look(NOON + timedelta(hours=hour), watch.failed(f"no answer for {words}")))
    assert told == 4


def test_one_look_by_a_clock_that_was_ahead_mutes_nothing_afterwards() -> None:
    watch = Watch()
    watch.look(NOON + timedelta(days=365), watch.failed())
    told = [h for h in range(25) if watch.look(NOON + timedelta(hours=h), watch.failed())]
    assert told == [24]


def test_what_is_remembered_is_bounded_and_forgets_first_what_is_over() -> None:
    watch = Watch()
    watch.look(NOON, watch.failed("old", steps=("open",)))
    for n in range(REMEMBERED + 20):
        step = (f"step {n}",)
        watch.look(NOON + timedelta(minutes=n + 1), watch.failed(steps=step), watch.succeeded(steps=step))
    assert len(watch.failing) == REMEMBERED
    assert watch.phases(NOON + DAY, watch.succeeded(steps=("open",))) == [Phase.RESOLVED]


def test_what_is_told_of_runs_reaches_the_outbox_with_its_phase() -> None:
    watch = Watch()
    alerts = [*watch.look(NOON, watch.failed()), *watch.look(NOON, watch.succeeded())]
    state = observe(AlertState(), alerts, now=NOON, repeat=DAY, channels=("slack",), seen=frozenset(Kind))
    assert [w.message.phase for w in state.outbox] == [Phase.EVENT, Phase.RESOLVED]
