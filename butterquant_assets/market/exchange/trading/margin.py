"""Isolated margin of a linear swap: where a position is liquidated, and what funding it pays.

Pure arithmetic. `direction` is +1 for a long and -1 for a short, sizes are in coins, prices in USDT, rates are shares.
Formulas: OKX's help pages on isolated margin and on funding; the tests hold published values.
"""

from __future__ import annotations

from decimal import Decimal


def liquidation_price(
    direction: int, entry: Decimal, margin: Decimal, size: Decimal, maintenance: Decimal, taker: Decimal
) -> Decimal:
    """The mark price at which margin plus loss equals maintenance margin plus the fee of closing.

    Parameters
    ----------
    direction
        +1 long, -1 short
    entry
        mean entry price
    margin
        USDT posted for the position
    size
        coins, above 0
    maintenance
        maintenance margin rate of the position's tier
    taker
        taker fee rate

    Returns
    -------
    Decimal
        (entry -+ margin / size) / (1 -+ (maintenance + taker)), upper signs for a long; not positive when a long
        cannot be liquidated
    """
    return (entry - direction * margin / size) / (1 - direction * (maintenance + taker))


def bankruptcy_price(direction: int, entry: Decimal, margin: Decimal, size: Decimal, taker: Decimal) -> Decimal:
    """The price at which closing, fee included, costs exactly the margin."""
    return liquidation_price(direction, entry, margin, size, Decimal(0), taker)


def funding_received(direction: int, size: Decimal, mark: Decimal, rate: Decimal) -> Decimal:
    """USDT received at a settlement; negative when paid. At a positive rate longs pay shorts."""
    return -direction * size * mark * rate
