"""Which coins are followed: the largest by market capitalisation that trade as USDT swaps and are coins of their own.

Left out by rule, because their price is another's: stablecoins (pegged to a currency) and wrapped, bridged or staked
forms of another coin.

What belongs here: pure rules on a ranking. What does not: asking who ranks (`rankings.py`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from butterquant_assets.market.collector.snapshots import typed
from butterquant_assets.market.crypto_schemas import CRYPTO_UNIVERSE

PEG_TOLERANCE = 0.01
QUIET_DAY_PCT = 0.1
"""A price this near to 1 that moved this little in a day is pegged; a free one hardly ever moves so little."""

TWIN_TOLERANCE = 0.02
PREFIXES = ("W", "ST", "WST", "CB")

_DOLLAR = re.compile(r"USD|DAI$|^FRAX$|^MIM$")
_CURRENCY = re.compile(r"^[ACSTXZ]?(EUR|GBP|JPY|CNH|CNY|TRY|BRL|AUD|CHF|SGD|KRW)[A-Z0-9]?$")
"""A currency with at most one letter around it, as in EURC or XSGD; AUDIO and CNYES are coins of their own."""

_STABLE_NAME = re.compile(r"\b(dollar|stablecoin|stable coin|usd|euro|eur)\b", re.IGNORECASE)
DOLLARS = (0.5, 2.0)
"""A coin with the dollar in its symbol whose price is known to lie elsewhere is not worth one."""

_WRAPPED_NAME = re.compile(
    r"\b(wrapped|bridged|staked|restaked|liquid staking|binance-peg|pegged|peg)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Ranked:
    """One coin of a ranking.

    Parameters
    ----------
    symbol
        in capitals
    name
        as the ranking words it
    market_cap_usd
        above 0
    price_usd
        NaN where not told
    day_change_pct
        of the price over 24 h; NaN where not told
    """

    symbol: str
    name: str
    market_cap_usd: float
    price_usd: float = float("nan")
    day_change_pct: float = float("nan")


@dataclass(frozen=True)
class Member:
    """One coin of the universe; no capitalisation is NaN."""

    coin: str
    market_cap_usd: float


def is_stablecoin(one: Ranked) -> bool:
    """Whether a coin's price is pegged to a currency: by its name, or by a price that stands still at 1."""
    if _CURRENCY.search(one.symbol) or _STABLE_NAME.search(one.name):
        return True
    if _DOLLAR.search(one.symbol) and not (one.price_usd < DOLLARS[0] or one.price_usd > DOLLARS[1]):
        return True
    return abs(one.price_usd - 1) <= PEG_TOLERANCE and abs(one.day_change_pct) <= QUIET_DAY_PCT


def is_wrapped(one: Ranked, prices: Mapping[str, float]) -> bool:
    """Whether a coin stands for another: by its name, or by a prefix before a coin of the same price.

    Parameters
    ----------
    prices
        symbol -> price of all ranked coins
    """
    if _WRAPPED_NAME.search(one.name):
        return True
    for prefix in PREFIXES:
        other = prices.get(one.symbol.removeprefix(prefix)) if one.symbol.startswith(prefix) else None
        if other and abs(one.price_usd / other - 1) <= TWIN_TOLERANCE:
            return True
    return False


def choose(ranking: Sequence[Ranked], listed: Collection[str], most: int) -> tuple[Member, ...]:
    """The largest coins that are listed and no other's shadow, largest first.

    Parameters
    ----------
    ranking
        any order; of equal symbols the largest counts
    listed
        coins with a USDT swap
    most
        number wanted
    """
    by_size = sorted(ranking, key=lambda one: -one.market_cap_usd)
    first: dict[str, Ranked] = {}
    for one in by_size:
        first.setdefault(one.symbol, one)
    prices = {symbol: one.price_usd for symbol, one in first.items() if one.price_usd > 0}
    kept = [
        Member(one.symbol, one.market_cap_usd)
        for one in first.values()
        if one.symbol in listed and not is_stablecoin(one) and not is_wrapped(one, prices)
    ]
    return tuple(kept[:most])


def universe_rows(day: str, members: Sequence[Member], chosen_by: str, *, as_of_known: bool) -> pd.DataFrame:
    """Rows of `crypto_universe` for one day, ranked in the order given."""
    return typed(
        CRYPTO_UNIVERSE,
        pd.DataFrame(
            {
                "day": np.full(len(members), np.datetime64(day, "us")),
                "coin": [one.coin for one in members],
                "rank": range(1, len(members) + 1),
                "market_cap_usd": [one.market_cap_usd for one in members],
                "chosen_by": chosen_by,
                "as_of_known": as_of_known,
            }
        ),
    )


def members_of(rows: pd.DataFrame) -> tuple[Member, ...]:
    """Inverse of `universe_rows`."""
    ordered = rows.sort_values("rank")
    pairs = zip(ordered["coin"], ordered["market_cap_usd"], strict=True)
    return tuple(Member(str(coin), float(value)) for coin, value in pairs)
