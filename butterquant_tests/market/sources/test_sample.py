from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest

from butterquant_assets.foundation.calendar import month_range, sessions_in_months
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.market.schemas import CONTRACTS
from butterquant_assets.market.sources.base import open_source

ALL = month_range("1999-01", "2019-12")


@pytest.fixture(scope="module")
def sample():
    return open_source("sample")


@pytest.mark.parametrize("dataset", list(CONTRACTS))
def test_every_dataset_keeps_its_contract(sample, dataset):
    delivery = sample.fetch(dataset, ALL)
    verdict = CONTRACTS[dataset].validate(delivery.rows)
    assert verdict.passed, verdict.reasons()
    assert delivery.rejects.empty


def test_every_simulated_share_says_so_and_has_every_session(sample):
    bars = sample.fetch("equity_bars", ALL).rows
    assert bars["ticker"].str.startswith("SIM").all()
    assert "SIM" in sample.describe()["simulated"]
    expected = sessions_in_months(month_range("2011-01", "2018-12"))
    assert (bars.groupby("ticker")["session"].nunique() == len(expected)).all()
    assert bars["ticker"].nunique() == 50


def test_the_vix_is_real_and_ends_with_2018(sample):
    vix = sample.fetch("vix", ALL).rows.set_index("session")["close"]
    assert vix.index[-1] == pd.Timestamp("2018-12-31")
    assert vix["2018-02-05"] == 37.32  # CBOE, the day of the volatility spike
    assert (vix > 25).sum() == 44  # REFERENCE, DESIGN: 44 high days


def test_index_bars_are_real(sample):
    bars = sample.fetch("index_bars", ["2018-12"]).rows.set_index(["ticker", "session"])["close"]
    assert bars["SPX", "2018-12-31"] == pytest.approx(2506.85, abs=0.005)
    assert bars["IXIC", "2018-12-31"] == pytest.approx(6635.28, abs=0.005)


def test_a_month_is_the_same_alone_or_with_others(sample):
    for dataset in CONTRACTS:
        together = sample.fetch(dataset, ["2018-01", "2018-02", "2018-03"]).rows
        apart = [sample.fetch(dataset, [month]).rows for month in ("2018-01", "2018-02", "2018-03")]
        pd.testing.assert_frame_equal(pd.concat(apart, ignore_index=True), together)


def test_the_same_seed_gives_the_same_bars_and_another_seed_others(sample):
    again = open_source("sample").fetch("equity_bars", ["2016-03"]).rows
    pd.testing.assert_frame_equal(again, sample.fetch("equity_bars", ["2016-03"]).rows, check_exact=True)
    other = open_source("sample", seed=8).fetch("equity_bars", ["2016-03"]).rows
    assert (other["close"] != again["close"]).mean() > 0.99


def test_fingerprints_follow_the_parameters_that_matter(sample):
    month = ["2016-03"]
    other, planted = open_source("sample", seed=8), open_source("sample", edge=1.0)
    assert sample.fingerprints("equity_bars", month) == open_source("sample").fingerprints("equity_bars", month)
    assert other.fingerprints("equity_bars", month) != sample.fingerprints("equity_bars", month)
    assert planted.fingerprints("equity_bars", month) != sample.fingerprints("equity_bars", month)
    assert other.fingerprints("vix", month) == sample.fingerprints("vix", month)
    assert len(set(sample.fingerprints("vix", ALL).values())) == len(ALL)


def test_the_span_holds_bars_and_vix_at_both_ends(sample):
    for month in sample.span():
        assert len(sample.fetch("equity_bars", [month]).rows)
        assert len(sample.fetch("vix", [month]).rows)


@pytest.mark.parametrize("arguments", [{"tickers": 0}, {"edge": -1.0}, {"seed": -1}])
def test_impossible_parameters_are_refused(arguments):
    with pytest.raises(ConfigError, match=r"expected 1 \.\. 999 tickers"):
        open_source("sample", **arguments)


def test_opening_and_fingerprinting_import_nothing_heavy():
    code = (
        "import sys\n"
        "from butterquant_assets.market.sources.base import open_source\n"
        "open_source('sample').fingerprints('equity_bars', ['2016-01'])\n"
        "import butterquant_assets.market.sources.files\n"
        "print(sorted({'arch', 'statsmodels', 'scipy.stats', 'torch', 'dagster', 'matplotlib'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("edge", "highest"), [(1.0, 20_000), (2.0, 100_000)])
def test_a_planted_edge_still_gives_sane_prices_and_the_fair_markets_implied_volatilities(edge, highest, sample):
    planted = open_source("sample", edge=edge)
    bars = planted.fetch("equity_bars", ALL).rows
    assert CONTRACTS["equity_bars"].validate(bars).passed
    assert bars["close"].between(0.1, highest).all()
    month = ["2014-02"]
    pd.testing.assert_frame_equal(
        planted.fetch("implied_vols", month).rows, sample.fetch("implied_vols", month).rows, check_exact=True
    )
    moved = planted.fetch("equity_bars", month).rows["close"] != sample.fetch("equity_bars", month).rows["close"]
    assert moved.mean() > 0.9
