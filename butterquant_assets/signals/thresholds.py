"""Thresholds of the four gates: chosen on one period, confirmed on the next, paid for the number tried.

What belongs here: the scan, the choice, the confirmation, and old beside new. What does not: what the gates in force
reject (`gate_report`). The threshold in force stays unless another survives; with nothing to find, one survives a gate
in far fewer than one case of twenty.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.signals.gates import DATA, EV, FUND, GATES, MARKET, Thresholds, gate_values, passes, sound
from butterquant_assets.signals.versions import HOUR, picked, require_known, typed
from butterquant_assets.signals.weekly import gain_bounds, week_codes, weekly_sums

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

GRIDS: dict[str, tuple[float, ...]] = {
    DATA: (336.0, 504.0, 672.0, 840.0),  # bars are counted over the last 888 hours
    FUND: (-30.0, -25.0, -20.0, -15.0, -10.0, -5.0, 0.0, 5.0),
    MARKET: (20.0, 25.0, 30.0, 35.0, 40.0),
    EV: (0.0, 5.0, 10.0, 20.0, 30.0, 50.0),
}
MINIMUM_TRADES = {DATA: 50, FUND: 50, MARKET: 20, EV: 50}
SCAN_TYPES = {
    "gate": "str",
    "period": "str",
    "threshold": "float64",
    "trades": "int64",
    "weeks": "int64",
    "win_rate": "float64",
    "mean_pnl_bps": "float64",
    "ev_trades": "int64",
    "mean_ev_bps": "float64",
    "ev_mean_pnl_bps": "float64",
    "score": "float64",
    "gain_bps": "float64",
    "gain_low_bps": "float64",
    "eligible": "bool",
    "in_force": "bool",
    "chosen": "bool",
}
CHOSEN, CONFIRMED = "chosen_on", "confirmed_on"


@dataclass(frozen=True)
class Search:
    """How thresholds are looked for.

    Parameters
    ----------
    confirm_days
        length of the second, later period
    choose_days
        length of the first
    minimum_weeks
        each period needs, so that its spread says something
    level
        one-sided, of the bounds in either period
    timeout_hours
        longest holding: signals of the last hours of the first period are left out, whatever became of them
    """

    confirm_days: int = 56
    choose_days: int = 168
    minimum_weeks: int = 6
    level: float = 0.95
    timeout_hours: float = 72.0

    def __post_init__(self) -> None:
        if min(self.confirm_days, self.choose_days) < 1 or self.minimum_weeks < 2 or not 0.5 < self.level < 1:
            raise ConfigError(
                f"confirm_days {self.confirm_days} and choose_days {self.choose_days} must be 1 or more, minimum_weeks "
                f"{self.minimum_weeks} 2 or more and level {self.level} within .5 .. 1"
            )


@dataclass(frozen=True, eq=False)
class ThresholdChoice:
    """What a search found.

    Parameters
    ----------
    thresholds
        to be in force from now on
    decisions
        one row a gate: gate, in_force, proposed, applied, changed, reason
    scan
        columns of `SCAN_TYPES`: every threshold tried, in either period; ``mean_ev_bps`` and ``ev_mean_pnl_bps`` are
        the mean expected value and result of the ``ev_trades`` kept whose expected value is known
    comparison
        A/B on the second period, one row for each of ``in_force``, ``proposed`` and ``applied``: trades (kept by all
        four gates), mean_pnl_bps, total_pnl_bps, win_rate, rejected, rejected_mean_pnl_bps
    """

    thresholds: Thresholds
    decisions: pd.DataFrame
    scan: pd.DataFrame
    comparison: pd.DataFrame

    def to_frame(self, as_of: pd.Timestamp) -> pd.DataFrame:
        """The decisions with columns of `report_schemas.GATE_THRESHOLDS`; `as_of` is when they were taken."""
        since = self.thresholds.as_of
        facts: dict[str, Any] = {
            "regime": self.thresholds.regime,
            "since": pd.NaT if since is None else since,
            "as_of": as_of,
            "version": self.thresholds.version(),
        }
        texts = dict.fromkeys(("gate", "reason", "version"), "str")
        stamps = dict.fromkeys(("since", "as_of"), "datetime64[us]")
        frame = self.decisions.assign(**facts).sort_values(["as_of", "gate"], kind="stable")
        return typed(frame.reset_index(drop=True), texts | stamps)


def thresholds_of(frame: pd.DataFrame) -> Thresholds:
    """The thresholds that one search (four rows of `report_schemas.GATE_THRESHOLDS`) put in force.

    Raises
    ------
    DataError
        if a gate is missing or repeated, or the rows were changed since.
    """
    if sorted(frame["gate"]) != sorted(GATES):
        raise DataError(f"thresholds are given for {', '.join(frame['gate'])}; expected {', '.join(GATES)}, each once")
    head = frame.iloc[0]
    found = Thresholds(regime=float(head["regime"]), as_of=None if pd.isna(head["since"]) else head["since"])
    for gate, applied in zip(frame["gate"], frame["applied"], strict=True):
        found = found.changed(gate, applied)
    if found.version() != head["version"]:
        raise DataError(f"thresholds {head['version']} were changed since they were chosen; choose them again")
    return found


def choose_thresholds(
    trades: pd.DataFrame, current: Thresholds, *, as_of: pd.Timestamp, seed: int, search: Search | None = None
) -> ThresholdChoice:
    """Look for better thresholds, one gate after the other, each against the one in force.

    Parameters
    ----------
    trades
        columns of `schemas.PAPER_TRADES`, executed as of `as_of` or earlier, all tracks
    current
        thresholds in force; how far the market must lean to count as adverse is theirs and is not looked for
    as_of
        naive UTC
    seed
        of the bootstrap
    search
        by default `Search()`

    Returns
    -------
    ThresholdChoice

    Raises
    ------
    DataError
        if columns are missing or something was not known at `as_of`.

    Notes
    -----
    Scanned are all trades that passed the data gate (for that gate itself, all that lack nothing but bars), whatever
    the other gates said. The first period ends where the second begins, less the time-out, so that its trades had ended
    by then; open trades of the second count at their mark. In the first the document's score, mean pnl x sqrt(n), is
    maximised among thresholds that keep enough trades; where none earns anything that score would prefer the fewest
    trades, and (mean pnl less that of all) x sqrt(n) takes its place. The proposal survives if its mean pnl is higher
    than that of the threshold in force, in the first period by a bound that holds for all thresholds tried together and
    in the second by its own.
    """
    rules = search or Search()
    columns = ("status", "known_at", "entry_at", "exit_at", "pnl_bps", "gate_data", "defect", "side", "closed_bars")
    values = ("f_directional", "I", "market_regime", "ev_bps", "stop_bps", "weight_present")
    trades = picked(trades, (*columns, *values), "trades")
    filled = trades[trades["status"].isin(["closed", "open"])]
    require_known(filled["known_at"], as_of, "trades")
    periods = _periods(filled, as_of, rules)
    scans, decisions, chosen = [], [], current
    # Of the data gate all it would pass with bars enough are looked at, of the others those it let pass.
    whole = {name: rows[sound(rows)] for name, rows in periods.items()}
    passed = {name: rows[rows["gate_data"]] for name, rows in periods.items()}
    for place, gate in enumerate(GATES):
        scan, decision = _search_gate(gate, whole if gate == DATA else passed, current, rules, seed + place)
        scans.append(scan)
        decisions.append(decision)
        if decision["changed"]:
            chosen = chosen.changed(gate, decision["applied"])
    if chosen != current:
        chosen = replace(chosen, as_of=as_of)
    proposed = current
    for decision in decisions:
        proposed = proposed.changed(decision["gate"], decision["proposed"])
    sides = {"in_force": current, "proposed": proposed, "applied": chosen}
    comparison = pd.DataFrame([{"side": name} | _outcome(periods[CONFIRMED], side) for name, side in sides.items()])
    return ThresholdChoice(chosen, pd.DataFrame(decisions), pd.concat(scans, ignore_index=True), comparison)


def _periods(filled: pd.DataFrame, as_of: pd.Timestamp, rules: Search) -> dict[str, pd.DataFrame]:
    split = as_of - pd.Timedelta(days=rules.confirm_days)
    first = split - pd.Timedelta(days=rules.choose_days)
    entered, closed = filled["entry_at"], filled["status"] == "closed"
    # By the hour of entry: leaving out what had not ended by the split would keep the stops, which come soonest.
    old = (entered >= first) & (entered + rules.timeout_hours * HOUR <= split)
    return {
        CHOSEN: filled[old & closed & (filled["known_at"] <= split)],
        CONFIRMED: filled[(entered >= split) & (entered <= as_of)],
    }


def _search_gate(
    gate: str, periods: dict[str, pd.DataFrame], current: Thresholds, rules: Search, seed: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Scan of one gate in both periods, and the decision on it."""
    in_force = current.value(gate)
    periods = {name: rows.assign(_judged=gate_values(rows, current.regime)[gate]) for name, rows in periods.items()}
    grid = sorted({*GRIDS[gate], in_force})
    first = _scan(gate, CHOSEN, periods[CHOSEN], grid, in_force, rules, seed)
    proposed, reason = _proposal(first, in_force, rules)
    # One threshold is confirmed, so its bound need not pay for the others.
    second = _scan(gate, CONFIRMED, periods[CONFIRMED], [in_force, proposed], in_force, rules, seed)
    applied = in_force
    if not reason:
        applied, reason = _confirmation(second, proposed, in_force, rules)
    scan = pd.concat([first, second], ignore_index=True)
    scan["chosen"] = scan["threshold"] == proposed
    decision = {"gate": gate, "in_force": in_force, "proposed": proposed, "applied": applied}
    return typed(scan[list(SCAN_TYPES)], SCAN_TYPES), decision | {"changed": applied != in_force, "reason": reason}


def _scan(
    gate: str, period: str, rows: pd.DataFrame, grid: list[float], in_force: float, rules: Search, seed: int
) -> pd.DataFrame:
    grid = sorted(set(grid))
    values, pnl = (rows[name].to_numpy(dtype=np.float64) for name in ("_judged", "pnl_bps"))
    ev = rows["ev_bps"].to_numpy(dtype=np.float64)
    weeks, count = week_codes(rows["entry_at"])
    kept = {threshold: passes(gate, values, threshold) for threshold in grid}
    # What was earned is set beside what was expected of the same trades: of some nothing was.
    expected = {threshold: kept[threshold] & ~np.isnan(ev) for threshold in grid}
    by_week = [weekly_sums(pnl, weeks, count, kept[threshold]) for threshold in grid]
    sums, numbers = (np.stack([pair[side] for pair in by_week]).reshape(len(grid), count) for side in (0, 1))
    trades, present = numbers.sum(axis=1), (numbers > 0).sum(axis=1)
    eligible = (trades >= MINIMUM_TRADES[gate]) & (present >= rules.minimum_weeks)
    gain, low = np.full(len(grid), np.nan), np.full(len(grid), np.nan)
    base = weekly_sums(pnl, weeks, count, kept[in_force])
    gain[eligible], low[eligible] = gain_bounds((sums[eligible], numbers[eligible]), base, level=rules.level, seed=seed)
    mean = np.divide(sums.sum(axis=1), trades, out=np.full(len(grid), np.nan), where=trades > 0)
    columns: dict[str, Any] = {
        "gate": gate,
        "period": period,
        "threshold": grid,
        "trades": trades,
        "weeks": present,
        "win_rate": [_mean(pnl[kept[threshold]] > 0) for threshold in grid],
        "mean_pnl_bps": mean,
        "ev_trades": [int(expected[threshold].sum()) for threshold in grid],
        "mean_ev_bps": [_mean(ev[expected[threshold]]) for threshold in grid],
        "ev_mean_pnl_bps": [_mean(pnl[expected[threshold]]) for threshold in grid],
        "score": _score(mean, trades, pnl, eligible),
        "gain_bps": gain,
        "gain_low_bps": low,
        "eligible": eligible,
        "in_force": [threshold == in_force for threshold in grid],
    }
    return pd.DataFrame(columns)


def _score(mean: Floats, trades: Floats, pnl: Floats, eligible: Bools) -> Floats:
    """What is maximised: mean pnl x sqrt(n), or the same of the excess where no threshold earns anything."""
    earns = eligible & (mean > 0)
    overall = 0.0 if earns.any() or not pnl.size else float(pnl.mean())
    return np.asarray((mean - overall) * np.sqrt(trades))


def _proposal(scan: pd.DataFrame, in_force: float, rules: Search) -> tuple[float, str]:
    """The threshold the first period proposes, and why it is not worth confirming, if so."""
    able = scan[scan["eligible"]]
    if able.empty:
        most = f"{int(scan['trades'].max())} trades of {int(scan['weeks'].max())} weeks"
        return in_force, f"stays: no threshold keeps enough; at most {most}, {rules.minimum_weeks} weeks are needed"
    best = able.iloc[int(able["score"].to_numpy().argmax())]
    proposed = float(best["threshold"])
    if proposed == in_force:
        return proposed, "stays: it is the best of those tried"
    if not scan.loc[scan["in_force"], "trades"].iloc[0]:
        return proposed, f"stays: {in_force:g} keeps no trade that {proposed:g} could be compared with"
    if not best["gain_low_bps"] > 0:
        return proposed, (
            f"stays: {proposed:g} gained {best['gain_bps']:+.1f} bps a trade in the first period, which the search "
            f"over {len(able)} thresholds explains (bound {best['gain_low_bps']:+.1f})"
        )
    return proposed, ""


def _confirmation(scan: pd.DataFrame, proposed: float, in_force: float, rules: Search) -> tuple[float, str]:
    row = scan[scan["threshold"] == proposed].iloc[0]
    if not row["eligible"]:
        kept = f"{int(row['trades'])} trades of {int(row['weeks'])} weeks"
        return in_force, f"stays: the second period has only {kept} to confirm {proposed:g}"
    gained = f"{row['gain_bps']:+.1f} bps a trade in the second period (bound {row['gain_low_bps']:+.1f})"
    if not row["gain_low_bps"] > 0:
        return in_force, f"stays: {proposed:g} gained {gained}, so it is not confirmed"
    return proposed, f"{proposed:g} replaces {in_force:g}: it gained {gained}, after being chosen before it"


def _outcome(rows: pd.DataFrame, thresholds: Thresholds) -> dict[str, Any]:
    """What one set of thresholds would have kept of some trades, on all four gates."""
    values = gate_values(rows, thresholds.regime)
    kept = sound(rows) & np.all([passes(gate, values[gate], thresholds.value(gate)) for gate in GATES], axis=0)
    pnl = rows["pnl_bps"].to_numpy(dtype=np.float64)
    return {
        "version": thresholds.version(),
        "trades": int(kept.sum()),
        "mean_pnl_bps": _mean(pnl[kept]),
        "total_pnl_bps": float(pnl[kept].sum()),
        "win_rate": _mean(pnl[kept] > 0),
        "rejected": int((~kept).sum()),
        "rejected_mean_pnl_bps": _mean(pnl[~kept]),
    }


def _mean(values: npt.NDArray[Any]) -> float:
    return float(values.mean()) if values.size else float("nan")
