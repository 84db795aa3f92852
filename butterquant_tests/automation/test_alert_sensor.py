from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from butterquant_assets.automation import alert_sensor
from butterquant_assets.automation.alert_sensor import OFF, build_alert_sensor, registry_histories
from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.foundation.registry import Registry
from butterquant_assets.foundation.registry_events import ModelEvent
from butterquant_assets.foundation.settings import HomeSettings
from butterquant_assets.monitoring.alert_config import AlertConfig
from butterquant_assets.monitoring.behind import Feed
from butterquant_assets.monitoring.channels import Courier, open_channels
from butterquant_assets.orchestration.axes import MonthAxes
from butterquant_assets.orchestration.house import EQUITY, House
from butterquant_tests.automation.watched import RAW, Site
from butterquant_tests.foundation.registry_team import AGAINST, FOR, NAME, A, B, publish
from butterquant_tests.monitoring.receivers import Answer, Clocks, WebReceiver

HOOK = "/services/hook-secret"
UI = "http://ui:3000"


class Watchman:
    """The alert sensor over a site, restarted before every tick: only its cursor lives on."""

    def __init__(self, site: Site, receiver: WebReceiver, **section: Any) -> None:
        self.site, self.receiver, self.clocks = site, receiver, Clocks()
        self.cursor: str | None = None
        self.events: dict[str, list[ModelEvent]] | None = {}  # None: those of the registry
        self.feeds: dict[str, Feed] = {}
        self.looking: Callable[[], object] = lambda: None  # what else looking at the models takes
        self.config = AlertConfig(slack_webhook_url=receiver.url + HOOK, ui_url=UI, **section)
        self.skipped = ""

    def tick(self, **passed: float) -> list[str]:
        """What arrived at a tick, after some time has passed."""
        self.clocks.pass_(**passed)
        before = len(self.receiver.requests)
        clocks = self.clocks
        channels = open_channels(self.config, clocks.now)
        courier = Courier(channels, 1.0, now=clocks.now, sleep=clocks.sleep, elapsed=clocks.elapsed)
        sensor = build_alert_sensor(
            self.site.house,
            self.config,
            model_assets={"success": "toy/model"},
            feeds=self.feeds,
            histories=None if self.events is None else self._histories,
            courier=courier,
            now=clocks.now,
            elapsed=clocks.elapsed,
        )
        with dg.build_sensor_context(self.site.instance, cursor=self.cursor) as context:
            data = sensor.evaluate_tick(context)
        assert not data.run_requests
        self.cursor, self.skipped = data.cursor, str(data.skip_message)
        return [text.split("\n")[0].strip("*") for text in self.receiver.texts[before:]]

    def _histories(self) -> dict[str, list[ModelEvent]]:
        self.looking()
        return self.events or {}


@pytest.fixture
def receiver() -> Iterator[WebReceiver]:
    made = WebReceiver()
    yield made
    made.close()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def watchman(tmp_path: Path, instance: dg.DagsterInstance, receiver: WebReceiver) -> Watchman:
    site = Site(tmp_path, instance)
    assert site.refresh().success
    return Watchman(site, receiver)


def event(sequence: int, action: str) -> ModelEvent:
    at = datetime(2026, 3, 1, sequence)
    return ModelEvent(
        "success", sequence, at, "abcdef0123456789", action, None, "butterquant", "0.02 better", {}, str(sequence)
    )


def test_a_failed_run_is_told_once_with_its_link_and_older_ones_are_not(watchman: Watchman) -> None:
    site = watchman.site
    site.source.broken = "no answer from the vendor"
    site.source.values["2018-02"] = 2
    assert not site.refresh().success  # before the first tick: history
    assert watchman.tick() == []
    failed = site.refresh(cause="fp")
    assert watchman.tick(minutes=1) == [f"[ERROR] failed run: refresh {failed.run_id[:8]}"]
    text = watchman.receiver.texts[-1]
    assert "no answer from the vendor" in text
    assert f"<{UI}/runs/{failed.run_id}|" in text
    site.refresh(cause="fp")  # the same, tried again
    assert watchman.tick(minutes=1) == []
    site.refresh(cause="other")  # something new had arrived, and met the same error
    assert watchman.tick(minutes=1) == []
    (again,) = [title for title in watchman.tick(hours=24) if "failed run" in title]
    assert again.startswith("[ERROR, still] failed run: refresh")
    assert "no answer from the vendor" in watchman.receiver.texts[-2]
    assert "2 more runs have failed alike" in watchman.receiver.texts[-2]


def test_a_run_that_does_what_had_failed_is_told_as_its_end(watchman: Watchman) -> None:
    site = watchman.site
    watchman.tick()
    site.source.broken = "no answer"
    site.source.values["2018-02"] = 2
    site.refresh()
    assert len(watchman.tick(minutes=1)) == 1
    site.source.broken = "the disk is full"
    site.refresh()
    assert len(watchman.tick(minutes=1)) == 1  # another error is another failure
    site.take_stock()  # a success that made nothing of it
    assert watchman.tick(minutes=1) == []
    site.source.broken = None
    done = site.refresh()
    assert watchman.tick(minutes=1) == ["[RESOLVED] failed run: refresh"] * 2
    assert f"<{UI}/runs/{done.run_id}|" in watchman.receiver.texts[-1]
    assert watchman.tick(minutes=1) == []


def test_a_quarantined_month_is_told_and_so_is_its_end(watchman: Watchman) -> None:
    site = watchman.site
    site.source.values["2018-02"] = -1
    site.refresh()
    assert watchman.tick() == [f"[ERROR] quarantined: {RAW}"]
    assert "2018-02: schema" in watchman.receiver.texts[-1]
    assert f"{UI}/assets/{RAW}?view=partitions&partition=2018-02" in watchman.receiver.texts[-1]
    assert watchman.tick(hours=23) == []
    site.source.values["2018-02"] = 3
    assert watchman.tick(minutes=1) == []  # corrected, not built yet
    site.refresh()
    assert watchman.tick(minutes=1) == [f"[RESOLVED] quarantined: {RAW}"]
    assert watchman.tick(minutes=1) == []


def test_an_asset_that_stays_stale_is_told_after_a_while(watchman: Watchman) -> None:
    watchman.site.source.values["2018-02"] = 2
    assert watchman.tick() == []
    assert watchman.tick(minutes=110) == []
    assert watchman.tick(minutes=10) == [f"[WARNING] stale: {RAW}"]
    watchman.site.refresh()
    assert watchman.tick(minutes=1) == [f"[RESOLVED] stale: {RAW}"]


def test_an_alarm_of_a_monitoring_table_is_drift(watchman: Watchman) -> None:
    watchman.tick()
    watchman.site.source.values["2018-03"] = 99
    watchman.site.refresh()
    assert watchman.tick(minutes=1) == ["[WARNING] drift: monitoring/watch"]
    assert "2018-03: x 99 &gt; 10" in watchman.receiver.texts[-1]


def test_promotions_and_refusals_are_told_from_the_first_tick_on(watchman: Watchman) -> None:
    watchman.events = {"success": [event(1, "registered"), event(2, "promoted")]}
    assert watchman.tick() == []
    watchman.events["success"] += [event(3, "judged"), event(4, "refused"), event(5, "promoted")]
    told = watchman.tick(minutes=1)
    assert told == ["[WARNING] model: success abcdef012345", "[INFO] model: success abcdef012345"]
    assert f"{UI}/assets/toy/model" in watchman.receiver.texts[-1]
    assert watchman.tick(minutes=1) == []


def test_while_the_channel_is_down_nothing_is_lost_and_afterwards_nothing_is_doubled(watchman: Watchman) -> None:
    watchman.tick()
    watchman.receiver.script = [Answer(500)] * 6
    watchman.site.source.values["2018-02"] = -1
    watchman.site.refresh()
    watchman.tick(minutes=1)
    assert "1 wait" in watchman.skipped
    assert "slack: HTTP 500" in watchman.skipped
    watchman.site.source.broken = "no answer"
    watchman.site.source.values["2018-03"] = 4
    watchman.site.refresh()
    watchman.tick(minutes=1)
    assert "2 wait" in watchman.skipped
    told = watchman.tick(minutes=2)
    assert [title.split(": ")[0] for title in told] == ["[ERROR] quarantined", "[ERROR] failed run"]
    assert watchman.tick(minutes=1) == []


def test_what_cannot_be_looked_at_is_told_and_nothing_about_it_is_called_over(watchman: Watchman) -> None:
    site = watchman.site
    site.source.values["2018-02"] = -1
    site.refresh()
    watchman.tick()
    site.source.unreadable = "bars.parquet is truncated"
    assert watchman.tick(minutes=1) == []  # it may be in the middle of being replaced
    assert watchman.tick(minutes=6) == ["[ERROR] not watched: assets"]
    assert "SourceError: bars.parquet is truncated" in watchman.receiver.texts[-1]
    site.source.unreadable = None
    assert watchman.tick(minutes=1) == ["[RESOLVED] not watched: assets"]


def test_data_that_stop_coming_are_told_and_so_is_their_return(
    tmp_path: Path, instance: dg.DagsterInstance, receiver: WebReceiver
) -> None:
    site = Site(tmp_path, instance, endless=True)
    site.refresh()
    watchman = Watchman(site, receiver)
    watchman.feeds = {EQUITY: Feed((RAW, "toy/unknown"), "session", "session")}
    watchman.clocks.at = datetime(2018, 3, 7, 22, 0, tzinfo=UTC)  # Wednesday; the newest row is of Monday
    assert watchman.tick() == []
    assert watchman.tick(days=1) == ["[ERROR] behind: equity"]
    assert f"{RAW}: 3 sessions missing, the newest is 2018-03-05" in receiver.texts[-1]
    assert watchman.tick(hours=1) == []
    site.source.day = 8
    site.refresh()
    assert watchman.tick(minutes=1) == ["[RESOLVED] behind: equity"]
    watchman.clocks.at = datetime(2020, 1, 2, tzinfo=UTC)
    assert watchman.tick() == []  # a history that nobody continues
    watchman.feeds, watchman.cursor = {}, None
    watchman.clocks.at = datetime(2018, 3, 20, tzinfo=UTC)
    assert watchman.tick() == []


def test_a_house_that_has_an_end_means_to_stop(watchman: Watchman) -> None:
    watchman.feeds = {EQUITY: Feed((RAW,), "session", "session")}
    watchman.clocks.at = datetime(2018, 3, 20, tzinfo=UTC)
    assert watchman.tick() == []


def test_a_look_that_took_too_long_leaves_its_messages_to_the_next_tick_and_repeats_none(watchman: Watchman) -> None:
    watchman.tick()
    watchman.events = {"success": [event(1, "promoted")]}
    watchman.looking = lambda: watchman.clocks.pass_(seconds=50)
    assert watchman.tick(minutes=1) == []
    assert "1 wait" in watchman.skipped
    watchman.looking = lambda: None
    assert watchman.tick(minutes=1) == ["[INFO] model: success abcdef012345"]
    assert watchman.tick(minutes=1) == []


def test_a_source_that_never_answers_holds_back_neither_the_tick_nor_other_alerts(
    watchman: Watchman, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchman.tick()
    monkeypatch.setattr(alert_sensor, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(alert_sensor, "SHORTEST_LOOK_SECONDS", 0.2)
    free = threading.Event()
    monkeypatch.setattr(watchman.site.house, "freshness", lambda: free.wait(30))
    watchman.events = {"success": [event(1, "promoted")]}
    assert watchman.tick(minutes=1) == ["[INFO] model: success abcdef012345"]
    assert watchman.tick(minutes=6) == ["[ERROR] not watched: assets"]
    assert "the next tick looks" in watchman.receiver.texts[-1]
    free.set()


def test_without_a_channel_alerts_are_off_and_how_to_turn_them_on_is_said_once(watchman: Watchman) -> None:
    on, watchman.config = watchman.config, AlertConfig()
    watchman.tick()
    assert "BUTTERQUANT_ALERTS__SLACK_WEBHOOK_URL" in watchman.skipped
    assert watchman.cursor == OFF
    watchman.tick()
    assert watchman.skipped == "alerts are off"
    watchman.config = on
    watchman.site.source.broken = "no answer"
    watchman.site.source.values["2018-02"] = 2
    watchman.site.refresh()
    assert watchman.tick() == []  # turned on now: what failed before is history
    watchman.site.refresh()
    assert len(watchman.tick(minutes=1)) == 1


def test_a_cursor_that_cannot_be_read_is_told_and_the_watch_goes_on(watchman: Watchman) -> None:
    watchman.cursor = '{"version": 99}'
    assert watchman.tick() == ["[ERROR] alert channel: memory"]
    assert watchman.tick(minutes=1) == []


def test_a_channel_that_keeps_failing_is_not_told_of_itself(watchman: Watchman) -> None:
    watchman.tick()
    watchman.events = {"success": [event(1, "promoted")]}
    watchman.receiver.script = [Answer(401)] * 3
    for _ in range(3):
        watchman.tick(minutes=16)
    assert watchman.tick(minutes=16) == ["[INFO] model: success abcdef012345"]
    assert watchman.tick(minutes=1) == []


def test_a_secret_in_an_error_message_reaches_neither_cursor_nor_log_nor_channel(
    watchman: Watchman, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="butterquant_assets")
    watchman.tick()
    watchman.site.source.broken = f"POST {watchman.receiver.url}{HOOK} failed; postgresql://me:pw-secret@host/db"
    watchman.site.source.values["2018-02"] = 2
    watchman.site.refresh()
    watchman.receiver.script = [Answer(500)] * 3
    watchman.tick(minutes=1)
    kept = watchman.cursor
    watchman.site.source.unreadable = watchman.site.source.broken
    watchman.tick(minutes=5)
    watchman.tick(minutes=6)
    own = [record.getMessage() for record in caplog.records if record.name.startswith("butterquant_assets")]
    everything = " ".join([str(kept), str(watchman.cursor), watchman.skipped, *own, *watchman.receiver.texts])
    assert "POST *** failed" in everything
    assert "not watched: assets" in everything
    assert "hook-secret" not in everything
    assert "pw-secret" not in everything


def test_keys_of_the_environment_are_struck_out_of_errors(watchman: Watchman, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINMARKETCAP_API_KEY", "1234-vendor-key")
    watchman.tick()
    watchman.site.source.broken = "GET https://api/v1?CMC=1234-vendor-key was refused"
    watchman.site.source.values["2018-02"] = 2
    watchman.site.refresh()
    assert len(watchman.tick(minutes=1)) == 1
    assert "CMC=*** was refused" in watchman.receiver.texts[-1]
    assert "vendor-key" not in str(watchman.cursor)


def test_a_new_event_log_that_counts_from_the_beginning_is_read_from_there(watchman: Watchman, tmp_path: Path) -> None:
    watchman.site.source.broken = "no answer"
    watchman.site.source.values["2018-02"] = 2
    for _ in range(3):
        watchman.site.refresh()
    watchman.tick()
    with dg.instance_for_test(temp_dir=str(tmp_path)) as fresh:
        watchman.site.instance = fresh
        watchman.site.refresh(cause="anew")
        assert len(watchman.tick(minutes=1)) == 1
        assert watchman.tick(minutes=1) == []


def test_what_is_left_of_a_pruned_event_log_is_not_told_again(watchman: Watchman, tmp_path: Path) -> None:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        site = watchman.site
        site.instance = instance

        def told(**passed: float) -> list[str]:
            return [title for title in watchman.tick(**passed) if "failed run" in title]

        assert told() == []
        site.source.values["2018-02"] = 2

        def refresh_failing(error: str) -> dg.ExecuteInProcessResult:
            site.source.broken = error
            return site.refresh()

        failed = [refresh_failing(error) for error in ("no answer", "no disk", "no key")]
        assert len(told(minutes=1)) == 3
        instance.delete_run(failed[-1].run_id)  # the newest goes first; two older ones are left
        assert told(hours=25) == []
        later = refresh_failing("no memory")
        assert told(minutes=1) == [f"[ERROR] failed run: refresh {later.run_id[:8]}"]
        instance.delete_run(later.run_id)
        for run in failed[:2]:
            instance.delete_run(run.run_id)  # none is left
        assert told(hours=25) == []
        refresh_failing("no time")
        assert len(told(minutes=1)) == 1


def test_what_the_registry_decides_is_told(watchman: Watchman) -> None:
    settings = watchman.site.house.settings
    store = ModelStore(settings.models_location)
    watchman.events = None
    assert watchman.tick() == []
    with Registry(settings.warehouse_location, store) as registry:
        for version in (A, B):
            registry.register(publish(store, version))
        registry.promote(NAME, A, evidence=FOR, actor="anna", reason="better by 0.02")
        registry.refuse(NAME, B, evidence=AGAINST, actor="anna", reason="worse by 0.01")
    assert watchman.tick(minutes=1) == [f"[INFO] model: success {A[:12]}", f"[WARNING] model: success {B[:12]}"]
    assert f"was refused by anna: worse by 0.01 ({A[:12]} stays in service)" in watchman.receiver.texts[-1]
    assert watchman.tick(minutes=1) == []


def test_a_home_without_models_has_no_history(tmp_path: Path) -> None:
    house = House(
        HomeSettings(home=tmp_path),
        MonthAxes(dict.fromkeys(("market_start", "market_end"), "2018-01")),
        [],
        lambda: None,
    )  # type: ignore[arg-type,return-value]
    assert registry_histories(house) == {}
