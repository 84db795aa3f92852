"""Factors of an hour from the bars as they were judged when it closed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from butterquant_assets.signals.alignment import MarketTables, panel_of
from butterquant_assets.signals.at_close import factors_at_close
from butterquant_assets.signals.factors import compute_factors
from butterquant_tests.signals.factor_cases import random_panel
from butterquant_tests.signals.line_house import COINS, tables_of

HOURS = 1000
LEADERS = ("BTC", "ETH")
START = pd.Timestamp("2024-01-01")
LATE = {"BTC": (930, 960), "AAA": (955, 960, 961)}


def tables() -> MarketTables:
    made = tables_of(random_panel(HOURS, COINS, 5))
    bars = made["crypto_bars"]
    place = (bars["hour"] - START) // pd.Timedelta(hours=1)
    later = np.zeros(len(bars), dtype=bool)
    for coin, hours in LATE.items():
        later |= ((bars["coin"] == coin) & place.isin(hours)).to_numpy()
    names = ("mark_prices", "index_prices", "taker_volume", "open_interest", "funding_rates")
    return MarketTables(bars.assign(suspect_later=later), *(made[name] for name in names))


def cut(given: MarketTables, last: pd.Timestamp) -> MarketTables:
    """The market as it was when the hour `last` closed: the open of the next bar had not come."""
    bars = given.bars[given.bars["hour"] <= last]
    bars = bars.assign(suspect_later=bars["suspect_later"] & (bars["hour"] < last))
    hourly = (frame[frame["hour"] <= last] for frame in (given.mark, given.index, given.taker, given.interest))
    ended = last + pd.Timedelta(hours=1)
    return MarketTables(bars, *hourly, given.funding[given.funding["settled_at"] < ended])


def test_a_bar_doubted_later_counts_at_its_own_close_and_never_again() -> None:
    given, last = tables(), START + pd.Timedelta(hours=HOURS - 1)
    whole = factors_at_close(given, START, last, LEADERS, 80)
    assert len(whole) == 80 * 3
    for number in (929, 930, 931, 954, 955, 956, 959, 960, 961, 962, 999):
        hour = START + pd.Timedelta(hours=number)
        live = factors_at_close(cut(given, hour), START, hour, LEADERS, 1)
        then = whole[whole["hour"] == hour].reset_index(drop=True)
        pd.testing.assert_frame_equal(then, live, check_exact=True)
    aaa = whole[whole["coin"] == "AAA"].set_index("hour")["close"]
    assert aaa.notna().all()
    defect = whole[whole["coin"] == "AAA"].set_index("hour")["defect"]
    assert not defect[START + pd.Timedelta(hours=955)]
    assert defect[START + pd.Timedelta(hours=956)]


def test_where_nothing_was_doubted_later_it_is_the_factors_of_the_panel() -> None:
    given, last = tables(), START + pd.Timedelta(hours=HOURS - 1)
    calm = MarketTables(
        given.bars.assign(suspect_later=False), given.mark, given.index, given.taker, given.interest, given.funding
    )
    plain = compute_factors(panel_of(calm, START, last, LEADERS), *LEADERS).last(30).frame()
    pd.testing.assert_frame_equal(factors_at_close(calm, START, last, LEADERS, 30), plain, check_exact=True)
