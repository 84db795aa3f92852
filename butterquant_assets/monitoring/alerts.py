"""Alerts: what deserves to be told, made from plain facts. Pure.

What belongs here: an alert, and how a freshness snapshot, drift facts and registry events become alerts. What does not:
failed runs (`run_failures`), data that stop coming (`behind`), whether it was told before (`alert_state`), how it reads
(`alert_text`), sending it (`channels`).

Two natures. An *event* happened once (a run failed, a model was promoted) and is told once. A *condition* lasts (an
asset is stale, partitions are quarantined, features have drifted): it is told when it begins, again while it lasts,
and once when it ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from butterquant_assets.foundation.freshness import Freshness, Held, Key, State
from butterquant_assets.foundation.registry_events import ModelEvent

SHORT = 12  # digits of a version or a run that are shown
REASONS = 3
BLIND_PATIENCE = timedelta(minutes=5)  # a file that is being replaced, a database that restarts
FACT_ALARM, FACT_REASONS, FACT_MONTH, FACT_JUDGED = "alarm", "reasons", "month", "judged"
SUMMARY = "monitoring/drift_report"  # repeats what the tables say that it sums up
TOLD_ACTIONS = ("promoted", "refused", "rolled_back")


class Kind(StrEnum):
    """What an alert is about."""

    RUN_FAILED = "failed run"
    QUARANTINED = "quarantined"
    STALE = "stale"
    BEHIND = "behind"
    DRIFT = "drift"
    MODEL = "model"
    BLIND = "not watched"
    CHANNEL = "alert channel"


class Phase(StrEnum):
    """Why a message is sent."""

    EVENT = "event"
    NEW = "new"
    MORE = "more"
    AGAIN = "still"
    RESOLVED = "resolved"


class Level(StrEnum):
    """How bad it is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Item:
    """A part of a condition: what makes it the same one as before, and a line about it."""

    identity: str
    line: str


@dataclass(frozen=True)
class Alert:
    """One thing to tell.

    Parameters
    ----------
    kind, subject
        what it is about: an asset, a job, a model
    text
        one sentence
    link
        address in the UI, or None
    level
        how bad it is
    fingerprint
        its identity: what has the same fingerprint is the same event, or the same condition
    lasting
        a condition, rather than an event
    items
        what it consists of, for instance partitions with their reasons. An item that was not there before is news.
    witnesses
        of a condition that only counts once it has lasted: what is concerned (partitions). It has lasted since a time
        when at least one of them was concerned without a break since.
    patience
        how long it must have lasted before it is told
    phase
        of an event: whether it begins, repeats or ends a story that has a memory of its own
    """

    kind: Kind
    subject: str
    text: str
    link: str | None
    level: Level
    fingerprint: str
    lasting: bool
    items: tuple[Item, ...] = ()
    witnesses: tuple[str, ...] = ()
    patience: timedelta = timedelta(0)
    phase: Phase = Phase.EVENT


def fingerprint_of(*parts: object) -> str:
    """A short identity of plain values."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]


def run_link(ui_url: str | None, run_id: str) -> str | None:
    """Address of a run in the UI."""
    return f"{ui_url}/runs/{run_id}" if ui_url else None


def asset_link(ui_url: str | None, asset: str, key: Key = None) -> str | None:
    """Address of an asset in the UI, or of one of its partitions."""
    partition = f"?view=partitions&partition={key}" if key else ""
    return f"{ui_url}/assets/{asset}{partition}".rstrip("/") if ui_url else None


# -- from facts to alerts


def quarantine_alerts(freshness: Freshness, ui_url: str | None) -> list[Alert]:
    """One condition per asset that has quarantined partitions, an item each.

    A quarantined partition that has become stale is about to be tried again; its condition lasts until a good file has
    taken its place, so that a retry does not look like an end.
    """
    alerts = []
    for name in freshness.nodes:
        bad = quarantined(freshness, name)
        if bad:
            lines = [f"{key or 'all of it'}: {reason_of(held)}" for key, held in bad.items()]
            alerts.append(
                Alert(
                    Kind.QUARANTINED,
                    name,
                    f"{_counted(bad)} quarantined; the last good files stay, and what reads them waits",
                    asset_link(ui_url, name, next(iter(bad))),
                    Level.ERROR,
                    fingerprint_of(Kind.QUARANTINED, name),
                    lasting=True,
                    # The same partition for another reason is news.
                    items=tuple(Item(line, line) for line in lines),
                )
            )
    return alerts


def quarantined(freshness: Freshness, name: str) -> dict[Key, Held]:
    """Partitions of an asset whose newest attempt lies in quarantine, ascending.

    A quarantined frame beside a current file is left over: its cause was taken back.
    """
    held = freshness.snapshot.held.get(name, {})
    wanted = freshness.nodes[name].partitions()
    return {
        key: held[key]
        for key in wanted
        if key in held
        and held[key].quarantine is not None
        and freshness.judge(name, key).state not in (State.CURRENT, State.UNWANTED)
    }


def reason_of(held: Held) -> str:
    """Why a frame is quarantined."""
    reasons = held.quarantine.verdict.reasons() if held.quarantine else []
    shown = "; ".join(reasons[:REASONS])
    more = f"; and {len(reasons) - REASONS} more checks" if len(reasons) > REASONS else ""
    return shown + more if reasons else "held back with a table that is made together with it"


def stale_alerts(
    freshness: Freshness, ui_url: str | None, patience: timedelta, held: Collection[str] = frozenset()
) -> list[Alert]:
    """One condition per asset that has stale partitions; it counts once it has lasted.

    Assets in `held` are left out: models that wait for their next retrain are meant to lie behind their data.
    """
    alerts = []
    for name, node in freshness.nodes.items():
        if name in held:
            continue
        judged = {key: freshness.judge(name, key) for key in node.partitions()}
        stale = {key: j for key, j in judged.items() if j.state is State.STALE}
        if stale:
            first = next(iter(stale.values())).reasons
            alerts.append(
                Alert(
                    Kind.STALE,
                    name,
                    f"{_counted(stale)} stale and not rebuilt: {first[0] if first else 'no reason given'}",
                    asset_link(ui_url, name, next(iter(stale))),
                    Level.WARNING,
                    fingerprint_of(Kind.STALE, name),
                    lasting=True,
                    witnesses=tuple(key or "" for key in stale),
                    patience=patience,
                )
            )
    return alerts


def drift_alerts(freshness: Freshness, ui_url: str | None) -> list[Alert]:
    """One condition per monitoring table whose newest partition with a verdict says that it alarms.

    Any table may: the facts of a published footer hold ``alarm`` (true or false) and ``reasons``, and ``judged`` where
    there may be no verdict yet. A new month without one does not end the alarm of the month before.
    """
    alerts = []
    for name in freshness.nodes:
        key, facts = _newest_facts(freshness, name)
        news = key or str(facts.get(FACT_MONTH, name))
        if facts.get(FACT_ALARM) is True and name != SUMMARY:
            alerts.append(
                Alert(
                    Kind.DRIFT,
                    name,
                    "what comes in or comes out now is not what the model was trained on or promised",
                    asset_link(ui_url, name, key),
                    Level.WARNING,
                    fingerprint_of(Kind.DRIFT, name),
                    lasting=True,
                    # Figures move a little with every recomputation: news is another month, not another digit.
                    items=(Item(news, f"{news}{_because(facts.get(FACT_REASONS, ()))}"),),
                )
            )
    return alerts


def _because(said: str | Sequence[str]) -> str:
    reasons = [said] if isinstance(said, str) else [str(reason) for reason in said]
    more = f"; and {len(reasons) - REASONS} more" if len(reasons) > REASONS else ""
    return f": {'; '.join(reasons[:REASONS])}{more}" if reasons else ""


def model_alerts(
    events: Iterable[ModelEvent], ui_url: str | None, assets: Mapping[str, str] = MappingProxyType({})
) -> list[Alert]:
    """One event per promotion, refusal and rollback; `assets` says which asset a model's alerts link to."""
    words = {"promoted": "was promoted", "refused": "was refused", "rolled_back": "was put back into service"}
    return [
        Alert(
            Kind.MODEL,
            f"{event.model} {event.version[:SHORT]}",
            f"{words[event.action]} by {event.actor}: {event.reason} ({_in_service(event)})",
            asset_link(ui_url, assets.get(event.model, "")),
            Level.INFO if event.action == "promoted" else Level.WARNING,
            fingerprint_of(Kind.MODEL, event.event_id),
            lasting=False,
        )
        for event in events
        if event.action in TOLD_ACTIONS
    ]


def blind_alert(what: str, problem: str) -> Alert:
    """The condition that something cannot be watched at all."""
    return Alert(
        Kind.BLIND,
        what,
        f"cannot be read, so nothing about it is told until it can: {problem}",
        None,
        Level.ERROR,
        fingerprint_of(Kind.BLIND, what),
        lasting=True,
        patience=BLIND_PATIENCE,
    )


def channel_alert(name: str, failures: int, problem: str) -> Alert:
    """The condition that a channel does not deliver; the others tell it."""
    return Alert(
        Kind.CHANNEL,
        name,
        f"failed {failures} times in a row, its messages are kept: {problem}",
        None,
        Level.ERROR,
        fingerprint_of(Kind.CHANNEL, name),
        lasting=True,
    )


def marks_after(marks: Mapping[str, int], histories: Mapping[str, Sequence[ModelEvent]]) -> dict[str, int]:
    """How far each model's history has been told, once these have."""
    return dict(marks) | {model: events[-1].sequence for model, events in histories.items() if events}


def events_after(marks: Mapping[str, int], histories: Mapping[str, Sequence[ModelEvent]]) -> list[ModelEvent]:
    """Events beyond what was told, oldest first."""
    fresh = [e for model, events in histories.items() for e in events if e.sequence > marks.get(model, 0)]
    return sorted(fresh, key=lambda event: (event.at, event.model, event.sequence))


def _in_service(event: ModelEvent) -> str:
    if event.previous_version is None:
        return "no version served before"
    served = event.previous_version[:SHORT]
    return f"{served} stays in service" if event.action == "refused" else f"{served} served before"


def _newest_facts(freshness: Freshness, name: str) -> tuple[Key, Mapping[str, Any]]:
    for key in reversed(freshness.nodes[name].partitions()):
        footer = freshness.snapshot.entry(name, key).footer
        if footer is not None and footer.facts.get(FACT_JUDGED) is not False:
            return key, footer.facts
    return None, {}


def _counted(keys: Mapping[Key, object]) -> str:
    """How many partitions, and which."""
    named = [key for key in keys if key]
    if not named:
        return "the table is"
    if len(named) == 1:
        return f"{named[0]} is"
    return f"{len(named)} partitions ({named[0]} .. {named[-1]}) are"


def age(since: datetime, now: datetime) -> str:
    """A length of time in words."""
    minutes = max(0, int((now - since).total_seconds() // 60))
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days"
