"""Liquidation prices and funding agree with published values."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from butterquant_assets.market.exchange.trading.margin import bankruptcy_price, funding_received, liquidation_price
from butterquant_tests.shared_data import reference_dir


def vectors() -> Any:
    """Values parametrised in the tests of freqtrade (commit c9ae5e1)."""
    return json.loads((reference_dir() / "okx_margin_and_funding_vectors.json").read_text())


def exact(value: float) -> Decimal:
    return Decimal(repr(value))


def test_liquidation_prices_are_the_published_ones() -> None:
    cases = vectors()["liquidation_isolated_linear"]
    assert len(cases) == 8
    for case in cases:
        found = liquidation_price(
            1 if case["side"] == "long" else -1,
            *(exact(case[name]) for name in ("entry", "margin", "amount_base", "mmr", "taker")),
        )
        assert float(found) == pytest.approx(case["liq_price"], rel=1e-12)


def test_funding_of_the_simple_cases_is_the_published_one() -> None:
    for case in vectors()["funding"]["simple"]:
        size, mark, rate = (exact(case[name]) for name in ("size", "mark", "rate"))
        assert float(funding_received(-1, size, mark, rate)) == pytest.approx(case["fee_short"], rel=1e-12)
        assert funding_received(1, size, mark, rate) == -funding_received(-1, size, mark, rate)


@pytest.mark.parametrize("direction", [1, -1])
def test_at_the_liquidation_price_what_is_left_is_the_maintenance_margin_and_the_fee(direction: int) -> None:
    entry, margin, size, rate, taker = map(Decimal, ("250", "80", "1.5", "0.0075", "0.0005"))
    price = liquidation_price(direction, entry, margin, size, rate, taker)
    left = margin + direction * (price - entry) * size
    assert float(left) == pytest.approx(float(price * size * (rate + taker)), rel=1e-20)


@pytest.mark.parametrize("direction", [1, -1])
def test_closing_at_the_bankruptcy_price_costs_exactly_the_margin(direction: int) -> None:
    entry, margin, size, taker = map(Decimal, ("250", "80", "1.5", "0.0005"))
    price = bankruptcy_price(direction, entry, margin, size, taker)
    assert float(direction * (price - entry) * size - price * size * taker) == pytest.approx(-80, rel=1e-20)


def test_a_long_that_posted_its_whole_value_cannot_be_liquidated() -> None:
    assert liquidation_price(1, Decimal(10), Decimal(10), Decimal(1), Decimal("0.01"), Decimal("0.0005")) <= 0
