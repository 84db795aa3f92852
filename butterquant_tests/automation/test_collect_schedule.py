from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from butterquant_assets.automation.collect_schedule import (
    build_collect_job,
    build_collect_sensor,
    missing,
    pause,
    require_landing,
)
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.market.collect_progress import CollectConfig, Progress
from butterquant_assets.market.sources.landing import Landing, Manifest
from butterquant_tests.market.fake_services import Services, services_of_today

CONFIG = CollectConfig(symbols=("AAA", "BBB"), every_minutes=15, attempts=3)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class Desk:
    """The sensor over a landing folder, evaluated at given times with the cursor it left."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.time, self.cursor = folder, utc("2024-05-14T21:00:00"), ""
        self.instance = dg.DagsterInstance.ephemeral()
        self.sensor = build_collect_sensor(CONFIG, folder, now=lambda: self.time)

    def tick(self, after_minutes: float = 0) -> str:
        """Skip message, or the reason tag of the run requested."""
        self.time += timedelta(minutes=after_minutes)
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        result = self.sensor(context)
        if isinstance(result, dg.SkipReason):
            return str(result.skip_message)
        assert isinstance(result, dg.SensorResult)
        (request,) = result.run_requests or ()
        self.cursor = result.cursor or ""
        assert request.run_key is None, "a key would deduplicate for ever"
        return request.tags["butterquant/reason"]

    def collected(self, through: str) -> None:
        done = Progress(since="2000-01-01", complete_through=through, polled_at=self.time.isoformat())
        Landing(self.folder).write_manifest(Manifest({"AAA": done, "BBB": done}, done))


@pytest.mark.parametrize("cursor", ["[]", "x", '{"session": "2024-05-14"}', '{"session": "2024-05-14", "attempts": 1}'])
def test_a_cursor_that_is_not_understood_asks_afresh(desk: Desk, cursor: str) -> None:
    desk.cursor = cursor
    assert desk.tick().endswith("poll 1")


def test_a_poll_that_a_clock_ahead_has_noted_holds_nobody_back(desk: Desk) -> None:
    desk.cursor = json.dumps({"session": "2024-05-14", "attempts": 1, "at": "2024-05-14T23:59:00+00:00"})
    assert desk.tick().endswith("poll 2")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def services() -> Iterator[Services]:
    served = services_of_today()
    yield served
    served.close()


def test_a_closed_session_is_asked_for_and_then_left_alone(desk: Desk) -> None:
    desk.collected("2024-05-13")
    assert desk.tick() == "3 not complete, poll 1"
    desk.collected("2024-05-14")
    assert desk.tick(1) == "everything is collected through 2024-05-14"
    assert "collected through 2024-05-14" in desk.tick(23 * 60), "the next session has not closed yet"
    assert desk.tick(30) == "3 not complete, poll 1"


def test_nothing_is_asked_for_before_the_close_has_settled(desk: Desk) -> None:
    desk.collected("2024-05-13")
    desk.time = utc("2024-05-14T20:29:00")
    assert desk.tick() == "everything is collected through 2024-05-13"
    assert desk.tick(1) == "3 not complete, poll 1"


def test_what_stays_missing_is_asked_for_with_growing_pauses_and_a_bound(desk: Desk) -> None:
    desk.collected("2024-05-13")
    told = [desk.tick(minutes) for minutes in (0, 1, 14, 29, 1, 600)]
    assert [text.startswith("3 not complete, poll") for text in told] == [True, False, True, False, True, False]
    assert "asked again at 21:15 UTC" in told[1]
    assert "after 3 polls" in told[5]
    desk.time = utc("2024-05-15T21:00:00")
    assert desk.tick() == "3 not complete, poll 1", "a new session counts afresh, and brings the missed one"


def test_a_restarted_daemon_goes_on_where_it_was(desk: Desk) -> None:
    desk.collected("2024-05-13")
    desk.tick()
    again = Desk(desk.folder)
    again.cursor, again.time = desk.cursor, desk.time + timedelta(minutes=5)
    assert "asked again at" in again.tick()
    assert json.loads(again.cursor)["attempts"] == 1


def test_one_collection_at_a_time(desk: Desk) -> None:
    desk.collected("2024-05-13")
    job = build_collect_job(CONFIG, desk.folder)
    run = desk.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert desk.tick() == f"run {run.run_id[:8]} is collecting"


def test_an_empty_folder_misses_everything(tmp_path: Path) -> None:
    assert missing(CONFIG, tmp_path, utc("2024-05-14T21:00:00")) == ("VIX", "AAA", "BBB")
    assert not list(tmp_path.iterdir())


def test_pauses_double_up_to_four_hours() -> None:
    assert [pause(CONFIG, n).total_seconds() / 60 for n in (1, 2, 5, 6, 400)] == [15, 30, 240, 240, 240]


def test_the_job_collects_what_is_missing_and_says_what_it_did(services: Services, tmp_path: Path) -> None:
    config = CollectConfig(
        symbols=("AAA", "NOPE"), start="2020-01-01", yahoo_url=services.url, cboe_url=services.url, pause_seconds=0
    )
    done = build_collect_job(config, tmp_path).execute_in_process()
    assert done.success
    (handled,) = [event for event in done.all_events if event.event_type_value == "STEP_OUTPUT"]
    metadata = handled.step_output_data.metadata
    assert metadata["landed"].value == 2
    assert metadata["still missing"].value == "NOPE"
    assert "NOPE: the service has no data" in metadata["problems"].value
    assert missing(config, tmp_path, services.clock.now()) == ("NOPE",)


def test_a_job_that_lands_nothing_fails_with_the_reason(services: Services, tmp_path: Path) -> None:
    services.clock_off = timedelta(hours=-2)
    config = CollectConfig(symbols=("AAA",), yahoo_url=services.url, cboe_url=services.url, pause_seconds=0)
    done = build_collect_job(config, tmp_path).execute_in_process(raise_on_error=False)
    assert not done.success
    (failure,) = [event for event in done.all_events if event.is_step_failure]
    assert "minutes apart" in str(failure.event_specific_data)


def test_a_collector_without_a_files_home_is_refused(tmp_path: Path) -> None:
    assert require_landing(CONFIG, "files", tmp_path) == tmp_path
    with pytest.raises(ConfigError, match="the home reads source 'sample'"):
        require_landing(CONFIG, "sample", None)


def test_it_is_off_unless_tickers_are_named() -> None:
    assert not CollectConfig().enabled
    assert CONFIG.enabled
    assert CollectConfig(symbols_file="list.txt").enabled
