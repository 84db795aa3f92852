"""The market's steps as an account meets them: which of them touches something, and whom.

Finding the next step that matters looks at arrays; judging it looks at that step alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from butterquant_assets.market.exchange.trading.amounts import ZERO, exact
from butterquant_assets.market.exchange.trading.records import Algo, Leg, Order, Position
from butterquant_assets.market.exchange.venue import Steps

if TYPE_CHECKING:
    from butterquant_assets.market.exchange.trading.desk import TradingDesk


@dataclass(frozen=True)
class Step:
    """One of the `Steps`; prices are NaN where it says nothing of them."""

    position: int
    time: int
    since: int
    open: float
    low: float
    high: float
    close: float
    volume: Decimal
    mark_low: float
    mark_high: float
    mark_close: float

    @property
    def instant(self) -> bool:
        """Whether it is a single moment rather than a bar."""
        return self.since == self.time

    def liquidates(self, held: Position, price: Decimal) -> bool:
        """Whether the mark price reaches a position's liquidation price."""
        low, high = self._range("mark", held.moved)
        return low <= float(price) if held.direction > 0 else high >= float(price)

    def passes(self, order: Order) -> bool:
        """Whether trades go through an order's price."""
        low, high = self._range("last", order.placed)
        if order.price is None:
            return False
        return low < float(order.price) if order.wanted.direction > 0 else high > float(order.price)

    def fired(self, algo: Algo, *, losing: bool) -> Leg | None:
        """The leg that this step sets off: with `losing` the stop loss or trigger, else the take profit."""
        for leg in algo.legs:
            if (leg.name != "tp") is losing and leg.fires(*self._range(leg.by, algo.created)):
                return leg
        return None

    def overrun(self, algo: Algo) -> Leg | None:
        """The stop loss of an order that this very bar filled, if the bar goes on to reach it."""
        if self.instant or algo.created != self.time:
            return None
        stops = (leg for leg in algo.legs if leg.name == "sl" and leg.by == "last")
        return next((leg for leg in stops if leg.fires(self.low, self.high)), None)

    def price_of(self, leg: Leg, algo: Algo) -> Decimal | None:
        """What stands for the last price where there is no book: the worse of the trigger and what came first.

        None for a trigger that watches the mark price, which says nothing of the last one.
        """
        if leg.by == "mark":
            return None
        if leg.name == "tp":
            return leg.trigger
        worse = max if algo.wanted.direction > 0 else min
        return worse(leg.trigger, exact(self.open if algo.created <= self.since else self.close))

    def _range(self, by: str, came: int) -> tuple[float, float]:
        """Low and high of the watched price for somebody who came at that moment."""
        low, high, close = (
            (self.low, self.high, self.close) if by == "last" else (self.mark_low, self.mark_high, self.mark_close)
        )
        return (low, high) if came <= self.since else (close, close)


class Tape:
    """Steps of one instrument, and how far they have been dealt with.

    A bar comes before the moments at its close: it tells of the time until then.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = steps.take(np.lexsort((steps.since == steps.time, steps.time)))
        self._next = 0

    def move_past(self, step: Step) -> None:
        """Leave a step behind."""
        self._next = step.position + 1

    def move_before(self, settlement: int) -> None:
        """Leave behind what lies before a settlement: funding moves a liquidation price from then on, not earlier."""
        time, since = self._steps.time, self._steps.since
        before = (time < settlement) | ((time == settlement) & (since < time))
        self._next = max(self._next, int(np.count_nonzero(before)))

    def touched(self, desk: TradingDesk, base: str) -> Step | None:
        """The next step that may touch something of this account."""
        left = slice(self._next, None)
        steps = self._steps
        low, high = steps.low[left], steps.high[left]
        mark_low, mark_high = steps.mark_low[left], steps.mark_high[left]
        hit: npt.NDArray[np.bool_] = np.zeros(len(low), dtype=bool)
        for key, held in desk.account.positions.items():
            if key[0] == base:
                price = float(desk.account.liquidation(held))
                hit |= mark_low <= price if held.direction > 0 else mark_high >= price
        for order in desk.resting(base):
            price = float(order.price or ZERO)
            hit |= low < price if order.wanted.direction > 0 else high > price
        for algo in desk.waiting(base):
            for leg in algo.legs:
                lower, higher = (low, high) if leg.by == "last" else (mark_low, mark_high)
                hit |= higher >= float(leg.trigger) if leg.above else lower <= float(leg.trigger)
        found = np.flatnonzero(hit)
        return self._step(self._next + int(found[0])) if len(found) else None

    def _step(self, position: int) -> Step:
        def at(name: str) -> float:
            return float(getattr(self._steps, name)[position])

        return Step(
            position=position,
            time=int(self._steps.time[position]),
            since=int(self._steps.since[position]),
            open=at("open"),
            low=at("low"),
            high=at("high"),
            close=at("close"),
            volume=exact(at("volume")),
            mark_low=at("mark_low"),
            mark_high=at("mark_high"),
            mark_close=at("mark_close"),
        )
