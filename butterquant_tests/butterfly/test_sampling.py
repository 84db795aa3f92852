"""Sampling: strata and episodes, steadiness of the picks, tickers by dollar volume, no look-ahead."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from butterquant_assets.butterfly import sampling
from butterquant_assets.butterfly.config import SamplingConfig
from butterquant_assets.foundation.calendar import sessions
from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_tests.shared_data import data_dir

CONFIG = SamplingConfig(
    low_days=4, normal_days=6, high_days=5, tickers_per_day=3, dollar_volume_sessions=10, episode_gap=5, seed=7
)


def calendar_days(first, count):
    days = sessions()
    start = int(np.searchsorted(days, np.datetime64(first)))
    return pd.DatetimeIndex(days[start : start + count].astype("datetime64[us]"))


def vix_frame(days, closes):
    return pd.DataFrame({"session": pd.DatetimeIndex(days), "close": np.asarray(closes, dtype=np.float64)})


def wandering_vix(days, seed=1):
    rng = np.random.default_rng(seed)
    level, closes = np.log(18.0), []
    for shock in rng.normal(0, 0.12, len(days)):
        level += 0.06 * (np.log(18.0) - level) + shock
        closes.append(np.exp(level))
    return vix_frame(days, closes)


def bars_frame(days, tickers, seed=2):
    rng = np.random.default_rng(seed)
    shape = (len(days), len(tickers))
    grid = pd.MultiIndex.from_product([days, tickers], names=["session", "ticker"])
    frame = pd.DataFrame(
        {
            "close": 50 * np.exp(rng.normal(0, 0.02, shape).cumsum(axis=0)).ravel(),
            "volume": rng.lognormal(12, 1.0, shape).round().ravel(),
        },
        index=grid,
    ).reset_index()
    return frame.astype({"ticker": "str", "session": "datetime64[us]"})


@pytest.fixture(scope="module")
def days():
    return calendar_days("2017-11-01", 400)


@pytest.fixture(scope="module")
def vix(days):
    return wandering_vix(days)


@pytest.fixture(scope="module")
def bars(days):
    return bars_frame(days, ["AAA", "BBB", "CCC", "DDD", "EEE", "FFF"])


@pytest.fixture(scope="module")
def drawn(vix, bars):
    return sampling.sample(vix, bars, "2018-01", "2018-12", CONFIG)


def plain_strata(vix, gap):
    """Walk through the sessions one by one."""
    position = {day: index for index, day in enumerate(sessions().astype("datetime64[us]").tolist())}
    last, names, rows = {}, {}, []
    for day, close in zip(vix["session"].dt.to_pydatetime(), vix["close"], strict=True):
        if day not in position or np.isnan(close):
            continue
        stratum = "low" if close < 15 else "high" if close > 25 else "normal"
        if stratum not in last or position[day] - last[stratum] - 1 > gap:
            names[stratum] = f"{stratum}-{day:%Y-%m-%d}"
        last[stratum] = position[day]
        rows.append((pd.Timestamp(day), close, stratum, names[stratum]))
    return rows


def plain_sample(vix, bars, first, last, config):
    """Day by day, ticker by ticker, with the hashes written out."""

    def digest(text):
        return int(hashlib.blake2b(f"{config.seed}:{text}".encode(), digest_size=8).hexdigest(), 16)

    all_days = sessions().astype("datetime64[us]").tolist()
    value = {(row.session.to_pydatetime(), row.ticker): row.close * row.volume for row in bars.itertuples()}
    eligible = []
    for day, close, stratum, episode in plain_strata(vix, config.episode_gap):
        if not first <= f"{day:%Y-%m}" <= last:
            continue
        at = all_days.index(day.to_pydatetime())
        recent = all_days[at - config.dollar_volume_sessions + 1 : at + 1]
        totals = {
            ticker: sum(value[past, ticker] for past in reversed(recent))
            for ticker in sorted(bars["ticker"].unique())
            if all((past, ticker) in value for past in recent)
        }
        if totals:
            tickers = sorted(totals, key=lambda ticker: (-totals[ticker], ticker))[: config.tickers_per_day]
            eligible.append((day, close, stratum, episode, tickers))
    rows = []
    for stratum, quota in (("low", config.low_days), ("normal", config.normal_days), ("high", config.high_days)):
        slots = []
        mine = [entry for entry in eligible if entry[2] == stratum]
        for episode in {entry[3] for entry in mine}:
            members = sorted((e for e in mine if e[3] == episode), key=lambda e: digest(f"{e[0]:%Y-%m-%d}"))
            slots += [(rank, digest(episode), entry) for rank, entry in enumerate(members)]
        for _, _, (day, close, _, episode, tickers) in sorted(slots, key=lambda slot: slot[:2])[:quota]:
            rows += [(day, ticker, stratum, close, episode) for ticker in tickers]
    return sorted(rows)


@pytest.mark.parametrize("seed", range(6))
def test_the_vectorised_sampling_equals_the_plain_one(days, bars, seed):
    rng = np.random.default_rng(seed)
    vix = wandering_vix(days, seed).drop(index=rng.choice(len(days), 15, replace=False)).reset_index(drop=True)
    holey = bars.drop(index=rng.choice(len(bars), 60, replace=False)).sample(frac=1, random_state=seed)
    config = SamplingConfig(3 + seed, 5, 4, 3, 10, seed, seed=seed)
    ours = sampling.sample(vix, holey, "2018-02", "2018-11", config)
    expected = plain_sample(vix, holey, "2018-02", "2018-11", config)
    assert list(ours.samples.itertuples(index=False, name=None)) == expected
    assert len(expected) > 20


def test_frames_have_the_contracted_types_order_and_keys(drawn):
    samples = drawn.samples
    assert list(samples.columns) == ["session", "ticker", "stratum", "vix_close", "episode"]
    assert str(samples["session"].dtype) == "datetime64[us]"
    assert [str(samples[name].dtype) for name in ("ticker", "stratum", "episode")] == ["str"] * 3
    assert not samples.duplicated(["session", "ticker"]).any()
    assert_frame_equal(samples, samples.sort_values(["session", "ticker"]).reset_index(drop=True))


def test_the_bounds_15_and_25_are_normal():
    days = calendar_days("2018-03-01", 5)
    found = sampling.strata(vix_frame(days, [14.999, 15.0, 20.0, 25.0, 25.001]))
    assert found["stratum"].tolist() == ["low", "normal", "normal", "normal", "high"]


@pytest.mark.parametrize(("gap", "episodes"), [(5, 1), (6, 2)])
def test_a_gap_of_five_sessions_is_bridged_and_one_of_six_is_not(gap, episodes):
    days = calendar_days("2018-02-05", 2 + gap)
    found = sampling.strata(vix_frame(days, [30.0] + [20.0] * gap + [30.0]))
    high = found.loc[found["stratum"] == "high", "episode"]
    assert high.nunique() == episodes
    assert high.iloc[0] == "high-2018-02-05"
    assert found.loc[found["stratum"] == "normal", "episode"].unique().tolist() == ["normal-2018-02-06"]


def test_weekends_and_holidays_are_no_gap():
    # Friday 2018-03-23 to Tuesday 2018-04-03 spans a weekend, Good Friday and another weekend: five sessions between.
    found = sampling.strata(vix_frame(pd.to_datetime(["2018-03-23", "2018-04-03"]), [30.0, 31.0]))
    assert found["episode"].tolist() == ["high-2018-03-23"] * 2


def test_vix_rows_on_closed_days_and_without_a_close_do_not_count():
    # Christmas and a Saturday; the exchange was open on the 24th and 26th.
    days = pd.to_datetime(["2018-12-24", "2018-12-25", "2018-12-26", "2018-12-27", "2018-12-29"])
    found = sampling.strata(vix_frame(days, [36.1, 99.0, 30.4, np.nan, 10.0]))
    assert found["session"].dt.strftime("%Y-%m-%d").tolist() == ["2018-12-24", "2018-12-26"]
    assert found["episode"].tolist() == ["high-2018-12-24"] * 2


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    closes=st.lists(st.sampled_from([12.0, 15.0, 20.0, 26.0, np.nan]), min_size=1, max_size=80),
    gap=st.integers(0, 8),
    cut=st.integers(0, 80),
)
def test_episodes_equal_a_walk_through_the_sessions_and_keep_their_names_when_data_arrives(closes, gap, cut):
    vix = vix_frame(calendar_days("2018-01-02", len(closes)), closes)
    full = sampling.strata(vix, gap)
    assert list(full.itertuples(index=False, name=None)) == plain_strata(vix, gap)
    early = sampling.strata(vix.iloc[:cut], gap)
    assert_frame_equal(early, full.iloc[: len(early)])


def test_the_summary_counts_what_was_asked_found_and_taken(vix, bars, drawn):
    summary, samples = drawn.summary.set_index("stratum"), drawn.samples
    assert list(summary.index) == ["low", "normal", "high"]
    found = sampling.strata(vix)
    found = found[found["session"].dt.year == 2018]
    for stratum, asked in (("low", 4), ("normal", 6), ("high", 5)):
        row, mine = summary.loc[stratum], samples[samples["stratum"] == stratum]
        everything = found[found["stratum"] == stratum]
        assert (row["asked_days"], row["asked_rows"]) == (asked, asked * 3)
        assert (row["found_days"], row["episodes_found"]) == (len(everything), everything["episode"].nunique())
        assert (row["taken_days"], row["taken_rows"]) == (mine["session"].nunique(), len(mine))
        assert row["episodes_taken"] == mine["episode"].nunique()
        assert row["taken_days"] == min(asked, row["found_days"])


def test_a_stratum_that_falls_short_is_not_filled_up(days, bars):
    closes = np.full(len(days), 20.0)
    closes[100:102] = 30.0
    drawn = sampling.sample(vix_frame(days, closes), bars, "2018-01", "2018-12", CONFIG)
    summary = drawn.summary.set_index("stratum")
    assert summary.loc["high", ["asked_days", "found_days", "taken_days", "taken_rows"]].tolist() == [5, 2, 2, 6]
    assert summary.loc["low", ["asked_days", "found_days", "taken_days", "taken_rows"]].tolist() == [4, 0, 0, 0]
    assert not drawn.samples.duplicated(["session", "ticker"]).any()


def test_picks_are_spread_over_episodes_before_any_gives_a_second(days, bars):
    # Four high episodes of very different length: four picks must come from four of them.
    closes = np.full(len(days), 20.0)
    for start, stop in ((60, 61), (80, 120), (140, 143), (170, 200)):
        closes[start:stop] = 30.0
    config = SamplingConfig(0, 0, 4, 1, 10, 5, seed=3)
    drawn = sampling.sample(vix_frame(days, closes), bars, "2018-01", "2018-12", config)
    assert drawn.summary.set_index("stratum").loc["high", "episodes_taken"] == 4


@pytest.mark.parametrize("seed", [1, 5])
def test_later_data_displaces_a_pick_only_by_a_new_day(days, bars, seed):
    vix = wandering_vix(days, seed)
    start = int((days < "2018-03-01").sum())
    previous, displaced = None, 0
    for stop in range(start, 260, 3):
        known = days[stop - 1]
        drawn = sampling.sample(vix[:stop], bars[bars["session"] <= known], "2018-01", "2019-12", CONFIG)
        if previous is not None:
            for stratum in sampling.STRATA:
                old = set(previous.samples.loc[previous.samples["stratum"] == stratum, "session"])
                new = set(drawn.samples.loc[drawn.samples["stratum"] == stratum, "session"])
                arrived = {day for day in new - old if day > days[stop - 4]}
                assert new - old == arrived
                assert len(old - new) <= len(arrived)
                displaced += len(old - new)
            kept = drawn.samples.merge(previous.samples[["session"]].drop_duplicates(), on="session")
            both = previous.samples[previous.samples["session"].isin(kept["session"])].reset_index(drop=True)
            assert_frame_equal(kept, both)
        previous = drawn
    assert displaced > 0, "the case shows nothing if no pick was ever displaced"


def test_what_comes_after_a_day_changes_nothing_about_it(vix, bars, drawn):
    # The window ends with December: bars and VIX after it must not matter, whatever they say.
    later_bars, later_vix = bars.copy(), vix.copy()
    later_bars.loc[later_bars["session"] > "2018-12-31", "volume"] *= 1000.0
    later_vix.loc[later_vix["session"] > "2018-12-31", "close"] = 80.0
    for new_vix, new_bars in (
        (later_vix, later_bars),
        (vix[vix["session"] < "2019"], bars[bars["session"] < "2019"]),
    ):
        again = sampling.sample(new_vix, new_bars, "2018-01", "2018-12", CONFIG)
        assert_frame_equal(again.samples, drawn.samples)
        assert_frame_equal(again.summary, drawn.summary)


def test_the_tickers_of_a_day_do_not_depend_on_bars_after_it(vix, bars, drawn):
    for day, part in drawn.samples.groupby("session"):
        known = bars[bars["session"] <= day]
        config = SamplingConfig(10_000, 10_000, 10_000, 3, 10, 5, seed=7)
        month = f"{day:%Y-%m}"
        again = sampling.sample(vix[vix["session"] <= day], known, month, month, config).samples
        assert again.loc[again["session"] == day, "ticker"].tolist() == part["ticker"].tolist()


def test_the_window_of_sixty_sessions_includes_the_day_and_no_session_before(days):
    # BBB trades more on the day itself, AAA traded more just before the window.
    bars = bars_frame(days[:40], ["AAA", "BBB"])
    bars["close"], bars["volume"] = 10.0, 100.0
    day, outside = days[30], days[20]
    bars.loc[(bars["ticker"] == "AAA") & (bars["session"] == outside), "volume"] = 1e6
    bars.loc[(bars["ticker"] == "BBB") & (bars["session"] == day), "volume"] = 101.0
    config = SamplingConfig(0, 1000, 0, 1, 10, 5, seed=1)
    drawn = sampling.sample(vix_frame(days[:40], np.full(40, 20.0)), bars, "2017-11", "2017-12", config)
    chosen = drawn.samples.set_index("session")["ticker"]
    assert chosen[day] == "BBB"
    assert chosen[days[29]] == "AAA"


def test_equal_dollar_volumes_are_ordered_by_ticker(days):
    bars = bars_frame(days[:60], ["DDD", "BBB", "CCC", "AAA"])
    bars["close"], bars["volume"] = 10.0, 100.0
    config = SamplingConfig(0, 2, 0, 2, 10, 5, seed=1)
    drawn = sampling.sample(vix_frame(days[:60], np.full(60, 20.0)), bars, "2017-11", "2018-01", config)
    assert drawn.samples["ticker"].tolist() == ["AAA", "BBB"] * 2


def test_a_ticker_with_a_session_missing_in_the_window_is_not_ranked(days):
    bars = bars_frame(days[:60], ["AAA", "BBB"])
    hole = (bars["ticker"] == "AAA") & (bars["session"] == days[30])
    config = SamplingConfig(0, 1000, 0, 2, 10, 5, seed=1)
    vix = vix_frame(days[:60], np.full(60, 20.0))
    missing = bars.copy()
    missing.loc[hole, "volume"] = np.nan
    for broken in (bars[~hole], missing):
        drawn = sampling.sample(vix, broken, "2017-11", "2018-01", config).samples
        with_a = set(drawn.loc[drawn["ticker"] == "AAA", "session"])
        assert with_a == set(days[9:30]) | set(days[40:60])
        assert set(drawn.loc[drawn["ticker"] == "BBB", "session"]) == set(days[9:60])


def test_bars_on_closed_days_do_not_count(vix, bars, drawn):
    closed = bars[bars["session"] == "2018-07-03"].assign(session=pd.Timestamp("2018-07-04"), volume=1e12)
    again = sampling.sample(vix, pd.concat([bars, closed.astype(bars.dtypes.to_dict())]), "2018-01", "2018-12", CONFIG)
    assert_frame_equal(again.samples, drawn.samples)


@pytest.mark.parametrize("empty", ["bars", "vix"])
def test_without_data_nothing_is_found_and_types_stay(vix, bars, drawn, empty):
    frames = {"vix": vix, "bars": bars} | {empty: {"vix": vix, "bars": bars}[empty].iloc[:0]}
    nothing = sampling.sample(frames["vix"], frames["bars"], "2018-01", "2018-12", CONFIG)
    assert len(nothing.samples) == 0
    assert nothing.samples.dtypes.to_dict() == drawn.samples.dtypes.to_dict()
    assert nothing.summary["found_days"].tolist() == [0, 0, 0]
    assert nothing.summary.dtypes.to_dict() == drawn.summary.dtypes.to_dict()


def test_the_order_of_the_rows_given_does_not_matter(vix, bars, drawn):
    again = sampling.sample(
        vix.sample(frac=1, random_state=1), bars.sample(frac=1, random_state=1), "2018-01", "2018-12", CONFIG
    )
    assert_frame_equal(again.samples, drawn.samples)


def test_another_seed_takes_other_days(vix, bars, drawn):
    config = SamplingConfig(4, 6, 5, 3, 10, 5, seed=8)
    other = sampling.sample(vix, bars, "2018-01", "2018-12", config)
    assert set(other.samples["session"]) != set(drawn.samples["session"])


def test_picks_do_not_depend_on_the_hash_seed_of_the_process():
    code = "from butterquant_assets.butterfly.sampling import _hash; print(_hash(7, '2018-02-05'))"
    answers = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    expected = int(hashlib.blake2b(b"7:2018-02-05", digest_size=8).hexdigest(), 16) >> 12
    assert answers == {f"{expected}\n"}


@pytest.mark.parametrize(
    ("first", "last", "changes", "reason"),
    [
        ("2018-1", "2018-12", {}, "'2018-1' is not a month"),
        ("2018-12", "2018-01", {}, "ends .2018-01. before it starts"),
        ("2018-01", "2018-12", {"high_days": -1}, "high_days is -1"),
        ("2018-01", "2018-12", {"tickers_per_day": 0}, "tickers_per_day is 0"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(vix, bars, first, last, changes, reason):
    config = SamplingConfig(**({"low_days": 1} | changes))
    with pytest.raises(ConfigError, match=reason):
        sampling.sample(vix, bars, first, last, config)


def test_unsound_rows_are_refused_with_their_key(vix, bars):
    with pytest.raises(DataError, match="several closes on 2017-11-03"):
        sampling.strata(pd.concat([vix, vix.iloc[[2]]]))
    with pytest.raises(DataError, match=r"closes at 0\.0 on 2017-11-03"):
        sampling.strata(vix.assign(close=vix["close"].where(vix.index != 2, 0.0)))
    with pytest.raises(DataError, match="AAA on 2017-11-01 occurs more than once"):
        sampling.sample(vix, pd.concat([bars, bars.iloc[[0]]]), "2018-01", "2018-12", CONFIG)
    with pytest.raises(DataError, match="AAA on 2017-11-01 has a negative"):
        sampling.sample(
            vix, bars.assign(volume=bars["volume"].where(bars.index != 0, -1.0)), "2018-01", "2018-12", CONFIG
        )


@pytest.mark.slow
def test_real_strata_have_the_known_sizes_and_sampling_takes_under_a_second():
    folder = data_dir()
    raw = pd.read_parquet(folder / "vix_daily.parquet")
    vix = vix_frame(raw["timestamp"].dt.tz_localize(None).astype("datetime64[us]"), raw["close"])
    found = sampling.strata(vix)
    # The data's README: 2006-2018 holds 1343 sessions below 15, 1395 in 15 .. 25 and 533 above 25.
    span = found[found["session"].dt.year.between(2006, 2018)]
    assert span["stratum"].value_counts().to_dict() == {"low": 1343, "normal": 1395, "high": 533}
    raw = pd.read_parquet(folder / "stocks_daily.parquet")
    bars = pd.DataFrame(
        {
            "session": raw["timestamp"].dt.tz_localize(None).astype("datetime64[us]"),
            "ticker": raw["symbol"],
            "close": raw["close"].astype(float),
            "volume": raw["volume"].astype(float),
        }
    )
    config = SamplingConfig(40, 60, 40, 50)
    started = time.perf_counter()
    drawn = sampling.sample(vix, bars, "2012-06", "2022-12", config)
    assert time.perf_counter() - started < 5.0, "a generous bound: one second on an idle machine"
    assert drawn.summary["taken_rows"].tolist() == [2000, 3000, 2000]
