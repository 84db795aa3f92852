"""Report rows: intervals count episodes, not trades, and the long table comes apart again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, t

from butterquant_assets.butterfly import report_rows
from butterquant_assets.butterfly.report_rows import ReportRow, as_table, difference_over_episodes, mean_over_episodes


def _plain(statistic: object, episodes: np.ndarray, draws: int, seed: int) -> tuple[float, float]:
    """Draw whole episodes with replacement, compute the statistic on the rows drawn, take the widened quantiles."""
    names = sorted(set(episodes))
    k = len(names)
    found = []
    for picks in np.random.default_rng(seed).integers(0, k, size=(draws, k)):
        rows = np.concatenate([np.flatnonzero(episodes == names[pick]) for pick in picks])
        value = statistic(rows)  # type: ignore[operator]
        if value is not None:
            found.append(value)
    tail = norm.cdf(np.sqrt(k / (k - 1)) * t.ppf(0.025, k - 1))
    return tuple(np.quantile(found, [tail, 1 - tail]))


CLUSTERED = st.lists(
    st.tuples(st.floats(-3, 3), st.sampled_from("abcdef"), st.booleans()), min_size=4, max_size=40
).filter(lambda rows: len({name for _, name, _ in rows}) > 1)


@given(CLUSTERED)
def test_the_interval_of_a_mean_equals_the_plain_bootstrap(rows: list[tuple[float, str, bool]]) -> None:
    values = np.array([value for value, _, _ in rows])
    episodes = np.array([name for _, name, _ in rows], dtype=object)
    found = mean_over_episodes(values, episodes, draws=60)
    low, high = _plain(lambda at: values[at].mean(), episodes, 60, report_rows.SEED)
    np.testing.assert_allclose([found.value, found.low, found.high], [values.mean(), low, high], atol=1e-12)
    assert (found.n, found.episodes) == (len(rows), len(set(episodes)))


@given(CLUSTERED)
def test_the_interval_of_a_difference_equals_the_plain_bootstrap(rows: list[tuple[float, str, bool]]) -> None:
    values = np.array([value for value, _, _ in rows])
    episodes = np.array([name for _, name, _ in rows], dtype=object)
    upper = np.array([side for _, _, side in rows])
    found = difference_over_episodes(values, upper, episodes, draws=60)
    if upper.all() or not upper.any():
        assert np.isnan(found.value)
        return

    def gap(at: np.ndarray) -> float | None:
        side = upper[at]
        return values[at][side].mean() - values[at][~side].mean() if side.any() and not side.all() else None

    low, high = _plain(gap, episodes, 60, report_rows.SEED)
    expected = [values[upper].mean() - values[~upper].mean(), low, high]
    np.testing.assert_allclose([found.value, found.low, found.high], expected, atol=1e-12)


def test_copies_of_a_trade_within_its_episode_do_not_narrow_the_interval() -> None:
    random = np.random.default_rng(0)
    values, episodes = random.normal(size=12), np.arange(12).astype(str).astype(object)
    once = mean_over_episodes(values, episodes)
    often = mean_over_episodes(np.repeat(values, 50), np.repeat(episodes, 50))
    np.testing.assert_allclose([once.low, once.high], [often.low, often.high], rtol=1e-12)
    assert (often.n, often.episodes) == (600, 12)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        common = random.normal(size=15)
        values = np.repeat(common, 20) + 0.3 * random.normal(size=300)
        found = mean_over_episodes(values, np.repeat(np.arange(15), 20).astype(str).astype(object), draws=300)
        covered += found.low <= 0 <= found.high
    assert 0.90 <= covered / 300 <= 0.99


def test_one_episode_has_a_mean_but_no_interval_and_no_trade_has_neither() -> None:
    one = mean_over_episodes(np.array([1.0, 3.0]), np.array(["a", "a"], dtype=object))
    assert (one.value, one.n, one.episodes) == (2.0, 2, 1)
    assert np.isnan([one.low, one.high]).all()
    none = mean_over_episodes(np.array([np.nan]), np.array(["a"], dtype=object))
    assert np.isnan([none.value, none.low, none.high]).all()
    assert (none.n, none.episodes) == (0, 0)


def test_missing_values_are_left_out_of_mean_trades_and_episodes() -> None:
    values = np.array([1.0, np.nan, 3.0, np.nan])
    found = mean_over_episodes(values, np.array(["a", "a", "b", "c"], dtype=object))
    assert (found.value, found.n, found.episodes) == (2.0, 2, 2)


def test_the_long_table_is_sorted_typed_and_comes_apart_again() -> None:
    rows = [
        ReportRow("s", "b | y", "m", 2.0, 5, 2),
        ReportRow("s", "a | x", "m", 1.0, 3, 1),
        ReportRow("s", "a | x", "gone", float("nan"), 0, 0),
        ReportRow("other", "c", "m", 9.0, 1, 1),
    ]
    table = as_table(rows)
    assert table.dtypes.astype(str).to_dict() == report_rows.ROW_TYPES
    assert table["group"].tolist() == ["c", "a | x", "a | x", "b | y"]
    found = report_rows.wide(table, "s", ("first", "second"))
    assert found["first"].tolist() == ["a", "b"]
    assert found["m"].tolist() == [1.0, 2.0]
    assert found["n"].tolist() == [3, 5]
    assert found["gone"].isna().all()
    assert as_table([]).dtypes.astype(str).to_dict() == report_rows.ROW_TYPES


def test_class_shares_leave_out_trades_without_a_class() -> None:
    rows = report_rows.class_share_rows(
        "s", "g", np.array([0.0, 3.0, 3.0, np.nan]), np.array(["a", "a", "b", "c"], dtype=object)
    )
    assert [row.value for row in rows] == pytest.approx([1 / 3, 0, 0, 2 / 3])
    assert {(row.n, row.episodes) for row in rows} == {(3, 2)}
    assert isinstance(pd.DataFrame(rows), pd.DataFrame)
