"""Realised volatility, its rank, and the smile."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import iv_proxy
from butterquant_assets.butterfly.strikes import Strikes
from butterquant_assets.foundation.errors import ConfigError


def test_realised_volatility_is_the_annualised_deviation_of_the_last_thirty_returns() -> None:
    returns = np.random.default_rng(1).standard_normal((3, 100)) / 100
    found = iv_proxy.realised_vol(returns, 10)
    for row in range(3):
        rolling = pd.Series(returns[row]).rolling(30).std() * np.sqrt(252)
        np.testing.assert_allclose(found[row], rolling.to_numpy()[-10:], rtol=1e-12)


def test_the_smooth_smile_passes_through_the_anchors_of_the_document() -> None:
    found = iv_proxy.smile_multiple([95.0, 100.0, 105.0], 100.0, "smooth")
    np.testing.assert_allclose(found, [1.25 / 1.15, 1.0, 1.10 / 1.15], rtol=1e-14)


def test_the_smooth_smile_is_flat_beyond_its_limit_and_continuous_there() -> None:
    edge = 100.0 * np.exp([-0.2, 0.2])
    inside, beyond = (iv_proxy.smile_multiple(edge * factor, 100.0, "smooth") for factor in (1.0, np.array([0.5, 2.0])))
    np.testing.assert_allclose(inside, beyond, rtol=1e-13)


def test_the_smile_of_the_document_has_steps_at_five_percent() -> None:
    found = iv_proxy.smile_multiple([94.99, 95.0, 105.0, 105.01], 100.0, "document")
    np.testing.assert_allclose(found, [1.25 / 1.15, 1.0, 1.0, 1.10 / 1.15])


@pytest.mark.parametrize("smile", ["smooth", "document", "flat"])
def test_a_missing_strike_has_a_missing_volatility(smile: str) -> None:
    assert np.isnan(iv_proxy.smile_multiple(np.nan, 100.0, smile)).all()  # type: ignore[arg-type]


def test_an_unknown_smile_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'grin'"):
        iv_proxy.smile_multiple(100.0, 100.0, "grin")  # type: ignore[arg-type]


def test_leg_volatilities_are_the_level_times_the_smile() -> None:
    strikes = Strikes(*(np.array([value]) for value in (95.0, 100.0, 105.0, 5.0)))
    found = iv_proxy.leg_vols(np.array([0.23]), strikes, np.array([100.0]), "smooth")
    np.testing.assert_allclose([found.lower[0], found.center[0], found.upper[0]], [0.25, 0.23, 0.22], rtol=1e-13)


def test_the_percentile_is_the_share_of_known_earlier_values_strictly_below() -> None:
    history = np.vstack([np.arange(252.0), np.r_[np.full(126, np.nan), np.arange(126.0)], np.full(252, 5.0)])
    found = iv_proxy.percentile(history, np.array([126.0, 63.0, 5.0]))
    assert found.tolist() == [0.5, 0.5, 0.0]


def test_fewer_than_126_known_values_or_an_unknown_level_give_no_percentile() -> None:
    history = np.vstack([np.r_[np.full(127, np.nan), np.arange(125.0)], np.arange(252.0)])
    assert np.isnan(iv_proxy.percentile(history, np.array([60.0, np.nan]))).all()
