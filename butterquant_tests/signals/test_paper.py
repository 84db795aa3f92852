from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.signals.paper import Execution, execute
from butterquant_assets.signals.schemas import PAPER_TRADES
from butterquant_assets.signals.tracks import non_overlapping
from butterquant_tests.shared_data import reference_dir
from butterquant_tests.signals.signal_cases import (
    HOUR,
    START,
    accepted,
    bars_of,
    funding_of,
    no_funding,
    one_signal,
    random_bars,
    random_funding,
    scored,
)

FREE = Execution(taker_fee_bps=0.0, slippage_bps=0.0, half_spread_bps=0.0)
CALM = (100.0, 100.5, 99.5, 100.0)
LATER = START + 1000 * HOUR


def one_trade(
    rows: list[tuple[float, float, float, float]], side: str = "long", execution: Execution = FREE, **given: Any
) -> pd.Series:
    """The trade of a signal on the first bar with a stop at 2 % and a target at 4 %; the rows follow that bar."""
    tables = {"funding": no_funding(), "as_of": LATER} | given
    funding = tables.pop("funding")
    return execute(one_signal(side=side), bars_of([CALM, *rows]), funding, execution=execution, **tables).iloc[0]


@pytest.mark.parametrize(
    ("rows", "side", "reason", "price", "hours"),
    [
        ([(100.0, 104.5, 97.5, 100.0)], "long", "stop", 98.0, 1.0),  # both touched: the stop came first
        ([(100.0, 102.5, 95.5, 100.0)], "short", "stop", 102.0, 1.0),
        ([CALM, (100.0, 104.0, 99.0, 103.0)], "long", "target", 104.0, 2.0),
        ([CALM, (100.0, 101.0, 96.0, 97.0)], "short", "target", 96.0, 2.0),
        ([CALM, (95.0, 96.0, 94.0, 95.5)], "long", "stop", 95.0, 1.0),  # gap through the stop: filled at the open
        ([CALM, (105.0, 106.0, 104.5, 105.0)], "short", "stop", 105.0, 1.0),
        ([CALM, (106.0, 107.0, 105.0, 106.0)], "long", "target", 104.0, 2.0),  # gap through the target: no present
        ([(100.0, 104.0, 98.0, 99.0)], "long", "stop", 98.0, 1.0),  # touching is enough
        ([CALM] * 71 + [(100.0, 101.0, 99.0, 100.7)], "long", "timeout", 100.7, 72.0),
        ([CALM] * 71 + [(math.nan,) * 4, (101.0, 101.5, 100.5, 101.0)], "long", "timeout", 101.0, 72.0),
        ([CALM, (math.nan,) * 4, (97.0, 97.5, 96.0, 97.0)], "long", "stop", 97.0, 2.0),
    ],
)
def test_a_trade_worked_by_hand_ends_where_it_should(
    rows: list[tuple[float, float, float, float]], side: str, reason: str, price: float, hours: float
) -> None:
    trade = one_trade(rows, side)
    assert (trade["exit_reason"], trade["status"]) == (reason, "closed")
    assert trade["exit_price"] == pytest.approx(price, abs=1e-9)
    assert trade["held_hours"] == hours
    sign = 1 if side == "long" else -1
    assert trade["pnl_bps"] == pytest.approx(1e4 * sign * (price / 100 - 1), abs=1e-6)
    assert trade["gap_bps"] == pytest.approx(max(0.0, -sign * 1e4 * (price / 100 - 1) - 200) if reason == "stop" else 0)


def test_costs_of_both_sides_are_paid_and_named() -> None:
    trade = one_trade([(100.0, 104.2, 99.0, 104.0)], execution=Execution(5.0, 1.0, 2.0))
    entry, exit_ = 100 * 1.0003, 104 * 0.9997
    fee = 5.0 * (1 + exit_ / entry)
    assert trade["entry_fill"] == pytest.approx(entry)
    assert trade["exit_fill"] == pytest.approx(exit_)
    assert trade["pnl_bps"] == pytest.approx(1e4 * (exit_ / entry - 1) - fee)
    assert (trade["spread_bps"], trade["slippage_bps"], trade["spread_known"]) == (4.0, 2.0, False)
    assert trade["paid_cost_bps"] == pytest.approx(400 - trade["pnl_bps"])
    assert trade["pnl_usd"] == pytest.approx(trade["pnl_bps"] / 10)


def test_books_give_spread_and_slippage_where_they_are_known() -> None:
    books = pd.DataFrame({"hour": [START + HOUR, START + 2 * HOUR], "coin": "SIMA", "half_spread_bps": [3.0, np.nan]})
    rows = [CALM, (100.0, 104.2, 99.0, 104.0)]
    only_entry = one_trade(rows, execution=Execution(), books=books.assign(slippage_bps=[4.0, 5.0]))
    assert (only_entry["spread_bps"], only_entry["slippage_bps"], only_entry["spread_known"]) == (4.0, 9.0, False)
    both = one_trade(rows, execution=Execution(), books=books.fillna({"half_spread_bps": 6.0}))
    assert (both["spread_bps"], both["slippage_bps"], both["spread_known"]) == (9.0, 2.0, True)


def test_a_book_too_thin_for_the_order_is_charged_its_walk_and_no_less_than_none() -> None:
    hours = [START + HOUR, START + 2 * HOUR]
    books = pd.DataFrame({"hour": hours, "coin": "SIMA", "half_spread_bps": 1.0, "slippage_bps": [0.2, 50.0]})
    rows = [CALM, (100.0, 104.2, 99.0, 104.0)]
    found = {
        name: one_trade(rows, execution=Execution(), books=books.assign(holds_order=held))
        for name, held in (("held", True), ("thin", False), ("thin at the exit", [True, False]))
    }
    assert [trade["slippage_bps"] for trade in found.values()] == pytest.approx([50.2, 51.0, 50.2])
    assert [trade["slippage_known"] for trade in found.values()] == [True, False, False]
    assert all(trade["spread_known"] for trade in found.values())
    # Of a book nobody says it of, it is not taken for granted.
    assert not one_trade(rows, execution=Execution(), books=books)["slippage_known"]
    assert not one_trade(rows, execution=Execution())["slippage_known"]


@pytest.mark.parametrize(("interval", "settled"), [(2, 36), (4, 18), (8, 9)])
def test_funding_is_paid_at_the_settlements_of_every_interval(interval: int, settled: int) -> None:
    times = pd.date_range(START, periods=400 // interval, freq=f"{interval}h")
    funding = funding_of([(time, 1e-4, 110.0) for time in times])
    for side, sign in (("long", 1), ("short", -1)):
        trade = one_trade([CALM] * 100, side, funding=funding)
        # Entered at 01:00 and held to 01:00 three days later.
        assert (trade["settlements"], trade["funding_known"]) == (settled, True)
        assert trade["paid_funding_bps"] == pytest.approx(sign * settled * 1.1)
        assert trade["pnl_bps"] == pytest.approx(-sign * settled * 1.1)


def test_a_settlement_at_the_entry_counts_and_one_after_a_barrier_was_touched_does_not() -> None:
    funding = funding_of([(START + k * HOUR, 1e-3, 100.0) for k in range(1, 5)])
    trade = one_trade([CALM, (100.0, 104.2, 99.0, 104.0), CALM, CALM], funding=funding)
    assert trade["settlements"] == 2  # at 01:00, its entry, and 02:00; within 02:00 .. 03:00 it ended


def test_settlements_without_a_mark_are_valued_at_the_last_close_and_counted() -> None:
    funding = funding_of([(START + HOUR, 1e-3, math.nan), (START + 2 * HOUR, 1e-3, 100.0)])
    trade = one_trade([CALM, (100.0, 104.2, 99.0, 104.0)], funding=funding)
    assert (trade["settlements"], trade["settlements_by_proxy"]) == (2, 1)
    assert trade["paid_funding_bps"] == pytest.approx(20.0)


def test_unknown_settlements_are_said_and_not_taken_for_none() -> None:
    assert not one_trade([CALM] * 90)["funding_known"]
    late = funding_of([(START + k * HOUR, 1e-4, 100.0) for k in range(40, 90, 8)])
    assert not one_trade([CALM] * 90, funding=late)["funding_known"]


def settled_at(hours: list[int], **given: Any) -> pd.Series:
    """A trade held from 01:00 to 01:00 three days later (hours 1 .. 73), with settlements at these hours."""
    return one_trade([CALM] * 100, funding=funding_of([(START + hour * HOUR, 1e-4, 100.0) for hour in hours]), **given)


@pytest.mark.parametrize(
    ("interval", "lost"),
    [
        (1, [30]),
        (1, [30, 31, 32, 33, 34, 35, 36]),
        (1, [1, 2]),  # at the entry
        (1, [72, 73]),  # at the end
        (1, [71, 72]),  # the one that came after them does not tell an interval that was lengthened
        (2, [30, 32, 34]),
        (4, [32]),
        (4, [4]),
        (4, [72]),
        (6, [30]),
        (8, [32]),
    ],
)
def test_settlements_missing_in_the_rhythm_of_a_coin_make_its_funding_unknown(interval: int, lost: list[int]) -> None:
    whole = list(range(-24, 100, interval))
    assert settled_at(whole)["funding_known"]
    assert not settled_at([hour for hour in whole if hour not in lost])["funding_known"]
    # Outside the holding nothing is missing that it would pay.
    outside = {*range(-7, 1), *range(74, 100)}
    assert settled_at([hour for hour in whole if hour not in outside or hour == 0])["funding_known"]


@pytest.mark.parametrize(("before", "after"), [(4, 8), (1, 8), (2, 4), (1, 2), (8, 4), (8, 1), (4, 1), (4, 6)])
def test_an_interval_that_was_changed_is_no_settlement_missing(before: int, after: int) -> None:
    for change in (-8, 0, 24, 48):
        hours = [*range(-24, change, before), *range(change, 100, after)]
        assert settled_at(hours)["funding_known"], change


def test_an_interval_just_lengthened_is_known_by_the_settlement_after_it() -> None:
    """At hour 73, where the trade ends, a longer silence may as well be a settlement that did not come."""
    every_fourth = list(range(-24, 61, 4))
    assert not settled_at([*every_fourth, 68, 76, 84])["funding_known"]
    assert settled_at([*range(-24, 53, 4), 60, 68, 76])["funding_known"]


def test_funding_agrees_with_the_reference_vectors() -> None:
    """What a short of the vectors receives, the window being inclusive; times off the hour go to the kernel itself."""
    from butterquant_assets.signals.paper_kernel import funding

    vectors = json.loads((reference_dir() / "okx_margin_and_funding_vectors.json").read_text())["funding"]
    day = pd.Timestamp("2021-09-01")
    for case in vectors["cases"]:
        given = [text.split() for text in case["funding_at"]]
        times = np.array([(day + pd.Timedelta(hours=int(at[:2]))).value // 1000 for at, _ in given])
        marks = np.array([vectors["mark_open_00"], vectors["mark_open_08"]])
        cash = np.array([float(rate) for _, rate in given]) * marks * case["amount"]
        span = [np.array([pd.Timestamp(case[end]).value // 1000]) for end in ("open", "close")]
        paid, _, _ = funding(times, cash, np.zeros(2, dtype=bool), *span)
        assert paid[0] == pytest.approx(case["fee_short_received"], abs=2e-11)  # given to 11 places


def test_accepted_signals_of_a_coin_are_taken_one_at_a_time_and_the_others_are_still_executed() -> None:
    bars = bars_of([CALM] * 200)
    signals = pd.concat([accepted(one_signal(hour)) for hour in (0, 10, 72, 80)], ignore_index=True)
    trades = execute(signals, bars, no_funding(), as_of=LATER)
    # The first is held from 01:00 to 01:00 three days later, when the third enters.
    assert trades["track"].tolist() == ["accepted", "busy", "accepted", "busy"]
    assert trades["pnl_bps"].notna().all()


def test_another_coin_is_free_and_rejected_signals_keep_nobody_busy() -> None:
    bars = pd.concat([bars_of([CALM] * 100, coin) for coin in ("SIMA", "SIMB")])
    signals = pd.concat([one_signal(0), accepted(one_signal(1)), accepted(one_signal(2, coin="SIMB"))])
    trades = execute(signals, bars, no_funding(), as_of=LATER)
    assert trades["track"].tolist() == ["rejected", "accepted", "accepted"]


def test_signals_that_cannot_be_filled_say_so() -> None:
    signals = pd.concat([one_signal(0), one_signal(1, coin="SIMB"), one_signal(2).assign(stop_bps=np.nan)])
    bars = bars_of([CALM, (math.nan, 1.0, 1.0, 1.0), CALM, CALM])
    trades = execute(signals, bars, no_funding(), as_of=START + 4 * HOUR)
    assert trades["status"].tolist() == ["not_filled"] * 3
    pending = execute(one_signal(3), bars, no_funding(), as_of=START + 4 * HOUR)
    assert pending["status"].tolist() == ["pending"]
    assert PAPER_TRADES.validate(pending).reasons() == []


def test_an_open_trade_is_marked_as_if_it_ended_at_the_last_close() -> None:
    trade = one_trade([CALM, (100.0, 102.0, 99.0, 101.0)], as_of=START + 3 * HOUR, execution=Execution())
    assert (trade["status"], trade["outcome"], trade["exit_price"]) == ("open", "open", 101.0)
    assert (trade["exit_at"], trade["known_at"]) == (START + 3 * HOUR, START + 3 * HOUR)
    assert trade["pnl_bps"] == pytest.approx(100 - 14, abs=0.3)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_kernel_agrees_with_a_plain_walk(seed: int) -> None:
    bars, funding = random_bars(4, 300, seed, missing=0.05), uneven_funding(4, 300, seed)
    signals = scored(bars, seed).sample(120, random_state=seed)
    signals = pd.concat([accepted(signals.iloc[:60]), signals.iloc[60:]])
    as_of = START + 290 * HOUR
    trades = execute(signals, bars, funding, as_of=as_of)
    assert PAPER_TRADES.validate(trades).reasons() == []
    assert set(trades["exit_reason"]) >= {"stop", "target", "open", "not_filled"}
    assert 0.2 < trades.loc[trades["entry_at"].notna(), "funding_known"].mean() < 0.9
    busy: dict[str, pd.Timestamp] = {}
    for trade in trades.to_dict("records"):
        expected = plain_trade(trade, bars, funding, as_of, busy)
        for name, value in expected.items():
            if isinstance(value, float):
                assert trade[name] == pytest.approx(value, rel=1e-12, abs=1e-7, nan_ok=True), (trade["signal_id"], name)
            else:
                assert trade[name] == value, (trade["signal_id"], name)


def uneven_funding(coins: int, count: int, seed: int) -> pd.DataFrame:
    """Settlements whose interval changes now and then, some of them missing, some a little late or without a mark."""
    random = np.random.default_rng(seed)
    frames = []
    for coin in range(coins):
        hours: list[int] = [0]
        while hours[-1] < count:
            interval = int(random.choice([1, 2, 4, 8]))
            hours += [hours[-1] + interval * step for step in range(1, int(random.integers(4, 40)))]
        stamps = np.array([hour for hour in hours if random.random() > 0.06])
        times = START + pd.to_timedelta(stamps, unit="h") + pd.to_timedelta(random.integers(0, 50, len(stamps)), "ms")
        rate, unmarked = 1e-4 * random.standard_normal(len(times)), random.random(len(times)) < 0.2
        rows = {"coin": f"SIM{coin}", "settled_at": times.as_unit("us"), "rate": rate}
        frames.append(pd.DataFrame(rows | {"mark_price": np.where(unmarked, np.nan, 100.0)}))
    return pd.concat(frames, ignore_index=True)


def plain_known(settled: list[tuple[pd.Timestamp, bool]], entry: pd.Timestamp, until: pd.Timestamp) -> bool:
    """Whether settlements are known over a holding, given with whether their value is: pair by pair."""
    longest = pd.Timedelta(hours=8, minutes=1)
    near = [(at, valued) for at, valued in settled if entry - 2 * longest <= at <= until]
    if not near or any(not valued and at >= entry for at, valued in near):
        return False
    times = [at for at, _ in near]
    intervals = list(pairwise(times))
    silences = [*intervals, (times[-1], until)] + ([(entry, times[0])] if times[0] > entry else [])
    for start, stop in silences:
        beside = [b - a for a, b in intervals if (b == start or a == stop) and b - a <= longest]
        too_long = stop - start > longest or all(stop - start > own + pd.Timedelta(minutes=15) for own in beside)
        if stop > entry and too_long and (beside or stop - start > longest):
            return False
    return True


def plain_trade(
    trade: dict[str, Any], bars: pd.DataFrame, funding: pd.DataFrame, as_of: pd.Timestamp, busy: dict[str, pd.Timestamp]
) -> dict[str, Any]:
    """One trade after the rules in words, bar by bar, with dictionaries."""
    own = bars[(bars["coin"] == trade["coin"]) & (bars["hour"] + HOUR <= as_of)].dropna().set_index("hour")
    rows = own.to_dict("index")
    entry = trade["hour"] + HOUR
    if entry not in rows or not trade["stop_bps"] > 0:
        return {"status": "pending" if entry + HOUR > as_of else "not_filled", "pnl_bps": math.nan}
    d = 1 if trade["side"] == "long" else -1
    price = rows[entry]["open"]
    stop, target = price * (1 - d * trade["stop_bps"] / 1e4), price * (1 + d * trade["target_bps"] / 1e4)
    status, reason, level, at, paid_until = "open", "open", price, entry, entry
    for hour in sorted(row for row in rows if row >= entry):
        bar, end = rows[hour], hour + HOUR
        if hour >= entry + 72 * HOUR:
            status, reason, level, at, paid_until = "closed", "timeout", bar["open"], hour, hour
            break
        against, towards = (bar["low"], bar["high"]) if d > 0 else (bar["high"], bar["low"])
        if d * against <= d * stop:
            gapped = d * bar["open"] <= d * stop
            status, reason, level, paid_until = "closed", "stop", bar["open"] if gapped else stop, hour
            at = hour if gapped else end
            break
        if d * towards >= d * target:
            status, reason, level, at, paid_until = "closed", "target", target, end, hour
            break
        level, at, paid_until = bar["close"], end, end
        if end == entry + 72 * HOUR:
            status, reason = "closed", "timeout"
            break
    fill_in, fill_out = price * (1 + d * 2e-4), level * (1 - d * 2e-4)
    fee = 5.0 * (1 + fill_out / fill_in)
    cash, settlements = 0.0, []
    settled = funding[(funding["coin"] == trade["coin"]) & (funding["settled_at"] <= as_of)]
    for row in settled.to_dict("records"):
        hour = row["settled_at"].floor("h")
        last = rows.get(hour - HOUR, {}).get("close", math.nan)
        mark = last if math.isnan(row["mark_price"]) else row["mark_price"]
        settlements.append((hour, not math.isnan(mark)))
        if entry <= hour <= paid_until:
            cash += 0.0 if math.isnan(mark) else row["rate"] * mark
    paid = 1e4 * d * cash / fill_in
    track = "rejected"
    if trade["verdict"] == "accepted":
        free = entry >= busy.get(trade["coin"], entry)
        track = "accepted" if free else "busy"
        if free:
            busy[trade["coin"]] = at if status == "closed" else pd.Timestamp.max
    return {
        "status": status,
        "exit_reason": reason,
        "track": track,
        "exit_price": level,
        "exit_at": at,
        "paid_funding_bps": paid,
        "funding_known": plain_known(settlements, entry, paid_until),
        "pnl_bps": 1e4 * d * (fill_out / fill_in - 1) - fee - paid,
    }


def test_what_was_known_at_a_time_does_not_change_when_more_is_known() -> None:
    """Cutting bars, signals and settlements at a time gives bit for bit what the time alone gives."""
    bars, funding = random_bars(3, 400, 5, missing=0.03), uneven_funding(3, 400, 5)
    signals = accepted(scored(bars, 5))
    for hour in (100, 237, 301):
        as_of = START + hour * HOUR
        cut = execute(
            signals[signals["hour"] < as_of],
            bars[bars["hour"] < as_of],
            funding[funding["settled_at"] <= as_of],
            as_of=as_of,
        )
        pd.testing.assert_frame_equal(execute(signals, bars, funding, as_of=as_of), cut, check_exact=True)
        ended = cut[cut["status"] == "closed"]
        final = execute(signals, bars, funding, as_of=LATER)
        same = final[final["signal_id"].isin(ended["signal_id"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(same, ended.reset_index(drop=True), check_exact=True)


def test_order_of_rows_and_other_coins_change_nothing() -> None:
    bars, funding = random_bars(3, 200, 6, missing=0.03), random_funding(3, 200, 6)
    signals = accepted(scored(bars, 6))
    whole = execute(signals, bars, funding, as_of=LATER)
    shuffled = execute(*(frame.sample(frac=1, random_state=1) for frame in (signals, bars, funding)), as_of=LATER)
    pd.testing.assert_frame_equal(whole, shuffled, check_exact=True)
    alone = execute(*(frame[frame["coin"] == "SIM1"] for frame in (signals, bars, funding)), as_of=LATER)
    own = whole[whole["coin"] == "SIM1"].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, alone, check_exact=True)


def test_trades_that_do_not_overlap_are_the_first_ones_not_the_shortest() -> None:
    bars = bars_of([CALM] * 100)
    signals = pd.concat([one_signal(hour) for hour in (0, 5, 72)])
    trades = execute(signals, bars, no_funding(), as_of=LATER)
    assert non_overlapping(trades).tolist() == [True, False, True]


def test_nothing_at_all_is_an_empty_table_of_the_same_shape() -> None:
    signals = one_signal().iloc[:0]
    trades = execute(signals, bars_of([CALM]), no_funding(), as_of=LATER)
    assert len(trades) == 0
    assert PAPER_TRADES.validate(trades).reasons() == []
    without_bars = execute(one_signal(), bars_of([CALM]).iloc[:0], no_funding(), as_of=LATER)
    assert without_bars["status"].tolist() == ["not_filled"]


def test_bad_input_is_refused_with_its_name() -> None:
    bars = bars_of([CALM, CALM])
    with pytest.raises(DataError, match="bars lack the columns close"):
        execute(one_signal(), bars.drop(columns="close"), no_funding(), as_of=LATER)
    with pytest.raises(DataError, match="bars are repeated"):
        execute(one_signal(), pd.concat([bars, bars]), no_funding(), as_of=LATER)
    with pytest.raises(DataError, match="full hour"):
        execute(one_signal(), bars.assign(hour=bars["hour"] + pd.Timedelta(minutes=30)), no_funding(), as_of=LATER)
    with pytest.raises(DataError, match="signals are repeated"):
        execute(pd.concat([one_signal(), one_signal()]), bars, no_funding(), as_of=LATER)
    with pytest.raises(DataError, match="settlements of SIMA are repeated"):
        execute(one_signal(), bars, funding_of([(START + HOUR, 0.1, 1.0)] * 2), as_of=LATER)
    with pytest.raises(ConfigError, match="timeout_hours"):
        Execution(timeout_hours=0)


@pytest.mark.parametrize("late_ms", [0, 1, 47])
def test_a_settlement_stamped_a_moment_late_counts_at_the_end_of_a_trade(late_ms: int) -> None:
    moment = pd.Timedelta(milliseconds=late_ms)
    times = [START + hour * HOUR + moment for hour in range(0, 90, 8)]
    funding = funding_of([(time, 1e-4, math.nan) for time in times])
    timed_out = one_trade([CALM] * 100, funding=funding)  # 01:00 to 01:00: settled from 08:00 on, nine times
    touched = one_trade([CALM] * 7 + [(100.0, 104.2, 99.0, 104.0), CALM], funding=funding)  # in the bar of 08:00
    assert (timed_out["settlements"], touched["settlements"]) == (9, 1)
    # The last close before it stands in for the mark, not that of the bar in which the trade ended.
    assert touched["paid_funding_bps"] == pytest.approx(1.0)
    hourly = funding_of([(START + hour * HOUR + moment, 1e-4, 100.0) for hour in range(90)])
    assert one_trade([CALM] * 100, funding=hourly)["settlements"] == 73  # at the entry and at the end


def test_settlements_that_belong_to_the_same_hour_are_refused() -> None:
    twice = funding_of([(START + HOUR, 1e-4, 1.0), (START + HOUR + pd.Timedelta(milliseconds=5), 1e-4, 1.0)])
    with pytest.raises(DataError, match="settlements of SIMA are repeated"):
        one_trade([CALM] * 3, funding=twice)


def test_a_trade_waits_a_day_for_a_price_even_where_the_whole_market_stopped() -> None:
    rows = [CALM] * 40
    for waited, status in ((71 + 24, "open"), (72 + 24, "closed")):
        trade = one_trade(rows, as_of=START + (1 + waited) * HOUR)
        assert (trade["status"], trade["exit_price"]) == (status, 100.0)
    assert trade["known_at"] == START + 97 * HOUR
    later = one_trade([*rows, *[(math.nan,) * 4] * 100, CALM])
    pd.testing.assert_series_equal(later, trade)
