"""What an order that takes finds: the levels of the book against it, less what this account took a moment ago."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from butterquant_assets.market.exchange.answers import OkxError
from butterquant_assets.market.exchange.trading.amounts import ZERO, exact
from butterquant_assets.market.exchange.venue import Instrument, Venue

_LEVELS = 400
_BOOK_MS = 1_000
"""A venue's book lives for a second: what was taken from it is back in the next."""


@dataclass(frozen=True)
class Level:
    """A price and the contracts to be had at it; None where no book is known and depth is not limited."""

    price: Decimal
    contracts: Decimal | None

    def part(self, wanted: Decimal) -> Decimal:
        """How many of the wanted contracts there are."""
        return wanted if self.contracts is None else min(wanted, self.contracts)


class BookSide:
    """Levels against takers of a venue.

    Where no book was recorded there is one level of any depth, a tick worse than the last price.
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._taken: dict[tuple[str, int], tuple[int, Decimal]] = {}

    def against(
        self, instrument: Instrument, direction: int, now: int, reference: Decimal | None = None
    ) -> list[Level]:
        """Levels that a buy (+1) or a sale (-1) meets, best first.

        Parameters
        ----------
        instrument, direction, now
            who takes what, when (ms)
        reference
            stands for the last price where there is no book

        Raises
        ------
        OkxError
            51022 where not even a last price is known.
        """
        book = self._venue.book(instrument.base, now, _LEVELS)
        if book is None:
            last = exact(self._venue.price("trade", instrument.base, now)) if reference is None else reference
            if not last.is_finite():
                raise OkxError("51022", "Contract suspended: no price is known.")
            tick = exact(instrument.tick)
            return [Level(max(last + direction * tick, tick), None)]
        prices, sizes = (book.ask_price, book.ask_size) if direction > 0 else (book.bid_price, book.bid_size)
        second, gone = self._taken.get((instrument.base, direction), (-1, ZERO))
        gone = gone if second == now // _BOOK_MS else ZERO
        levels: list[Level] = []
        for price, size in zip(prices.tolist(), np.round(sizes, 8).tolist(), strict=True):
            left = max(exact(size) - gone, ZERO)
            gone = max(gone - exact(size), ZERO)
            if left > 0:
                levels.append(Level(exact(price), left))
        return levels

    def took(self, instrument: Instrument, direction: int, contracts: Decimal, now: int) -> None:
        """Remember what was taken."""
        key = (instrument.base, direction)
        second, gone = self._taken.get(key, (-1, ZERO))
        self._taken[key] = (now // _BOOK_MS, contracts + (gone if second == now // _BOOK_MS else ZERO))
