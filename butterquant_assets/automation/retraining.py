"""Whether the models are to be retrained now, and why. Pure: conditions and history in, a decision out.

What belongs here: the policy. What does not: measuring drift or decay, taking feedback, and requesting runs.

A condition acts once per occasion (its month; for changed code, the code's version), so that one that stays true does
not retrain again and again; the weekly and monthly retrains follow regardless. What is held back by the minimum
interval, or by a retrain under way, is not forgotten: it stays unhandled and is decided on again at the next look.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.foundation.retrain_log import Kind, Reason, RetrainEvent

WEEKLY, MONTHLY = "weekly", "monthly"


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
    handled = {(reason.name, reason.occasion) for event in history for reason in event.reasons}
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
    last = max((event.at for event in past if event.outcome == "requested"), default=None)
    if last is not None and now - last < timedelta(hours=config.minimum_hours):
        until = last + timedelta(hours=config.minimum_hours)
        return Decision(
            "wait",
            reasons,
            f"the last retrain was at {last:%Y-%m-%d %H:%M}; until {until:%Y-%m-%d %H:%M} this waits: {why}",
        )
    return Decision(kind, reasons, why)


def _last(past: Sequence[RetrainEvent], *kinds: str) -> datetime | None:
    return max((event.at for event in past if event.kind in kinds), default=None)


def _overdue(now: datetime, last: datetime | None, days: float, name: str) -> tuple[Reason, ...]:
    """The reason of a period that is over; it counts from the last event of its kind, whatever came of that."""
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
