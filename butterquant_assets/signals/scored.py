"""From factors to scored signals: direction, confidence, barriers, probabilities, expected value, verdicts.

What belongs here: what is known of one coin at one closed hour, and the tables in force then. What does not: the
factors themselves, what the tables are fitted on, and what became of a signal (`paper`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.signals.calibration_ladder import CalibrationTable
from butterquant_assets.signals.costs import CostTable, expected_funding_bps
from butterquant_assets.signals.gates import LONG, SHORT, Thresholds, judge
from butterquant_assets.signals.membership import standing
from butterquant_assets.signals.schemas import SCORED_SIGNALS
from butterquant_assets.signals.versions import require_columns, require_made_before, typed
from butterquant_assets.signals.weights import WEIGHTS, score

FACTORS = ("T", "M", "C", "V", "O", "B", "F", "I", "market_regime")
STOP_ATRS, TARGET_STOPS = 2.5, 2.0
FACTOR_COLUMNS = ("hour", "coin", *FACTORS, "flags")
STATE_COLUMNS = ("hour", "coin", "close", "atr14", "closed_bars", "defect", "funding_8h")
_KEYS = ["hour", "coin"]


def weighted_score(factors: pd.DataFrame) -> pd.DataFrame:
    """The score W, renormalised over the factors that are there, with the names of those that are not.

    Parameters
    ----------
    factors
        columns T, C, V, O, M, B, points; NaN is missing

    Returns
    -------
    DataFrame
        aligned with `factors`: ``score`` (-100 .. 100, NaN where no factor is there), ``weight_present`` (0 .. 1) and
        ``missing`` (names separated by commas, in the order of `WEIGHTS`)
    """
    there = ~np.column_stack([factors[name].isna().to_numpy() for name in WEIGHTS])
    names = np.array(list(WEIGHTS), dtype=object)
    gaps = [",".join(names[~row]) for row in there]
    found = score({name: factors[name].to_numpy(dtype=np.float64) for name in WEIGHTS})
    columns = {"score": found.score, "weight_present": found.weight_present}
    return pd.DataFrame(columns | {"missing": pd.Series(gaps, dtype="str").to_numpy()}, index=factors.index)


def score_signals(
    factors: pd.DataFrame,
    state: pd.DataFrame,
    *,
    calibration: CalibrationTable,
    costs: CostTable,
    thresholds: Thresholds,
    universe: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Signals of every coin and hour whose score is not 0, accepted and rejected ones alike.

    Parameters
    ----------
    factors
        `FACTOR_COLUMNS`: hour (open of the last closed bar, naive UTC), coin, factors in points (NaN is missing) and
        flags, words separated by commas; one row per hour and coin
    state
        `STATE_COLUMNS` for the same rows (it may be the same frame): close and atr14 (price units), closed_bars (of the
        coin, counted over the window of the factors), defect (bool, in that window), funding_8h (ratio per 8 h that a
        long pays, as last known)
    calibration, costs, thresholds
        in force when the first of these bars closed
    universe
        of each day, as for `membership.standing`: it decides what is learned from a signal, and nothing else

    Returns
    -------
    DataFrame
        columns of `schemas.SCORED_SIGNALS`, sorted by hour and coin. Nothing of a row depends on another row.

    Raises
    ------
    DataError
        if columns or rows are missing or repeated, or a table was made after the first bar had closed.

    Notes
    -----
    SL = 2.5 ATR14 / price, TP = 2 SL; EV = P_tp TP - P_sl SL + P_to m_to - cost, where cost is both sides' fees,
    half-spreads and slippage, and the expected signed funding.
    """
    rows = _joined(factors, state)
    if len(rows):
        first = rows["hour"].min()
        for as_of, what in ((calibration.as_of, "calibration table"), (costs.as_of, "cost table")):
            require_made_before(as_of, first, what)
        require_made_before(thresholds.as_of, first, "set of thresholds")
    scored = rows.join(weighted_score(rows))
    scored = scored[scored["score"].notna() & (scored["score"] != 0)].reset_index(drop=True)
    scored = _directed(scored)
    expected = calibration.outcomes(
        scored["confidence"].to_numpy(), scored["stop_bps"].to_numpy(), scored["target_bps"].to_numpy()
    )
    scored = scored.join(expected)
    scored["cost_bps"] = costs.of(scored["coin"])
    scored["funding_bps"] = expected_funding_bps(scored["side"], scored["funding_8h"], costs.holding_hours)
    scored["ev_bps"] = (
        scored["p_target"] * scored["target_bps"]
        - scored["p_stop"] * scored["stop_bps"]
        + scored["p_timeout"] * scored["timeout_bps"]
        - scored["cost_bps"]
        - scored["funding_bps"]
    )
    scored["calibrated"] = np.full(len(scored), calibration.calibrated, dtype=np.bool_)
    versions = {"calibration": calibration.version, "cost": costs.version, "threshold": thresholds.version()}
    for name, version in versions.items():
        scored[f"{name}_version"] = pd.Series([version] * len(scored), dtype="str")
    scored = scored.join(standing(scored["hour"], scored["coin"], universe))
    return _arranged(scored.join(judge(scored, thresholds)))


def signal_ids(hour: pd.Series, coin: pd.Series) -> pd.Series:
    """Identity of a signal: coin and hour, as text; the same signal scored twice is one."""
    return pd.Series(coin.astype("str") + "@" + hour.dt.strftime("%Y%m%dT%H"), index=hour.index, dtype="str")


def _joined(factors: pd.DataFrame, state: pd.DataFrame) -> pd.DataFrame:
    require_columns(factors, FACTOR_COLUMNS, "factors")
    require_columns(state, STATE_COLUMNS, "states")
    for frame, what in ((factors, "factors"), (state, "states")):
        repeated = frame.duplicated(_KEYS)
        if repeated.any():
            first = frame[repeated].iloc[0]
            raise DataError(f"{repeated.sum()} {what} are repeated, first {first['coin']} at {first['hour']}; give one")
    left, right = factors[list(FACTOR_COLUMNS)], state[list(STATE_COLUMNS)]
    rows = left.merge(right, on=_KEYS, how="left", indicator=True)
    alone = rows["_merge"] != "both"
    if alone.any():
        first = rows[alone].iloc[0]
        raise DataError(f"{alone.sum()} factor rows have no state, first {first['coin']} at {first['hour']}; give it")
    return rows.drop(columns="_merge")


def _directed(scored: pd.DataFrame) -> pd.DataFrame:
    """Adds side, confidence, F in its direction, barriers, and the words on missing factors."""
    up = (scored["score"] > 0).to_numpy()
    scored["signal_id"] = signal_ids(scored["hour"], scored["coin"])
    scored["side"] = pd.Series(np.where(up, LONG, SHORT), index=scored.index, dtype="str")
    scored["confidence"] = scored["score"].abs()
    scored["f_directional"] = np.where(up, scored["F"], -scored["F"])
    usable = (scored["atr14"] > 0) & (scored["close"] > 0)
    scored["stop_bps"] = (1e4 * STOP_ATRS * scored["atr14"] / scored["close"]).where(usable)
    scored["target_bps"] = TARGET_STOPS * scored["stop_bps"]
    words = [
        ",".join([*filter(None, [flags]), *(f"missing_{name}" for name in filter(None, missing.split(",")))])
        for flags, missing in zip(scored["flags"].tolist(), scored["missing"].tolist(), strict=True)
    ]
    return scored.assign(flags=pd.Series(words, index=scored.index, dtype="str"))


def _arranged(scored: pd.DataFrame) -> pd.DataFrame:
    return SCORED_SIGNALS.arrange(typed(scored, {"closed_bars": "int64", "defect": "bool"}))
