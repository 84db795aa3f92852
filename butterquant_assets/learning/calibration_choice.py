"""Which calibration method is better, judged walk-forward and counted in groups.

What belongs here: which rows a method may learn from and which it then calibrates, how methods compare there, and the
rule that decides. What does not: the methods themselves (`learning.calibration`).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.learning import metrics
from butterquant_assets.learning.evidence import episode_codes

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Dates = npt.NDArray[np.datetime64]
Mask = npt.NDArray[np.bool_]

UNCALIBRATED = "none"
SUPPORT = 2.0
"""Standard errors that a method must gain: four are tried, and the best of four with nothing to gain often looks like
one. Over five markets with a planted edge one standard error realised .696 of the attainable, two .707, no calibration
.720."""


def holding_periods(order: npt.ArrayLike, leave: npt.ArrayLike, groups: npt.ArrayLike) -> tuple[Dates, Dates, Labels]:
    """Entry dates, dates at which outcomes became known and numbers of the groups, each of shape (n,).

    Raises
    ------
    DataError
        if a date or group is missing, or an outcome is known before its entry.
    """
    entered, left = (np.asarray(values, dtype="datetime64[D]") for values in (order, leave))
    if entered.ndim != 1 or entered.shape != left.shape:
        raise ValueError(f"order has shape {entered.shape}, leave {left.shape}; expected the same (n,)")
    missing = int((np.isnat(entered) | np.isnat(left)).sum())
    if missing:
        raise DataError(f"{missing} of {entered.size} rows lack a date; drop rows without an outcome first")
    backwards = np.flatnonzero(left < entered)
    if backwards.size:
        row = int(backwards[0])
        raise DataError(f"row {row} leaves before it enters: {entered[row]} .. {left[row]}; check the evaluation dates")
    return entered, left, episode_codes(groups, entered.size)


def walk_forward_blocks(
    entered: Dates, left: Dates, embargo: np.timedelta64, minimum_rows: int, growth: float
) -> list[tuple[Mask, Mask]]:
    """Rows to fit on and rows to calibrate, for each block in time order.

    The first block begins at the first entry date before which, by more than the embargo, `minimum_rows` outcomes were
    known; the next where that number has grown by the factor `growth`. Where a block begins depends on the past alone.

    Parameters
    ----------
    entered, left
        from `holding_periods`, shape (n,)
    embargo
        calendar days
    minimum_rows, growth
        at least 1, and above 1

    Returns
    -------
    list of pairs of boolean masks, shape (n,); each row is in the second mask of at most one pair
    """
    sessions = np.unique(entered)
    known = np.searchsorted(np.sort(left), sessions - embargo)
    starts: list[np.datetime64] = []
    needed = float(minimum_rows)
    for session, count in zip(sessions, known.tolist(), strict=True):
        if count >= needed:
            starts.append(session)
            needed = count * growth
    spans = pairwise([*starts, np.datetime64("9999-12-31")])
    return [(left < start - embargo, (entered >= start) & (entered < end)) for start, end in spans]


def compare(candidates: Mapping[str, Floats], y: Labels, codes: Labels, within: Mask) -> pd.DataFrame:
    """Scores of each method over the same rows, and its gain over no calibration.

    Parameters
    ----------
    candidates
        walk-forward probabilities by method, ``none`` among them, shape (n, k); NaN for rows that got none
    y, codes, within
        outcomes, numbers of the groups, and the rows to look at, shape (n,)

    Returns
    -------
    DataFrame
        columns method, log_loss, brier, ece, gain, standard_error, rows, groups; NaN where there is no row
    """
    scored = within & np.isfinite(candidates[UNCALIBRATED]).all(axis=1)
    count = np.unique(codes[scored]).size
    rows = []
    for method, predicted in candidates.items():
        figures = dict.fromkeys(("log_loss", "brier", "ece", "gain", "standard_error"), np.nan)
        if scored.any():
            p, labels = predicted[scored], y[scored]
            gains = metrics.row_log_loss(candidates[UNCALIBRATED][scored], labels) - metrics.row_log_loss(p, labels)
            found = metrics.evaluate(p, labels, p.shape[1])
            figures = {name: found[name] for name in ("log_loss", "brier", "ece")}
            figures |= {"gain": float(gains.mean()), "standard_error": _standard_error(gains, codes[scored])}
        rows.append({"method": method, **figures, "rows": int(scored.sum()), "groups": count})
    return pd.DataFrame(rows)


def decide(table: pd.DataFrame, minimum_groups: int) -> tuple[str, str]:
    """The method to use and why, from a table of `compare`.

    The lowest log-loss among methods that gain more than `SUPPORT` standard errors, the earlier in the table on ties;
    no calibration if there is none, or fewer than `minimum_groups` groups.
    """
    rows, groups = (int(table[name].iloc[0]) for name in ("rows", "groups"))
    evidence = f"over {rows} rows of {groups} {'group' if groups == 1 else 'groups'}"
    if groups < minimum_groups:
        return UNCALIBRATED, f"none: methods could be compared {evidence}, at least {minimum_groups} groups are needed"
    uncalibrated = table[table["method"] == UNCALIBRATED].iloc[0]
    others = table[table["method"] != UNCALIBRATED].sort_values("log_loss", kind="stable")
    better = others[others["gain"] > SUPPORT * others["standard_error"]]
    best = (better if len(better) else others).iloc[0]
    figures = (
        f"{best['method']} has a walk-forward log-loss of {best['log_loss']:.4f} against "
        f"{uncalibrated['log_loss']:.4f} without calibration {evidence}, a gain of {best['gain']:+.4f} with a standard "
        f"error of {best['standard_error']:.4f}"
    )
    if len(better):
        return str(best["method"]), f"{best['method']}: {figures}"
    return UNCALIBRATED, f"none: no method gains more than {SUPPORT:g} standard errors; {figures}"


def _standard_error(values: Floats, codes: Labels) -> float:
    """Of the mean over rows, when whole groups are drawn; infinite from one group."""
    _, group = np.unique(codes, return_inverse=True)
    deviations = np.bincount(group, weights=values - values.mean())
    if deviations.size < 2:
        return float("inf")
    correction = deviations.size / (deviations.size - 1)
    return float(np.sqrt(correction * (deviations**2).sum()) / values.size)
