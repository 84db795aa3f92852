"""What the account keeps: orders, stops, positions, fills and bills; and what was asked for.

Sizes are in contracts, prices and money in USDT, times in ms. Records are changed in place by the desk only.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from butterquant_assets.market.exchange.trading.amounts import ZERO, exact
from butterquant_assets.market.exchange.venue import Instrument

Side = Literal["buy", "sell"]
PositionSide = Literal["net", "long", "short"]
OPENING: dict[PositionSide, Side] = {"long": "buy", "short": "sell"}
"""The side that opens a position of a hedged account."""


@dataclass(frozen=True)
class Leg:
    """A trigger and what follows: a market order, or a limit order if there is a price.

    Parameters
    ----------
    name
        "tp", "sl" or "trigger"
    trigger
        price
    above
        whether it fires at or above the trigger, rather than at or below
    price
        limit price; None: at market
    by
        which price is watched
    """

    name: str
    trigger: Decimal
    above: bool
    price: Decimal | None
    by: Literal["last", "mark"] = "last"

    def fires(self, low: float, high: float) -> bool:
        """Whether a range of the watched price sets it off; never for NaN."""
        return high >= float(self.trigger) if self.above else low <= float(self.trigger)


@dataclass(frozen=True)
class Bracket:
    """Take profit and stop loss that come with an order and live from its fill on."""

    legs: tuple[Leg, ...]
    client_id: str = ""


@dataclass(frozen=True)
class Wanted:
    """An order as asked for."""

    instrument: Instrument
    side: Side
    position_side: PositionSide
    kind: str
    size: Decimal
    price: Decimal | None = None
    reduce_only: bool = False
    client_id: str = ""
    tag: str = ""
    brackets: tuple[Bracket, ...] = ()

    @property
    def direction(self) -> int:
        """+1 for a buy, -1 for a sale."""
        return 1 if self.side == "buy" else -1

    @property
    def key(self) -> tuple[str, PositionSide]:
        """The position it touches."""
        return self.instrument.base, self.position_side

    @property
    def only_closes(self) -> bool:
        """Whether it can never open anything."""
        return self.reduce_only or (self.position_side != "net" and OPENING[self.position_side] != self.side)


@dataclass
class Order:
    """An order and what became of it."""

    id: str
    wanted: Wanted
    leverage: Decimal
    size: Decimal
    price: Decimal | None
    created: int
    updated: int
    placed: int
    """When it was created or last amended."""
    category: str = "normal"
    algo_id: str = ""
    state: str = "live"
    cancel_source: str = ""
    filled: Decimal = ZERO
    traded: Decimal = ZERO
    """Sum of price x contracts."""
    fee: Decimal = ZERO
    pnl: Decimal = ZERO
    last: Fill | None = None

    @property
    def remaining(self) -> Decimal:
        """Contracts yet to be filled."""
        return self.size - self.filled

    @property
    def open(self) -> bool:
        """Whether it rests in the book."""
        return self.state in ("live", "partially_filled")


@dataclass
class Algo:
    """A stop, a take profit, both ("oco") or a trigger order."""

    id: str
    wanted: Wanted
    kind: str
    legs: tuple[Leg, ...]
    leverage: Decimal
    created: int
    updated: int
    whole: bool = False
    """Closes whatever the position is then."""
    state: str = "live"
    order_id: str = ""
    fired: Leg | None = None
    fired_at: int = 0
    actual_size: Decimal = ZERO
    failure: str = ""

    @property
    def protects(self) -> bool:
        """Whether it goes with its position."""
        return self.kind != "trigger" and self.wanted.only_closes


@dataclass
class Position:
    """An isolated position; `contracts` is above 0 and `direction` +1 or -1."""

    id: str
    instrument: Instrument
    side: PositionSide
    direction: int
    leverage: Decimal
    created: int
    updated: int
    moved: int
    """When its liquidation price last moved other than by funding."""
    contracts: Decimal = ZERO
    entry: Decimal = ZERO
    margin: Decimal = ZERO
    pnl: Decimal = ZERO
    fee: Decimal = ZERO
    funding: Decimal = ZERO
    trade_id: str = ""

    @property
    def coins(self) -> Decimal:
        """Size in coins."""
        return self.contracts * exact(self.instrument.contract_value)


@dataclass(frozen=True)
class Fill:
    """One execution; the fee is what was paid, above 0."""

    trade_id: str
    order_id: str
    client_id: str
    bill_id: str
    instrument: Instrument
    side: Side
    position_side: PositionSide
    price: Decimal
    size: Decimal
    maker: bool
    fee: Decimal
    pnl: Decimal
    time: int


@dataclass(frozen=True)
class Execution:
    """What a bill says about the trade, settlement or delivery behind it."""

    size: Decimal = ZERO
    price: Decimal | None = None
    pnl: Decimal = ZERO
    fee: Decimal = ZERO
    order_id: str = ""
    trade_id: str = ""
    liquidity: str = ""


NO_EXECUTION = Execution()


@dataclass(frozen=True)
class Bill:
    """One change of the account. Cash and margin changes of all bills add up to what the account has gained."""

    id: str
    kind: str
    subtype: str
    cash_change: Decimal
    margin_change: Decimal
    cash: Decimal
    time: int
    instrument: Instrument
    execution: Execution
