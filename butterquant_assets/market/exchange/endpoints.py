"""What an endpoint is, and how a request names an instrument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from butterquant_assets.market.exchange.answers import Row, unknown_instrument
from butterquant_assets.market.exchange.paging import Query
from butterquant_assets.market.exchange.rate_limits import RateLimit
from butterquant_assets.market.exchange.venue import Instrument, Venue

Handler = Callable[[Venue, Query, int], list[Row]]


@dataclass(frozen=True)
class Endpoint:
    """What answers a path, and how often it may be asked."""

    handler: Handler
    limit: RateLimit


def instrument_of(venue: Venue, inst_id: str, now: int) -> Instrument:
    """The instrument of this identifier that trades now; 51001 if there is none."""
    for instrument in venue.instruments(now):
        if instrument.inst_id == inst_id:
            return instrument
    raise unknown_instrument()


def base_of_family(venue: Venue, family: str, now: int) -> str:
    """The coin of an index or instrument family such as SIMBTC-USDT; 51001 if there is none."""
    return instrument_of(venue, f"{family}-SWAP", now).base
