from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.adjustment import (
    later_factor,
    prices_are_quoted,
    quoted_dividend,
    quoted_price,
    quoted_volume,
    ratio_on_bar,
)

BARS = pd.DataFrame(
    {
        "session": pd.to_datetime(["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07", "2020-01-03"]),
        "ticker": ["A", "A", "A", "A", "B"],
    }
)


def splits(*entries: tuple[str, str, float]) -> pd.DataFrame:
    return pd.DataFrame(entries, columns=["session", "ticker", "split_ratio"]).assign(
        session=lambda frame: pd.to_datetime(frame["session"])
    )


def test_only_splits_after_a_session_scale_its_prices():
    known = splits(("2020-01-03", "A", 2.0), ("2024-05-01", "A", 10.0), ("2020-01-01", "A", 7.0))
    assert later_factor(BARS, known).tolist() == [20.0, 10.0, 10.0, 10.0, 1.0]


def test_a_split_on_a_day_without_a_bar_takes_effect_on_the_next_bar():
    known = splits(("2020-01-04", "A", 2.0), ("2020-01-06", "A", 3.0))
    assert ratio_on_bar(BARS, known).tolist() == [1.0, 1.0, 6.0, 1.0, 1.0]


def test_splits_outside_a_tickers_bars_appear_on_no_bar():
    known = splits(("2019-01-04", "A", 2.0), ("2024-01-06", "A", 3.0), ("2020-01-03", "B", 4.0))
    assert ratio_on_bar(BARS, known).tolist() == [1.0] * 5


@given(
    cents=st.integers(100, 400_000),
    factor=st.sampled_from([1.0, 2.0, 3.0, 7.0, 28.0, 1.998, 39.96, 1.061, 1.311791, 0.125, 0.2006, 1 / 3]),
    later=st.sampled_from([1.0, 2.0, 10.0, 1.053, 0.1]),
)
def test_a_quote_survives_float32_adjustment_and_any_later_re_adjustment(cents, factor, later):
    quote = cents / 100
    for by in (factor, factor * later):
        assert quoted_price(np.float32(quote / by), by) == quote


@given(
    lots=st.integers(1, 5_000_000),
    factor=st.sampled_from([1.0, 2.0, 7.0, 28.0, 1.998, 1.061, 1.311791, 0.2006, 1 / 3]),
)
def test_round_lots_survive_adjustment_to_whole_shares(lots, factor):
    assert quoted_volume(np.round(lots * 100 * factor), factor) == lots * 100


def test_volume_that_is_no_round_lot_stays_in_whole_shares():
    assert quoted_volume([8_904_592.0, 8_904_592.0], [1.0, 4.0]).tolist() == [8_904_592.0, 2_226_148.0]


def test_prices_off_the_cent_grid_keep_six_digits():
    assert quoted_price(np.float32(0.31108), 1.0) == 0.31108
    assert quoted_price(10.00514159, 1.0) == 10.0051
    assert np.isnan(quoted_price(np.nan, 2.0))


def test_dividends_come_back_to_what_was_declared():
    # Apple: 2.65 USD a share in August 2012, 3.29 in May 2014; the vendor's figures are per share of 2026.
    assert quoted_dividend([0.094643, 0.117500, 0.128333], [28.0, 28.0, 1.0]).tolist() == [2.65, 3.29, 0.128333]


def test_closes_that_jump_on_every_split_are_quoted_and_closes_that_never_do_are_not():
    known = splits(("2020-01-06", "A", 4.0), ("2020-01-06", "B", 1.03))
    assert prices_are_quoted(BARS.assign(close=[100.0, 102.0, 25.2, 25.0, 9.0]), known)
    assert not prices_are_quoted(BARS.assign(close=[25.0, 25.5, 25.2, 25.0, 9.0]), known)


def test_a_file_that_is_half_adjusted_is_refused():
    known = splits(("2020-01-03", "A", 4.0), ("2020-01-07", "A", 2.0))
    with pytest.raises(SourceError, match=r"A 2020-01-03 .* not on that of A 2020-01-07"):
        prices_are_quoted(BARS.assign(close=[100.0, 25.0, 25.2, 25.0, 9.0]), known)
