"""The answers have the keys and types of recorded ones, endpoint by endpoint."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from butterquant_tests.market.exchange.asking import SWAP, exchange, rows
from butterquant_tests.shared_data import reference_dir

NEWER = {"formulaType", "method"}
"""Fields of funding history that OKX added after the answer was recorded."""

CASES = [
    ("http_get_candlesticks_full", "market/candles", {"instId": SWAP, "bar": "1H"}),
    ("http_get_candlesticks_full", "market/history-candles", {"instId": SWAP}),
    ("http_get_funding_rate_history", "public/funding-rate-history", {"instId": SWAP}),
    ("http_get_instruments_swap", "public/instruments", {"instType": "SWAP"}),
    ("http_get_mark_price", "public/mark-price", {"instType": "SWAP"}),
    ("http_get_order_book", "market/books", {"instId": SWAP, "sz": "20"}),
    (
        "http_get_position_tiers",
        "public/position-tiers",
        {"instType": "SWAP", "tdMode": "isolated", "instFamily": "SIMBTC-USDT"},
    ),
    ("http_get_trades", "market/trades", {"instId": SWAP}),
    ("http_get_trades", "market/history-trades", {"instId": SWAP}),
]


def shape(value: Any) -> Any:
    """Keys and types; of a list the shape of its first element and whether it is a fixed tuple of texts."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        if value and all(isinstance(item, str) for item in value):
            return ["text"] * len(value)
        return [shape(value[0])] if value else []
    return type(value).__name__


@pytest.mark.parametrize(("recorded", "path", "query"), CASES)
def test_an_answer_has_the_recorded_keys_and_types(recorded: str, path: str, query: dict[str, str]) -> None:
    file = reference_dir() / "okx_responses" / f"{recorded}.json"
    if not file.is_file():
        pytest.skip(f"recorded answer not found at {file}")
    expected = json.loads(file.read_text())["data"][0]
    found = rows(exchange(), path, **query)
    assert found
    for row in found:
        if isinstance(row, dict):
            row = {key: value for key, value in row.items() if key in expected or key not in NEWER}
        assert shape(row) == shape(expected)


@pytest.mark.parametrize(("recorded", "path", "query"), CASES)
def test_numbers_are_written_out_as_text(recorded: str, path: str, query: dict[str, str]) -> None:
    written = json.dumps(rows(exchange(), path, **query))
    assert not re.search(r'"-?\d+(\.\d+)?[eE][-+]?\d+"', written)
    assert "NaN" not in written
    assert '"nan"' not in written
