"""The geometry baseline: class probabilities of a market without edge, from the contract alone.

On a fair market nothing can beat it, so whatever a model gains there it gains from geometry. What belongs here: that
baseline. What does not: comparing anything with it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtri

from butterquant_assets.butterfly import pricing
from butterquant_assets.butterfly.config import CostConfig
from butterquant_assets.butterfly.iv_proxy import leg_vols_of
from butterquant_assets.butterfly.strikes import strikes_of
from butterquant_assets.foundation.errors import ConfigError, DataError

Floats = npt.NDArray[np.float64]

N_CLASSES = 4
QUADRATURE_POINTS = 2001
ROWS_PER_CHUNK = 64


def geometry_probabilities(
    analyses: pd.DataFrame, label: str, *, costs: CostConfig | None = None, points: int = QUADRATURE_POINTS
) -> Floats:
    """Class probabilities of a market without edge, from the as-of state alone.

    At the evaluation session the spot is lognormal with drift `rate` and the entry volatility of the centre strike;
    each leg keeps its entry volatility. The ROI of `label` is computed at `points` equally likely spots (midpoints of
    the quantiles), so the result is deterministic.

    Parameters
    ----------
    analyses
        columns session, evaluation_session, spot, lower_strike, center_strike, upper_strike, width, days_left, rate,
        iv_lower, iv_center, iv_upper, debit, and for ``label_net`` entry_cost; no missing values
    label
        ``label_tent``, ``label_expiry``, ``label_mark`` or ``label_net``
    costs
        of the exit, for ``label_net``; by default no commission
    points
        number of quantiles

    Returns
    -------
    array of shape (n, 4)
        (count + 1) / (points + 4): a class that no quantile reaches keeps a small probability, since no market is
        exactly lognormal; this only makes the baseline harder to beat.

    Raises
    ------
    ConfigError
        if `label` is none of the four.
    DataError
        if a value is missing or an evaluation precedes its entry.

    Notes
    -----
    Source: REFERENCE, section 1, baselines. ROI definitions are those of `butterfly.pricing`.
    """
    if label not in ("label_tent", "label_expiry", "label_mark", "label_net"):
        raise ConfigError(f"{label!r} is no label; use label_tent, label_expiry, label_mark or label_net")
    held = _years_held(analyses)
    needed = ["spot", "lower_strike", "center_strike", "upper_strike", "width", "days_left", "rate", "debit"]
    needed += ["iv_lower", "iv_center", "iv_upper"] + (["entry_cost"] if label == "label_net" else [])
    table = {name: _complete(analyses, name)[:, None] for name in needed} | {"held": held[:, None]}
    normal = ndtri((np.arange(points) + 0.5) / points)[None, :]
    counts = np.empty((len(held), N_CLASSES))
    for start in range(0, len(held), ROWS_PER_CHUNK):
        part = {name: column[start : start + ROWS_PER_CHUNK] for name, column in table.items()}
        classes = pricing.label_of(_roi(part, label, _no_edge_spot(part, normal), costs or CostConfig()))
        counts[start : start + ROWS_PER_CHUNK] = np.stack(
            [(classes == k).sum(axis=1) for k in range(N_CLASSES)], axis=1
        )
    probabilities: Floats = (counts + 1.0) / (points + N_CLASSES)
    return probabilities


def _no_edge_spot(part: Mapping[str, Floats], normal: Floats) -> Floats:
    vol, held = part["iv_center"], part["held"]
    spot: Floats = part["spot"] * np.exp((part["rate"] - 0.5 * vol**2) * held + vol * np.sqrt(held) * normal)
    return spot


def _roi(part: Mapping[str, Floats], label: str, exit_spot: Floats, costs: CostConfig) -> Floats:
    strikes, vols = strikes_of(part), leg_vols_of(part)
    debit = part["debit"]
    if label == "label_tent":
        return pricing.roi_tent(exit_spot, strikes, debit)
    if label == "label_expiry":
        return pricing.roi_expiry(exit_spot, strikes, debit)
    mark = pricing.value(exit_spot, strikes, part["days_left"], part["rate"], vols)
    if label == "label_mark":
        return pricing.roi_mark(mark, debit)
    exit_cost = pricing.trade_cost(exit_spot, strikes, part["days_left"], part["rate"], vols, costs)
    return pricing.roi_net(mark, exit_cost, debit, part["entry_cost"])


def _years_held(analyses: pd.DataFrame) -> Floats:
    """(evaluation_session - session) / 365, shape (n,)."""
    entry, exit_ = (analyses[name].to_numpy().astype("datetime64[D]") for name in ("session", "evaluation_session"))
    days: Floats = (exit_ - entry).astype(np.float64)
    wrong = np.flatnonzero(~(days > 0))
    if wrong.size:
        raise DataError(
            f"{wrong.size} evaluation sessions do not follow their entry, for instance {entry[wrong[0]]} -> "
            f"{exit_[wrong[0]]}; build the analyses again"
        )
    years: Floats = days / pricing.DAYS_PER_YEAR
    return years


def _complete(frame: pd.DataFrame, name: str) -> Floats:
    values = frame[name].to_numpy(dtype=np.float64)
    if np.isnan(values).any():
        raise DataError(f"{np.isnan(values).sum()} analyses lack {name}; an accepted analysis has every field")
    return values


def aligned(training_set: pd.DataFrame, analyses: pd.DataFrame) -> pd.DataFrame:
    """Analyses of the training rows, in their order; a DataError where one is missing."""
    keys = ["session", "ticker"]
    wanted = pd.MultiIndex.from_frame(training_set[keys])
    found = analyses.set_index(keys)
    absent = ~wanted.isin(found.index)
    if absent.any():
        raise DataError(
            f"{absent.sum()} training rows have no analysis, for instance {wanted[absent][0]}; rebuild both"
        )
    return found.loc[wanted].reset_index()
