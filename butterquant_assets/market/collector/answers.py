"""What an answer of the exchange is: rows, something that passes, or a refusal.

Judged by HTTP status, OKX's code and the body itself, because the client library takes a body that is cut off or no
JSON for an empty answer, and files a region block under "not available".

What belongs here: pure judgement of one answer. What does not: asking (`client.py`) and what rows mean (`tables.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from butterquant_assets.foundation.errors import SourceError

PASSING_STATUS = frozenset({408, 425, 500, 502, 503, 504, 520, 521, 522, 524})
PASSING_CODES = frozenset({"50001", "50004", "50005", "50013", "50026"})
"""Service unavailable, time-out, system busy."""

LIMIT_CODES = frozenset({"50011", "50040", "50061"})
NO_INSTRUMENT = "51001"
UNKNOWN_CODES = frozenset({NO_INSTRUMENT, "51014", "51022", "51028"})
"""No such instrument, no such index, suspended, delisted."""

REGION_CODES = frozenset({"50124", "50125"})
KEY_CODES = frozenset(str(code) for code in (*range(50100, 50115), 50119, 50120))


class AccessError(SourceError):
    """The exchange does not serve us at all: it blocks this region, or refuses the key. Nothing more is asked."""


class LeftAloneError(AccessError):
    """The exchange asks to be left alone for longer than a collection waits. Nothing more is asked."""


class UnknownSymbolError(SourceError):
    """The exchange does not know, or no longer lists, an instrument.

    Parameters
    ----------
    message
        in words
    code
        the exchange's code; "" where it was not asked
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class UnansweredError(SourceError):
    """A request got no usable answer, however often it was sent. Another may."""


class RestedEndpointError(UnansweredError):
    """An endpoint has failed so often in a row that it is not asked again in this collection."""


@dataclass(frozen=True)
class Heard:
    """What came over the wire.

    Parameters
    ----------
    status
        HTTP status
    headers
        of the answer; names in any case
    document
        the body as JSON, None where it is none
    """

    status: int
    headers: Mapping[str, str]
    document: Any


@dataclass(frozen=True)
class Passing:
    """The request is worth sending again.

    Parameters
    ----------
    why
        in words
    limited
        whether the exchange asks to be left alone for a while
    wait_seconds
        for how long, where it says so; 0 otherwise
    """

    why: str
    limited: bool = False
    wait_seconds: float = 0.0


def judge(heard: Heard, path: str, asked: str) -> list[Any] | Passing:
    """Rows of a good answer, or why to ask again.

    Parameters
    ----------
    heard
        the answer
    path
        endpoint, for messages
    asked
        what was asked for, for messages: an instrument, mostly

    Raises
    ------
    AccessError
        for a region block or a refused key.
    UnknownSymbolError
        for an instrument the exchange does not have.
    SourceError
        for anything else the exchange turns down.
    """
    document = heard.document if isinstance(heard.document, dict) else {}
    code, words = str(document.get("code", "")), str(document.get("msg", ""))
    said = f"HTTP {heard.status}" + (f", code {code} ({words})" if code else "")
    if heard.status == 429 or code in LIMIT_CODES:
        return Passing(f"too many requests ({said})", limited=True, wait_seconds=_retry_after(heard.headers))
    if code in REGION_CODES or heard.status == 451 or (heard.status == 403 and code not in KEY_CODES):
        raise AccessError(
            f"{path}: the exchange does not serve this address or region ({said}), expected data: ask from where its "
            "terms allow it, or set BUTTERQUANT_CRYPTO__EXCHANGE_URL to an address that serves you"
        )
    if code in KEY_CODES or heard.status == 401:
        raise AccessError(
            f"{path}: the exchange refuses the key or asks for one ({said}), expected public data without one, or a "
            "key that is valid, not expired and of this environment: renew it, or check the exchange's address"
        )
    if heard.status in PASSING_STATUS or code in PASSING_CODES:
        return Passing(f"unavailable ({said})", wait_seconds=_retry_after(heard.headers))
    if code in UNKNOWN_CODES:
        raise UnknownSymbolError(
            f"{asked}: the exchange has no such instrument ({said}), expected a listed USDT swap: it was delisted, or "
            "the name is wrong; check BUTTERQUANT_CRYPTO__SYMBOLS against the exchange's list",
            code,
        )
    if not code:
        return Passing(f"the answer is cut off or no JSON (HTTP {heard.status})")
    if code != "0":
        raise SourceError(
            f"{path} for {asked} was turned down ({said}), expected data: this version of the collector and the "
            "exchange disagree about the request; report it"
        )
    rows = document.get("data")
    if not isinstance(rows, list):
        return Passing("the answer has no rows where they should be")
    return rows


def _retry_after(headers: Mapping[str, str]) -> float:
    text = next((value for name, value in headers.items() if name.lower() == "retry-after"), "").strip()
    return float(text) if text.isdigit() else 0.0
