"""The execution threshold on the expected ROI: found on earlier folds, and refused where none is supported.

What belongs here: the scan over thresholds and the choice. What does not: applying it (`decisions`). A scan looks for
the best of many, so a bound that holds for one threshold looked at alone promises too much; here all bounds of a scan
hold together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtri, stdtrit

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning.evidence import CONFIDENCE, DRAWS, draw_episodes, episode_codes

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Criterion = Literal["earnings", "per_trade"]

THRESHOLD_GRID: Floats = np.arange(-4, 21) / 40.0
SCAN_TYPES = {
    "threshold": "float64",
    "rows": "int64",
    "episodes": "int64",
    "mean_roi_net": "float64",
    "low": "float64",
    "high": "float64",
    "eligible": "bool",
}


@dataclass(frozen=True)
class ChosenThreshold:
    """A threshold and what it rests on.

    Parameters
    ----------
    threshold
        what the expected ROI must exceed; None: take nothing
    reason
        the choice in words
    scan
        columns of `SCAN_TYPES`, one row a threshold: rows and episodes taken, their mean roi_net and its simultaneous
        95 % interval over episodes (NaN where fewer than two episodes are taken), and whether enough are taken
    """

    threshold: float | None
    reason: str
    scan: pd.DataFrame

    def to_json(self) -> dict[str, Any]:
        """Plain values for a model card; missing figures are None."""
        records = self.scan.astype(object).where(self.scan.notna(), None).to_dict("records")
        return {"threshold": self.threshold, "reason": self.reason, "scan": records}


def choose_threshold(
    expected_roi: npt.ArrayLike,
    roi_net: npt.ArrayLike,
    episode: npt.ArrayLike,
    *,
    seed: int,
    grid: npt.ArrayLike = THRESHOLD_GRID,
    minimum_rows: int = 50,
    minimum_episodes: int = 6,
    session: npt.ArrayLike | None = None,
    places: int = 5,
    criterion: Criterion = "earnings",
    require_profit: bool = True,
    draws: int = DRAWS,
) -> ChosenThreshold:
    """The threshold that is most safely worth having, among those that take enough.

    Parameters
    ----------
    expected_roi
        out-of-fold expected ROI of earlier folds' rows whose outcome was known, shape (n,), ratio; a row where it is
        missing is never taken
    roi_net
        realised, shape (n,), ratio
    episode
        VIX episode of each row, shape (n,)
    seed, draws
        of the bootstrap
    grid
        thresholds to try, shape (m,)
    minimum_rows, minimum_episodes
        a threshold that takes fewer is not eligible
    session
        of each row, shape (n,). If given, only the best `places` of a session count, as in `decisions.decide` (equal
        values in the order given)
    places
        how many of a session are taken
    criterion
        what is maximised, by its lower bound: ``earnings``, rows x mean roi_net, what equal stakes earn in all; or
        ``per_trade``, mean roi_net, which prefers few trades far out
    require_profit
        whether the lower bound must lie above 0; otherwise, where none does, the highest mean bound decides

    Returns
    -------
    ChosenThreshold

    Raises
    ------
    DataError
        if a roi_net or an episode is missing.
    ConfigError
        if the grid is empty or a minimum makes no sense.

    Notes
    -----
    The bounds are mean -+ c s: s the bootstrap standard error over whole episodes, c the 95 % quantile of the largest
    studentised deviation of all eligible thresholds (White, *A Reality Check for Data Snooping*, Econometrica 68, 2000;
    in the studentised form of Romano and Wolf, Econometrica 73, 2005), widened for few episodes by sqrt(k / (k - 1))
    and by Student's t over the normal quantile. So where nothing is to be earned, a threshold is returned in about
    one case of forty (3 to 4 % in simulations of 30 and 60 episodes), however fine the grid. Ties go to the
    higher threshold.
    """
    known, returns = np.asarray(expected_roi, dtype=np.float64), np.asarray(roi_net, dtype=np.float64)
    thresholds = np.unique(np.asarray(grid, dtype=np.float64))
    _check(known, returns, thresholds, minimum_rows, minimum_episodes)
    codes = episode_codes(episode, known.size)
    allowed = np.ones(known.size, dtype=bool) if session is None else _best(known, np.asarray(session), places)
    taken = (known[None, :] > thresholds[:, None]) & allowed[None, :]
    scan, sums, counts = _counted(thresholds, taken, returns, codes, (minimum_rows, minimum_episodes))
    low, high = _simultaneous(sums, counts, scan["eligible"].to_numpy(), seed, draws)
    scan = scan.assign(low=low, high=high)[list(SCAN_TYPES)].astype(SCAN_TYPES)
    return _choice(scan, (minimum_rows, minimum_episodes), criterion, require_profit)


def _check(known: Floats, returns: Floats, thresholds: Floats, minimum_rows: int, minimum_episodes: int) -> None:
    if known.ndim != 1 or known.shape != returns.shape:
        raise ValueError(f"expected_roi and roi_net have shapes {known.shape} and {returns.shape}; expected one (n,)")
    if np.isnan(returns).any():
        raise DataError(f"{np.isnan(returns).sum()} rows have no roi_net; give rows whose outcome is known")
    if not thresholds.size or np.isnan(thresholds).any():
        raise ConfigError("the grid of thresholds is empty or has a missing value; give at least one number")
    if minimum_rows < 1 or minimum_episodes < 2:
        raise ConfigError(
            f"minimum_rows is {minimum_rows} and minimum_episodes {minimum_episodes}; at least 1 and 2 are needed"
        )


def _best(known: Floats, session: npt.NDArray[Any], places: int) -> Bools:
    """Which rows are among the `places` highest of their session."""
    frame = pd.DataFrame({"session": session, "known": known})
    rank = frame.groupby("session", sort=False)["known"].rank(method="first", ascending=False)
    best: Bools = rank.to_numpy() <= places
    return best


def _counted(
    thresholds: Floats, taken: Bools, returns: Floats, codes: npt.NDArray[np.int64], minimum: tuple[int, int]
) -> tuple[pd.DataFrame, Floats, Floats]:
    """The scan without its bounds, and sums and counts by threshold and episode, shape (m, k)."""
    k = int(codes.max()) + 1 if codes.size else 0
    counts = np.array([np.bincount(codes[mask], minlength=k) for mask in taken], dtype=np.float64)
    sums = np.array([np.bincount(codes[mask], weights=returns[mask], minlength=k) for mask in taken])
    rows, episodes = counts.sum(axis=1).astype(np.int64), (counts > 0).sum(axis=1)
    mean = np.divide(sums.sum(axis=1), rows, out=np.full(len(rows), np.nan), where=rows > 0)
    eligible = (rows >= minimum[0]) & (episodes >= minimum[1])
    scan = pd.DataFrame(
        {"threshold": thresholds, "rows": rows, "episodes": episodes, "mean_roi_net": mean, "eligible": eligible}
    )
    return scan, sums, counts


def _simultaneous(sums: Floats, counts: Floats, eligible: Bools, seed: int, draws: int) -> tuple[Floats, Floats]:
    """Bounds of the mean of each threshold; those of eligible ones hold together."""
    episodes = (counts > 0).sum(axis=1)
    low, high = np.full(len(counts), np.nan), np.full(len(counts), np.nan)
    shown = np.flatnonzero(episodes >= 2)
    if not shown.size:
        return low, high
    picks = draw_episodes(counts.shape[1], seed=seed, draws=draws)
    mean = sums[shown].sum(axis=1) / counts[shown].sum(axis=1)
    deviation = np.stack([_deviations(sums[row], counts[row], picks) for row in shown])
    error = np.sqrt((deviation**2).mean(axis=1))
    studentised = np.abs(np.divide(deviation, error[:, None], out=np.zeros_like(deviation), where=error[:, None] > 0))
    # Thresholds that could not be chosen do not enter the search that the bound pays for.
    searched = studentised[eligible[shown]] if eligible[shown].any() else studentised
    critical = float(np.quantile(searched.max(axis=0), CONFIDENCE))
    k, tail = episodes[shown], (1 + CONFIDENCE) / 2
    width = critical * error * np.sqrt(k / (k - 1)) * stdtrit(k - 1, tail) / ndtri(tail)
    low[shown], high[shown] = mean - width, mean + width
    return low, high


def _deviations(sums: Floats, counts: Floats, picks: npt.NDArray[np.int64]) -> Floats:
    """Mean of each draw minus the mean of all rows, shape (draws,); 0 for a draw in which nothing is taken."""
    total, count = sums[picks].sum(axis=1), counts[picks].sum(axis=1)
    overall = sums.sum() / counts.sum()
    return np.asarray(np.divide(total, count, out=np.full(len(picks), overall), where=count > 0) - overall)


def _choice(
    scan: pd.DataFrame, minimum: tuple[int, int], criterion: Criterion, require_profit: bool
) -> ChosenThreshold:
    eligible = scan[scan["eligible"]]
    if eligible.empty:
        most = f"{int(scan['rows'].max())} rows and {int(scan['episodes'].max())} episodes"
        reason = f"no threshold takes {minimum[0]} rows of {minimum[1]} episodes; at most {most} are taken"
        return ChosenThreshold(None, reason, scan)
    low = eligible["low"].to_numpy(dtype=np.float64)
    earns = bool(low.max() > 0)
    worth = low * eligible["rows"].to_numpy() if criterion == "earnings" and earns else low
    # Of thresholds that took the same rows the highest: below it nothing was tried.
    best = eligible.iloc[int(np.flatnonzero(worth == worth.max())[-1])]
    basis = (
        f"{best['rows']:,} rows of {best['episodes']} episodes earned {100 * best['mean_roi_net']:+.1f} % "
        f"[{100 * best['low']:+.1f}, {100 * best['high']:+.1f}] after costs"
    )
    if require_profit and not earns:
        reason = f"no threshold is shown to earn anything; at best, E > {best['threshold']:.3f}, {basis}"
        return ChosenThreshold(None, reason, scan)
    what = "earnings" if criterion == "earnings" and earns else "mean return"
    reason = f"E > {best['threshold']:.3f} has the highest lower bound of {what}: {basis}"
    return ChosenThreshold(float(best["threshold"]), reason, scan)
