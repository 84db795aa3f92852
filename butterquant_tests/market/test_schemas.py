from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.market.adjustment import quoted_price
from butterquant_assets.market.cleaning import clean_equity_bars
from butterquant_assets.market.schemas import BAR_REJECTS, CONTRACTS, EQUITY_BARS, brackets, empty_rows
from butterquant_tests.market.raw_bars import raw_bars

GOOD = clean_equity_bars(raw_bars(20), None, quoted=False).rows


def test_good_bars_keep_the_contract():
    assert EQUITY_BARS.validate(GOOD).passed


@pytest.mark.parametrize(
    ("column", "value", "check"),
    [
        ("close", 0.0, "schema"),
        ("close", np.inf, "schema"),
        ("volume", -1.0, "schema"),
        ("volume", np.nan, "schema"),
        ("split_ratio", 0.0, "schema"),
        ("dividend_usd", -0.1, "schema"),
        ("high", 1.0, "ohlc_bracket"),
        ("session", pd.Timestamp("2016-01-09"), "exchange_sessions"),
    ],
)
def test_a_broken_bar_fails_the_check_that_is_meant_for_it(column, value, check):
    bars = GOOD.copy()
    bars.loc[len(bars) - 1 if column != "session" else 3, column] = value
    verdict = EQUITY_BARS.validate(bars)
    assert not verdict.checks[check].passed
    assert verdict.checks[check].failed_rows == 1


def test_float32_rounding_does_not_break_the_bracket():
    close = np.float64(np.float32(1234.56))
    bars = pd.DataFrame({"open": [1234.0], "high": [min(1234.56, close)], "low": [1230.0], "close": [close]})
    assert brackets(bars).all()
    assert not brackets(bars.assign(high=1234.55)).any()


@pytest.mark.parametrize("contract", [*CONTRACTS.values(), BAR_REJECTS], ids=lambda contract: contract.table)
def test_an_empty_table_has_the_stored_types_and_keeps_its_contract(contract):
    frame = empty_rows(contract)
    assert str(frame["session"].dtype) == "datetime64[us]"
    assert contract.validate(frame).passed


@pytest.mark.parametrize("contract", [*CONTRACTS.values(), BAR_REJECTS], ids=lambda contract: contract.table)
def test_every_column_is_described_and_every_number_has_a_unit(contract):
    for name, column in contract.schema.columns.items():
        assert column.description, name
        if str(column.dtype) in {"float64", "int64"}:
            assert column.metadata["unit"], name


def test_rounding_keeps_the_bracket():
    rng = np.random.default_rng(1)
    low = rng.uniform(0.01, 500, 2000)
    high = low * (1 + rng.uniform(0, 1e-6, 2000))
    factor = np.full(2000, 3.996)
    assert (quoted_price(low, factor) <= quoted_price(high, factor) * (1 + 1e-6)).all()
