"""One account: cash, isolated positions, leverage, and the bills that explain every change.

What belongs here: what a fill, a settlement, a liquidation or a transfer does to the account. What does not: when these
happen (`desk`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import count

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.market.exchange.answers import OkxError
from butterquant_assets.market.exchange.tiers import tier_for, tiers_of
from butterquant_assets.market.exchange.trading.amounts import ZERO, exact, money
from butterquant_assets.market.exchange.trading.margin import bankruptcy_price, funding_received, liquidation_price
from butterquant_assets.market.exchange.trading.records import (
    NO_EXECUTION,
    Bill,
    Execution,
    Fill,
    Order,
    Position,
    PositionSide,
    Wanted,
)
from butterquant_assets.market.exchange.venue import Instrument

Key = tuple[str, PositionSide]
DEFAULT_LEVERAGE = Decimal(3)
TRADE, LIQUIDATION, TRANSFER, FUNDING, DELIVERY = "2", "5", "6", "8", "3"
_SUBTYPES = {
    ("net", "buy"): "1",
    ("net", "sell"): "2",
    ("long", "buy"): "3",
    ("short", "sell"): "4",
    ("long", "sell"): "5",
    ("short", "buy"): "6",
}


@dataclass(frozen=True)
class AccountConfig:
    """How an account begins.

    Parameters
    ----------
    balance
        USDT, above 0
    maker, taker
        fee rates, shares of the traded value
    hedged
        long and short side by side (long_short_mode) instead of one net position

    Raises
    ------
    ConfigError
        for a balance that is not above 0, or fees outside 0 .. 1 %.
    """

    balance: float = 10_000.0
    maker: float = 0.0002
    taker: float = 0.0005
    hedged: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.balance < 1e12:
            raise ConfigError(f"a balance of {self.balance} USDT cannot be traded with; choose one above 0")
        for name, fee in (("maker", self.maker), ("taker", self.taker)):
            if not 0 <= fee <= 0.01:
                raise ConfigError(f"a {name} fee of {fee} is no share of the traded value; expected 0 .. 0.01")


class Account:
    """The state of one account.

    `cash` is what is not posted as margin; cash plus all margins equals the starting balance plus realised results
    minus fees plus funding, to the last digit.
    """

    def __init__(self, config: AccountConfig, now: int) -> None:
        self.config = config
        self.cash = money(exact(config.balance))
        self.maker, self.taker = exact(config.maker), exact(config.taker)
        self.hedged = config.hedged
        self.positions: dict[Key, Position] = {}
        self.leverage: dict[Key, Decimal] = {}
        self.fills: list[Fill] = []
        self.bills: list[Bill] = []
        self.updated = now
        self._numbers = count(1)

    def number(self, prefix: str) -> str:
        """The next identifier; ascending over all kinds."""
        return f"{prefix}{next(self._numbers):012d}"

    def leverage_of(self, key: Key) -> Decimal:
        """Leverage of what is opened next."""
        return self.leverage.get(key, DEFAULT_LEVERAGE)

    def closable(self, wanted: Wanted) -> Decimal:
        """Contracts of a position that an order would close rather than open."""
        held = self.positions.get(wanted.key)
        return held.contracts if held is not None and held.direction != wanted.direction else ZERO

    def reserved(self, order: Order) -> Decimal:
        """USDT that an open order may need: margin and fee of what it would open."""
        if order.price is None or order.wanted.only_closes:
            return ZERO
        opens = max(order.remaining - self.closable(order.wanted), ZERO)
        return self.cost(order.wanted.instrument, opens, order.price, order.leverage)

    def cost(self, instrument: Instrument, contracts: Decimal, price: Decimal, leverage: Decimal) -> Decimal:
        """USDT it takes to open: margin and taker fee."""
        value = contracts * exact(instrument.contract_value) * price
        return money(value / leverage) + money(value * self.taker)

    def available(self, orders: Iterable[Order]) -> Decimal:
        """Cash that no open order reserves."""
        return self.cash - sum((self.reserved(order) for order in orders if order.open), ZERO)

    def liquidation(self, position: Position) -> Decimal:
        """Mark price at which the position is liquidated."""
        tier = tier_for(tiers_of(position.instrument), float(position.contracts))
        rate = exact(tier.maintenance)
        return liquidation_price(position.direction, position.entry, position.margin, position.coins, rate, self.taker)

    def fill(self, order: Order, contracts: Decimal, price: Decimal, now: int, *, maker: bool) -> Decimal:
        """Book an execution: first it closes what stands against it, then it opens.

        Returns
        -------
        Decimal
            contracts opened
        """
        wanted = order.wanted
        cash, margin = self.cash, self._margins()
        closing = min(self.closable(wanted), contracts)
        pnl = self._close(wanted.key, closing, price, now) if closing else ZERO
        fee = money(contracts * exact(wanted.instrument.contract_value) * price * (self.maker if maker else self.taker))
        self.cash -= fee
        if contracts > closing:
            self._open(order, contracts - closing, price, now)
        trade_id = self.number("7")
        held = self.positions.get(wanted.key)
        if held is not None:
            held.fee, held.trade_id = held.fee + fee, trade_id
        subtype = _SUBTYPES[wanted.position_side, wanted.side]
        self._record(order, contracts, price, fee, pnl, now, maker, TRADE, subtype, self.cash - cash, margin, trade_id)
        return contracts - closing

    def settle(self, key: Key, mark: Decimal, rate: Decimal, now: int, contracts: Decimal | None = None) -> None:
        """Pay or receive funding on a position (or so many contracts of it), out of its margin."""
        held = self.positions[key]
        coins = (held.contracts if contracts is None else contracts) * exact(held.instrument.contract_value)
        amount = money(funding_received(held.direction, coins, mark, rate))
        held.margin += amount
        held.funding += amount
        held.updated = now
        subtype = "174" if amount > 0 else "173"
        size = held.contracts if contracts is None else contracts
        self._bill(FUNDING, subtype, ZERO, amount, now, held.instrument, Execution(size, mark, amount))

    def liquidate(self, order: Order, now: int) -> None:
        """Close a position at its bankruptcy price: its margin is lost, what was left of it goes to the exchange."""
        held = self.positions.pop(order.wanted.key)
        price = bankruptcy_price(held.direction, held.entry, held.margin, held.coins, self.taker)
        fee = money(held.coins * price * self.taker)
        margin = self._margins() + held.margin
        subtype = "104" if held.direction > 0 else "105"
        pnl = fee - held.margin
        trade = self.number("7")
        self._record(order, held.contracts, price, fee, pnl, now, False, LIQUIDATION, subtype, ZERO, margin, trade)

    def deliver(self, key: Key, price: Decimal, now: int) -> None:
        """Close a position of an instrument that is delisted, without a fee."""
        held = self.positions[key]
        cash, margin, contracts = self.cash, held.margin, held.contracts
        pnl = self._close(key, contracts, price, now)
        subtype = "112" if held.direction > 0 else "113"
        done = Execution(contracts, price, pnl)
        self._bill(DELIVERY, subtype, self.cash - cash, -margin, now, held.instrument, done)

    def transfer(self, key: Key, amount: Decimal, now: int) -> None:
        """Move cash into the margin of a position, or back if the amount is negative."""
        held = self.positions[key]
        held.margin += amount
        held.updated = held.moved = now
        self.cash -= amount
        self._bill(TRANSFER, "160" if amount > 0 else "161", -amount, amount, now, held.instrument)

    def _close(self, key: Key, contracts: Decimal, price: Decimal, now: int) -> Decimal:
        held = self.positions[key]
        whole = contracts == held.contracts
        released = held.margin if whole else money(held.margin * contracts / held.contracts)
        value = exact(held.instrument.contract_value)
        pnl = money(held.direction * (price - held.entry) * contracts * value)
        self.cash += released + pnl
        held.margin -= released
        held.contracts -= contracts
        held.pnl += pnl
        held.updated = held.moved = now
        if whole:
            del self.positions[key]
        return pnl

    def _open(self, order: Order, contracts: Decimal, price: Decimal, now: int) -> None:
        wanted = order.wanted
        held = self.positions.get(wanted.key)
        if held is None:
            held = Position(
                self.number("3"),
                wanted.instrument,
                wanted.position_side,
                wanted.direction,
                order.leverage,
                now,
                now,
                now,
            )
            self.positions[wanted.key] = held
        posted = money(contracts * exact(wanted.instrument.contract_value) * price / order.leverage)
        self.cash -= posted
        held.margin += posted
        total = held.contracts + contracts
        held.entry = (held.entry * held.contracts + price * contracts) / total
        held.contracts = total
        held.leverage = order.leverage
        held.updated = held.moved = now

    def _margins(self) -> Decimal:
        return sum((held.margin for held in self.positions.values()), ZERO)

    def _record(
        self,
        order: Order,
        contracts: Decimal,
        price: Decimal,
        fee: Decimal,
        pnl: Decimal,
        now: int,
        maker: bool,
        kind: str,
        subtype: str,
        cash_change: Decimal,
        margin_before: Decimal,
        trade_id: str,
    ) -> None:
        wanted = order.wanted
        done = Execution(contracts, price, pnl, fee, order.id, trade_id, "M" if maker else "T")
        margin_change = self._margins() - margin_before
        bill = self._bill(kind, subtype, cash_change, margin_change, now, wanted.instrument, done)
        fill = Fill(
            trade_id,
            order.id,
            wanted.client_id,
            bill.id,
            wanted.instrument,
            wanted.side,
            wanted.position_side,
            price,
            contracts,
            maker,
            fee,
            pnl,
            now,
        )
        self.fills.append(fill)
        order.filled += contracts
        order.traded += price * contracts
        order.fee += fee
        order.pnl += pnl
        order.last, order.updated = fill, now
        order.state = "filled" if order.filled == order.size else "partially_filled"

    def _bill(
        self,
        kind: str,
        subtype: str,
        cash_change: Decimal,
        margin_change: Decimal,
        now: int,
        instrument: Instrument,
        execution: Execution | None = None,
    ) -> Bill:
        number, said = self.number("8"), execution or NO_EXECUTION
        bill = Bill(number, kind, subtype, cash_change, margin_change, self.cash, now, instrument, said)
        self.bills.append(bill)
        self.updated = now
        return bill


def insufficient() -> OkxError:
    """51008: the account cannot afford it."""
    return OkxError("51008", "Order failed. Insufficient USDT balance in account.")
