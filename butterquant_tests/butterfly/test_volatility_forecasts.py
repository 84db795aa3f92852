"""References and smearing against their definitions, statsmodels and known distributions."""

from __future__ import annotations

import numpy as np
import pytest

from butterquant_assets.butterfly import volatility_forecasts as forecasts
from butterquant_assets.butterfly.short_term_training import (
    INPUTS,
    VARIANCE_FLOOR,
    inputs_of,
    log_references,
    log_variance,
)
from butterquant_assets.foundation.errors import DataError
from butterquant_tests.butterfly.short_term_cases import GARCH_BIAS, made_up_rows


def test_smearing_of_lognormal_errors_is_that_of_the_lognormal_mean() -> None:
    errors = np.random.default_rng(0).normal(0, 0.8, 400_000)
    smearing = forecasts.duan_smearing(errors, np.zeros(errors.size))
    assert smearing.variance == pytest.approx(np.exp(0.8**2 / 2), rel=5e-3)
    assert smearing.volatility == pytest.approx(np.exp(0.4**2 / 2), rel=3e-3)


def test_a_smeared_forecast_has_the_mean_of_what_was_realised() -> None:
    realised = np.random.default_rng(1).normal(-3, 0.5, 500)
    said = np.full(500, -3.3)
    forecast = forecasts.duan_smearing(realised, said).forecast(said)
    assert forecast.variance.mean() == pytest.approx(np.exp(realised).mean(), rel=1e-12)
    assert forecast.volatility.mean() == pytest.approx(np.exp(0.5 * realised).mean(), rel=1e-12)


@pytest.mark.parametrize("values", [[], [np.nan]])
def test_smearing_without_residuals_is_refused(values: list[float]) -> None:
    with pytest.raises(DataError, match="residuals"):
        forecasts.duan_smearing(np.array(values), np.zeros(len(values)))


def test_garch_is_reported_as_it_is() -> None:
    rows = made_up_rows()
    forecast = forecasts.garch_forecast(rows)
    assert forecast.volatility.tolist() == rows["garch_vol_7"].tolist()
    np.testing.assert_allclose(forecast.variance, rows["garch_vol_7"] ** 2, rtol=1e-15)


def test_the_corrected_variance_is_the_multiple_of_lowest_qlike_on_its_training_rows() -> None:
    rows = made_up_rows(planted=False)
    corrected = forecasts.corrected_garch_forecast(rows, rows)
    garch, realised = rows["garch_vol_7"].to_numpy() ** 2, rows["realised_vol_7"].to_numpy() ** 2
    multiple = corrected.variance / garch
    assert np.ptp(multiple) < 1e-12
    trials = multiple[0] * np.linspace(0.9, 1.1, 201)
    losses = [(realised / (trial * garch) - np.log(realised / (trial * garch)) - 1).mean() for trial in trials]
    assert np.argmin(losses) == 100
    assert corrected.volatility.mean() < np.sqrt(garch).mean() / GARCH_BIAS**0.5


@pytest.mark.parametrize("columns", [forecasts.HAR, forecasts.HAR_X])
def test_har_is_the_least_squares_of_statsmodels(columns: tuple[str, ...]) -> None:
    import statsmodels.api as sm

    rows = made_up_rows()
    model = forecasts.fit_log_linear(rows, columns)
    sources = {
        "log_rv_1": rows["rv_1"],
        "log_rv_5": rows["rv_5"],
        "log_rv_22": rows["rv_22"],
        "log_garch_variance_7": rows["garch_vol_7"] ** 2,
        "log_vix_variance": (rows["vix_level"] / 100) ** 2,
    }
    X = np.column_stack([np.log(np.maximum(sources[name], 1e-4)) for name in columns])
    theirs = sm.OLS(np.log(np.maximum(rows["realised_vol_7"].to_numpy() ** 2, 1e-4)), sm.add_constant(X)).fit()
    np.testing.assert_allclose(model.coefficients, theirs.params, rtol=1e-9)
    np.testing.assert_allclose(model.log_forecast(rows), theirs.fittedvalues, rtol=1e-9)
    smeared = np.exp(theirs.fittedvalues) * np.exp(theirs.resid).mean()
    made = forecasts.log_linear_forecast(rows, rows, columns)
    np.testing.assert_allclose(made.variance, smeared, rtol=1e-9)


def test_a_reference_that_never_changes_is_refused_with_its_name() -> None:
    with pytest.raises(DataError, match=r"3 independent columns of 4.*log_rv_22"):
        forecasts.fit_log_linear(made_up_rows().assign(rv_22=0.04), forecasts.HAR)


def test_the_inputs_are_the_features_and_the_logs_of_five_variances() -> None:
    rows = made_up_rows()
    X = inputs_of(rows)
    assert X.shape == (len(rows), len(INPUTS)) == (len(rows), 28)
    for name in ("skew_estimate", "vix_level", "trend_slope"):
        np.testing.assert_array_equal(X[:, INPUTS.index(name)], rows[name])
    np.testing.assert_array_equal(X[:, 23:], log_references(rows))
    np.testing.assert_allclose(X[:, INPUTS.index("log_garch_variance_7")], 2 * np.log(rows["garch_vol_7"]), rtol=1e-12)
    np.testing.assert_allclose(X[:, INPUTS.index("log_vix_variance")], 2 * np.log(rows["vix_level"] / 100), rtol=1e-12)


def test_a_price_that_did_not_move_has_the_floor_as_its_variance() -> None:
    assert log_variance([0.0, 1e-9, 0.04]).tolist() == [np.log(VARIANCE_FLOOR)] * 2 + [np.log(0.04)]
