"""Prices and greeks against QuantLib, against recorded butterflies, and at their limits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.quant import black_scholes as bs
from butterquant_tests.shared_data import reference_dir

RNG_SEED = 20240117


def quantlib_option(spot, strike, days, rate, vol, kind):
    import QuantLib as ql  # noqa: N813

    today = ql.Date(17, 1, 2024)
    ql.Settings.instance().evaluationDate = today
    count = ql.Actual365Fixed()
    process = ql.BlackScholesProcess(
        ql.QuoteHandle(ql.SimpleQuote(spot)),
        ql.YieldTermStructureHandle(ql.FlatForward(today, rate, count)),
        ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), vol, count)),
    )
    payoff = ql.PlainVanillaPayoff(ql.Option.Call if kind == "call" else ql.Option.Put, strike)
    option = ql.VanillaOption(payoff, ql.EuropeanExercise(today + days))
    option.setPricingEngine(ql.AnalyticEuropeanEngine(process))
    return option.NPV(), option.delta(), option.gamma(), option.vega() / 100.0, option.theta() / 365.0


@pytest.mark.parametrize("kind", ["call", "put"])
def test_random_options_agree_with_quantlib(kind):
    rng = np.random.default_rng(RNG_SEED)
    n = 400
    spot = rng.uniform(5, 900, n)
    strike = spot * rng.uniform(0.7, 1.4, n)
    days = rng.integers(1, 700, n)
    rate = rng.uniform(-0.01, 0.08, n)
    vol = rng.uniform(0.05, 1.5, n)
    oracle = np.array([
        quantlib_option(*(float(x) for x in row[:2]), int(row[2]), float(row[3]), float(row[4]), kind)
        for row in zip(spot, strike, days, rate, vol, strict=True)
    ])  # fmt: skip
    ours = bs.greeks(spot, strike, days / 365.0, rate, vol, kind=kind)
    columns = [bs.price(spot, strike, days / 365.0, rate, vol, kind=kind)]
    columns += [ours.delta, ours.gamma, ours.vega, ours.theta]
    # Relative to the size of the spot, since an option far out of the money is a difference of two large terms.
    for column, expected in zip(columns, oracle.T, strict=True):
        np.testing.assert_allclose(column / spot, expected / spot, rtol=1e-11, atol=1e-13)


def test_recorded_butterflies_are_reproduced():
    rows = pd.read_csv(reference_dir() / "butterfly_quantlib.csv")
    assert len(rows) == 200
    years = rows["dte"] / 365.0
    for kind, part in rows.groupby("option"):
        t = years[part.index]
        legs = (part["lower"], part["center"], part["upper"])
        vols = (part["iv_lower"], part["iv_center"], part["iv_upper"])
        for name, strike, vol in zip(("lower", "center", "upper"), legs, vols, strict=True):
            value = bs.price(part["spot"], strike, t, part["rate"], vol, kind=kind)
            np.testing.assert_allclose(value, part[f"price_{name}"], rtol=1e-9)
        arguments = (part["spot"], *legs, t, part["rate"], *vols)
        np.testing.assert_allclose(bs.butterfly_value(*arguments, kind=kind), part["debit"], rtol=1e-9)
        ours = bs.butterfly_greeks(*arguments, kind=kind)
        for column, values in (
            ("delta", ours.delta),
            ("gamma", ours.gamma),
            ("vega_per_point", ours.vega),
            ("theta_per_day", ours.theta),
        ):
            np.testing.assert_allclose(values, part[column], rtol=1e-9, atol=1e-15, err_msg=column)


def test_the_worked_example_of_the_reference_holds():
    # REFERENCE section 1: S = 100, wings 95/100/105, 45 days, IV 25 %, r 4 %.
    legs = bs.price(100.0, [95.0, 100.0, 105.0], 45 / 365, 0.04, 0.25)
    np.testing.assert_allclose(legs, [6.8137, 3.7437, 1.7749], atol=5e-5)
    debit = bs.butterfly_value(100.0, 95.0, 100.0, 105.0, 45 / 365, 0.04, 0.25, 0.25, 0.25)
    assert float(debit) == pytest.approx(1.1012, abs=5e-5)


positive = st.floats(1.0, 1000.0)
vols = st.floats(0.05, 2.0)
times = st.floats(0.003, 3.0)
rates = st.floats(-0.02, 0.1)


@settings(derandomize=True, deadline=None)
@given(spot=positive, strike=positive, years=times, rate=rates, vol=vols)
def test_put_call_parity_and_no_arbitrage_bounds_hold(spot, strike, years, rate, vol):
    call = bs.price(spot, strike, years, rate, vol, kind="call")
    put = bs.price(spot, strike, years, rate, vol, kind="put")
    present = strike * np.exp(-rate * years)
    size = spot + strike
    assert float(call - put) == pytest.approx(spot - present, abs=1e-12 * size)
    assert max(spot - present, 0.0) - 1e-12 * size <= float(call) <= spot
    assert max(present - spot, 0.0) - 1e-12 * size <= float(put) <= present


@settings(derandomize=True, deadline=None, max_examples=50)
@given(moneyness=st.floats(0.7, 1.4), years=st.floats(0.02, 2.0), rate=rates, vol=st.floats(0.1, 1.0))
@pytest.mark.parametrize("kind", ["call", "put"])
def test_greeks_are_the_derivatives_of_the_price(kind, moneyness, years, rate, vol):
    spot, strike = 100.0, 100.0 * moneyness

    def value(s=spot, t=years, v=vol):
        return float(bs.price(s, strike, t, rate, v, kind=kind))

    ours = bs.greeks(spot, strike, years, rate, vol, kind=kind)
    step, day = 1e-3, 1e-6
    assert float(ours.delta) == pytest.approx((value(spot + step) - value(spot - step)) / (2 * step), abs=1e-6)
    curve = (value(spot + 0.01) - 2 * value() + value(spot - 0.01)) / 1e-4
    assert float(ours.gamma) == pytest.approx(curve, abs=1e-5)
    assert float(ours.vega) == pytest.approx((value(v=vol + 1e-5) - value(v=vol - 1e-5)) / 2e-5 / 100, abs=1e-6)
    decay = (value(t=years - day) - value(t=years + day)) / (2 * day) / 365
    assert float(ours.theta) == pytest.approx(decay, abs=1e-5)


def test_an_expired_option_is_worth_its_intrinsic_value():
    spot = np.array([90.0, 100.0, 110.0])
    np.testing.assert_array_equal(bs.price(spot, 100.0, 0.0, 0.04, 0.2), [0.0, 0.0, 10.0])
    np.testing.assert_array_equal(bs.price(spot, 100.0, 0.0, 0.04, 0.2, kind="put"), [10.0, 0.0, 0.0])
    call, put = bs.greeks(spot, 100.0, 0.0, 0.04, 0.2), bs.greeks(spot, 100.0, 0.0, 0.04, 0.2, kind="put")
    np.testing.assert_array_equal(call.delta, [0.0, 0.5, 1.0])
    np.testing.assert_array_equal(put.delta, [-1.0, -0.5, 0.0])
    for values in (call.gamma, call.vega, call.theta, put.gamma, put.vega, put.theta):
        np.testing.assert_array_equal(values, np.zeros(3))


def test_the_price_tends_to_the_intrinsic_value_as_expiry_nears():
    spot = np.array([90.0, 99.0, 101.0, 110.0])
    late = bs.price(spot, 100.0, 1e-9, 0.04, 0.2)
    np.testing.assert_allclose(late, bs.price(spot, 100.0, 0.0, 0.04, 0.2), atol=1e-6)


def test_arguments_broadcast_and_scalars_give_arrays_without_dimensions():
    grid = bs.price(np.array([[90.0], [110.0]]), [95.0, 100.0, 105.0], 0.1, 0.04, 0.2)
    assert grid.shape == (2, 3)
    assert float(grid[1, 2]) == float(bs.price(110.0, 105.0, 0.1, 0.04, 0.2))
    spread = bs.butterfly_value(100.0, 95.0, 100.0, 105.0, 0.1, 0.04, 0.2, 0.2, 0.2)
    assert isinstance(spread, np.ndarray)
    assert spread.shape == ()
    assert bs.price([], 100.0, 0.1, 0.04, 0.2).shape == (0,)


@pytest.mark.parametrize("position", range(5))
@pytest.mark.parametrize("years", [0.1, 0.0])
def test_a_missing_argument_gives_a_missing_value(position, years):
    arguments = [100.0, 100.0, years, 0.04, 0.2]
    arguments[position] = np.array([arguments[position], np.nan])
    value, sensitivities = bs.price(*arguments), bs.greeks(*arguments)
    for values in (value, sensitivities.delta, sensitivities.gamma, sensitivities.vega, sensitivities.theta):
        np.testing.assert_array_equal(np.isnan(values), [False, True])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("spot 0.0", (0.0, 100.0, 0.1, 0.04, 0.2)),
        ("spot inf", (np.inf, 100.0, 0.1, 0.04, 0.2)),
        ("strike -5.0", (100.0, [100.0, -5.0], 0.1, 0.04, 0.2)),
        ("vol 0.0", (100.0, 100.0, 0.1, 0.04, 0.0)),
        ("years -0.1", (100.0, 100.0, -0.1, 0.04, 0.2)),
        ("rate -inf", (100.0, 100.0, 0.1, -np.inf, 0.2)),
    ],
)
def test_an_impossible_argument_is_refused_by_name_and_value(name, arguments):
    with pytest.raises(DataError, match=name):
        bs.price(*arguments)
    with pytest.raises(DataError, match=name):
        bs.greeks(*arguments)


def test_an_unknown_kind_is_refused():
    with pytest.raises(DataError, match="'straddle'"):
        bs.price(100.0, 100.0, 0.1, 0.04, 0.2, kind="straddle")


def test_a_call_and_a_put_butterfly_at_one_volatility_are_worth_the_same():
    arguments = (100.0, 95.0, 100.0, 105.0, 45 / 365, 0.04, 0.3, 0.3, 0.3)
    np.testing.assert_allclose(bs.butterfly_value(*arguments), bs.butterfly_value(*arguments, kind="put"), rtol=1e-11)
