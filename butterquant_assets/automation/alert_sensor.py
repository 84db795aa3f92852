"""The sensor that tells people: gathers what deserves an alert, and sends what was not told before.

Its cursor is the whole memory (`AlertState`): what was told, what waits for a channel, how far runs and models were
looked at. A tick first looks, then sends, and ends with the new cursor. A daemon killed in between repeats at most the
messages of that one tick, and loses none. A tick that took longer than the daemon's 60 seconds would do so every time:
so what may take long is looked at in the background, and messages go out only in the time that is left.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import dagster as dg
import numpy as np

from butterquant_assets.automation.failed_runs import Mark, failures_after, successes_after
from butterquant_assets.automation.feeds import Feeds
from butterquant_assets.automation.requests import trained_families
from butterquant_assets.automation.unhurried import Unhurried
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.foundation.freshness import Freshness
from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.foundation.registry import Registry
from butterquant_assets.foundation.registry_events import ModelEvent
from butterquant_assets.foundation.settings import HomeSettings
from butterquant_assets.monitoring.alert_config import AlertConfig, passwords_in, secrets_in
from butterquant_assets.monitoring.alert_state import AlertState, not_ahead, observe
from butterquant_assets.monitoring.alert_text import scrubbed, without_secrets
from butterquant_assets.monitoring.alerts import (
    Alert,
    Kind,
    Level,
    blind_alert,
    channel_alert,
    drift_alerts,
    events_after,
    fingerprint_of,
    marks_after,
    model_alerts,
    quarantine_alerts,
    stale_alerts,
)
from butterquant_assets.monitoring.behind import Feed, behind_alert
from butterquant_assets.monitoring.channels import Courier, open_channels, utc_now
from butterquant_assets.monitoring.run_failures import after_runs
from butterquant_assets.orchestration.house import House, joint_freshness

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 60
TICK_SECONDS = 45.0  # the daemon gives a tick 60
LOOK_SECONDS = 20.0  # of a tick for looking; what takes longer goes on in the background
SHORTEST_LOOK_SECONDS = 1.0
TROUBLE_AFTER = 3  # failed looks in a row after which a channel's trouble is told through the others
OFF = "off"
HOW_TO = (
    "alerts are off: no channel is configured; set BUTTERQUANT_ALERTS__SLACK_WEBHOOK_URL, or "
    "BUTTERQUANT_ALERTS__TELEGRAM_BOT_TOKEN and __TELEGRAM_CHAT_ID, or BUTTERQUANT_ALERTS__SMTP_HOST, __SMTP_FROM and "
    "__SMTP_TO"
)

Histories = Callable[[], Mapping[str, Sequence[ModelEvent]]]


def build_alert_sensor(
    house: House,
    config: AlertConfig,
    *,
    others: Sequence[House] = (),
    model_assets: Mapping[str, str] | None = None,
    hold_training: bool = False,
    feeds: Mapping[str, Feed] | None = None,
    histories: Histories | None = None,
    courier: Courier | None = None,
    now: Callable[[], datetime] = utc_now,
    elapsed: Callable[[], float] = time.monotonic,
) -> dg.SensorDefinition:
    """A sensor that sends alerts over the configured channels; it launches nothing.

    Parameters
    ----------
    house
        what is watched
    config
        channels and patience
    others
        further houses of the same home, whose partitions are watched too
    model_assets
        the asset that a model's alerts link to
    hold_training
        whether models wait for a retrain while they lie behind their data, which is then nothing to tell of
    feeds
        tables whose rows should keep coming, by the name of their house
    histories
        events of every model, oldest first; by default the registry's
    courier
        sends; by default over the configured channels
    now, elapsed
        clocks: UTC, and seconds that only grow
    """
    held = frozenset[str]().union(*trained_families(house).values()) if hold_training else frozenset[str]()
    asked = histories or (lambda: registry_histories(house))
    watch = Watch(house, config, model_assets or {}, asked, held, others, feeds)
    sender = courier or Courier(open_channels(config, now), config.timeout_seconds, now=now)

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells of failed runs, quarantined and stale partitions, data that stop coming, drift, and models "
        "promoted or refused.",
    )
    def alert_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        if not config.channels:
            said = context.cursor == OFF
            return dg.SensorResult(skip_reason="alerts are off" if said else HOW_TO, cursor=OFF)
        begun, instant = elapsed(), now()
        state, remarks = _restored(context.cursor)
        state = not_ahead(state, instant)
        looked = watch.look(state, context.instance, instant, lambda: LOOK_SECONDS - (elapsed() - begun))
        alerts = [without_secrets(alert, watch.secrets) for alert in (*remarks, *looked.alerts)]
        repeat = timedelta(hours=config.repeat_hours)
        state = observe(looked.state, alerts, now=instant, repeat=repeat, channels=config.channels, seen=looked.seen)
        due = len(state.outbox)
        state = sender.deliver(state, TICK_SECONDS - (elapsed() - begun))
        return dg.SensorResult(skip_reason=_summary(state, due), cursor=state.to_json())

    return alert_sensor


@dataclass(frozen=True)
class Look:
    """What one look found: alerts, the kinds that were looked at, and the state with its marks moved."""

    state: AlertState
    alerts: tuple[Alert, ...]
    seen: frozenset[Kind]


class Watch:
    """Gathers alerts from the instance, the house and the registry.

    Parameters
    ----------
    house, config, model_assets, histories
        as in `build_alert_sensor`
    held
        assets that may be stale
    others, feeds
        as in `build_alert_sensor`
    """

    def __init__(
        self,
        house: House,
        config: AlertConfig,
        model_assets: Mapping[str, str],
        histories: Histories,
        held: frozenset[str] = frozenset(),
        others: Sequence[House] = (),
        feeds: Mapping[str, Feed] | None = None,
    ) -> None:
        self._houses, self._held = (house, *others), held
        self._config, self._model_assets = config, model_assets
        self._feeds = Feeds(self._houses, feeds or {})
        self._stock, self._histories = Unhurried(self._take_stock), Unhurried(histories)
        self.secrets = secrets_of(house.settings, config)

    def look(self, state: AlertState, instance: dg.DagsterInstance, now: datetime, left: Callable[[], float]) -> Look:
        """Everything that holds, and everything that has happened since the last look.

        What cannot be looked at is an alert itself, and what was known about it stays as it was.

        Parameters
        ----------
        state
            of the last look
        instance
            of Dagster
        now
            UTC
        left
            seconds there still are for looking
        """

        def seconds() -> float:
            return max(SHORTEST_LOOK_SECONDS, left())

        alerts: list[Alert] = []
        seen = {Kind.BLIND, Kind.CHANNEL}
        parts: dict[str, Callable[[AlertState], Look]] = {
            "runs": lambda state: self._runs(state, instance, now),
            "assets": lambda state: self._assets(state, now, seconds()),
            "models": lambda state: self._models(state, seconds()),
        }
        for what, part in parts.items():
            try:
                found = part(state)
            except Exception as error:  # noqa: BLE001 - whatever is broken there, the rest must still be told
                alerts.append(blind_alert(what, f"{type(error).__name__}: {error}"))
            else:
                state, alerts, seen = found.state, [*alerts, *found.alerts], seen | found.seen
        alerts += [
            channel_alert(name, trouble.failures, trouble.reason)
            for name, trouble in state.troubles.items()
            if trouble.failures >= TROUBLE_AFTER and name in self._config.channels
        ]
        return Look(state, tuple(alerts), frozenset(seen))

    def _runs(self, state: AlertState, instance: dg.DagsterInstance, now: datetime) -> Look:
        before = None if state.run_mark is None else Mark(state.run_mark, state.run_mark_at)
        failed, mark = failures_after(instance, before)
        # It is remembered, so that it must hold no secret from here on.
        failed = [replace(run, message=scrubbed(run.message, self.secrets)) for run in failed]
        places = [entry.place for entry in state.failing.values() if not entry.over] + [run.place for run in failed]
        failing, alerts = after_runs(
            state.failing,
            failed,
            successes_after(instance, min(places)) if places else (),
            now=now,
            repeat=timedelta(hours=self._config.repeat_hours),
            ui_url=self._config.ui_url,
        )
        moved = replace(state, run_mark=mark.storage_id, run_mark_at=mark.at, failing=failing)
        return Look(moved, tuple(alerts), frozenset({Kind.RUN_FAILED}))

    def _take_stock(self) -> tuple[Freshness, dict[str, dict[str, np.datetime64]]]:
        freshness = joint_freshness(self._houses)
        return freshness, self._feeds.newest(freshness)

    def _assets(self, state: AlertState, now: datetime, seconds: float) -> Look:
        (freshness, newest), ui_url = self._stock.result(seconds), self._config.ui_url
        alerts = (
            *quarantine_alerts(freshness, ui_url),
            *stale_alerts(freshness, ui_url, timedelta(hours=self._config.stale_hours), self._held),
            *drift_alerts(freshness, ui_url),
            *(alert for house in newest if (alert := self._behind(house, newest[house], state, now))),
        )
        return Look(state, alerts, frozenset({Kind.QUARANTINED, Kind.STALE, Kind.DRIFT, Kind.BEHIND}))

    def _behind(
        self, house: str, newest: Mapping[str, np.datetime64], state: AlertState, now: datetime
    ) -> Alert | None:
        feed, config = self._feeds.feeds[house], self._config
        allowed = config.behind_hours if feed.unit == "hour" else config.behind_sessions
        known = state.conditions
        return behind_alert(house, feed, newest, now=now, allowed=allowed, known=known, ui_url=config.ui_url)

    def _models(self, state: AlertState, seconds: float) -> Look:
        histories = self._histories.result(seconds)
        marks = state.model_marks
        fresh = [] if marks is None else events_after(marks, histories)
        alerts = model_alerts(fresh, self._config.ui_url, self._model_assets)
        moved = replace(state, model_marks=marks_after(marks or {}, histories))
        return Look(moved, tuple(alerts), frozenset({Kind.MODEL}))


def secrets_of(settings: HomeSettings, config: AlertConfig) -> tuple[str, ...]:
    """What must stand in no message: of the channels, in addresses of storage, and in the environment."""
    urls = settings.warehouse_url, settings.lake_url, settings.broker_url
    return (*config.secrets(), *passwords_in(*urls), *secrets_in(os.environ))


def registry_histories(house: House) -> dict[str, list[ModelEvent]]:
    """Events of every registered model, oldest first."""
    settings = house.settings
    with Registry(settings.warehouse_location, ModelStore(settings.models_location)) as registry:
        return {name: registry.history(name) for name in registry.names()}


def _restored(cursor: str | None) -> tuple[AlertState, list[Alert]]:
    """The state of the last tick. Without one the watch begins now: what happened before is not told."""
    if cursor is None or cursor == OFF:
        return AlertState(), []
    try:
        return AlertState.from_json(cursor), []
    except DataError as error:
        log.exception("the alert sensor begins afresh")
        identity = fingerprint_of("memory", cursor)
        return AlertState(), [
            Alert(Kind.CHANNEL, "memory", str(error), None, Level.ERROR, identity, lasting=False),
        ]


def _summary(state: AlertState, due: int) -> str:
    """What this tick did, for the list of ticks."""
    holding = sum(known.told is not None for known in state.conditions.values())
    text = f"{due - len(state.outbox)} messages sent, {len(state.outbox)} wait, {holding} conditions hold"
    troubles = [f"{name}: {trouble.reason}" for name, trouble in sorted(state.troubles.items())]
    return "; ".join([text, *troubles])
