"""The sensor that tells people: gathers what deserves an alert, and sends what was not told before.

Its cursor is the whole memory (`AlertState`): what was told, what waits for a channel, how far runs and models were
looked at. A tick first looks, then sends, and ends with the new cursor. A daemon killed in between repeats at most the
messages of that one tick, and loses none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import dagster as dg

from butterquant_assets.automation.failed_runs import Mark, failures_after
from butterquant_assets.automation.requests import trained_families
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.foundation.registry import Registry
from butterquant_assets.foundation.registry_events import ModelEvent
from butterquant_assets.monitoring.alert_config import AlertConfig, passwords_in
from butterquant_assets.monitoring.alert_state import AlertState, observe
from butterquant_assets.monitoring.alert_text import without_secrets
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
    run_alerts,
    stale_alerts,
)
from butterquant_assets.monitoring.channels import Courier, open_channels, utc_now
from butterquant_assets.orchestration.house import House, joint_freshness

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 60
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
    histories: Histories | None = None,
    courier: Courier | None = None,
    now: Callable[[], datetime] = utc_now,
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
    histories
        events of every model, oldest first; by default the registry's
    courier
        sends; by default over the configured channels
    now
        the clock
    """
    held = frozenset[str]().union(*trained_families(house).values()) if hold_training else frozenset[str]()
    watch = Watch(house, config, model_assets or {}, histories or (lambda: registry_histories(house)), held, others)
    sender = courier or Courier(open_channels(config, now), config.timeout_seconds, now=now)

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells of failed runs, quarantined and stale partitions, drift, and models promoted or refused.",
    )
    def alert_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        if not config.channels:
            said = context.cursor == OFF
            return dg.SensorResult(skip_reason="alerts are off" if said else HOW_TO, cursor=OFF)
        state, remarks = _restored(context.cursor)
        looked = watch.look(state, context.instance)
        alerts = [without_secrets(alert, watch.secrets) for alert in (*remarks, *looked.alerts)]
        repeat = timedelta(hours=config.repeat_hours)
        state = observe(looked.state, alerts, now=now(), repeat=repeat, channels=config.channels, seen=looked.seen)
        due = len(state.outbox)
        state = sender.deliver(state)
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
    others
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
    ) -> None:
        self._houses, self._held = (house, *others), held
        self._config, self._model_assets, self._histories = config, model_assets, histories
        self.secrets = (
            *config.secrets(),
            *passwords_in(house.settings.warehouse_url, house.settings.lake_url, house.settings.broker_url),
        )

    def look(self, state: AlertState, instance: dg.DagsterInstance) -> Look:
        """Everything that holds, and everything that has happened since the last look.

        What cannot be looked at is an alert itself, and what was known about it stays as it was.
        """
        alerts: list[Alert] = []
        seen = {Kind.BLIND, Kind.CHANNEL}
        parts = {"runs": self._runs, "assets": self._assets, "models": self._models}
        for what, part in parts.items():
            try:
                found = part(state, instance)
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

    def _runs(self, state: AlertState, instance: dg.DagsterInstance) -> Look:
        before = None if state.run_mark is None else Mark(state.run_mark, state.run_mark_at)
        failed, mark = failures_after(instance, before)
        alerts = run_alerts(failed, self._config.ui_url)
        moved = replace(state, run_mark=mark.storage_id, run_mark_at=mark.at)
        return Look(moved, tuple(alerts), frozenset({Kind.RUN_FAILED}))

    def _assets(self, state: AlertState, instance: dg.DagsterInstance) -> Look:
        freshness, ui_url = joint_freshness(self._houses), self._config.ui_url
        alerts = (
            *quarantine_alerts(freshness, ui_url),
            *stale_alerts(freshness, ui_url, timedelta(hours=self._config.stale_hours), self._held),
            *drift_alerts(freshness, ui_url),
        )
        return Look(state, alerts, frozenset({Kind.QUARANTINED, Kind.STALE, Kind.DRIFT}))

    def _models(self, state: AlertState, instance: dg.DagsterInstance) -> Look:
        histories = self._histories()
        marks = state.model_marks
        fresh = [] if marks is None else events_after(marks, histories)
        alerts = model_alerts(fresh, self._config.ui_url, self._model_assets)
        moved = replace(state, model_marks=marks_after(marks or {}, histories))
        return Look(moved, tuple(alerts), frozenset({Kind.MODEL}))


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
