"""Prices and funding of the simulated crypto market, from its fair levels and premiums.

What belongs here: a day's traded, mark and index bars, and its settlements. What does not: how levels and premiums move
(`crypto_simulator`).
"""

from __future__ import annotations

import numpy as np

from butterquant_assets.market.crypto_state import HOURS, NEUTRAL_FUNDING, Draws, MarketState
from butterquant_assets.market.crypto_traits import CoinTraits, Floats, Ints, to_tick

FUNDING_BAND, FUNDING_CAP = 5e-4, 7.5e-3


def prices_of_day(traits: CoinTraits, state: MarketState, draws: Draws, rows: dict[str, Floats]) -> dict[str, Floats]:
    """Traded, mark and index prices from fair levels; in an outage the traded price stands still."""
    before = np.concatenate([state.level[None], rows["level"][:-1]])
    reach = np.sqrt((rows["level"] - before) ** 2 - 2 * rows["variance"] * np.log1p(-draws.uniform[:2]))
    top, bottom = (before + rows["level"] + reach[0]) / 2, (before + rows["level"] - reach[1]) / 2
    opened, closed, high, low = (traits.start_price * np.exp(values) for values in (before, rows["level"], top, bottom))
    prices = _derived(traits, state, draws, rows, (opened, closed, high, low))
    traded = {"open": opened, "high": high, "low": low, "close": closed}
    traded = {name: to_tick(values, traits) for name, values in traded.items()}
    last = state.frozen
    for hour in range(HOURS):
        halted = draws.outage[hour]
        for values in traded.values():
            values[hour] = np.where(halted, last, values[hour])
        last = traded["close"][hour]
    return prices | traded


def _derived(
    traits: CoinTraits,
    state: MarketState,
    draws: Draws,
    rows: dict[str, Floats],
    fair: tuple[Floats, Floats, Floats, Floats],
) -> dict[str, Floats]:
    """Mark and index bars. Their extremes reach nine tenths as far as the trades', whose wicks are partly one order."""
    opened, closed, high, low = fair
    above, below = high / np.maximum(opened, closed), low / np.minimum(opened, closed)
    wobble = 1 + 4e-5 * np.clip(draws.normal[6], -3, 3)
    found: dict[str, Floats] = {}
    for kind, close, start in (
        ("mark", closed * wobble, state.mark),
        ("index", closed / (1 + rows["premium"]), state.index),
    ):
        close = to_tick(close, traits, extra=1)
        begin = np.concatenate([start[None], close[:-1]])
        found[f"{kind}_open"], found[f"{kind}_close"] = begin, close
        upper, lower = np.maximum(begin, close), np.minimum(begin, close)
        found[f"{kind}_high"] = np.maximum(to_tick(upper * above**0.9, traits, extra=1), upper)
        found[f"{kind}_low"] = np.minimum(to_tick(lower * below**0.9, traits, extra=1), lower)
    return found


def settlements_of_day(interval: Ints, before: Floats, premium: Floats) -> Floats:
    """Rates settled in the day, NaN in other hours, from the mean premium of the interval before each settlement."""
    total = np.cumsum(np.concatenate([np.zeros((1, premium.shape[1])), before, premium]), axis=0)
    rates = np.full(premium.shape, np.nan)
    for hours in np.unique(interval):
        coins = np.flatnonzero(interval == hours)
        for hour in range(0, HOURS, int(hours)):
            mean = (total[HOURS + hour, coins] - total[HOURS + hour - hours, coins]) / hours
            rates[hour, coins] = funding_rate(mean, int(hours))
    return rates


def funding_rate(premium: Floats, interval: int) -> Floats:
    """Rate of one settlement: OKX's P + clip(interest - P, +-0.05 %) per 8 h, capped, in proportion to the interval.

    Parameters
    ----------
    premium
        mean premium of the perpetual over the index in the interval
    interval
        hours

    Returns
    -------
    float64 array like `premium`, rounded to 1e-10; exactly the interest in ordinary hours
    """
    per_eight = premium + np.clip(NEUTRAL_FUNDING - premium, -FUNDING_BAND, FUNDING_BAND)
    rate: Floats = np.round(np.clip(per_eight, -FUNDING_CAP, FUNDING_CAP) * interval / 8, 10)
    return rate
