"""What the simulated crypto market is made of: its configuration, an hour's figures, and what one day hands the next.

What belongs here: the shapes. What does not: how they come about (`crypto_simulator`, `crypto_prices`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.market.crypto_traits import LOTS_PER_CONTRACT, CoinTraits, Floats, Ints, to_tick

Bools = npt.NDArray[np.bool_]

HOURS = 24
TAIL = 25
"""Hours of history a day needs: the 24 h return reaches back to the 25th close."""

MAXIMUM_EDGE = 1.0
FIRST_DAY = "2023-01-01"
NEUTRAL_FUNDING = 1e-4
"""Premium, and so funding per 8 h, of a market nobody crowds into."""


@dataclass(frozen=True)
class CryptoMarketConfig:
    """What determines a simulated crypto market entirely.

    Parameters
    ----------
    seed
        of all streams, 0 or more
    edge
        scale of the planted drift, 0 .. 1 (`crypto_simulator`); 0 is the fair market
    coins
        2 .. 999; SIMBTC and SIMETH are the first two
    first_day
        UTC day the market begins

    Raises
    ------
    ConfigError
        for values outside these ranges.
    """

    seed: int = 0
    edge: float = 0.0
    coins: int = 20
    first_day: str = FIRST_DAY

    def __post_init__(self) -> None:
        if self.seed < 0 or not 0 <= self.edge <= MAXIMUM_EDGE:
            raise ConfigError(
                f"cannot simulate seed={self.seed}, edge={self.edge}; expected seed >= 0, edge 0 .. {MAXIMUM_EDGE}"
            )
        try:
            np.datetime64(self.first_day, "D")
        except ValueError as error:
            raise ConfigError(f"first_day is {self.first_day!r}; expected a day such as {FIRST_DAY}") from error


@dataclass(frozen=True)
class CryptoHours:
    """Hours of the market; arrays are float64 of shape (T, N), NaN where a coin has no market.

    Parameters
    ----------
    open, high, low, close
        last traded price, USDT
    volume, taker_buy
        contracts, multiples of a lot; 0 in an outage
    open_interest
        contracts at the end of the hour
    mark_open, mark_high, mark_low, mark_close
        mark price, USDT
    index_open, index_high, index_low, index_close
        index price, USDT
    funding
        rate settled at the *start* of the hour over the interval that ends there, NaN in hours without settlement
    interval
        hours between settlements that held on the day
    premium
        mean premium of the perpetual over the index in the hour
    drift
        the planted expected log return of the hour (0 everywhere with edge 0); no market publishes this
    variance
        true variance of the hour's log return; no market publishes this
    """

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    taker_buy: Floats
    open_interest: Floats
    mark_open: Floats
    mark_high: Floats
    mark_low: Floats
    mark_close: Floats
    index_open: Floats
    index_high: Floats
    index_low: Floats
    index_close: Floats
    funding: Floats
    interval: Floats
    premium: Floats
    drift: Floats
    variance: Floats


FIELDS = tuple(field.name for field in fields(CryptoHours))


@dataclass(frozen=True)
class MarketState:
    """What one day hands to the next; the last axis of every array is the coins."""

    day: int
    regime: int
    market_path: float
    own_path: Floats
    level: Floats
    frozen: Floats
    mark: Floats
    index: Floats
    flow_mood: Floats
    volume_mood: Floats
    crowding: Floats
    premium_noise: Floats
    scales: Floats
    carried: Floats
    levels: Floats
    volumes: Floats
    signed: Floats
    interest: Floats
    premiums: Floats
    interval: Ints


@dataclass(frozen=True)
class Draws:
    """Every random number of a day; arrays are (24, ...) with the coins last."""

    market: Floats
    market_uniform: Floats
    normal: Floats
    uniform: Floats
    outage: Bools


def initial_state(traits: CoinTraits) -> MarketState:
    """The state before the first day: ordinary regime, no crowding, flat history."""
    count = len(traits.names)
    zeros = np.zeros(count)
    lots = traits.dollars / (traits.start_price * traits.contract_value) * LOTS_PER_CONTRACT
    interest = np.log(traits.interest_dollars / (traits.start_price * traits.contract_value))
    return MarketState(
        day=0,
        regime=1,
        market_path=0.0,
        own_path=zeros,
        level=zeros,
        frozen=to_tick(traits.start_price, traits),
        mark=traits.start_price,
        index=traits.start_price,
        flow_mood=zeros,
        volume_mood=zeros,
        crowding=zeros,
        premium_noise=zeros,
        scales=np.array([[0.04], [0.08], [0.012], [0.02], [0.06], [0.06], [0.15]]) * np.ones(count),
        carried=zeros,
        levels=np.zeros((TAIL, count)),
        volumes=np.tile(lots, (TAIL, 1)),
        signed=np.zeros((TAIL, count)),
        interest=np.tile(interest, (TAIL, 1)),
        premiums=np.full((HOURS, count), NEUTRAL_FUNDING),
        interval=traits.interval,
    )
