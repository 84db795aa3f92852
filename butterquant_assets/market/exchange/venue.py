"""What an exchange needs to know about its market, whoever supplies it; numbers, not yet words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from butterquant_assets.market.crypto_microstructure import Book, Trades
from butterquant_assets.market.crypto_traits import Floats, Ints
from butterquant_assets.market.exchange.bar_sizes import Bars, BarSize

Kind = Literal["trade", "mark", "index"]
"""Which price a bar is of."""


@dataclass(frozen=True)
class Instrument:
    """A linear USDT swap.

    Parameters
    ----------
    base
        coin; the instrument is <base>-USDT-SWAP
    contract_value
        coins in a contract
    tick
        smallest price step, USDT
    lot
        smallest size, contracts
    listed
        ms
    leverage
        highest, of the first tier
    ends
        ms at which it ceases to trade; None where that is not announced
    state
        OKX's word for it: live, suspend, preopen, ...
    """

    base: str
    contract_value: float
    tick: float
    lot: float
    listed: int
    leverage: int = 50
    ends: int | None = None
    state: str = "live"

    @property
    def inst_id(self) -> str:
        """OKX's identifier."""
        return f"{self.base}-USDT-SWAP"

    @property
    def family(self) -> str:
        """Its index and its instrument family."""
        return f"{self.base}-USDT"


@dataclass(frozen=True)
class FundingOutlook:
    """The settlement ahead: its time (ms), the rate as it stands now, the time of the one after, the premium now."""

    time: int
    rate: float
    next_time: int
    premium: float


@dataclass(frozen=True)
class Steps:
    """What happened to an instrument, in order of time: a trade, or a bar that closed. Arrays have shape (K,).

    A price that a step says nothing about is NaN (a mark bar has no trades).

    Parameters
    ----------
    time
        ms at which it is known
    since
        ms at which it begins: `time` for a trade, the open of a bar. The range of a bar says nothing to somebody who
        came after its open; only its close does.
    open, low, high, close
        traded prices, USDT
    volume
        contracts
    mark_low, mark_high, mark_close
        mark prices, USDT
    """

    time: Ints
    since: Ints
    open: Floats
    low: Floats
    high: Floats
    close: Floats
    volume: Floats
    mark_low: Floats
    mark_high: Floats
    mark_close: Floats

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Steps:
        """Some of the steps."""
        return Steps(**{field.name: getattr(self, field.name)[rows] for field in fields(Steps)})


def no_steps() -> Steps:
    """An empty run."""
    return Steps(np.empty(0, np.int64), np.empty(0, np.int64), *(np.empty(0) for _ in range(8)))


def steps_in_order(parts: Sequence[Steps]) -> Steps:
    """Several runs of steps as one; those of the same time stay in the order given."""
    joined = Steps(
        **{field.name: np.concatenate([getattr(one, field.name) for one in parts]) for field in fields(Steps)}
    )
    return joined.take(np.argsort(joined.time, kind="stable"))


class Venue(Protocol):
    """A market. Times are ms; nothing it returns lies after `now`, and what is not known is empty or None."""

    def instruments(self, now: int) -> tuple[Instrument, ...]:
        """What trades now."""
        ...

    def bars(self, kind: Kind, base: str, size: BarSize, first: int, end: int, limit: int, now: int) -> Bars:
        """The newest `limit` bars with first <= stamp < end, oldest first."""
        ...

    def settlements(self, base: str, first: int, end: int) -> tuple[Ints, Floats]:
        """Times and rates of settlements in first <= t < end."""
        ...

    def outlook(self, base: str, now: int) -> FundingOutlook | None:
        """The settlement ahead."""
        ...

    def open_interest(self, base: str, moments: Ints) -> Floats:
        """Contracts open at each moment, NaN where unknown."""
        ...

    def taker_volume(
        self, base: str, size: BarSize, first: int, end: int, limit: int, now: int
    ) -> tuple[Ints, Floats, Floats, Floats]:
        """Stamps, contracts sold and bought by takers, and mean price, of closed periods; the newest `limit`."""
        ...

    def trades(self, base: str, first: int, end: int) -> Trades:
        """Trades in first <= t < end."""
        ...

    def steps(self, base: str, first: int, end: int) -> Steps:
        """What happened in first < t <= end, as far as the venue knows: trades if it has them, else closed bars."""
        ...

    def book(self, base: str, now: int, levels: int) -> Book | None:
        """The book now."""
        ...

    def price(self, kind: Kind, base: str, now: int) -> float:
        """The price now, NaN where unknown."""
        ...
