"""Contracts of the crypto market tables refuse what may not be in them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.crypto_schemas import CRYPTO_REJECTS, DELIVERED, raw_columns
from butterquant_assets.market.crypto_sources.sample import SampleCryptoSource
from butterquant_assets.market.schemas import empty_rows


@pytest.fixture(scope="module")
def source() -> SampleCryptoSource:
    """One day of two coins, minute bars kept."""
    return SampleCryptoSource(CryptoConfig(coins=2, days=1, bar="1m"))


@pytest.mark.parametrize(
    ("dataset", "column", "value", "broken"),
    [
        ("crypto_bars", "close", -1.0, "schema"),
        ("crypto_bars", "close", float("inf"), "schema"),
        ("crypto_bars", "volume", None, "schema"),
        ("crypto_bars", "high", 1e-9, "ohlc_bracket"),
        ("crypto_bars", "hour", pd.Timestamp("2023-01-01 00:30"), "on_the_clock"),
        ("crypto_minute_bars", "minute", pd.Timestamp("2023-01-01 00:00:30"), "on_the_clock"),
        ("mark_prices", "low", 1e9, "ohlc_bracket"),
        ("index_prices", "open", 0.0, "schema"),
        ("funding_rates", "funding_rate", 1.5, "schema"),
        ("funding_rates", "interval_hours", 0.0, "schema"),
        ("open_interest", "open_interest", -1.0, "schema"),
        ("taker_volume", "buy_volume", None, "schema"),
        ("order_books", "best_bid", 1e9, "not_crossed"),
        ("order_books", "imbalance", 1.5, "schema"),
        ("order_books", "levels", 21, "schema"),
        ("order_book_levels", "side", "both", "schema"),
        ("order_book_levels", "size", 0.0, "schema"),
        ("trade_flow", "large_trades", 10**9, "large_within_all"),
        ("instruments", "tick_size", 0.0, "schema"),
        ("instruments", "day", pd.Timestamp("2023-01-01 01:00"), "on_the_clock"),
        ("leverage_tiers", "maintenance_margin_rate", 0.0, "schema"),
        ("leverage_tiers", "min_contracts", 1e12, "ascending_sizes"),
        ("crypto_universe", "rank", 0, "schema"),
        ("crypto_universe", "chosen_by", "a friend", "schema"),
    ],
)
def test_a_value_out_of_range_breaks_the_rule_that_names_it(
    source: SampleCryptoSource, dataset: str, column: str, value: Any, broken: str
) -> None:
    rows = source.fetch(dataset, ["2023-01-01"]).rows
    assert DELIVERED[dataset].validate(rows).passed
    rows.loc[0, column] = value
    checks = DELIVERED[dataset].validate(rows).checks
    assert not checks[broken].passed


@pytest.mark.parametrize("dataset", DELIVERED)
def test_a_key_twice_is_refused(source: SampleCryptoSource, dataset: str) -> None:
    rows = source.fetch(dataset, ["2023-01-01"]).rows
    doubled = pd.concat([rows, rows.iloc[[0]]], ignore_index=True)
    assert not DELIVERED[dataset].validate(doubled).checks["unique_keys"].passed


@pytest.mark.parametrize("contract", [*DELIVERED.values(), CRYPTO_REJECTS], ids=lambda contract: contract.table)
def test_an_empty_table_keeps_its_contract(contract: Any) -> None:
    assert contract.validate(empty_rows(contract)).passed


def test_raw_rows_lack_the_flags_alone() -> None:
    assert set(DELIVERED["crypto_bars"].columns) - set(raw_columns("crypto_bars")) == {
        "outage",
        "suspect",
        "suspect_later",
    }
    assert raw_columns("mark_prices") == DELIVERED["mark_prices"].columns
