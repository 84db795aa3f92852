"""What a trader sets: position mode, leverage, and the margin of a position."""

from __future__ import annotations

from decimal import Decimal

from butterquant_assets.market.exchange.answers import OkxError
from butterquant_assets.market.exchange.tiers import tier_for, tiers_of
from butterquant_assets.market.exchange.trading.account import Key
from butterquant_assets.market.exchange.trading.amounts import exact, money
from butterquant_assets.market.exchange.trading.desk import TradingDesk
from butterquant_assets.market.exchange.venue import Instrument


def set_hedged(desk: TradingDesk, hedged: bool) -> None:
    """Choose between long and short side by side, and one net position.

    Raises
    ------
    OkxError
        59000 with positions or open orders.
    """
    if hedged == desk.account.hedged:
        return
    if desk.account.positions or desk.resting() or desk.waiting():
        raise OkxError("59000", "Setting failed. Cancel any open orders and close positions first.")
    desk.account.hedged = hedged
    desk.account.leverage.clear()


def set_leverage(desk: TradingDesk, instrument: Instrument, key: Key, leverage: Decimal, now: int) -> None:
    """Choose the leverage of a position, whose margin changes with it.

    Raises
    ------
    OkxError
        59102 above the instrument's or the tier's; 59101 with open orders; 59103 where cash does not suffice, or
        the position would be liquidated at once.
    """
    held = desk.account.positions.get(key)
    tier = tier_for(tiers_of(instrument), float(held.contracts) if held else 0.0)
    if leverage > exact(tier.leverage):
        raise OkxError("59102", f"Leverage exceeds the maximum leverage of {tier.leverage:g}.")
    if any(order.wanted.key == key for order in desk.resting(key[0])):
        raise OkxError("59101", "Leverage can't be modified. Please cancel all pending isolated margin orders first.")
    if held is not None:
        value = held.coins * held.entry
        change = money(value / leverage) - money(value / held.leverage)
        change_margin(desk, key, change, now, refusal="59103")
        held.leverage = leverage
    desk.account.leverage[key] = leverage


def change_margin(desk: TradingDesk, key: Key, amount: Decimal, now: int, *, refusal: str = "59301") -> None:
    """Move cash into a position's margin, or back.

    Raises
    ------
    OkxError
        59300 without a position; the code given where cash or margin does not suffice.
    """
    held = desk.account.positions.get(key)
    if held is None:
        raise OkxError("59300", "Margin adjustment failed. Position doesn't exist.")
    if not amount:
        return
    mark = exact(desk.venue.price("mark", key[0], now))
    held.margin += amount
    liquidation = desk.account.liquidation(held)
    held.margin -= amount
    if amount > desk.available() or held.direction * (mark - liquidation) <= 0:
        raise OkxError(refusal, "Margin can't be changed by so much: the balance or the position doesn't allow it.")
    desk.account.transfer(key, amount, now)
