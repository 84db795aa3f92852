"""The coins of the simulated crypto market: names, sizes and habits that do not change from hour to hour.

What belongs here: what a coin is. What does not: how its prices move (`crypto_simulator`) and trade
(`crypto_microstructure`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import ConfigError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SIMULATED = "SIM"
"""What the names of simulated coins begin with, and no others do."""

LOTS_PER_CONTRACT = 10
"""Smallest traded size: a tenth of a contract."""

INTERVAL_DAYS = 30
"""Days for which a coin keeps its funding interval at least."""

FOREVER = int(np.iinfo(np.int64).max)
MAXIMUM_COINS = 999

_TRAITS, _INTERVAL = 0, 1
_BTC_PRICE, _ETH_PRICE = 20_000.0, 1_500.0
_LIFE_FROM = 6
"""Coins before this position are listed from the first day and stay; later ones may come late or be delisted."""


@dataclass(frozen=True)
class CoinTraits:
    """What stays the same about each of N coins; arrays have shape (N,).

    Parameters
    ----------
    names
        SIMBTC, SIMETH, SIMC03, ...; every name says that the coin is simulated
    beta
        sensitivity to the BTC factor; 1 for SIMBTC
    own_vol
        standard deviation of the coin's own hourly log return in an ordinary hour; 0 for SIMBTC, which is the factor
    start_price
        USDT at the first hour
    dollars
        typical USDT volume of an hour
    interest_dollars
        typical open interest, USDT
    interval
        usual hours between funding settlements: 8, 4 or 2
    listed_day, delisted_day
        first day with a market and first day without, counted from the first day of the simulation
    decimals
        decimals of a price; the tick is 10 ** -decimals
    contract_value
        coins in one contract
    supply
        coins in circulation, for a market capitalisation
    """

    names: tuple[str, ...]
    beta: Floats
    own_vol: Floats
    start_price: Floats
    dollars: Floats
    interest_dollars: Floats
    interval: Ints
    listed_day: Ints
    delisted_day: Ints
    decimals: Ints
    contract_value: Floats
    supply: Floats


def coin_names(count: int) -> tuple[str, ...]:
    """Names of the first `count` coins; more coins never rename earlier ones.

    Raises
    ------
    ConfigError
        if `count` is not 2 .. 999: SIMBTC and SIMETH are inputs of every coin's signals.
    """
    if not 2 <= count <= MAXIMUM_COINS:
        raise ConfigError(f"cannot simulate {count} coins; expected 2 .. {MAXIMUM_COINS}, SIMBTC and SIMETH first")
    return ("SIMBTC", "SIMETH", *(f"SIMC{number:02d}" for number in range(3, count + 1)))


def draw_traits(seed: int, count: int) -> CoinTraits:
    """Traits of the first `count` coins of market `seed`; each coin has its own stream.

    Parameters
    ----------
    seed
        0 or more
    count
        2 .. 999

    Returns
    -------
    CoinTraits
    """
    names = coin_names(count)
    draws = np.array([np.random.default_rng([seed, _TRAITS, coin]).uniform(size=8) for coin in range(count)])
    price = np.exp(np.log(0.05) + draws[:, 0] * np.log(500 / 0.05))
    price[:2] = _BTC_PRICE, _ETH_PRICE
    dollars = 4e7 * np.exp(-3.0 * draws[:, 1])
    dollars[:2] = 6e8, 3e8
    beta = 0.7 + 0.9 * draws[:, 2]
    beta[:2] = 1.0, 1.1
    own_vol = 0.004 + 0.006 * draws[:, 3]
    own_vol[:2] = 0.0, 0.0025
    interval = np.array([8, 8, 4, 8, 2])[np.minimum((draws[:, 4] * 5).astype(int), 4)]
    interval[:2] = 8
    listed, delisted = _lives(draws[:, 5], draws[:, 6])
    magnitude = np.log10(price)
    return CoinTraits(
        names=names,
        beta=beta,
        own_vol=own_vol,
        start_price=price,
        dollars=dollars,
        interest_dollars=dollars * (8 + 8 * draws[:, 7]),
        interval=interval.astype(np.int64),
        listed_day=listed,
        delisted_day=delisted,
        decimals=np.maximum(5 - np.floor(magnitude), 0).astype(np.int64),
        contract_value=10.0 ** np.floor(2 - magnitude),
        supply=np.round(dollars * (400 + 200 * draws[:, 7]) / price),
    )


def funding_intervals(seed: int, traits: CoinTraits, day: int) -> Ints:
    """Hours between settlements on a day: the usual ones, but halved for one stretch of 30 days in ten.

    Real intervals change too, so whoever assumes eight hours is wrong here as there.

    Returns
    -------
    int64 array, shape (N,): 1, 2, 4 or 8
    """
    stretch = day // INTERVAL_DAYS
    draws = [np.random.default_rng([seed, _INTERVAL, coin, stretch]).random() for coin in range(len(traits.names))]
    halved = (np.array(draws) < 0.1) & (np.arange(len(draws)) >= 2)
    return np.where(halved, traits.interval // 2, traits.interval)


def to_tick(price: Floats, traits: CoinTraits, extra: int = 0) -> Floats:
    """Prices, shape (..., N), on each coin's tick (a tenth of it with `extra` 1); at least one tick."""
    steps = 10.0 ** (traits.decimals + extra)
    rounded: Floats = np.maximum(np.round(price * steps), 1.0) / steps
    return rounded


def _lives(late: Floats, gone: Floats) -> tuple[Ints, Ints]:
    """A quarter of the smaller coins are listed later, a tenth are delisted at some time."""
    small = np.arange(len(late)) >= _LIFE_FROM
    listed = np.where(small & (late < 0.25), 20 + late / 0.25 * 300, 0).astype(np.int64)
    ends = small & (gone < 0.1)
    delisted = np.full(len(late), FOREVER, dtype=np.int64)
    delisted[ends] = listed[ends] + 60 + (gone[ends] / 0.1 * 600).astype(np.int64)
    return listed, delisted
