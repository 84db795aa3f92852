"""A month against a reference: nulls stay quiet, shifts are found, a plain implementation agrees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.monitoring.drift import (
    MONTH_DAYS,
    PRIOR_PAIRS,
    PRIOR_SESSIONS,
    Comparison,
    Daily,
    DriftRules,
    compare,
    upper_bound,
)
from butterquant_tests.monitoring.drift_cases import daily

RULES = DriftRules()


def alarm(found: Comparison) -> bool:
    return bool(np.nanmax(found.statistic) > found.threshold)


def month_of(seed: int, **options: float) -> Daily:
    return daily(seed, 1, days=20, first="2020-06", **options)


def plain_error(reference: Daily, month: Daily, near_days: int) -> tuple[np.ndarray, np.ndarray]:
    """Difference and error of one month, written as loops over sessions, pairs and months."""
    columns = month.values.shape[1]
    difference, error = np.zeros(columns), np.zeros(columns)
    months = reference.day.astype("datetime64[M]")
    for j in range(columns):
        x, known = reference.values[:, j], np.isfinite(reference.values[:, j])
        strata = sorted(set(reference.stratum))
        mean = {s: x[known & (reference.stratum == s)].mean() for s in strata}
        squares = {s: sum((v - mean[s]) ** 2 for v in x[known & (reference.stratum == s)]) for s in strata}
        count = {s: int((known & (reference.stratum == s)).sum()) for s in strata}
        pooled = sum(squares.values()) / sum(n - 1 for n in count.values())
        variance = {s: (squares[s] + PRIOR_SESSIONS * pooled) / (count[s] - 1 + PRIOR_SESSIONS) for s in strata}
        pairs = [
            (
                months[b],
                np.prod(
                    [(x[k] - mean[reference.stratum[k]]) / np.sqrt(variance[reference.stratum[k]]) for k in (a, b)]
                ),
            )
            for b in range(len(x))
            for a in range(b)
            if known[a] and known[b] and reference.day[b] - reference.day[a] <= np.timedelta64(near_days, "D")
        ]
        estimate = (sum(product for _, product in pairs) + PRIOR_PAIRS) / (len(pairs) + PRIOR_PAIRS)
        strays = [sum(product - estimate for when, product in pairs if when == m) for m in sorted(set(months))]
        likeness = min(max(estimate + np.sqrt(sum(np.square(strays))) / (len(pairs) + PRIOR_PAIRS), 0.0), 1.0)
        y, held = month.values[:, j], np.isfinite(month.values[:, j])
        share = {s: (held & (month.stratum == s)).sum() / held.sum() for s in strata}
        difference[j] = y[held].mean() - sum(share[s] * mean[s] for s in strata)
        gaps = np.abs(month.day[:, None] - month.day)[~np.eye(len(month.day), dtype=bool)]
        near = (gaps <= np.timedelta64(MONTH_DAYS, "D")).sum() / len(month.day) ** 2
        own = sum(share[s] * variance[s] for s in strata) * (1.0 / held.sum() + likeness * near)
        theirs = 0.0
        for m in sorted(set(months)):
            inside = known & (months == m)
            theirs += (
                sum(share[s] * (x[inside & (reference.stratum == s)] - mean[s]).sum() / count[s] for s in strata) ** 2
            )
        error[j] = np.sqrt(own + theirs)
    return difference, error


def test_a_plain_implementation_gives_the_same_difference_and_error() -> None:
    reference, month = daily(1, 20, columns=4), daily(2, 2, days=15, columns=4, first="2020-06")
    for side in (reference, month):
        side.values[np.random.default_rng(3).random(side.values.shape) < 0.1] = np.nan
    month = replace(month, stratum=np.arange(30) % 3)
    found = compare(reference, month, RULES)
    difference, error = plain_error(reference, month, RULES.near_days)
    np.testing.assert_allclose(found.difference, difference, rtol=1e-10)
    np.testing.assert_allclose(found.error, error, rtol=1e-10)
    np.testing.assert_allclose(found.statistic, np.abs(difference) / error, rtol=1e-10)


def test_each_month_of_the_reference_is_judged_as_if_it_had_never_been_in_it() -> None:
    reference = daily(1, 15, columns=4)
    found = compare(reference, month_of(2, columns=4), RULES).maxima
    months = reference.day.astype("datetime64[M]")
    expected = []
    for month in np.unique(months):
        inside = months == month
        alone = compare(reference.only(~inside), reference.only(inside), RULES)
        expected.append(np.nanmax(alone.statistic))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(("days", "luck"), [(2, 0.3), (4, 0.3), (20, 0.2)])
def test_months_of_the_same_population_rarely_raise_an_alarm(days: int, luck: float) -> None:
    alarms = sum(
        alarm(compare(daily(seed, 40, days=days, luck=luck), month_of(1000 + seed, luck=luck), RULES))
        for seed in range(100)
    )
    assert alarms <= 11


def test_the_same_null_would_be_an_alarm_nearly_always_if_sessions_were_independent() -> None:
    reference, month = daily(0, 60), month_of(1000)
    naive = np.abs(month.values.mean(axis=0) - reference.values[reference.stratum == month.stratum[0]].mean(axis=0))
    naive /= month.values.std(axis=0) / np.sqrt(20)
    assert (naive > 4.0).sum() > 5  # what the luck of months is there for
    assert not alarm(compare(reference, month, RULES))


def test_a_shift_beyond_the_luck_of_months_is_found_in_its_columns_only() -> None:
    reference, month = daily(5, 60), month_of(6)
    found = compare(reference, month, RULES)
    shift = np.zeros(23)
    shift[[2, 9, 17]] = 2.0 * found.threshold * found.error[[2, 9, 17]]
    moved = compare(reference, replace(month, values=month.values + shift), RULES)
    assert np.flatnonzero(moved.statistic > moved.threshold).tolist() == [2, 9, 17]


def test_a_stratified_reference_is_reweighted_to_the_strata_of_the_month() -> None:
    reference = daily(7, 60)
    for stratum in range(3):
        month = replace(month_of(8), stratum=np.full(20, stratum), values=np.full((20, 23), float(stratum)))
        own = reference.values[reference.stratum == stratum].mean(axis=0)
        np.testing.assert_allclose(compare(reference, month, RULES).difference, stratum - own, rtol=1e-9)


def test_a_longer_window_of_scattered_sessions_has_a_smaller_error() -> None:
    reference = daily(9, 60)
    scattered = daily(10, 20, days=1, first="2019-01")
    assert (compare(reference, scattered, RULES).error < compare(reference, month_of(10), RULES).error).all()


def test_too_few_months_or_sessions_give_no_threshold() -> None:
    assert np.isnan(compare(daily(1, 11), month_of(2), RULES).threshold)
    few = month_of(2)
    few = Daily(few.day[:4], few.stratum[:4], few.values[:4])
    assert np.isnan(compare(daily(1, 40), few, RULES).threshold)


def test_sessions_of_a_stratum_the_reference_never_met_are_left_out_and_counted() -> None:
    reference, month = daily(1, 40), month_of(2)
    strange = replace(month, stratum=np.where(np.arange(20) < 14, 7, month.stratum))
    assert compare(reference, strange, RULES).covered == 6
    nothing = compare(reference, replace(month, stratum=np.full(20, 7)), RULES)
    assert nothing.covered == 0
    assert np.isnan(nothing.statistic).all()
    assert np.isnan(nothing.threshold)


def test_a_column_without_values_has_no_statistic_and_spoils_no_other() -> None:
    reference, month = daily(1, 40), month_of(2)
    whole = compare(reference, month, RULES).statistic
    month.values[:, 3] = np.nan
    found = compare(reference, month, RULES).statistic
    assert np.isnan(found[3])
    np.testing.assert_array_equal(np.delete(found, 3), np.delete(whole, 3))


def test_the_bound_holds_the_next_value_as_often_as_it_says() -> None:
    random = np.random.default_rng(4)
    values = np.exp(random.normal(0.5, 0.3, (4000, 21)))
    held = np.mean([row[-1] < upper_bound(row[:-1], 0.95) for row in values])
    assert held == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize(
    ("reference", "month", "message"),
    [
        (daily(1, 20, columns=2), month_of(2), "2 columns, the month 23"),
        (daily(1, 20), daily(1, 1), "sessions of the month itself"),
        (
            daily(1, 20),
            Daily(*(part[:0] for part in (month_of(1).day, month_of(1).stratum, month_of(1).values))),
            "both need at least one",
        ),
        (daily(1, 20), replace(month_of(1), day=month_of(1).day[::-1]), "ascend without repeats"),
    ],
)
def test_what_cannot_be_compared_is_refused(reference: Daily, month: Daily, message: str) -> None:
    with pytest.raises(DataError, match=message):
        compare(reference, month, RULES)


@pytest.mark.parametrize(
    "wrong", [{"confidence": 1.0}, {"confidence": 0.2}, {"minimum_months": 2}, {"near_days": 0}, {"sessions": 24}]
)
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        DriftRules(**wrong)  # type: ignore[arg-type]


def test_a_bound_needs_two_positive_values() -> None:
    with pytest.raises(DataError, match="expected two or more"):
        upper_bound([1.0], 0.9)
    with pytest.raises(DataError, match="all > 0"):
        upper_bound([1.0, 0.0], 0.9)
