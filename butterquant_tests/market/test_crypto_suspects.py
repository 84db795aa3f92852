"""Bars that something else contradicts are found; good ones, crashes and outages included, are kept."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.market.crypto_cleaning import screen
from butterquant_assets.market.crypto_suspects import Yardstick, flag_bars
from butterquant_tests.market.crypto_cases import PRICES, days_of, priced, raw_bars
from butterquant_tests.shared_data import data_dir


def flagged(bars: pd.DataFrame, yardsticks: list[Yardstick] | None = None) -> dict[tuple[str, str], str]:
    """Reason by coin and hour of every suspect bar."""
    _, notes = flag_bars(bars, days_of(bars), yardsticks or [])
    stamps = notes["at"].dt.strftime("%Y-%m-%dT%H")
    return dict(zip(zip(notes["coin"], stamps, strict=True), notes["reason"], strict=True))


def moved(bars: pd.DataFrame, rows: list[int], columns: tuple[str, ...], factor: float) -> pd.DataFrame:
    """The same bars with some prices off, kept within their own high and low."""
    changed = bars.copy()
    for name in columns:
        changed.loc[rows, name] *= factor
    changed["high"], changed["low"] = changed[list(PRICES)].max(axis=1), changed[list(PRICES)].min(axis=1)
    return changed


@cache
def recorded(folder: Path) -> pd.DataFrame:
    """Every real hourly bar in the columns of the store."""
    raw = pd.read_parquet(folder / "crypto_perp_1h.parquet")
    hour = raw["timestamp"].dt.tz_localize(None).astype("datetime64[us]")
    raw = raw.assign(hour=hour, coin=raw["symbol"].str.removesuffix("USDT").astype("str"), quote_volume_usd=np.nan)
    return screen("crypto_bars", raw.drop(columns=["timestamp", "symbol"])).rows


def real_bars(coins: list[str], first: str, last: str) -> pd.DataFrame:
    """Real hourly bars of some coins, first <= hour < last."""
    raw = recorded(data_dir())
    wanted = raw["coin"].isin(coins) & (raw["hour"] >= first) & (raw["hour"] < last)
    return raw[wanted].reset_index(drop=True)


@pytest.mark.parametrize(
    ("rows", "columns", "reason"),
    [
        ([30], PRICES, {"close_contradicted"}),
        ([30], ("close",), {"close_contradicted"}),
        ([30], ("open",), {"open_contradicted"}),
        ([30, 31], PRICES, {"unconfirmed_step", "close_contradicted"}),
        ([30, 31, 32], PRICES, {"unconfirmed_step", "close_contradicted"}),
        ([47], PRICES, {"close_contradicted"}),
        ([24], PRICES, {"close_contradicted"}),
    ],
)
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_price_off_by_a_tenth_is_found_and_nothing_else(
    rows: list[int], columns: tuple[str, ...], reason: set[str], factor: float
) -> None:
    bars = raw_bars()
    found = flagged(moved(bars, rows, columns, factor))
    assert set(found) == {("BTC", str(bars["hour"][row])[:13].replace(" ", "T")) for row in rows}
    assert set(found.values()) <= reason


def test_a_lasting_step_is_believed_again_after_three_bars_of_its_own() -> None:
    bars = raw_bars()
    found = flagged(moved(bars, list(range(30, 72)), PRICES, 1.1))
    assert set(found) == {("BTC", f"2024-01-02T{hour:02d}") for hour in (6, 7, 8)}


def test_a_step_the_leader_makes_too_is_the_markets() -> None:
    later = list(range(30, 72))
    btc, sol = (moved(raw_bars(coin, seed=seed), later, PRICES, 0.9) for coin, seed in (("BTC", 1), ("SOL", 2)))
    assert ("SOL", "2024-01-02T06") not in flagged(pd.concat([btc, sol], ignore_index=True))
    assert ("SOL", "2024-01-02T06") in flagged(sol)


def test_coins_that_are_no_leaders_change_nothing_about_another() -> None:
    later = list(range(30, 72))
    sol = moved(raw_bars("SOL", seed=2), later, PRICES, 0.9)
    crowd = [moved(raw_bars(f"C{number}", seed=number), later, PRICES, 0.9) for number in range(3, 9)]
    together = flagged(pd.concat([sol, *crowd], ignore_index=True))
    assert {key for key in together if key[0] == "SOL"} == set(flagged(sol))


def test_the_mark_price_decides_both_ways() -> None:
    bars = raw_bars()
    wrong = moved(bars, [30], ("close",), 1.05)
    assert flagged(wrong, [Yardstick("mark", priced(bars))]) == {("BTC", "2024-01-02T06"): "off_mark"}
    real = moved(bars, list(range(30, 72)), PRICES, 1.1)
    assert flagged(real, [Yardstick("mark", priced(real))]) == {}


def test_a_wick_is_believed_unless_a_yardstick_reaches_less_far() -> None:
    bars = raw_bars()
    wick = bars.copy()
    wick.loc[30, "low"] *= 0.7
    assert flagged(wick) == {}
    assert flagged(wick, [Yardstick("mark", priced(bars), wick=0.1)]) == {("BTC", "2024-01-02T06"): "off_mark"}
    short = [Yardstick("other_venue", priced(wick), wick=0.02, both_ways=True)]
    assert flagged(bars, short) == {("BTC", "2024-01-02T06"): "off_other_venue"}


def test_prices_that_move_while_nothing_is_traded_are_suspect() -> None:
    bars = raw_bars()
    bars.loc[30, "volume"] = 0.0
    assert flagged(bars) == {("BTC", "2024-01-02T06"): "moved_without_volume"}


def test_a_jump_across_a_missing_hour_is_no_contradiction() -> None:
    bars = moved(raw_bars(), list(range(30, 72)), PRICES, 1.1).drop(29)
    assert flagged(bars) == {}


def test_a_day_is_judged_alike_alone_and_with_others() -> None:
    bars = pd.concat([raw_bars(coin, hours=120, seed=seed) for coin, seed in (("BTC", 1), ("SOL", 2))])
    bars = moved(bars.reset_index(drop=True), [23, 24, 47, 70, 71, 150, 167], PRICES, 1.06)
    rows, notes = flag_bars(bars, days_of(bars))
    for day in days_of(bars):
        start = pd.Timestamp(day)
        near = bars[(bars["hour"] >= start - pd.Timedelta("1D")) & (bars["hour"] <= start + pd.Timedelta("1D"))]
        alone, said = flag_bars(near, [day])
        pd.testing.assert_frame_equal(alone, rows[rows["hour"].dt.normalize() == start].reset_index(drop=True))
        pd.testing.assert_frame_equal(said, notes[notes["at"].dt.normalize() == start].reset_index(drop=True))


def test_a_flag_uses_nothing_later_than_the_open_of_the_next_bar() -> None:
    bars = moved(raw_bars(), [30, 40, 41, 55], PRICES, 1.06)
    rows, _ = flag_bars(bars, days_of(bars))
    rows["suspect"] |= rows["suspect_later"]
    for last in range(26, 70):
        seen = bars.iloc[: last + 2].copy()
        known = seen.index[-1]
        seen.loc[known, "close"] = seen.loc[known, "open"]  # of the next bar only the open is known
        seen.loc[known, ["high", "low"]] = seen.loc[known, "open"]
        cut, _ = flag_bars(seen, days_of(bars))
        doubted = cut["suspect"] | cut["suspect_later"]
        assert doubted.iloc[: last + 1].tolist() == rows["suspect"].iloc[: last + 1].tolist()


def test_what_makes_a_bar_suspect_was_known_when_it_closed() -> None:
    """Cutting the bars after any hour leaves every `suspect` up to it as it is."""
    bars = pd.concat([raw_bars("SOL", hours=96, seed=2), raw_bars("BTC", hours=96)], ignore_index=True)
    # Bars 0 .. 95 are of SOL, the others of BTC, which alone has a yardstick.
    for columns, rows in ((PRICES, [30, 40, 41, 70, 71, 72, 73, 126]), (("close",), [47, 55]), (("open",), [60, 85])):
        bars = moved(bars, rows, columns, 1.06)
    days = days_of(bars)
    whole = flag_bars(bars, days, [Yardstick("index", priced(raw_bars("BTC", hours=96)), close=0.05)])[0]
    assert whole["suspect"].any()
    assert whole["suspect_later"].any()
    assert not (whole["suspect"] & whole["suspect_later"]).any()
    for hour in sorted(bars["hour"].unique())[24:]:
        known = bars[bars["hour"] <= hour]
        cut = flag_bars(known, days, [Yardstick("index", priced(raw_bars("BTC", hours=96)), close=0.05)])[0]
        pd.testing.assert_series_equal(
            cut["suspect"], whole.loc[whole["hour"] <= hour, "suspect"].reset_index(drop=True)
        )


def test_a_wrong_close_that_only_the_next_open_contradicts_is_suspect_later() -> None:
    bars = moved(raw_bars(), [30], ("close",), 1.05)
    rows, notes = flag_bars(bars, days_of(bars))
    assert rows.index[rows["suspect_later"]].tolist() == [30]
    assert not rows["suspect"].any()
    assert notes["reason"].tolist() == ["close_contradicted"]
    at_its_close, said = flag_bars(bars.iloc[:31], days_of(bars))
    assert not at_its_close[["suspect", "suspect_later"]].to_numpy().any()
    assert said.empty


def test_the_outage_of_18_december_2022_is_flagged_hour_by_hour() -> None:
    bars = real_bars(["BTC", "ETH"], "2022-12-17", "2022-12-20")
    # OKX printed flat bars without volume from 09 to 17 UTC that day; these are another exchange's, stopped alike.
    halted = (bars["hour"] >= "2022-12-18 09:00") & (bars["hour"] < "2022-12-18 17:00")
    last = bars[bars["hour"] == "2022-12-18 08:00"].set_index("coin")["close"]
    for name in PRICES:
        bars.loc[halted, name] = bars.loc[halted, "coin"].map(last)
    bars.loc[halted, "volume"] = 0.0
    rows, notes = flag_bars(bars, days_of(bars))
    stopped = rows[rows["outage"]]
    assert (
        stopped.groupby("coin")["hour"].agg(["min", "max", "size"]).to_numpy().tolist()
        == [[pd.Timestamp("2022-12-18 09:00"), pd.Timestamp("2022-12-18 16:00"), 8]] * 2
    )
    assert notes.empty


def test_no_good_bar_of_two_real_years_and_three_coins_is_doubted() -> None:
    bars = real_bars(["BTC", "SOL", "DOGE"], "2023-01-01", "2025-01-01")
    rows, _ = flag_bars(bars, days_of(bars))
    assert len(rows) == 3 * 17_544
    assert not rows[["suspect", "suspect_later"]].to_numpy().any()


@pytest.mark.parametrize(
    ("columns", "size", "precision", "recall"),
    [(PRICES, 0.03, 0.9, 0.95), (PRICES, 0.1, 1.0, 1.0), (("close",), 0.03, 0.9, 0.9), (("open",), 0.03, 0.85, 0.9)],
)
def test_45_planted_errors_among_real_bars_are_found_precisely(
    columns: tuple[str, ...], size: float, precision: float, recall: float
) -> None:
    bars = real_bars(["BTC", "SOL"], "2023-01-01", "2025-01-01")
    draw = np.random.default_rng(5)
    sol = np.flatnonzero((bars["coin"] == "SOL").to_numpy())
    picked = draw.choice(sol[50:-50], 45, replace=False).tolist()
    wrong = bars.copy()
    for row, sign in zip(picked, draw.choice([-1, 1], 45), strict=True):
        wrong.loc[row, list(columns)] = wrong.loc[row, list(columns)] * np.exp(sign * size)
    wrong["high"], wrong["low"] = wrong[list(PRICES)].max(axis=1), wrong[list(PRICES)].min(axis=1)
    found = set(flagged(wrong))
    truth = {("SOL", str(bars["hour"][row])[:13].replace(" ", "T")) for row in picked}
    assert len(found & truth) >= recall * len(truth)
    assert len(found & truth) >= precision * len(found)


def test_a_step_of_the_next_day_changes_no_flag_of_a_drift_without_volume() -> None:
    """The flags of a day come from its own window, whatever else is judged with it or lies after it."""
    bars = raw_bars(hours=96)
    drift = bars.index[29:35]
    for place, row in enumerate(drift, start=1):
        bars.loc[row:, list(PRICES)] *= np.exp(0.006)
        bars.loc[row, "volume"] = float(place > len(drift))
    bars = moved(bars, list(range(63, 96)), PRICES, 1.05)
    whole, notes = flag_bars(bars, days_of(bars))
    for day in days_of(bars):
        start = pd.Timestamp(day)
        near = bars[(bars["hour"] >= start - pd.Timedelta("1D")) & (bars["hour"] <= start + pd.Timedelta("1D"))]
        for given, days in ((near, [day]), (bars, [day]), (bars, days_of(bars)[: days_of(bars).index(day) + 1])):
            rows, said = flag_bars(given, days)
            for found, wanted, stamp in ((rows, whole, "hour"), (said, notes, "at")):
                pd.testing.assert_frame_equal(
                    found[found[stamp].dt.normalize() == start].reset_index(drop=True),
                    wanted[wanted[stamp].dt.normalize() == start].reset_index(drop=True),
                )
    # What a drift without trades leaves behind is as much in doubt when nothing happens the day after.
    reasons = dict(zip(notes["at"], notes["reason"], strict=True))
    assert [reasons.get(hour) for hour in bars["hour"][29:39]] == [
        *["moved_without_volume"] * 6, *["unconfirmed_step"] * 3, None,
    ]  # fmt: skip
