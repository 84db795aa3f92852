"""The line through history on random markets: rounds, what each knew, and going on where an earlier replay ended."""

from __future__ import annotations

import warnings

import pandas as pd
import pytest

from benchmarks.bench_signal_real import report
from benchmarks.signal_line import Line
from butterquant_assets.market.crypto_suspects import flag_bars
from butterquant_assets.signals.calibration_ladder import CalibrationTable, Ladder
from butterquant_assets.signals.paper import Execution
from butterquant_assets.signals.refresh import CONTRACTS, Cadence, Round, Rules
from butterquant_assets.signals.replay import Inputs, Past, Replay, Replayed, replay
from butterquant_assets.signals.rounds import no_rows, stacked, taken_out
from butterquant_assets.signals.schemas import BOOK_COSTS, OPEN_POSITIONS, PAPER_TRADES
from butterquant_tests.signals.signal_cases import HOUR, START, random_bars, random_factors, random_funding, states_of

DAY = 24 * HOUR
LENGTH = 24 * 7 * 3
END = START + LENGTH * HOUR
# So cheap that some signals are accepted, and coins are busy.
RULES = Rules(
    execution=Execution(taker_fee_bps=0.0, slippage_bps=0.1, half_spread_bps=0.1),
    ladder=Ladder(ten=40, twenty=4000, isotonic=5000, minimum_bucket=10),
)


def market(seed: int, length: int = LENGTH, coins: int = 3) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    bars = random_bars(coins, length, seed, move=0.02, missing=0.002)
    factors = random_factors(bars, seed).merge(states_of(bars, funding=-3e-4), on=["hour", "coin"])
    return factors, bars, random_funding(coins, length, seed)


def same_rounds(some: tuple[Round, ...], others: tuple[Round, ...]) -> None:
    for one, other in zip(some, others, strict=True):
        assert one.as_of == other.as_of
        for name, frame in one.frames.items():
            pd.testing.assert_frame_equal(frame, other.frames[name], check_exact=True)


@pytest.fixture(scope="module")
def whole() -> tuple[pd.DataFrame, Replayed]:
    return replay(*market(2), as_of=END, seed=7, rules=RULES)


def test_every_table_keeps_its_contract_and_judges_only_what_came_after_it(
    whole: tuple[pd.DataFrame, Replayed],
) -> None:
    trades, replayed = whole
    assert PAPER_TRADES.validate(trades).reasons() == []
    assert OPEN_POSITIONS.validate(replayed.positions).reasons() == []
    assert set(trades["track"]) == {"accepted", "busy", "rejected"}
    assert len(replayed.rounds) == 3
    assert set(replayed.records["reason"]) == {"week"}
    for name, frame in stacked(replayed.rounds).items():
        assert CONTRACTS[name].validate(frame).reasons() == [], name
    assert replayed.rounds[-1].tables.calibration.method == "ten"
    assert (trades["calibration_version"] == CalibrationTable().version).any()
    for one in replayed.rounds[:-1]:
        judged = trades[trades["calibration_version"] == one.tables.calibration.version]
        assert len(judged) > 100
        assert (judged["hour"] >= one.as_of).all()


def test_a_longer_history_changes_nothing_that_was_there_before(whole: tuple[pd.DataFrame, Replayed]) -> None:
    factors, bars, funding = market(2)
    middle = START + 24 * 16 * HOUR
    early, cut = replay(
        factors[factors["hour"] < middle],
        bars[bars["hour"] < middle],
        funding[funding["settled_at"] < middle],
        as_of=middle,
        seed=7,
        rules=RULES,
    )
    same_rounds(cut.rounds, whole[1].rounds[: len(cut.rounds)])
    ended = early[early["status"] == "closed"]
    later = whole[0].set_index("signal_id").loc[ended["signal_id"]].reset_index()[ended.columns]
    pd.testing.assert_frame_equal(ended.reset_index(drop=True), later, check_exact=True)


def test_a_bar_that_only_the_open_at_a_round_contradicts_counts_in_that_round_and_in_none_after_it() -> None:
    """A day more turns the last bar before midnight `suspect_later`, and nothing else that the round knew."""
    end = START + 7 * DAY
    bars = random_bars(3, 24 * 15, 4, move=0.004).assign(volume=1.0, quote_volume_usd=1.0)
    bars["open"] = bars.groupby("coin")["close"].shift().fillna(bars["open"])
    bars.loc[(bars["coin"] == "SIM0") & (bars["hour"] == end - HOUR), "close"] *= 0.93
    bars["high"], bars["low"] = (
        getattr(bars[["high", "low", "open", "close"]], side)(axis=1) for side in ("max", "min")
    )
    factors = random_factors(bars, 4).merge(states_of(bars), on=["hour", "coin"])
    funding = random_funding(3, 24 * 15, 4)
    ladder = Ladder(ten=20, twenty=4000, isotonic=5000, minimum_bucket=5)

    def replayed(days: int, **given: bool) -> Replayed:
        until = START + days * DAY
        flagged, _ = flag_bars(
            bars[bars["hour"] < until], [f"{START + number * DAY:%Y-%m-%d}" for number in range(days)]
        )
        doubted = flagged[flagged["suspect_later"]]
        assert doubted[["hour", "coin"]].values.tolist() == ([[end - HOUR, "SIM0"]] if days > 7 else [])
        prices = flagged[~flagged["suspect"]].assign(**given)
        known = factors[factors["hour"] < until], prices, funding[funding["settled_at"] < until]
        return replay(*known, as_of=until, seed=7, rules=Rules(ladder=ladder))[1]

    cut, day_later, whole = (replayed(days) for days in (7, 8, 15))
    for later in (day_later, whole):
        same_rounds(cut.rounds, later.rounds[:1])
    believed_for_good = replayed(15, suspect_later=False)
    same_rounds(cut.rounds, believed_for_good.rounds[:1])
    assert whole.rounds[1].tables.versions != believed_for_good.rounds[1].tables.versions


def test_going_on_from_an_earlier_replay_gives_the_same_bytes(whole: tuple[pd.DataFrame, Replayed]) -> None:
    factors, bars, funding = market(2)
    everything = Inputs(factors, bars, funding, no_rows(BOOK_COSTS))
    reads: list[pd.Timestamp] = []

    def read(first: pd.Timestamp, last: pd.Timestamp) -> Inputs:
        reads.append(first)
        held = everything.before(last)
        bars, funding = held.bars[held.bars["hour"] >= first], held.funding[held.funding["settled_at"] >= first]
        return Inputs(held.factors[held.factors["hour"] >= first], bars, funding, held.books)

    past = None
    for days in (9, 10, 16, 21, 21):
        reads.clear()
        done = Replay(read, START, START + days * 24 * HOUR, 7, RULES, past).run()
        tables = stacked(done.rounds)
        past = Past(taken_out(tables, list(done.records["as_of"])), done.records, done.positions)
    assert done.made == 0
    assert min(reads) == START + pd.Timedelta(days=17)
    same_rounds(done.rounds, whole[1].rounds)
    pd.testing.assert_frame_equal(done.records, whole[1].records)
    pd.testing.assert_frame_equal(done.positions, whole[1].positions, check_exact=True)


def test_enough_results_bring_a_round_forward() -> None:
    rules = Rules(execution=RULES.execution, ladder=RULES.ladder, cadence=Cadence(results=40))
    _, replayed = replay(*market(2), as_of=END, seed=7, rules=rules)
    early = replayed.records[replayed.records["reason"] == "results"]
    assert len(early) > 0
    assert (early["results"] >= 40).all()
    assert (replayed.records["as_of"] == replayed.records["as_of"].dt.floor("D")).all()


def test_on_a_market_without_edge_no_threshold_changes() -> None:
    _, replayed = replay(*market(3), as_of=END, seed=7, rules=RULES)
    assert not any(one.frames["gate_thresholds"]["changed"].any() for one in replayed.rounds)


def test_the_report_of_a_run_has_times_in_it_and_warns_of_nothing(whole: tuple[pd.DataFrame, Replayed]) -> None:
    trades, replayed = whole
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = report(Line(market(2)[0], trades, replayed, END))
    assert "Of " in text
    assert f"{replayed.rounds[-1].as_of:%Y-%m-%d}" in text
    month = replayed.rounds[-1].frames["signal_performance"].iloc[0]
    assert f"{month['mean_pnl_bps']:.3f}" in text
    assert f"{month['mean_pnl_bps']:.5f}" not in text
