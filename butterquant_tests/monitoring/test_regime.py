"""The regime's alarm: storms after calm are reported, months of one market are not, and March 2020 is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.monitoring.drift import DriftRules
from butterquant_assets.monitoring.regime import REGIME_TYPES, UNSEEN, regime_by_month, session_figures
from butterquant_assets.monitoring.schemas import REGIME
from butterquant_tests.shared_data import data_dir

RULES = DriftRules()


def market(
    seed: int, *, first: str = "2014-01-01", last: str = "2016-12-31", storm: str = ""
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A VIX that reverts to 15 and twelve stocks that follow it; in the month `storm` it is at 60, and they are one."""
    random = np.random.default_rng(seed)
    days = pd.bdate_range(first, last).astype("datetime64[us]")
    log = np.empty(len(days))
    log[0] = 0.0
    for k in range(1, len(days)):
        log[k] = 0.93 * log[k - 1] + random.normal(0.0, 0.06)
    stormy = days.strftime("%Y-%m") == storm
    vix = np.where(stormy, 60.0, 15.0 * np.exp(log))
    daily = vix / 100.0 / np.sqrt(252.0)
    common = np.where(stormy, 0.95, 0.5)
    moves = daily[:, None] * (
        np.sqrt(common)[:, None] * random.normal(size=(len(days), 1))
        + np.sqrt(1.0 - common)[:, None] * random.normal(size=(len(days), 12))
    )
    closes = 50.0 * np.exp(np.cumsum(moves, axis=0))
    bars = pd.DataFrame(
        {
            "session": np.repeat(days, 12),
            "ticker": np.tile([f"T{k:02d}" for k in range(12)], len(days)),
            "close": closes.ravel(),
            "split_ratio": 1.0,
        }
    )
    return pd.DataFrame({"session": days, "close": vix}), bars


def judged(vix: pd.DataFrame, bars: pd.DataFrame, months: list[str], first: str = "2014-01-01") -> pd.DataFrame:
    table = regime_by_month(session_figures(vix, bars), months, pd.Timestamp(first), RULES)
    assert REGIME.validate(table).reasons() == []
    return table


def test_a_storm_after_calm_years_is_reported_with_its_figures() -> None:
    table = judged(*market(1, storm="2016-08"), ["2016-07", "2016-08"]).set_index(["month", "metric"])
    calm, storm = (table.xs(pd.Timestamp(month), level="month") for month in ("2016-07", "2016-08"))
    assert not calm["alarm"].any()
    assert {"vix_level", "realised_vol", UNSEEN} <= set(storm.index[storm["alarm"]])
    assert storm.loc["vix_level", "value"] == pytest.approx(60.0)
    assert storm.loc["vix_level", "reason"].startswith("VIX 60.0 against 1")


def test_months_of_one_market_rarely_count_as_a_change() -> None:
    alarms = sum(judged(*market(seed), ["2016-12"])["alarm"].any() for seed in range(30))
    assert alarms <= 4


def test_what_comes_after_a_month_does_not_change_its_verdict() -> None:
    vix, bars = market(3)
    cut = pd.Timestamp("2016-07-01")
    whole = judged(vix, bars, ["2016-06"])
    pd.testing.assert_frame_equal(whole, judged(vix[vix["session"] < cut], bars[bars["session"] < cut], ["2016-06"]))


def test_a_short_history_gives_figures_but_no_verdict() -> None:
    table = judged(*market(4, storm="2014-08"), ["2014-01", "2014-08"])
    assert not table["judged"].any()
    assert not table["alarm"].any()
    assert table.loc[table["metric"] == "vix_level", "value"].notna().all()
    assert list(table.dtypes.astype(str)) == list(REGIME_TYPES.values())


def test_splits_are_no_moves_and_few_tickers_say_nothing() -> None:
    vix, bars = market(5)
    split = bars["session"] >= "2015-06-01"
    divided = bars.assign(close=bars["close"].where(~split, bars["close"] / 4.0))
    divided["split_ratio"] = np.where(bars["session"] == pd.Timestamp("2015-06-01"), 4.0, 1.0)
    pd.testing.assert_frame_equal(session_figures(vix, bars), session_figures(vix, divided), rtol=1e-9)
    few = session_figures(vix, bars[bars["ticker"] < "T04"])
    assert few[["stock_move", "together"]].isna().all().all()
    assert few["vix_close"].notna().all()


def test_a_vix_that_cannot_be_is_refused() -> None:
    vix, bars = market(6)
    with pytest.raises(DataError, match="not positive"):
        session_figures(vix.assign(close=vix["close"].where(vix.index != 3, -1.0)), bars)


@pytest.mark.slow
def test_march_2020_against_2017_is_a_regime_change_and_the_months_of_2018_are_told_apart() -> None:
    folder = data_dir()
    vix = pd.read_parquet(folder / "vix_daily.parquet")
    stocks = pd.read_parquet(folder / "stocks_daily.parquet")
    vix = pd.DataFrame(
        {"session": vix["timestamp"].dt.tz_localize(None).astype("datetime64[us]"), "close": vix["close"]}
    )
    bars = pd.DataFrame(
        {
            "session": stocks["timestamp"].dt.tz_localize(None).astype("datetime64[us]"),
            "ticker": stocks["symbol"],
            "close": stocks["close"],  # adjusted for splits already
            "split_ratio": 1.0,
        }
    )
    in_2017 = (bars["session"] >= "2017-01-01") & (bars["session"] < "2018-01-01")
    march = (bars["session"] >= "2020-03-01") & (bars["session"] < "2020-04-01")
    kept = bars[in_2017 | march]
    vix = vix[vix["session"].isin(kept["session"])]
    table = judged(vix, kept, ["2017-12", "2020-03"], "2017-01-01").set_index(["month", "metric"])
    crash = table.xs(pd.Timestamp("2020-03"), level="month")
    assert {"vix_level", "realised_vol", UNSEEN} <= set(crash.index[crash["alarm"]])
    assert crash.loc["vix_level", "value"] > 50.0 > 15.0 > crash.loc["vix_level", "reference"]
    assert not table.xs(pd.Timestamp("2017-12"), level="month")["alarm"].any()
