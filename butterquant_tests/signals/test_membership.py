"""Coins that entered the universe because they had risen teach nothing with their past."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.signals.calibration_ladder import Ladder
from butterquant_assets.signals.learned_facts import WARNS, facts, warnings
from butterquant_assets.signals.membership import standing
from butterquant_assets.signals.paper import Execution
from butterquant_assets.signals.refresh import Cadence, Rules
from butterquant_assets.signals.replay import Replayed, replay
from butterquant_assets.signals.thresholds import Search
from butterquant_tests.signals.signal_cases import HOUR, START, random_bars, random_factors, random_funding, states_of

DAY = pd.Timedelta(days=1)
DAYS, ENTRY = 28, 24
END = START + DAYS * DAY
RULES = Rules(
    execution=Execution(taker_fee_bps=0.0, slippage_bps=0.1, half_spread_bps=0.1),
    ladder=Ladder(ten=40, twenty=4000, isotonic=5000, minimum_bucket=10),
    search=Search(choose_days=14, confirm_days=7, minimum_weeks=2),
    cadence=Cadence(results=60),
)
OLD, LATE = ("SIM0", "SIM1", "SIM2"), "SIM3"


def market() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Three coins on random walks, and one that rises a hundredfold until the day it enters the universe."""
    bars = random_bars(4, DAYS * 24, 2, move=0.02)
    late = bars["coin"] == LATE
    hours = ((bars["hour"] - START) / HOUR).clip(upper=24 * ENTRY)
    for name in ("open", "high", "low", "close"):
        bars[name] = np.where(late, bars[name] * np.exp(np.log(100.0) * hours / (24 * ENTRY)), bars[name])
    factors = random_factors(bars, 2).merge(states_of(bars, funding=-3e-4), on=["hour", "coin"])
    return factors, bars, random_funding(4, DAYS * 24, 2)


def universe(*, late: bool, known: bool = True) -> pd.DataFrame:
    """The three coins from the first day on, the fourth from the day it enters."""
    days = pd.date_range(START, periods=DAYS, unit="us")
    rows = [(day, coin, known) for day in days for coin in OLD]
    rows += [(day, LATE, known) for day in days[ENTRY:] if late]
    return pd.DataFrame(rows, columns=["day", "coin", "as_of_known"]).astype({"coin": "str", "day": "datetime64[us]"})


def run(*, late: bool, told: bool = True, known: bool = True) -> tuple[pd.DataFrame, Replayed]:
    coins = (*OLD, LATE) if late else OLD
    factors, bars, funding = (frame[frame["coin"].isin(coins)].reset_index(drop=True) for frame in market())
    given = universe(late=late, known=known) if told else None
    return replay(factors, bars, funding, as_of=END, seed=7, universe=given, rules=RULES)


def test_a_coin_added_later_with_a_rally_before_its_entry_changes_nothing_that_is_learned() -> None:
    without, with_it = run(late=False)[1], run(late=True)[1]
    before = [one for one in without.rounds if one.as_of <= START + ENTRY * DAY]
    assert len(before) >= 4
    assert before[-1].tables.calibration.method == "ten"
    for one, other in zip(before, with_it.rounds, strict=False):
        assert one.as_of == other.as_of
        for name, frame in one.frames.items():
            pd.testing.assert_frame_equal(frame, other.frames[name], check_exact=True)
    # Where nothing is said of the universe the rally does teach.
    untold = run(late=True, told=False)[1].rounds
    assert [one.tables.calibration.version for one in untold[: len(before)]] != [
        one.tables.calibration.version for one in before
    ]


def test_the_universe_moves_no_score_no_gate_and_no_fill_of_the_first_tables() -> None:
    told, untold = (run(late=True, told=said)[0] for said in (True, False))
    first = told["hour"] < START + DAY
    same = [name for name in told.columns if name not in ("member", "evidence")]
    pd.testing.assert_frame_equal(told.loc[first, same], untold.loc[first, same], check_exact=True)
    late = told["coin"] == LATE
    assert late.sum() > 24 * (DAYS - 1)
    assert (told.loc[late, "member"] == (told.loc[late, "hour"] >= START + ENTRY * DAY)).all()
    assert told.loc[~late, "member"].all()


@pytest.mark.parametrize(("known", "share"), [(True, 0.0), (False, 1.0)])
def test_how_much_of_the_evidence_is_of_coins_chosen_afterwards_is_said(known: bool, share: float) -> None:
    replayed = run(late=False, known=known)[1]
    newest = replayed.rounds[-1].frames
    said = facts(replayed.records, newest)
    assert said["trades"] > 0
    assert said["share of coins chosen afterwards"] == share
    found = warnings(replayed.records, newest)
    assert ("universe" in found) == (share > 0)
    assert "universe" in WARNS
    if share:
        assert "100 % of the trades behind these tables are of coins chosen afterwards" in found["universe"]


def test_the_standing_of_a_coin_is_that_of_its_day() -> None:
    given = pd.DataFrame(
        {
            "day": pd.to_datetime(["2024-01-02", "2024-01-03"]).as_unit("us"),
            "coin": ["A", "A"],
            "as_of_known": [False, True],
        }
    )
    hour = pd.Series(pd.to_datetime(["2024-01-01T23", "2024-01-02T00", "2024-01-03T23", "2024-01-03T05"]).as_unit("us"))
    coin = pd.Series(["A", "A", "A", "B"], dtype="str")
    found = standing(hour, coin, given)
    assert found["member"].tolist() == [False, False, True, False]
    assert found["evidence"].tolist() == [True, True, True, False]
    assert standing(hour, coin)["evidence"].all()
    with pytest.raises(DataError, match="lack the columns as_of_known"):
        standing(hour, coin, given.drop(columns="as_of_known"))
