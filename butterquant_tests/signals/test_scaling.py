"""The sliding window against a plain one, value by value, and on series whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.signals.scaling import centre_and_scale, robust_score
from butterquant_tests.signals.plain_factors import plain_centre_and_scale, plain_score


def series(kind, hours=2_000, seed=1):
    random = np.random.default_rng(seed)
    noise = random.standard_t(3, hours)
    return {
        "noise": noise,
        "walk": np.cumsum(noise),
        "ties": np.round(noise),
        "funding": np.repeat(np.where(random.uniform(size=hours // 8) < 0.6, 1.0, noise[: hours // 8]), 8) * 1e-4,
        "mostly missing": np.where(random.uniform(size=hours) < 0.7, np.nan, noise),
        "long gap": np.where((np.arange(hours) > 500) & (np.arange(hours) < 1_400), np.nan, noise),
        "signed zeros": np.where(random.uniform(size=hours) < 0.5, 0.0, -0.0) + np.where(noise > 2, noise, -0.0),
        "jumps": np.where(np.arange(hours) % 1_000 < 500, 1e9, -1e-9) + noise,
    }[kind]


KINDS = ("noise", "walk", "ties", "funding", "mostly missing", "long gap", "signed zeros", "jumps")


@pytest.mark.parametrize("kind", KINDS)
def test_centre_scale_and_score_equal_the_plain_ones(kind):
    values = series(kind)
    centre, scale = centre_and_scale(values)
    plain_centre, plain_scale = plain_centre_and_scale(values)
    np.testing.assert_array_equal(centre, plain_centre)
    np.testing.assert_allclose(scale, plain_scale, rtol=1e-12, atol=0)
    np.testing.assert_allclose(robust_score(values), plain_score(values), rtol=1e-12, atol=1e-12)


@settings(max_examples=30)
@given(st.lists(st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0, 5.0, float("nan")]), min_size=169, max_size=240))
def test_few_distinct_values_tie_in_every_way_and_agree(values):
    centre, scale = centre_and_scale(values)
    plain_centre, plain_scale = plain_centre_and_scale(np.array(values))
    np.testing.assert_array_equal(centre, plain_centre)
    np.testing.assert_allclose(scale, plain_scale, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_depends_on_its_hour_and_the_720_before_and_nothing_else(kind):
    values = series(kind)
    scores = robust_score(values)
    for last in (167, 169, 720, 1_111, 1_500, 1_999):
        window = values[max(last - 720, 0) : last + 1]
        assert robust_score(window)[-1].tobytes() == scores[last].tobytes()
        assert robust_score(values[: last + 1]).tobytes() == scores[: last + 1].tobytes()


def test_the_current_value_is_not_part_of_its_own_yardstick():
    values = series("noise")
    other = values.copy()
    other[1_000] = 1e6
    for before, after in zip(centre_and_scale(values), centre_and_scale(other), strict=True):
        np.testing.assert_array_equal(before[:1_001], after[:1_001])
        assert not np.array_equal(before, after, equal_nan=True)


def test_whole_numbers_worked_by_hand():
    # 0 .. 9 over and over: median 4.5, two in ten each .5, 1.5, 2.5, 3.5 and 4.5 away from it, in the middle 2.5.
    values = np.append(np.tile(np.arange(10.0), 72), 8.2065)
    centre, scale = centre_and_scale(values)
    assert centre[-1] == 4.5
    assert scale[-1] == 1.4826 * 2.5
    assert robust_score(values)[-1] == pytest.approx(100 * np.tanh(0.5))


def test_the_mean_deviation_steps_in_where_more_than_half_are_equal():
    values = np.append(np.tile([1.0, 1.0, 1.0, 5.0], 180), 3.5066)
    centre, scale = centre_and_scale(values)
    assert (centre[-1], scale[-1]) == (1.0, 1.2533)  # the mean of 0 0 0 4 is 1
    assert robust_score(values)[-1] == pytest.approx(100 * np.tanh(1.0))


def test_a_series_that_never_deviated_scores_zero_even_when_it_jumps_at_last():
    scores = robust_score(np.append(np.full(400, 0.1), 7.0))
    assert np.isnan(scores[:168]).all()
    assert (scores[168:] == 0.0).all()


def test_168_known_values_are_needed_before_the_first_score():
    values = series("noise")
    values[50] = np.nan
    assert np.flatnonzero(~np.isnan(robust_score(values)))[0] == 169


def test_no_score_reaches_100_and_none_warns_of_an_overflow():
    values = np.append(series("noise"), [1e300, -1e300])
    scores = robust_score(values)
    assert 99.99 < scores[-2] < 100.0
    assert -100.0 < scores[-1] < -99.99


def test_infinite_values_and_wrong_shapes_are_refused():
    with pytest.raises(DataError, match=r"value inf at hour 3 .* give NaN"):
        robust_score([1.0, 2.0, 3.0, np.inf])
    with pytest.raises(DataError, match=r"shape \(2, 3\).*one coin at a time"):
        robust_score(np.zeros((2, 3)))
    assert robust_score([]).shape == (0,)
