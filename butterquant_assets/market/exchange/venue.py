"""What an exchange needs to know about its market, whoever supplies it; numbers, not yet words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

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
    """

    base: str
    contract_value: float
    tick: float
    lot: float
    listed: int
    leverage: int = 50

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

    def book(self, base: str, now: int, levels: int) -> Book | None:
        """The book now."""
        ...

    def price(self, kind: Kind, base: str, now: int) -> float:
        """The price now, NaN where unknown."""
        ...
