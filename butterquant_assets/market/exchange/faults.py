"""What can go wrong with an exchange, switched on by rule and repeatable by seed.

A rule hits a share of the requests it applies to, chosen by a hash of (seed, rule, request, attempt): whatever order
concurrent requests arrive in, the same ones are hit. Unless said otherwise only the first attempt of a request can be
hit, so that a client that asks again gets the truth.

An order or a change hit by a refusal or a page for people is not carried out; one hit by a timeout may or may not be;
any other is, whatever its answer looks like.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.market.exchange.answers import OkxError, Row

SKEW_MS = 600_000
"""How far the exchange's clock runs ahead under `clock_skew`."""

REVISION = 1.004


class FaultKind(StrEnum):
    """The faults there are."""

    RATE_LIMITED = "rate_limited"
    RETRY_AFTER = "retry_after"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    TRUNCATED = "truncated"
    WRONG_CONTENT_TYPE = "wrong_content_type"
    EMPTY = "empty"
    DUPLICATED = "duplicated"
    MISSING = "missing"
    REVISED = "revised"
    REORDERED = "reordered"
    CLOCK_SKEW = "clock_skew"
    UNKNOWN_INSTRUMENT = "unknown_instrument"
    WRONG_ENVIRONMENT = "wrong_environment"
    KEY_EXPIRED = "key_expired"
    REGION_BLOCK = "region_block"


REFUSALS = {
    FaultKind.RATE_LIMITED: ("50011", "Too Many Requests", 429),
    FaultKind.RETRY_AFTER: ("50011", "Too Many Requests", 429),
    FaultKind.SERVER_ERROR: ("50001", "Service temporarily unavailable. Please try again later.", 503),
    FaultKind.UNKNOWN_INSTRUMENT: ("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.", 200),
    FaultKind.WRONG_ENVIRONMENT: ("50101", "APIKey does not match current environment.", 401),
    FaultKind.KEY_EXPIRED: ("50113", "Invalid Sign", 401),
    FaultKind.REGION_BLOCK: ("50125", "This endpoint is not available in your region.", 403),
}


@dataclass(frozen=True)
class FaultRule:
    """One fault and whom it hits.

    Parameters
    ----------
    kind
        what happens
    rate
        share of the attempts hit, above 0 .. 1
    endpoints
        paths after /api/v5/, for instance market/candles; all if empty
    attempts
        only so many attempts of the same request can be hit; None: all
    """

    kind: FaultKind
    rate: float = 1.0
    endpoints: tuple[str, ...] = ()
    attempts: int | None = 1

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ConfigError(f"fault {self.kind} has rate {self.rate}; expected above 0 and at most 1")


def parse_rule(words: str) -> FaultRule:
    """A rule from text such as "missing", "server_error:0.1" or "timeout:0.05:market/candles,public/time".

    Raises
    ------
    ConfigError
        for an unknown kind or a rate that is no number in (0, 1].
    """
    kind, _, rest = words.partition(":")
    rate, _, endpoints = rest.partition(":")
    try:
        return FaultRule(FaultKind(kind), float(rate or 1), tuple(filter(None, endpoints.split(","))))
    except ValueError as error:
        raise ConfigError(
            f"no fault is written {words!r}; expected KIND[:RATE[:ENDPOINT,...]], KIND one of {', '.join(FaultKind)}"
        ) from error


class Faults:
    """Decides for each request whether a fault hits it, and keeps count.

    Parameters
    ----------
    rules
        in order of precedence: the first that hits wins
    seed
        of the choice
    """

    def __init__(self, rules: Iterable[FaultRule] = (), seed: int = 0) -> None:
        self.rules = tuple(rules)
        self.seed = seed
        self.hits: Counter[FaultKind] = Counter()
        self._attempts: Counter[str] = Counter()

    def choose(self, path: str, query: str) -> tuple[FaultKind, np.random.Generator] | None:
        """The fault that hits this request, if one does, and a stream for its details."""
        request = f"{path}?{query}"
        attempt = self._attempts[request]
        self._attempts[request] += 1
        for number, rule in enumerate(self.rules):
            if rule.endpoints and path not in rule.endpoints:
                continue
            if rule.attempts is not None and attempt >= rule.attempts:
                continue
            name = f"{self.seed}|{number}|{request}|{attempt}".encode()
            draw = np.random.default_rng(int.from_bytes(hashlib.sha256(name).digest()[:8]))
            if draw.random() < rule.rate:
                self.hits[rule.kind] += 1
                return rule.kind, draw
        return None


def refusal(kind: FaultKind) -> OkxError | None:
    """The error a fault answers with instead of data, if it is of that sort."""
    return OkxError(*REFUSALS[kind]) if kind in REFUSALS else None


def spoil(kind: FaultKind, rows: list[Row], draw: np.random.Generator) -> list[Row]:
    """The rows as a fault would have them; unchanged for faults that are not in the data.

    Missing leaves out an inner row where there are at least three, so that a gap can be seen; revised changes one
    figure of one row, which a later answer puts right.
    """
    spoilers: dict[FaultKind, Callable[[list[Row], np.random.Generator], list[Row]]] = {
        FaultKind.DUPLICATED: _duplicated,
        FaultKind.MISSING: _missing,
        FaultKind.REVISED: _revised,
        FaultKind.REORDERED: lambda found, stream: [found[position] for position in stream.permutation(len(found))],
        FaultKind.EMPTY: lambda found, stream: [],
    }
    return spoilers[kind](rows, draw) if kind in spoilers and rows else rows


def _duplicated(rows: list[Row], draw: np.random.Generator) -> list[Row]:
    position = int(draw.integers(len(rows)))
    return [*rows[: position + 1], *rows[position:]]


def _missing(rows: list[Row], draw: np.random.Generator) -> list[Row]:
    position = int(draw.integers(1, len(rows) - 1)) if len(rows) >= 3 else 0
    return [*rows[:position], *rows[position + 1 :]]


def _revised(rows: list[Row], draw: np.random.Generator) -> list[Row]:
    position = int(draw.integers(len(rows)))
    row = rows[position]
    if isinstance(row, list):
        field = min(4, len(row) - 1)
        changed: Row = [*row[:field], _altered(row[field]), *row[field + 1 :]]
    else:
        numeric = [name for name in ("realizedRate", "markPx", "oi", "px", "maxSz", "last") if row.get(name)]
        changed = row | {name: _altered(row[name]) for name in numeric[:1]}
    return [*rows[:position], changed, *rows[position + 1 :]]


def _altered(value: str) -> str:
    return f"{float(value) * REVISION:.10f}".rstrip("0").rstrip(".")
