from __future__ import annotations

import numpy as np
import pytest

from butterquant_assets.market.suspects import absurd_bars, missing_before, stale_bars, unexplained_jumps
from butterquant_tests.market.raw_bars import some_sessions

LEVEL = 10 + 0.1 * np.sin(np.arange(60))
ONE = np.zeros(60, dtype=np.int64)


def plain_absurd(close: np.ndarray) -> list[bool]:
    """The rule written out for one ticker."""
    flags = []
    for t in range(len(close)):
        before, after = np.log(close[max(0, t - 11) : t]), np.log(close[t + 1 : t + 12])
        if len(before) < 3 or len(after) < 3:
            flags.append(False)
            continue
        up, down = np.log(close[t]) - np.median(before), np.log(close[t]) - np.median(after)
        far = min(abs(up), abs(down)) > np.log(4) and up * down > 0
        flags.append(bool(far and abs(np.median(before) - np.median(after)) < np.log(2)))
    return flags


@pytest.mark.parametrize("run", [1, 2, 5])
@pytest.mark.parametrize("factor", [0.01, 0.2, 6.0, 600.0])
def test_up_to_five_absurd_bars_are_found_and_no_other(run, factor):
    close = LEVEL.copy()
    close[30 : 30 + run] *= factor
    assert np.flatnonzero(absurd_bars(ONE, close)).tolist() == list(range(30, 30 + run))


def test_a_step_to_a_new_level_rejects_nothing_and_is_noted_once():
    close = np.where(np.arange(60) < 30, LEVEL, 20 * LEVEL)
    assert not absurd_bars(ONE, close).any()
    assert np.flatnonzero(unexplained_jumps(ONE, close)).tolist() == [30]


def test_a_jump_on_the_newest_bars_is_not_judged_yet():
    close = LEVEL.copy()
    close[-2:] *= 10
    assert not absurd_bars(ONE, close).any()


def test_a_move_by_less_than_a_factor_four_is_no_fault():
    close = LEVEL.copy()
    close[30] *= 3.8
    assert not absurd_bars(ONE, close).any()


def test_the_fast_rule_equals_the_plain_one_on_random_jumps():
    rng = np.random.default_rng(5)
    close = np.exp(rng.normal(0, 0.05, (4, 120)) + rng.choice([0, 0, 0, 2.5, -3.0], (4, 120)))
    ticker = np.repeat(np.arange(4), 120)
    assert absurd_bars(ticker, close.ravel()).tolist() == [flag for row in close for flag in plain_absurd(row)]


def test_tickers_do_not_see_each_other():
    close = np.concatenate([LEVEL, 100 * LEVEL])
    ticker = np.repeat(np.arange(2), 60)
    assert not absurd_bars(ticker, close).any()
    assert not unexplained_jumps(ticker, close).any()


def test_a_bar_is_stale_from_the_fifth_repetition_without_volume():
    prices = np.repeat(LEVEL[:, None], 4, axis=1)
    prices[10:20] = prices[10]
    volume = np.full(60, 100.0)
    volume[11:20] = 0
    assert np.flatnonzero(stale_bars(ONE, prices, volume)).tolist() == [15, 16, 17, 18, 19]
    volume[13] = 100
    assert np.flatnonzero(stale_bars(ONE, prices, volume)).tolist() == [18, 19]


def test_repetitions_with_volume_or_moves_without_volume_are_not_stale():
    flat = np.full((60, 4), 10.0)
    assert not stale_bars(ONE, flat, np.full(60, 1.0)).any()
    assert not stale_bars(ONE, np.repeat(LEVEL[:, None], 4, axis=1), np.zeros(60)).any()


def test_missing_sessions_are_counted_by_the_exchange_calendar():
    days = some_sessions(12).to_numpy()[[0, 1, 8, 9]]
    assert missing_before(np.array([0, 0, 0, 1]), days).tolist() == [0, 0, 6, 0]


def test_no_bars_give_no_flags():
    none = np.array([], dtype=np.int64)
    assert absurd_bars(none, np.array([])).size == 0
    assert stale_bars(none, np.empty((0, 4)), np.array([])).size == 0
    assert missing_before(none, np.array([], dtype="datetime64[us]")).size == 0
