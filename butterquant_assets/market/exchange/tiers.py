"""Leverage tiers: how large a position may be at a leverage, and the maintenance margin it needs.

Sizes are in contracts. What belongs here: the table and looking things up in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from butterquant_assets.market.exchange.answers import OkxError
from butterquant_assets.market.exchange.venue import Instrument

_FIRST_TIER = 50_000
"""Contracts; a simulated one is worth 10 to 100 USDT when its coin is listed."""

_TIERS = ((1, 1.0, 0.004), (2, 0.8, 0.005), (4, 0.5, 0.0075), (8, 0.3, 0.015), (16, 0.2, 0.025), (40, 0.1, 0.05))
"""Largest size as a multiple of the first tier's, leverage as a share of the highest, maintenance margin rate."""


@dataclass(frozen=True)
class Tier:
    """One row of the table.

    Parameters
    ----------
    number
        from 1
    least, most
        contracts of a position in this tier, both included
    maintenance
        maintenance margin rate, a share of the position's value
    leverage
        highest allowed
    """

    number: int
    least: int
    most: int
    maintenance: float
    leverage: float


def tiers_of(instrument: Instrument) -> tuple[Tier, ...]:
    """The tiers of an instrument, smallest first; the same for isolated and cross margin here."""
    rows: list[Tier] = []
    least = 0
    for number, (multiple, share, maintenance) in enumerate(_TIERS, start=1):
        most = _FIRST_TIER * multiple
        rows.append(Tier(number, least, most, maintenance, max(instrument.leverage * share, 1.0)))
        least = most + 1
    return tuple(rows)


def tier_for(tiers: tuple[Tier, ...], contracts: float) -> Tier:
    """The tier of a position of this size; one between two tiers belongs to the higher.

    Raises
    ------
    OkxError
        51004 beyond the last tier.
    """
    for tier in tiers:
        if contracts <= tier.most:
            return tier
    raise OkxError("51004", f"Order amount exceeds current tier limit of {tiers[-1].most} contracts.")
