"""Who ranks coins by market capitalisation: CoinGecko, and CoinMarketCap where it does not answer.

Keys come from the environment: COINGECKO_API_KEY (optional) and COINMARKETCAP_API_KEY (without it there is no
fallback). They travel in headers only and are never part of a message.

What belongs here: asking and reading both services. What does not: which coins are followed (`universe.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.collector.universe import Ranked
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.sources.http_client import Answer, HttpClient, IncompleteAnswerError

COINGECKO_KEY = "COINGECKO_API_KEY"
COINMARKETCAP_KEY = "COINMARKETCAP_API_KEY"
RANKED = 250
"""Coins asked for: the fiftieth listed one lies far above the 250th of all."""

MakeClient = Callable[[Mapping[str, str]], HttpClient]


def ranking(
    config: CryptoConfig, environment: Mapping[str, str], client: MakeClient | None = None
) -> tuple[str, list[Ranked], list[str]]:
    """Who ranked, the ranking, and what went wrong on the way.

    Parameters
    ----------
    config
        addresses
    environment
        holds the keys
    client
        makes an HTTP client that sends these headers; by default a real one

    Raises
    ------
    SourceError
        if neither service gave a ranking.
    """
    client = client or (lambda headers: HttpClient(headers=headers))
    problems = []
    key = environment.get(COINGECKO_KEY, "")
    pro = "pro-api." in config.coingecko_url
    headers = {"x-cg-pro-api-key" if pro else "x-cg-demo-api-key": key} if key else {}
    try:
        with client(headers) as http:
            parameters = {"vs_currency": "usd", "order": "market_cap_desc", "per_page": str(RANKED), "page": "1"}
            return "coingecko", http.get(f"{config.coingecko_url}/coins/markets", parameters, read_coingecko), []
    except SourceError as error:
        problems.append(f"CoinGecko: {error}")
    key = environment.get(COINMARKETCAP_KEY, "")
    if not key:
        raise SourceError(
            f"{problems[0]}; CoinMarketCap is not asked, because {COINMARKETCAP_KEY} is not set: set it, name the "
            "coins with BUTTERQUANT_CRYPTO__SYMBOLS, or collect again later"
        )
    try:
        with client({"X-CMC_PRO_API_KEY": key}) as http:
            address = f"{config.coinmarketcap_url}/cryptocurrency/listings/latest"
            found = http.get(address, {"limit": str(RANKED), "convert": "USD"}, read_coinmarketcap)
    except SourceError as error:
        raise SourceError(
            f"{problems[0]}; CoinMarketCap: {error}; expected a ranking from one of them: if a key was refused, renew "
            f"it; or name the coins with BUTTERQUANT_CRYPTO__SYMBOLS"
        ) from error
    return "coinmarketcap", found, problems


def read_coingecko(answer: Answer) -> list[Ranked]:
    """Coins of CoinGecko's ``/coins/markets``."""
    return _read(answer, lambda document: document, _of_coingecko)


def read_coinmarketcap(answer: Answer) -> list[Ranked]:
    """Coins of CoinMarketCap's ``/cryptocurrency/listings/latest``."""
    return _read(answer, lambda document: document["data"], _of_coinmarketcap)


def _of_coingecko(row: Any) -> Ranked | None:
    return _ranked(
        row["symbol"],
        row["name"],
        row["market_cap"],
        row.get("current_price"),
        row.get("price_change_percentage_24h"),
    )


def _of_coinmarketcap(row: Any) -> Ranked | None:
    quote = row["quote"]["USD"]
    return _ranked(row["symbol"], row["name"], quote["market_cap"], quote.get("price"), quote.get("percent_change_24h"))


def _ranked(symbol: str, name: str, cap: float | None, price: float | None, change: float | None) -> Ranked | None:
    if not cap or not cap > 0:
        return None
    missing = float("nan")
    return Ranked(
        str(symbol).upper(),
        str(name),
        float(cap),
        missing if price is None else float(price),
        missing if change is None else float(change),
    )


def _read(answer: Answer, part: Callable[[Any], Any], read: Callable[[Any], Ranked | None]) -> list[Ranked]:
    if answer.status >= 400:
        raise SourceError(f"answered {answer.status}, expected a ranking: check address and key")
    try:
        found = [one for row in part(json.loads(answer.body)) if (one := read(row)) is not None]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IncompleteAnswerError(f"the answer is no ranking ({type(error).__name__})") from error
    if not found:
        raise IncompleteAnswerError("the ranking is empty")
    return found
