"""What was told and what waits to be told, as one plain value that survives a restart. Pure.

What belongs here: deduplication, repeats, ends, the outbox, and the JSON they are kept as. What does not: making alerts
(`alerts`), sending (`channels`).

A message enters the outbox the moment it becomes due, for every channel that is on, and leaves it channel by channel
when it was delivered. So a channel that is down delays its own copy and loses nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.monitoring.alerts import Alert, Kind, Level, Phase, age, fingerprint_of
from butterquant_assets.monitoring.run_failures import Failing

VERSION = 1
MAX_WAITING = 200  # messages; beyond it the oldest are summed up in one
WITNESSES = 5
LINES = 10


@dataclass(frozen=True)
class Known:
    """A condition that holds.

    Parameters
    ----------
    kind, subject, link, level
        as in its alert
    since
        when it was first seen, UTC
    told
        when it was last told; None while it has not lasted long enough
    items
        identities (hashed) of the items that were told
    witnesses
        up to five of what has been concerned without a break since `since`
    """

    kind: Kind
    subject: str
    link: str | None
    level: Level
    since: datetime
    told: datetime | None
    items: tuple[str, ...] = ()
    witnesses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Message:
    """What a channel is handed.

    Parameters
    ----------
    identity
        the same for every copy of this message
    phase, kind, subject, text, lines, link, level
        what it says
    at
        when it became due, UTC
    """

    identity: str
    phase: Phase
    kind: Kind
    subject: str
    text: str
    lines: tuple[str, ...]
    link: str | None
    level: Level
    at: datetime


@dataclass(frozen=True)
class Waiting:
    """A message and the channels that have not delivered it."""

    message: Message
    channels: tuple[str, ...]


@dataclass(frozen=True)
class Trouble:
    """A channel that fails: how often in a row, why, and until when it is left alone."""

    failures: int
    reason: str
    paused_until: datetime


@dataclass(frozen=True)
class AlertState:
    """Everything that is remembered between two looks.

    Parameters
    ----------
    conditions
        what holds, by fingerprint
    events
        when an event was last told, by fingerprint, for as long as it is not told again
    outbox
        messages that some channel has not delivered, oldest first
    troubles
        channels that fail
    run_mark
        storage id of the last failure of a run that was looked at; None before the first look
    run_mark_at
        when the latest of them happened, in seconds since 1970: a log that was pruned shows the older ones again
    failing
        runs that fail alike, by identity
    model_marks
        number of the last event of each model that was looked at; None before the first look
    """

    conditions: Mapping[str, Known] = field(default_factory=dict)
    events: Mapping[str, datetime] = field(default_factory=dict)
    outbox: tuple[Waiting, ...] = ()
    troubles: Mapping[str, Trouble] = field(default_factory=dict)
    run_mark: int | None = None
    run_mark_at: float | None = None
    failing: Mapping[str, Failing] = field(default_factory=dict)
    model_marks: Mapping[str, int] | None = None

    def to_json(self) -> str:
        """Canonical JSON."""
        return json.dumps({"version": VERSION, **asdict(self)}, sort_keys=True, separators=(",", ":"), default=_iso)

    @classmethod
    def from_json(cls, text: str) -> AlertState:
        """Inverse of `to_json`. What a later version has added is passed over.

        Raises
        ------
        DataError
            if it is not what this version writes.
        """
        try:
            data = _of_this_version(json.loads(text))
            return cls(
                conditions={name: _known(entry) for name, entry in data["conditions"].items()},
                events={name: datetime.fromisoformat(at) for name, at in data["events"].items()},
                outbox=tuple(Waiting(_message(e["message"]), tuple(e["channels"])) for e in data["outbox"]),
                troubles={name: _trouble(entry) for name, entry in data["troubles"].items()},
                run_mark=data["run_mark"],
                # States of before these two were kept are read too.
                run_mark_at=data.get("run_mark_at"),
                failing={name: _failing(entry) for name, entry in data.get("failing", {}).items()},
                model_marks=data["model_marks"],
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"the alert state is not readable ({type(error).__name__}), {len(text)} characters; expected version "
                f"{VERSION} of its JSON: it is begun afresh, and what holds now is told again"
            ) from error


def not_ahead(state: AlertState, now: datetime) -> AlertState:
    """The state with no time beyond `now` (UTC).

    One look by a clock that was ahead would else mute every repeat until the right time has caught up with it.
    """

    def earlier(known: Known) -> Known:
        return replace(known, since=min(known.since, now), told=min(known.told, now) if known.told else None)

    def sooner(failing: Failing) -> Failing:
        told = min(failing.told, now) if failing.told else None
        return replace(failing, since=min(failing.since, now), last=min(failing.last, now), told=told)

    return replace(
        state,
        conditions={name: earlier(known) for name, known in state.conditions.items()},
        events={name: min(at, now) for name, at in state.events.items()},
        outbox=tuple(replace(w, message=replace(w.message, at=min(w.message.at, now))) for w in state.outbox),
        failing={name: sooner(failing) for name, failing in state.failing.items()},
    )


# -- one look


def observe(
    state: AlertState,
    alerts: Iterable[Alert],
    *,
    now: datetime,
    repeat: timedelta,
    channels: Sequence[str],
    seen: Collection[Kind],
) -> AlertState:
    """The state after a look, with the messages that have become due in its outbox.

    Parameters
    ----------
    state
        as it was
    alerts
        every condition that holds, and every event since the last look
    now
        UTC, with time zone. A clock that was set back postpones a repeat at most once, and ends nothing.
    repeat
        a condition is told again, and an event of the same fingerprint counts as another one, after this long
    channels
        the channels that are on; what waits for another one is given up
    seen
        kinds that were looked at. A condition of another kind is neither ended nor told: nobody looked.
    """
    state = not_ahead(state, now)
    due: list[Message] = []
    events = {name: at for name, at in state.events.items() if now - at < repeat}
    conditions = {name: known for name, known in state.conditions.items() if known.kind not in seen}
    for alert in alerts:
        if alert.lasting:
            known, message = _continued(alert, state.conditions.get(alert.fingerprint), now, repeat)
            conditions[alert.fingerprint] = known
            due += [message] if message else []
        elif alert.fingerprint not in events:
            events[alert.fingerprint] = now
            due.append(_message_of(alert, alert.phase, alert.text, now))
    ended = {name: known for name, known in state.conditions.items() if name not in conditions and known.told}
    due += [_end(name, known, now) for name, known in ended.items()]
    return replace(state, events=events, conditions=conditions, outbox=_queued(state.outbox, due, channels, now))


def short_identity(item: str) -> str:
    """How an item is remembered in `Known.items`."""
    return fingerprint_of(item)[:8]


def _continued(alert: Alert, known: Known | None, now: datetime, repeat: timedelta) -> tuple[Known, Message | None]:
    """A condition as it is known after this look, and what is due about it."""
    witnesses = tuple(w for w in (known.witnesses if known else ()) if w in alert.witnesses)
    unbroken = known is not None and (bool(witnesses) or not alert.witnesses)
    since = known.since if known is not None and unbroken else now
    holds = Known(
        alert.kind,
        alert.subject,
        alert.link,
        alert.level,
        since,
        known.told if known else None,
        witnesses=witnesses if unbroken else alert.witnesses[:WITNESSES],
    )
    identities = tuple(short_identity(item.identity) for item in alert.items)
    told_items = tuple(i for i in identities if known is not None and i in known.items)
    if now - since < alert.patience:
        return replace(holds, items=told_items), None
    holds = replace(holds, items=identities)
    if holds.told is None:
        lasted = f" for {age(since, now)}" if alert.patience else ""
        return replace(holds, told=now), _message_of(alert, Phase.NEW, alert.text + lasted, now)
    fresh = tuple(item for item, i in zip(alert.items, identities, strict=True) if i not in told_items)
    if fresh:
        return replace(holds, told=now), _message_of(replace(alert, items=fresh), Phase.MORE, alert.text, now)
    if now - holds.told >= repeat:
        return replace(holds, told=now), _message_of(alert, Phase.AGAIN, f"{alert.text}, {age(since, now)} on", now)
    return holds, None


def _message_of(alert: Alert, phase: Phase, text: str, now: datetime) -> Message:
    lines = tuple(item.line for item in alert.items[:LINES])
    if len(alert.items) > LINES:
        lines += (f"and {len(alert.items) - LINES} more",)
    identity = fingerprint_of(alert.fingerprint, phase, now.isoformat())
    return Message(identity, phase, alert.kind, alert.subject, text, lines, alert.link, alert.level, now)


def _end(fingerprint: str, known: Known, now: datetime) -> Message:
    return Message(
        fingerprint_of(fingerprint, Phase.RESOLVED, now.isoformat()),
        Phase.RESOLVED,
        known.kind,
        known.subject,
        f"over after {age(known.since, now)}",
        (),
        known.link,
        Level.INFO,
        now,
    )


# -- the outbox


def _queued(
    outbox: Sequence[Waiting], due: Iterable[Message], channels: Sequence[str], now: datetime
) -> tuple[Waiting, ...]:
    kept = [replace(w, channels=tuple(name for name in channels if _meant(name, w.channels))) for w in outbox]
    queue = [w for w in (*kept, *(Waiting(message, _addressed(message, channels)) for message in due)) if w.channels]
    return tuple(queue) if len(queue) <= MAX_WAITING else _summed_up(queue, now)


def _meant(name: str, waiting: Sequence[str]) -> bool:
    """Whether a message waits for a channel, or waited for all its receivers while they were one channel."""
    return name in waiting or name.split(" to ")[0] in waiting


def _addressed(message: Message, channels: Sequence[str]) -> tuple[str, ...]:
    """The channels a message goes to: a channel's own trouble is told by the others only."""
    return tuple(name for name in channels if message.kind is not Kind.CHANNEL or name != message.subject)


def _summed_up(queue: Sequence[Waiting], now: datetime) -> tuple[Waiting, ...]:
    """The newest messages, and one that says how many older ones could not be delivered, by kind."""
    old, new = queue[: len(queue) - MAX_WAITING + 1], queue[len(queue) - MAX_WAITING + 1 :]
    lost: Counter[str] = Counter()
    for waiting in old:
        if waiting.message.kind is Kind.CHANNEL and waiting.message.subject == _SUMMARY:
            counts = [line.split(" ", 1) for line in waiting.message.lines]
            lost.update({label: int(number) for number, label in counts})
        else:
            lost[f"{waiting.message.kind}, {waiting.message.phase}"] += 1
    message = Message(
        fingerprint_of(_SUMMARY, now.isoformat()),
        Phase.EVENT,
        Kind.CHANNEL,
        _SUMMARY,
        f"{sum(lost.values())} older messages could not be delivered in time; the UI shows how things stand",
        tuple(f"{number} {label}" for label, number in sorted(lost.items())),
        None,
        Level.ERROR,
        now,
    )
    channels = sorted({name for waiting in old for name in waiting.channels})
    return (Waiting(message, tuple(channels)), *new)


_SUMMARY = "backlog"


def delivered(state: AlertState, message: Message, channel: str) -> AlertState:
    """The state once a channel has delivered a message: the channel works, and its copy leaves the outbox."""
    outbox = tuple(
        replace(w, channels=tuple(c for c in w.channels if c != channel)) if w.message == message else w
        for w in state.outbox
    )
    troubles = {name: trouble for name, trouble in state.troubles.items() if name != channel}
    return replace(state, outbox=tuple(w for w in outbox if w.channels), troubles=troubles)


def failed(state: AlertState, channel: str, reason: str, paused_until: datetime) -> AlertState:
    """The state once a channel has failed: its messages stay, and it is left alone until a time."""
    failures = (state.troubles[channel].failures if channel in state.troubles else 0) + 1
    return replace(state, troubles=dict(state.troubles) | {channel: Trouble(failures, reason, paused_until)})


# -- JSON


def _iso(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _of_this_version(data: Any) -> Any:
    if data["version"] != VERSION:
        raise ValueError("another version")
    return data


def _understood(kind: type[Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """What this version knows of an entry."""
    names = {each.name for each in fields(kind)}
    return {name: value for name, value in entry.items() if name in names}


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _known(entry: Mapping[str, Any]) -> Known:
    return Known(
        **_understood(Known, entry)
        | {
            "kind": Kind(entry["kind"]),
            "level": Level(entry["level"]),
            "since": datetime.fromisoformat(entry["since"]),
            "told": _time(entry["told"]),
            "items": tuple(entry["items"]),
            "witnesses": tuple(entry["witnesses"]),
        }
    )


def _failing(entry: Mapping[str, Any]) -> Failing:
    times = {name: datetime.fromisoformat(entry[name]) for name in ("since", "last")}
    months = entry.get("months")  # not in a cursor of an earlier version
    return Failing(
        **_understood(Failing, entry)
        | times
        | {
            "told": _time(entry["told"]),
            "steps": tuple(entry["steps"]),
            "months": (str(months[0]), str(months[1])) if months else None,
        }
    )


def _message(entry: Mapping[str, Any]) -> Message:
    return Message(
        **_understood(Message, entry)
        | {
            "phase": Phase(entry["phase"]),
            "kind": Kind(entry["kind"]),
            "level": Level(entry["level"]),
            "lines": tuple(entry["lines"]),
            "at": datetime.fromisoformat(entry["at"]),
        }
    )


def _trouble(entry: Mapping[str, Any]) -> Trouble:
    return Trouble(**_understood(Trouble, entry) | {"paused_until": datetime.fromisoformat(entry["paused_until"])})
