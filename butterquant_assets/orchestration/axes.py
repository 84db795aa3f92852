"""Which partitions a house covers, and how they grow with its source: by month, or by UTC day.

What belongs here: keys from what is bound, delivered and held. What does not: asking source, lake or clock (the house
does, and hands in what they said).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from butterquant_assets.foundation.calendar import KEY_FORMATS, Unit, key_range, month_range
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.orchestration.span import GROWS_TO, grown, may_grow


class Axes(Protocol):
    """The axes of one house; all have the same unit."""

    unit: Unit
    widest: str
    """Name of the axis that every other one is part of; its data decide how far the house has grown."""
    binding: dict[str, Any]
    """What the home is bound to, with the ends as they are now."""

    def keys(self, axis: str) -> tuple[str, ...]:
        """Keys of an axis now, ascending."""

    def span(self) -> tuple[str, str | None]:
        """First and last key that may ever be a partition; None for no end."""

    def may_grow(self) -> bool:
        """Whether keys can still be gained."""

    def grow(self, delivered: str, held: str | None, now: datetime) -> None:
        """Move the ends forward, never back.

        Parameters
        ----------
        delivered
            last key the source has for all that is needed
        held
            last key that lies in the lake, so that a source that lost its newest file does not shrink the house; None
            for an empty lake
        now
            the time (UTC): what a source says of later keys is not believed
        """


class MonthAxes:
    """``market`` months, the ``analysis`` months among them, and the newest of these under further names.

    Parameters
    ----------
    binding
        what the home is bound to: ``start``, ``end``, ``market_start``, ``market_end``, and ``grows_to`` where it grows
    recent
        further axes by name: the last so many analysis months
    """

    unit: Unit = "month"
    widest = "market"

    def __init__(self, binding: Mapping[str, Any], recent: Mapping[str, int] | None = None) -> None:
        self.binding = dict(binding)
        self._recent = dict(recent or {})

    def keys(self, axis: str) -> tuple[str, ...]:
        """Months of an axis, ascending."""
        if axis in self._recent:
            return self.keys("analysis")[-self._recent[axis] :]
        if axis not in ("market", "analysis"):
            raise ConfigError(f"axis {axis!r} is unknown: {', '.join(['market', 'analysis', *self._recent])}")
        prefix = "market_" if axis == "market" else ""
        return tuple(month_range(self.binding[f"{prefix}start"], self.binding[f"{prefix}end"]))

    def span(self) -> tuple[str, str | None]:
        """First and last month that may ever be a partition; None for no end."""
        return self.binding["market_start"], self.binding.get(GROWS_TO, self.binding["market_end"])

    def may_grow(self) -> bool:
        """Whether the home can still gain months."""
        return may_grow(self.binding)

    def grow(self, delivered: str, held: str | None, now: datetime) -> None:
        """Move the ends of both axes forward; see `span.grown`."""
        self.binding |= grown(self.binding, delivered, held, now.strftime(KEY_FORMATS["month"]))


class DayAxis:
    """All UTC ``days`` from the first bound to the last delivered.

    Parameters
    ----------
    binding
        what the home is bound to: ``start``; ``end``, the last day there is or was at first; and ``grows_to`` where it
        grows: the last day that may join, or None for no end
    """

    unit: Unit = "day"
    widest = "days"

    def __init__(self, binding: Mapping[str, Any]) -> None:
        self.binding = dict(binding)

    def keys(self, axis: str) -> tuple[str, ...]:
        """Days, ascending; none while nothing was delivered."""
        if axis != self.widest:
            raise ConfigError(f"axis {axis!r} is unknown: {self.widest}")
        end = self.binding["end"]
        return () if end is None else tuple(key_range(self.binding["start"], end, "day"))

    def span(self) -> tuple[str, str | None]:
        """First and last day that may ever be a partition; None for no end."""
        return self.binding["start"], self.binding.get(GROWS_TO, self.binding["end"])

    def may_grow(self) -> bool:
        """Whether the home can still gain days."""
        limit = self.binding.get(GROWS_TO, self.binding["end"])
        return limit is None or self.binding["end"] is None or bool(self.binding["end"] < limit)

    def grow(self, delivered: str, held: str | None, now: datetime) -> None:
        """Move the end forward: to what was delivered, not past today, the lake's newest day or the bound end."""
        last = max(self.binding["end"] or "", min(delivered, now.strftime(KEY_FORMATS["day"])), held or "")
        limit = self.binding.get(GROWS_TO, self.binding["end"])
        self.binding["end"] = last if limit is None else min(limit, last)
