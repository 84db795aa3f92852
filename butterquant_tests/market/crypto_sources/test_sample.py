"""The simulated crypto market as a source."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.crypto_schemas import CRYPTO_REJECTS, DELIVERED
from butterquant_assets.market.crypto_simulator import CryptoMarket
from butterquant_assets.market.crypto_sources.base import DATASETS, REJECTS
from butterquant_assets.market.crypto_sources.sample import SampleCryptoSource

DAYS = ["2023-01-01", "2023-01-02", "2023-01-03"]


@pytest.fixture(scope="module")
def source() -> SampleCryptoSource:
    """Three days of four coins, minute bars kept."""
    return SampleCryptoSource(CryptoConfig(coins=4, days=3, bar="1m"))


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_table_keeps_its_contract_and_names_its_coins_simulated(source: SampleCryptoSource, dataset: str) -> None:
    rows = source.fetch(dataset, DAYS).rows
    verdict = DELIVERED[dataset].validate(rows)
    assert verdict.passed, verdict.reasons()
    assert len(rows) > 0
    assert rows["coin"].str.startswith("SIM").all()


@pytest.mark.parametrize("dataset", [name for name in DATASETS if name != "crypto_minute_bars"])
def test_more_days_and_more_coins_change_nothing(source: SampleCryptoSource, dataset: str) -> None:
    larger = SampleCryptoSource(CryptoConfig(coins=6, days=9))
    mine = source.fetch(dataset, DAYS[1:2]).rows
    theirs = larger.fetch(dataset, DAYS[1:2]).rows
    theirs = theirs[theirs["coin"].isin(mine["coin"].unique())].reset_index(drop=True)
    mine, theirs = (rows.drop(columns="rank", errors="ignore") for rows in (mine, theirs))
    if dataset == "crypto_universe":
        mine, theirs = (rows.sort_values("coin").reset_index(drop=True) for rows in (mine, theirs))
    pd.testing.assert_frame_equal(mine, theirs)


@pytest.mark.parametrize("dataset", ["crypto_bars", "funding_rates", "order_books", "crypto_universe"])
def test_a_day_alone_is_the_day_among_others(source: SampleCryptoSource, dataset: str) -> None:
    stamp = str(DELIVERED[dataset].time)
    together = source.fetch(dataset, DAYS).rows
    parts = [SampleCryptoSource(CryptoConfig(coins=4, days=3)).fetch(dataset, [day]).rows for day in DAYS]
    pd.testing.assert_frame_equal(together, pd.concat(parts, ignore_index=True))
    assert together[stamp].is_monotonic_increasing


def test_trades_sum_to_the_bars_and_to_the_taker_volume(source: SampleCryptoSource) -> None:
    bars, flow, taker = (source.fetch(name, DAYS).rows for name in ("crypto_bars", "trade_flow", "taker_volume"))
    np.testing.assert_allclose(flow["buy_volume"] + flow["sell_volume"], bars["volume"], rtol=1e-9)
    np.testing.assert_allclose(flow["buy_volume"], taker["buy_volume"], rtol=1e-9, atol=1e-9)
    assert (flow["large_trades"] > 0).any()
    assert (flow["large_trades"] < flow["trades"]).any()


def test_books_lie_around_the_close_and_their_summary_is_that_of_their_levels(source: SampleCryptoSource) -> None:
    bars, books, levels = (source.fetch(n, DAYS).rows for n in ("crypto_bars", "order_books", "order_book_levels"))
    middle = (books["best_bid"] + books["best_ask"]) / 2
    np.testing.assert_allclose(middle, bars["close"], rtol=2e-4)
    assert (books["taken_at"].dt.floor("h") == bars["hour"]).all()
    one = levels[(levels["taken_at"] == books["taken_at"].iloc[7]) & (levels["coin"] == books["coin"].iloc[7])]
    bids, asks = (one[one["side"] == side].sort_values("level") for side in ("bid", "ask"))
    assert bids["price"].is_monotonic_decreasing
    assert asks["price"].is_monotonic_increasing
    near = bids[bids["price"] >= middle.iloc[7] * (1 - 1e-3)]
    assert books["bid_depth_10bp_usd"].iloc[7] == pytest.approx((near["price"] * near["size"]).sum())
    total = bids["size"].sum() + asks["size"].sum()
    assert books["imbalance"].iloc[7] == pytest.approx((bids["size"].sum() - asks["size"].sum()) / total)


def test_minute_bars_make_up_the_hours(source: SampleCryptoSource) -> None:
    hours, minutes = (source.fetch(name, DAYS[:1]).rows for name in ("crypto_bars", "crypto_minute_bars"))
    grouped = minutes.groupby([minutes["minute"].dt.floor("h"), "coin"])
    made = grouped.agg(high=("high", "max"), low=("low", "min"), volume=("volume", "sum"), close=("close", "last"))
    for name in ("high", "low", "close", "volume"):
        np.testing.assert_allclose(made[name], hours.set_index(["hour", "coin"])[name], rtol=1e-9)


def test_fingerprints_generate_nothing_and_change_with_what_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: CryptoMarket, first: int, end: int) -> None:
        raise AssertionError("the market was simulated")

    monkeypatch.setattr(CryptoMarket, "hours", never)
    seen = {}
    for name, config in {
        "base": CryptoConfig(days=5),
        "longer": CryptoConfig(days=50),
        "seed": CryptoConfig(days=5, seed=8),
        "edge": CryptoConfig(days=5, edge=0.5),
        "large": CryptoConfig(days=5, large_trade_usd=5e4),
    }.items():
        source = SampleCryptoSource(config)
        seen[name] = tuple(source.fingerprints(dataset, DAYS)[DAYS[0]] for dataset in (*DATASETS, REJECTS))
    assert seen["base"] == seen["longer"]
    assert all(one != other for one, other in zip(seen["base"][:1], seen["seed"][:1], strict=True))
    assert seen["base"][0] != seen["edge"][0]
    flow = DATASETS.index("trade_flow")
    assert [a != b for a, b in zip(seen["base"][:-1], seen["large"][:-1], strict=True)].count(True) == 1
    assert seen["base"][flow] != seen["large"][flow]


def test_the_last_day_depends_on_the_next_only_where_there_is_one() -> None:
    short, longer = (SampleCryptoSource(CryptoConfig(days=days)) for days in (3, 4))
    assert short.fingerprints("crypto_bars", DAYS[:2]) == longer.fingerprints("crypto_bars", DAYS[:2])
    assert short.fingerprints("crypto_bars", DAYS[2:]) != longer.fingerprints("crypto_bars", DAYS[2:])


def test_outages_are_flagged_and_no_simulated_bar_is_suspect() -> None:
    source = SampleCryptoSource(CryptoConfig(coins=6, days=120))
    rows = source.fetch("crypto_bars", list(source.keys_held("crypto_bars"))).rows
    assert rows["outage"].sum() > 20
    assert not rows["suspect"].any()
    assert (rows.loc[rows["outage"], "volume"] == 0).all()


def test_nothing_ahead_of_the_clock_is_delivered() -> None:
    early = SampleCryptoSource(CryptoConfig(coins=2, days=3), clock=lambda: datetime(2023, 1, 2, 5, 30, tzinfo=UTC))
    assert early.span() == ("2023-01-01", "2023-01-02")
    delivery = early.fetch("crypto_bars", DAYS[1:2])
    assert delivery.rows["hour"].max() == pd.Timestamp("2023-01-02 04:00")
    assert set(delivery.rejects["reason"]) == {"future"}
    assert not delivery.coverage[DAYS[1]].complete
    late = SampleCryptoSource(CryptoConfig(coins=2, days=3))
    assert early.fingerprints("crypto_bars", DAYS[1:2]) != late.fingerprints("crypto_bars", DAYS[1:2])


def test_the_ranking_is_that_of_the_day_before(source: SampleCryptoSource) -> None:
    rows = source.fetch("crypto_universe", DAYS[:2]).rows
    assert rows["as_of_known"].all()
    assert rows.groupby("day")["rank"].max().tolist() == [4, 4]
    ordered = rows.sort_values(["day", "rank"])
    assert (ordered.groupby("day")["market_cap_usd"].diff().dropna() <= 0).all()


def test_rejects_are_a_table_of_their_own(source: SampleCryptoSource) -> None:
    rows = source.fetch(REJECTS, DAYS).rows
    assert CRYPTO_REJECTS.validate(rows).passed
