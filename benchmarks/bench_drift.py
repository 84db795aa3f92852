"""Drift on real months: how often nothing is called a drift, what is found, and the retrains it would have caused.

Every session of every ticker is analysed once (some minutes); prices are those of the folder of real market data, else
of the embedded sample. Months and windows are drawn with fixed seeds. A retrain by drift alone: the model has learnt
from the days the sampler picks up to two months before, when labels are known; a month with an alarm retrains it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.engine_house import MARKET, kind, market_home, open_house
from benchmarks.harness import Result, compare
from butterquant_assets.butterfly import analysis, sampling, scan
from butterquant_assets.butterfly.config import SamplingConfig
from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.foundation.calendar import month_range, shift_month
from butterquant_assets.monitoring import drift, drift_table, live
from butterquant_assets.monitoring.drift import Daily, DriftRules

RULES, QUOTA = DriftRules(), SamplingConfig()
NULLS, ALLOWED_ALARMS = 100, 11
SHIFTED, SIGMA, SHIFTS, EXACT = ("delta", "forecast_return", "period_strength"), 0.3, 20, 16
WINDOW_BLOCKS, BLOCK_SESSIONS = 24, 5
FIRST_TRAINING_MONTHS, LABEL_MONTHS = 14, 2
RETRAINS_A_YEAR = 4
BATCH = 12


@dataclass(frozen=True, eq=False)
class Market:
    """Prices, VIX, and the features of every session: session, ticker, stratum and the 23 columns."""

    bars: pd.DataFrame
    vix: pd.DataFrame
    rows: pd.DataFrame

    @property
    def months(self) -> list[str]:
        """Months with a verdict's worth of sessions."""
        days = self.rows.drop_duplicates("session")["session"].dt.strftime("%Y-%m").value_counts()
        return sorted(days.index[days >= RULES.minimum_sessions])


def benchmarks() -> list[Result]:
    """Quiet nulls of 100, shifts flagged exactly, and retrains that drift alone would have caused."""
    return measure(load())


def load() -> Market:
    """Analyse every session and ticker of the market home, a year at a time, in memory."""
    with market_home() as home:
        house = open_house(home, QUOTA)
        frames = {name: house.lake.read(name, list(house.keys("market"))) for name in MARKET}
        config, months = house.settings.analysis_in_use, house.keys("analysis")
        costs = house.settings.costs
    parts = []
    for start in range(0, len(months), BATCH):
        batch = months[start : start + BATCH]
        near = {name: _between(frame, shift_month(batch[0], -26), batch[-1]) for name, frame in frames.items()}
        bars, vix, implied = (near[name] for name in MARKET)
        wanted = scan.scan_samples(vix, bars, batch, QUOTA.episode_gap)
        level = {"vix": vix} if config.iv_level == "fitted" else {}
        made = analysis.analyse(wanted, bars, implied, config, costs, **level).analyses
        parts.append(live.scanned_features(made))
    return Market(frames[MARKET[0]], frames[MARKET[1]], pd.concat(parts, ignore_index=True))


def measure(market: Market) -> list[Result]:
    """The three figures of one market."""
    name = f"drift.{kind()}"
    alarms, exact, (alarm_months, retrains) = nulls(market), shifts(market), retrains_by_drift(market)
    judged = len(month_range(shift_month(market.months[0], FIRST_TRAINING_MONTHS), market.months[-1]))
    raw = raw_alarms(market)
    print(
        f"drift, {NULLS} months that did not drift: {alarms} alarms over {len(FEATURES)} columns; a shift of {SIGMA} "
        f"sigma in {', '.join(SHIFTED)} over {WINDOW_BLOCKS * BLOCK_SESSIONS} scattered sessions: exactly these "
        f"flagged in {exact} of {SHIFTS}; drift alone would have caused {len(retrains)} retrains in {judged} months "
        f"({', '.join(retrains)}), of {alarm_months} months with an alarm; without strata, and sessions taken as "
        f"independent, {raw} of {judged} months would be alarms",
        flush=True,
    )
    return [
        compare(f"{name}.quiet_nulls", NULLS - alarms, NULLS - ALLOWED_ALARMS, "months", target=1.0, better="higher"),
        compare(f"{name}.shifts_flagged_exactly", max(exact, 1e-9), EXACT, "draws", target=1.0, better="higher"),
        compare(
            f"{name}.retrains_by_drift_alone",
            max(len(retrains), 1e-9),
            RETRAINS_A_YEAR * judged / 12.0,
            "retrains",
            target=1.0,
            better="lower",
        ),
    ]


def nulls(market: Market) -> int:
    """Alarms of whole calendar months against a sample of the sessions of 60 % of the other months, drawn at random."""
    count = 0
    for seed in range(NULLS):
        random = np.random.default_rng(seed)
        order = random.permutation(market.months)
        month = str(order[0])
        reference = _stratified(_of_months(market.rows, order[1 : 1 + int(0.6 * len(order))]), random)
        count += bool(_statistic_over(reference, _of_months(market.rows, [month])).any())
    return count


def shifts(market: Market) -> int:
    """Draws in which exactly the shifted columns are flagged: blocks of sessions against the other months."""
    columns, found = list(FEATURES), 0
    for seed in range(SHIFTS):
        order = np.random.default_rng(seed).permutation(market.months)
        cut = int(0.6 * len(order))
        reference, others = (_of_months(market.rows, part) for part in (order[:cut], order[cut:]))
        now = _blocks(others, np.random.default_rng(1000 + seed))
        now = now.assign(**{name: now[name] + SIGMA * reference[name].std() for name in SHIFTED})
        over = _statistic_over(reference, now)
        flagged = over[: len(columns)] | over[len(columns) :]
        found += [name for name, flag in zip(columns, flagged, strict=True) if flag] == sorted(
            SHIFTED, key=columns.index
        )
    return found


def retrains_by_drift(market: Market) -> tuple[int, list[str]]:
    """Months with an alarm, and of these the months in which the model had learnt nothing newer yet."""
    months, retrains, alarms = market.months, [], 0
    trained = months[0]
    reference = _learnt(market, shift_month(months[0], FIRST_TRAINING_MONTHS - 1 - LABEL_MONTHS))
    for month in month_range(shift_month(months[0], FIRST_TRAINING_MONTHS), months[-1]):
        inside = _of_months(market.rows, [month])
        table = drift_table.drift_by_month(reference, inside, FEATURES, [month], RULES)
        if table["alarm"].any():
            alarms += 1
            # A month after a retrain the labels of what alarmed are not known: nothing could be learnt from it.
            if trained <= shift_month(month, -LABEL_MONTHS):
                trained = month
                retrains.append(month)
                reference = _learnt(market, shift_month(month, -LABEL_MONTHS))
    return alarms, retrains


def raw_alarms(market: Market) -> int:
    """Months called drifted by t-tests of session means against the first year's sample, strata and luck ignored."""
    columns = list(FEATURES)
    reference = _learnt(market, shift_month(market.months[0], FIRST_TRAINING_MONTHS - 1))
    before, count = reference.groupby("session")[columns].mean(), 0
    for month in month_range(shift_month(market.months[0], FIRST_TRAINING_MONTHS), market.months[-1]):
        inside = _of_months(market.rows, [month]).groupby("session")[columns].mean()
        error = np.sqrt(before.var() / len(before) + inside.var() / len(inside))
        count += bool((((inside.mean() - before.mean()).abs() / error) > 3.1).any())  # 5 % over 23 columns
    return count


def _learnt(market: Market, last: str) -> pd.DataFrame:
    """Features of what the sampler picks up to a month."""
    picked = sampling.sample(market.vix, market.bars, market.months[0], last, QUOTA).samples
    return market.rows.merge(picked[["session", "ticker"]], on=["session", "ticker"])


def _statistic_over(reference: pd.DataFrame, now: pd.DataFrame) -> npt.NDArray[np.bool_]:
    scores = drift_table.SessionScores.of(reference, FEATURES)
    sides: list[Daily] = [scores.daily(frame, FEATURES) for frame in (reference, now)]
    found = drift.compare(*sides, RULES)
    over: npt.NDArray[np.bool_] = found.statistic > found.threshold
    return over


def _stratified(rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Sessions drawn by the sampler's quota of each stratum, from wherever they lie."""
    days = rows[["session", "stratum"]].drop_duplicates()
    quota = {"low": QUOTA.low_days, "normal": QUOTA.normal_days, "high": QUOTA.high_days}
    picked = [
        random.choice(days.loc[days["stratum"] == name, "session"], min(asked, (days["stratum"] == name).sum()), False)
        for name, asked in quota.items()
    ]
    return rows[rows["session"].isin(np.concatenate(picked))]


def _blocks(rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Blocks of consecutive sessions from anywhere in the rows."""
    days = np.sort(rows["session"].unique())
    starts = random.choice(len(days) // BLOCK_SESSIONS, WINDOW_BLOCKS, replace=False) * BLOCK_SESSIONS
    taken = (starts[:, None] + np.arange(BLOCK_SESSIONS)).ravel()
    return rows[rows["session"].isin(days[taken])]


def _of_months(rows: pd.DataFrame, months: npt.ArrayLike) -> pd.DataFrame:
    return rows[rows["session"].dt.strftime("%Y-%m").isin(np.atleast_1d(np.asarray(months)))]


def _between(frame: pd.DataFrame, first: str, last: str) -> pd.DataFrame:
    months = frame["session"].dt.strftime("%Y-%m")
    return frame[(months >= first) & (months <= last)]
