"""Whether the models are to be retrained now, and why. Pure: conditions and history in, a decision out.

What belongs here: the policy. What does not: measuring drift or decay, taking feedback, and requesting runs.

A condition acts once per occasion (its month; for changed code, the code's version), so that one that stays true does
not retrain again and again; the weekly and monthly retrains follow regardless. What is held back by the minimum
interval, or by a retrain under way, is not forgotten: it stays unhandled and is decided on again at the next look. Nor
is what a retrain was given up over: it did not act, so its occasions may act again, and its period is not over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Literal, Protocol

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.foundation.retrain_log import Kind, Reason, RetrainEvent

WEEKLY, MONTHLY = "weekly", "monthly"
CODE = "code"
"""Name of the condition that the code of a trained asset has changed."""
AFTER_FAILURE, LONGEST_AFTER_FAILURE = timedelta(days=1), timedelta(days=8)
"""No retrain follows one that was given up within the first; the time doubles with each that is given up after it, up
to the second, so that a cause that lasts costs a round of attempts in eight days. Code that none of them tried waits
for the first time only."""
MINUTE = "%Y-%m-%d %H:%M"


class Condition(Protocol):
    """Something that may call for a retrain: drift, decay, changed code."""

    @property
    def name(self) -> str:
        """What was watched, for instance ``feature_drift``."""

    @property
    def month(self) -> str:
        """The occasion: one name and month act once."""

    @property
    def fired(self) -> bool:
        """Whether it calls for a retrain."""

    @property
    def figures(self) -> Mapping[str, float]:
        """What was measured; NaN where it could not be."""

    @property
    def text(self) -> str:
        """One sentence."""


@dataclass(frozen=True)
class RetrainConfig:
    """How often the models may and must be retrained.

    Parameters
    ----------
    enabled
        False: never by itself
    minimum_hours
        between two retrains, whatever calls for them
    update_days
        after so many days without a retrain the cheap members are updated
    full_days
        after so many days without a full retrain there is one
    """

    enabled: bool = True
    minimum_hours: float = 48.0
    update_days: float = 7.0
    full_days: float = 30.0

    def __post_init__(self) -> None:
        if not 0 <= self.minimum_hours <= 24 * self.update_days <= 24 * self.full_days:
            raise ConfigError(
                f"retraining: minimum_hours {self.minimum_hours:g}, update_days {self.update_days:g} and full_days "
                f"{self.full_days:g} must be 0 or more and grow in this order, or one of them would never come"
            )


@dataclass(frozen=True)
class Decision:
    """What to do.

    Parameters
    ----------
    action
        ``none``, ``wait`` (there is a reason, and it is too early), ``update`` or ``full``
    reasons
        all that call for it, also those that wait
    text
        one sentence for whoever looks at the sensor
    """

    action: Literal["none", "wait", "update", "full"]
    reasons: tuple[Reason, ...]
    text: str


def decide(
    now: datetime,
    history: Sequence[RetrainEvent],
    conditions: Iterable[Condition],
    config: RetrainConfig,
    *,
    in_flight: bool = False,
) -> Decision:
    """Whether to retrain now.

    Parameters
    ----------
    now
        naive UTC
    history
        all events so far; those from after `now` (the clock was wrong) say nothing about when the last retrain was
    conditions
        as measured now
    config
        bounds and periods
    in_flight
        whether a retrain, or another run, is under way
    """
    if not config.enabled:
        return Decision("none", (), "retraining is switched off (BUTTERQUANT_RETRAINING__ENABLED)")
    past = [event for event in history if event.at <= now]
    handled = {(r.name, r.occasion) for event in history if event.failed_at is None for r in event.reasons}
    fired = tuple(
        Reason(c.name, c.month, _plain(c.figures), c.text)
        for c in conditions
        if c.fired and (c.name, c.month) not in handled
    )
    full = _overdue(now, _last(past, "full"), config.full_days, MONTHLY)
    update = _overdue(now, _last(past, "full", "update"), config.update_days, WEEKLY)
    reasons = fired + (full or update)
    if not reasons:
        return Decision("none", (), "nothing calls for a retrain")
    kind: Kind = "full" if fired or full else "update"
    why = "; ".join(reason.text for reason in reasons)
    if in_flight:
        return Decision("wait", reasons, f"a run is under way, so this waits: {why}")
    if held := _held_back(now, past, fired, config):
        return Decision("wait", reasons, f"{held} this waits: {why}")
    return Decision(kind, reasons, why)


def _held_back(now: datetime, past: Sequence[RetrainEvent], fired: Sequence[Reason], config: RetrainConfig) -> str:
    """Which retrain is too recent for another one, and until when; empty for none."""
    asked = [event for event in past if event.outcome == "requested"]
    waits = [
        (event.at + timedelta(hours=config.minimum_hours), f"the last retrain was at {event.at:{MINUTE}}")
        for event in asked
    ]
    in_vain = list(takewhile(lambda event: event.failed_at is not None, reversed(asked)))
    tried = {(reason.name, reason.occasion) for event in in_vain for reason in event.reasons}
    mended = any(reason.name == CODE and (reason.name, reason.occasion) not in tried for reason in fired)
    wait = AFTER_FAILURE if mended else _longer_each_time(len(in_vain))
    waits += [
        (event.failed_at + wait, f"the last retrain was given up at {event.failed_at:{MINUTE}}{_nth(in_vain)}")
        for event in in_vain
        if event.failed_at is not None and event.failed_at <= now
    ]
    until, what = max(waits, default=(now, ""))
    return f"{what}; until {until:{MINUTE}}" if until > now else ""


def _longer_each_time(times: int) -> timedelta:
    """How long to wait after so many retrains in a row were given up."""
    wait = AFTER_FAILURE
    for _ in range(1, times):
        wait = min(2 * wait, LONGEST_AFTER_FAILURE)  # a power would overflow in a home that fails for a year
    return wait


def _nth(in_vain: Sequence[RetrainEvent]) -> str:
    return f", as were the {len(in_vain) - 1} before it" if len(in_vain) > 1 else ""


def _last(past: Sequence[RetrainEvent], *kinds: str) -> datetime | None:
    return max((event.at for event in past if event.kind in kinds and event.failed_at is None), default=None)


def _overdue(now: datetime, last: datetime | None, days: float, name: str) -> tuple[Reason, ...]:
    """The reason of a period that is over; it counts from the last event of its kind that was not given up."""
    day = now.strftime("%Y-%m-%d")
    if last is None:
        return (Reason(name, day, {}, f"no {name} retrain is on record"),)
    elapsed = (now - last) / timedelta(days=1)
    if elapsed < days:
        return ()
    figures = {"days_since_last": round(elapsed, 3), "days_allowed": days}
    return (Reason(name, day, figures, f"the last retrain of this kind was {elapsed:.1f} days ago"),)


def _plain(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Figures as JSON takes them: what is not finite is missing."""
    numbers = {name: float(value) for name, value in figures.items()}
    return {name: value if abs(value) < float("inf") else None for name, value in numbers.items()}
