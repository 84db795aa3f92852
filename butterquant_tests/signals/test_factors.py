"""Factors against a plain second implementation, TA-Lib and hand-worked windows; truncation; missing inputs."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import talib
from numpy.lib.stride_tricks import sliding_window_view

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.signals import factor_kernels as kernels
from butterquant_assets.signals.factors import (
    CLEAN_HOURS,
    FACTORS,
    TAIL_HOURS,
    Flag,
    compute_factors,
    stand_in_words,
)
from butterquant_assets.signals.scaling import robust_score
from butterquant_tests.signals.factor_cases import SERIES, changed, constant_panel, random_panel
from butterquant_tests.signals.plain_factors import plain_factors

PANELS = (*FACTORS, "atr14")


def panel_of(found, name):
    return found.values[name] if name in FACTORS else getattr(found, name)


def digest(found, rows, coins):
    """Bytes of everything found for some rows and coins, NaN for NaN and bit for bit."""
    bytes_ = hashlib.sha256(found.market_regime[rows].tobytes())
    for coin in coins:
        place = found.coins.index(coin)
        for name in (*PANELS, "flags", "closed_bars", "defect", "close", "funding_8h"):
            bytes_.update(np.ascontiguousarray(panel_of(found, name)[rows, place]).tobytes())
    return bytes_.hexdigest()


@pytest.fixture(scope="module")
def panel():
    """1,800 hours of five coins with what happens to data: gaps, defects, late listings, inputs that never come."""
    made = random_panel(1_800)
    made = changed(made, "taker_buy_volume", slice(None), "AAA", np.nan)
    made = changed(made, "taker_buy_volume", slice(900, 1_100), "ETH", np.nan)
    made = changed(made, "index", slice(None), "BBB", np.nan)
    made = changed(made, "open_interest", slice(0, 300), "AAA", 0.0)
    made = changed(made, "funding_8h", slice(700, 720), "BTC", np.nan)
    made = changed(made, "defective", slice(1_500, 1_503), "BBB", True)
    for name in SERIES[:-1]:
        made = changed(made, name, slice(0, 400), "CCC", np.nan)
        made = changed(made, name, slice(1_000, 1_003), "CCC", np.nan)
    return made


@pytest.fixture(scope="module")
def found(panel):
    return compute_factors(panel)


@pytest.mark.parametrize("coin", ["BTC", "ETH", "AAA", "BBB", "CCC"])
def test_every_factor_equals_the_plain_one(panel, found, coin):
    place = panel.column(coin)
    for name, plain in plain_factors(panel, coin).items():
        ours = panel_of(found, name)[:, place]
        assert np.isfinite(ours[-100:]).any(), name
        np.testing.assert_allclose(ours, plain, rtol=1e-9, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("length", [1, 168, 169, 336, 700, 1_001, 1_504, 1_799])
def test_cutting_the_future_changes_no_bit(panel, found, length):
    cut = compute_factors(panel.rows(slice(0, length)))
    assert digest(cut, slice(None), panel.coins) == digest(found, slice(0, length), panel.coins)


@pytest.mark.parametrize("last", [888, 1_002, 1_170, 1_503, 1_700, 1_799])
def test_the_last_888_hours_give_the_newest_row_bit_for_bit(panel, found, last):
    tail = compute_factors(panel.rows(slice(last + 1 - TAIL_HOURS, last + 1)))
    assert digest(tail, slice(-1, None), panel.coins) == digest(found, slice(last, last + 1), panel.coins)


def test_one_hour_less_than_the_tail_would_not_do(panel, found):
    short = compute_factors(panel.rows(slice(-TAIL_HOURS + 1, None)))
    assert digest(short, slice(-1, None), panel.coins) != digest(found, slice(-1, None), panel.coins)


def test_other_coins_their_order_and_threads_change_nothing_about_a_coin(panel, found):
    orders = [("BTC", "ETH", "AAA"), ("CCC", "ETH", "AAA", "BTC"), ("AAA", "BBB", "ETH", "CCC", "BTC")]
    for threads, coins in enumerate(orders, start=1):
        other = compute_factors(panel.select(coins), threads=threads)
        assert digest(other, slice(None), coins) == digest(found, slice(None), coins)


def test_the_leader_changes_only_independence_and_the_regime(panel, found):
    other = compute_factors(panel, leader="AAA", second="BBB")
    for name in PANELS:
        same = np.array_equal(panel_of(found, name), panel_of(other, name), equal_nan=True)
        assert same == (name != "I"), name
    assert not np.array_equal(found.market_regime, other.market_regime, equal_nan=True)
    assert np.nanmax(found.values["I"][:, panel.column("BTC")]) == 0.0


def test_the_regime_is_the_weighted_trend_of_the_two_leaders(panel, found):
    trend = found.values["T"]
    expected = 0.7 * trend[:, panel.column("BTC")] + 0.3 * trend[:, panel.column("ETH")]
    np.testing.assert_allclose(found.market_regime, expected, rtol=1e-12)


def test_everything_lies_in_its_range(found):
    for name in FACTORS:
        values = found.values[name][np.isfinite(found.values[name])]
        low, high = (0.0, 100.0) if name == "I" else (np.nextafter(-100.0, 0.0), np.nextafter(100.0, 0.0))
        assert len(values) > 1_000
        assert values.min() >= low, name
        assert values.max() <= high, name
    assert not any(np.isinf(panel_of(found, name)).any() for name in PANELS)


def test_the_first_score_comes_with_bar_336(found):
    for name in ("T", "M", "C", "V"):
        first = np.flatnonzero(np.isfinite(found.values[name][:, 0]))[0] + 1
        assert first <= CLEAN_HOURS, name
    assert np.flatnonzero(np.isfinite(found.values["V"][:, 0]))[0] + 1 == CLEAN_HOURS


def test_averages_are_those_of_talib_on_the_same_window(panel):
    high, low, close = (np.ascontiguousarray(getattr(panel, name)[:, 0]) for name in ("high", "low", "close"))
    for seed, weight in ((12, 2 / 13), (26, 2 / 27)):
        ours = np.empty(len(close))
        kernels.windowed_average(close, seed, weight, kernels.AVERAGE_HOURS, ours)
        windows = sliding_window_view(close, kernels.AVERAGE_HOURS)[::50]
        theirs = [talib.EMA(np.ascontiguousarray(window), seed)[-1] for window in windows]
        np.testing.assert_allclose(ours[kernels.AVERAGE_HOURS - 1 :][::50], theirs, rtol=1e-13)
        # Over all history TA-Lib differs by what is older than the window: (25 / 27) ** 136 = 3e-5 of its excursion.
        np.testing.assert_allclose(ours[400:], talib.EMA(close, seed)[400:], rtol=1e-5)
    ours = compute_factors(panel).atr14[:, 0]
    for t in range(kernels.AVERAGE_HOURS - 1, len(close), 50):
        window = slice(t + 1 - kernels.AVERAGE_HOURS, t + 1)
        theirs = talib.ATR(high[window].copy(), low[window].copy(), close[window].copy(), 14)[-1]
        assert ours[t] == pytest.approx(theirs, rel=1e-12)
    np.testing.assert_allclose(ours[400:], talib.ATR(high, low, close, 14)[400:], rtol=1e-4)


def test_raw_values_of_whole_numbers_are_those_worked_by_hand():
    hours = 200
    inputs = np.full((kernels.INPUTS, hours), 8.0)
    growth = 2.0 ** np.arange(hours)
    inputs[kernels.CLOSE], inputs[kernels.HIGH], inputs[kernels.LOW] = growth, 1.25 * growth, 0.25 * growth
    inputs[kernels.TAKER_BUY], inputs[kernels.INDEX], inputs[kernels.FUNDING] = 6.0, 4.0, 3e-4
    inputs[kernels.VOLUME, -6:] = 64.0
    inputs[kernels.OPEN_INTEREST] = np.arange(1.0, hours + 1)
    raw, atr = np.empty((kernels.RAW_VALUES, hours)), np.empty(hours)
    kernels.raw_values(inputs, raw, atr)
    # The true range is the close itself, high less low; its average satisfies a_t = a_{t-1} 13/14 + close/14.
    assert atr[-1] / growth[-1] == pytest.approx(2 / 15, rel=1e-12)
    # A perfect line: the slope of the log close is log 2 an hour and R squared is 1.
    assert raw[kernels.T, -1] == pytest.approx(np.log(2) * 7.5, rel=1e-12)
    # The averages of doubling values are 2 k / (1 + k) of the newest (k = 2/13, 2/27); their ratio to ATR is constant.
    assert raw[kernels.M, -1] == pytest.approx((4 / 15 - 4 / 29) * 7.5 / 2, rel=1e-9)
    # 18 hours of 8 and 6 of 64 make 528; bought 6 of 8, then 6 of 64: 18 x 4 - 6 x 52 = -240.
    assert raw[kernels.C, -1] == pytest.approx(-240 / 528, rel=1e-14)
    assert raw[kernels.FLOW, -1] == pytest.approx(-312 / 528, rel=1e-14)
    # The close lies at 3/4 of the range, which is +1/2 of the volume.
    assert raw[kernels.C_PROXY, -1] == pytest.approx(0.5, rel=1e-14)
    assert raw[kernels.FLOW_PROXY, -1] == pytest.approx(384 / 528 / 2, rel=1e-14)
    # The mean of 168 hours is (162 x 8 + 6 x 64) / 168 = 10.
    assert raw[kernels.V, -1] == pytest.approx(np.log(6.4), rel=1e-14)
    assert raw[kernels.O, -1] == pytest.approx(200 / 176 - 1, rel=1e-13)
    assert raw[kernels.OI_CHANGE, -1] == pytest.approx(200 / 194 - 1, rel=1e-13)
    assert raw[kernels.RETURN, -1] == 63.0
    assert (raw[kernels.BASIS, -1], raw[kernels.CROWDING, -1]) == (1.0, 3e-4)


def test_a_falling_price_turns_the_sign_of_volume_and_open_interest():
    inputs = np.full((kernels.INPUTS, 200), 8.0)
    inputs[kernels.CLOSE] = inputs[kernels.HIGH] = inputs[kernels.LOW] = 2.0 ** -np.arange(200.0)
    inputs[kernels.VOLUME, -6:] = 64.0
    inputs[kernels.OPEN_INTEREST] = np.arange(1.0, 201.0)
    raw, atr = np.empty((kernels.RAW_VALUES, 200)), np.empty(200)
    kernels.raw_values(inputs, raw, atr)
    assert raw[kernels.V, -1] == pytest.approx(-np.log(6.4))
    assert raw[kernels.O, -1] == pytest.approx(1 - 200 / 176)
    assert raw[kernels.T, -1] < 0


def test_a_market_that_never_moves_scores_zero_and_has_no_independence():
    found = compute_factors(constant_panel(700))
    for name in ("T", "M", "C", "V", "O", "B", "F"):
        assert (found.values[name][CLEAN_HOURS:] == 0.0).all(), name
    assert np.isnan(found.values["I"]).all()
    assert (found.atr14[200:] == 0.0).all()
    assert (found.market_regime[CLEAN_HOURS:] == 0.0).all()


def test_a_missing_hour_is_missing_exactly_where_a_window_contains_it():
    whole = random_panel(1_400)
    broken = whole
    for name in SERIES[:-1]:
        broken = changed(broken, name, 1_000, "AAA", np.nan)
    found, before = compute_factors(broken), compute_factors(whole)
    place = whole.column("AAA")
    reach = {"T": 162, "M": 168, "C": 24, "V": 168, "O": None, "B": 1, "F": 24, "I": 169}
    for name, hours in reach.items():
        missing = np.flatnonzero(np.isnan(found.values[name][400:, place])) + 400
        expected = [1_000, 1_024] if name == "O" else np.arange(1_000, 1_000 + hours)
        np.testing.assert_array_equal(missing, expected, err_msg=name)
        others = [column for column in range(len(whole.coins)) if column != place]
        np.testing.assert_array_equal(found.values[name][:, others], before.values[name][:, others])
    np.testing.assert_array_equal(np.flatnonzero(found.defect[:, place]), np.arange(1_000, 1_000 + CLEAN_HOURS))


def test_a_defective_hour_counts_as_missing_whatever_it_holds():
    whole = random_panel(1_200)
    gone = whole
    for name in SERIES[:-1]:
        gone = changed(gone, name, 1_000, "AAA", np.nan)
    marked = changed(changed(whole, "defective", 1_000, "AAA", True), "close", 1_000, "AAA", -5.0)
    found, expected = compute_factors(marked), compute_factors(gone)
    assert digest(found, slice(None), whole.coins) == digest(expected, slice(None), whole.coins)


def test_closed_bars_are_counted_and_a_coin_not_yet_listed_has_no_defect(panel, found):
    place = panel.column("CCC")
    assert found.closed_bars[399, place] == 0
    assert found.closed_bars[999, place] == 600
    assert found.closed_bars[1_799, place] == TAIL_HOURS - 3
    assert not found.defect[:1_000, place].any()
    np.testing.assert_array_equal(np.flatnonzero(found.defect[:, place]), np.arange(1_000, 1_002 + CLEAN_HOURS))
    assert found.defect[1_500 : 1_502 + CLEAN_HOURS, panel.column("BBB")].all()


def test_proxies_are_used_and_flagged_only_where_the_true_input_is_missing(panel, found):
    proxied = (found.flags & (Flag.C_PROXY | Flag.F_PROXY)) > 0
    assert not proxied[:, panel.column("BTC")].any()
    rows = np.flatnonzero(proxied[:, panel.column("ETH")])
    assert (rows.min(), rows.max()) == (900, 1_122)
    known = np.isfinite(found.values["C"][:, panel.column("AAA")])
    np.testing.assert_array_equal((found.flags[:, panel.column("AAA")] & Flag.C_PROXY) > 0, known)
    alone = (found.flags & Flag.B_FUNDING_ONLY) > 0
    assert alone[200:, panel.column("BBB")].sum() == 1_600 - 3
    assert not alone[:, panel.column("BTC")].any()


def test_flags_name_every_missing_factor(found):
    for name in FACTORS:
        flagged = (found.flags & Flag[f"{name}_MISSING"]) > 0
        np.testing.assert_array_equal(flagged, np.isnan(found.values[name]), err_msg=name)
    regime = np.repeat(np.isnan(found.market_regime)[:, np.newaxis], len(found.coins), axis=1)
    np.testing.assert_array_equal((found.flags & Flag.REGIME_MISSING) > 0, regime)
    assert stand_in_words(int(Flag.C_PROXY | Flag.B_FUNDING_ONLY | Flag.T_MISSING)) == "proxy_C,funding_only_B"
    assert stand_in_words(0) == ""


def test_funding_alone_counts_in_full_and_beside_the_basis_half(panel, found):
    for coin, whole in (("BBB", True), ("BTC", False)):
        place = panel.column(coin)
        inputs = {name: np.where(panel.defective, np.nan, getattr(panel, name))[:, place] for name in SERIES}
        crowding = robust_score(inputs["funding_8h"])
        basis = robust_score(inputs["mark"] / inputs["index"] - 1.0)
        expected = -crowding if whole else -(basis + crowding) / 2.0
        np.testing.assert_array_equal(found.values["B"][:, place], expected)


def test_taker_volume_above_the_volume_is_not_believed():
    whole = random_panel(1_000)
    beyond = changed(whole, "taker_buy_volume", 900, "AAA", 1e9)
    found = compute_factors(beyond)
    proxied = np.flatnonzero(found.flags[:, whole.column("AAA")] & Flag.C_PROXY)
    np.testing.assert_array_equal(proxied, np.arange(900, 924))


def test_the_frame_has_a_row_for_every_hour_and_coin(panel, found):
    frame = found.last(10).frame()
    assert list(frame.columns) == [
        *("hour", "coin", *FACTORS, "market_regime", "flags"),
        *("close", "atr14", "closed_bars", "defect", "funding_8h"),
    ]
    assert len(frame) == 10 * len(panel.coins)
    row = frame[(frame["coin"] == "AAA") & (frame["hour"] == panel.hours[-1])].iloc[0]
    assert row["T"] == found.values["T"][-1, panel.column("AAA")]
    assert row["flags"] == "proxy_C,proxy_F"
    assert row["close"] == panel.close[-1, panel.column("AAA")]
    assert str(frame["hour"].dtype) == "datetime64[us]"


def test_an_empty_panel_has_no_factors():
    found = compute_factors(random_panel(0))
    assert found.values["T"].shape == (0, 5)
    assert found.frame().empty


def test_what_cannot_be_computed_is_refused():
    made = random_panel(50)
    with pytest.raises(DataError, match=r"coin ETH is not in the panel .*name another"):
        compute_factors(made.select(("BTC", "AAA")))
    with pytest.raises(DataError, match=r"0 threads .* at least 1"):
        compute_factors(made, threads=0)
    with pytest.raises(DataError, match=r"close of BTC at .* is -1.0, expected positive"):
        compute_factors(replace(made, close=np.full_like(made.close, -1.0)))
