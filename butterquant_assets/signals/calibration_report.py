"""How good the probabilities were that signals came with: reliability, Brier and its parts, log-loss, ECE.

What belongs here: figures of predictions made before their outcomes, and the document's words. What does not: fitting
(`calibration_ladder`). Judged are trades older than the time-out: all of them have ended, so none is missing because it
took long. Probabilities are learned from all signals without a data defect; what they are worth for accepted ones alone
stands beside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.learning import metrics
from butterquant_assets.learning.evidence import paired_difference
from butterquant_assets.learning.reliability import brier_decomposition, reliability_table
from butterquant_assets.signals.gates import ACCEPTED
from butterquant_assets.signals.target_error import error_by_chance, error_by_chance_in_weeks, target_error
from butterquant_assets.signals.tracks import non_overlapping
from butterquant_assets.signals.versions import HOUR, picked, require_known
from butterquant_assets.signals.weekly import weekly_interval

Floats = npt.NDArray[np.float64]

WORDS = ((0.10, "excellent"), (0.15, "good"), (0.20, "fair"))
POOR = "poor"
INTERVAL = 0.95
FIGURES = (
    "trades",
    "not_ended",
    "weeks",
    "observed",
    "predicted",
    "brier",
    "brier_base_rate",
    "brier_bootstrap",
    "brier_gain",
    "brier_gain_low",
    "brier_gain_high",
    "reliability",
    "resolution",
    "uncertainty",
    "within_bin",
    "log_loss",
    "log_loss_base_rate",
    "ece",
    "ece_by_chance",
    "ece_by_chance_in_weeks",
    "accepted_trades",
    "accepted_observed",
    "accepted_predicted",
    "accepted_gap",
    "accepted_gap_low",
    "accepted_gap_high",
    "accepted_brier",
    "accepted_ece",
    "accepted_ece_by_chance",
)
BESIDE = "accepted_"
"""Begins the names of what is said of accepted signals alone."""


@dataclass(frozen=True, eq=False)
class CalibrationReport:
    """How good the probabilities were.

    Parameters
    ----------
    curve
        ten rows: bin, lower, upper (of the predicted probability), trades, mean_predicted, observed, low, high (95 %
        Jeffreys interval of the observed share), inside (the prediction lies in it); NaN in an empty bin; and all but
        the bounds of the bin once more for accepted signals alone, their names beginning with ``accepted_``
    figures
        metric and value, one row for each of `FIGURES`; NaN without trades. brier_gain is the base rate's Brier score
        less that of the predictions, accepted_gap what accepted signals reached less what was predicted of them, both
        with their 95 % intervals over weeks; ece is the mean gap between prediction and outcome over the bins of the
        curve, the two figures beside it what chance keeps it below in 95 % of cases
    word
        the document's: excellent, good, fair or poor; empty without trades
    sentence
        the result in words
    """

    curve: pd.DataFrame
    figures: pd.DataFrame
    word: str
    sentence: str

    def value(self, metric: str) -> float:
        """One of the figures."""
        return float(self.figures["value"].to_numpy()[FIGURES.index(metric)])

    def words(self) -> list[str]:
        """The document's word beside each of the figures it has one for, else empty."""
        found = {"brier": self.word, "accepted_brier": self._word("accepted_brier")}
        found |= {"brier_base_rate": self._word("brier_base_rate")}
        return [found.get(name, "") for name in FIGURES]

    def _word(self, metric: str) -> str:
        value = self.value(metric)
        return brier_word(value) if value == value else ""


def brier_word(brier: float) -> str:
    """The document's word: below .10 excellent, below .15 good, below .20 fair, else poor."""
    return next((word for limit, word in WORDS if brier < limit), POOR)


def judge_calibration(
    trades: pd.DataFrame, *, as_of: pd.Timestamp, seed: int, timeout_hours: float = 72.0, calibrated_only: bool = True
) -> CalibrationReport:
    """Judge the probabilities that signals came with by what happened.

    Parameters
    ----------
    trades
        columns of `schemas.PAPER_TRADES`, executed as of `as_of` or earlier
    as_of
        naive UTC
    seed
        of the calibration error by chance
    timeout_hours
        longest holding
    calibrated_only
        leave out signals whose probability came from no calibration

    Returns
    -------
    CalibrationReport
        of each coin's trades those it would have held one at a time; Brier score and log-loss are those of one
        probability, 0 .. 1, not summed over outcomes

    Raises
    ------
    DataError
        if columns are missing or something was not known at `as_of`.
    ConfigError
        if the time-out makes no sense.
    """
    if timeout_hours <= 0:
        raise ConfigError(f"timeout_hours is {timeout_hours}; it must be positive")
    columns = (
        "coin",
        "status",
        "known_at",
        "entry_at",
        "exit_at",
        "exit_reason",
        "p_target",
        "calibrated",
        "gate_data",
        "verdict",
        "stop_bps",
        "target_bps",
    )
    trades = picked(trades, columns, "trades")
    counted = trades[trades["gate_data"] & (trades["calibrated"] | (not calibrated_only))]
    counted = counted[counted["status"].isin(["closed", "open"])]
    require_known(counted["known_at"], as_of, "trades")
    accepted = counted[counted["verdict"] == ACCEPTED]
    counted, accepted = counted[non_overlapping(counted)], accepted[non_overlapping(accepted)]
    ended = _ended(counted, as_of, timeout_hours)
    judged, p, hit = _judged(counted[ended])
    weeks = judged["entry_at"].to_numpy().astype("datetime64[W]").astype(np.int64)
    figures = dict.fromkeys(FIGURES, float("nan")) | {"trades": float(len(judged)), "weeks": float(len(set(weeks)))}
    figures |= {"not_ended": float((~ended).sum()), "accepted_trades": 0.0}
    if not len(judged):
        curve = _beside(_empty_curve(), _empty_curve())
        return CalibrationReport(curve, _frame(figures), "", "No calibrated signal has an ended trade yet.")
    fair = (judged["stop_bps"] / (judged["stop_bps"] + judged["target_bps"])).to_numpy()
    figures |= _scores(p, hit, weeks, seed) | {"brier_bootstrap": float(((fair - hit) ** 2).mean())}
    passed, passed_p, passed_hit = _judged(accepted[_ended(accepted, as_of, timeout_hours)])
    figures |= _accepted_scores(passed_p, passed_hit, passed["entry_at"], seed)
    word = brier_word(figures["brier"])
    curve = _beside(_curve(p, hit), _curve(passed_p, passed_hit) if len(passed) else _empty_curve())
    return CalibrationReport(curve, _frame(figures), word, _sentence(figures, word))


def _ended(trades: pd.DataFrame, as_of: pd.Timestamp, timeout_hours: float) -> pd.Series:
    """Which trades are old enough to be judged, and have ended."""
    return (trades["entry_at"] + timeout_hours * HOUR <= as_of) & (trades["status"] == "closed")


def _judged(trades: pd.DataFrame) -> tuple[pd.DataFrame, Floats, npt.NDArray[np.int64]]:
    """The trades, what was predicted of each, and whether the target came."""
    hit = (trades["exit_reason"] == "target").to_numpy().astype(np.int64)
    return trades, trades["p_target"].to_numpy(dtype=np.float64), hit


def _scores(p: Floats, hit: npt.NDArray[np.int64], weeks: npt.NDArray[np.int64], seed: int) -> dict[str, float]:
    both = np.column_stack([1 - p, p])
    base = np.tile([1 - hit.mean(), hit.mean()], (len(p), 1))
    # The functions for several classes sum over them; both of two classes have the same error.
    parts = {name: value / 2 for name, value in brier_decomposition(both, hit, 2).items()}
    # The base rate is that of the same trades, so it starts with an advantage.
    gain = paired_difference((hit.mean() - hit) ** 2, (p - hit) ** 2, weeks, seed=seed)
    known = gain.episodes > 1
    return parts | {
        "brier_gain": gain.mean,
        "brier_gain_low": gain.low if known else float("nan"),
        "brier_gain_high": gain.high if known else float("nan"),
        "observed": float(hit.mean()),
        "predicted": float(p.mean()),
        "brier_base_rate": float(hit.mean() * (1 - hit.mean())),
        "log_loss": float(metrics.row_log_loss(both, hit).mean()),
        "log_loss_base_rate": float(metrics.row_log_loss(base, hit).mean()),
        "ece": target_error(p, hit),
        "ece_by_chance": error_by_chance(p, seed=seed),
        "ece_by_chance_in_weeks": error_by_chance_in_weeks(p, hit, weeks, seed=seed),
    }


def _accepted_scores(p: Floats, hit: npt.NDArray[np.int64], entry_at: pd.Series, seed: int) -> dict[str, float]:
    if not len(p):
        return {}
    gap, low, high = weekly_interval(hit - p, entry_at, seed=seed)
    return {
        "accepted_trades": float(len(p)),
        "accepted_observed": float(hit.mean()),
        "accepted_predicted": float(p.mean()),
        "accepted_gap": gap,
        "accepted_gap_low": low if np.isfinite(low) else float("nan"),
        "accepted_gap_high": high if np.isfinite(high) else float("nan"),
        "accepted_brier": float(((p - hit) ** 2).mean()),
        "accepted_ece": target_error(p, hit),
        "accepted_ece_by_chance": error_by_chance(p, seed=seed),
    }


def _beside(everything: pd.DataFrame, accepted: pd.DataFrame) -> pd.DataFrame:
    """Two curves over the same bins in one table."""
    return everything.join(accepted.drop(columns=["bin", "lower", "upper"]).add_prefix(BESIDE))


def _curve(p: Floats, hit: npt.NDArray[np.int64]) -> pd.DataFrame:
    from scipy.special import betaincinv

    table = reliability_table(np.column_stack([1 - p, p]), hit, 2)
    table = table[table["class"] == 1].drop(columns="class").rename(columns={"count": "trades"}).reset_index(drop=True)
    n = table["trades"].to_numpy(dtype=np.float64)
    won = np.nan_to_num(table["observed"].to_numpy() * n)
    tail = (1 - INTERVAL) / 2
    low, high = betaincinv(won + 0.5, n - won + 0.5, tail), betaincinv(won + 0.5, n - won + 0.5, 1 - tail)
    table["low"] = np.where(n > 0, np.where(won == 0, 0.0, low), np.nan)
    table["high"] = np.where(n > 0, np.where(won == n, 1.0, high), np.nan)
    table["inside"] = (table["mean_predicted"] >= table["low"]) & (table["mean_predicted"] <= table["high"])
    return table


def _empty_curve() -> pd.DataFrame:
    edges = np.arange(11) / 10
    means = dict.fromkeys(("mean_predicted", "observed", "low", "high"), np.nan)
    columns: dict[str, Any] = {"bin": np.arange(10), "lower": edges[:-1], "upper": edges[1:], "trades": 0}
    return pd.DataFrame(columns | means | {"inside": False})


def _frame(figures: dict[str, float]) -> pd.DataFrame:
    values = pd.DataFrame({"metric": pd.Series(FIGURES, dtype="str"), "value": [figures[name] for name in FIGURES]})
    return values.astype({"value": "float64"})


def _sentence(figures: dict[str, float], word: str) -> str:
    better = "better" if figures["brier_gain_low"] > 0 else "not shown to be better"
    limit = max(figures["ece_by_chance"], figures["ece_by_chance_in_weeks"])
    chance = "no more than chance explains" if figures["ece"] <= limit else "more than chance explains"
    return (
        f"Brier {figures['brier']:.3f} ({word} in the document's words), {better} than the base rate's "
        f"{figures['brier_base_rate']:.3f}, over {figures['trades']:.0f} trades of {figures['weeks']:.0f} weeks; "
        f"calibration error {figures['ece']:.3f}, {chance} ({limit:.3f}).{_accepted_sentence(figures)}"
    )


def _accepted_sentence(figures: dict[str, float]) -> str:
    if not figures["accepted_trades"]:
        return " No accepted signal is among them."
    return (
        f" Of {figures['accepted_trades']:.0f} accepted signals {figures['accepted_observed']:.3f} reached the target, "
        f"{figures['accepted_predicted']:.3f} were predicted to (difference {figures['accepted_gap']:+.3f}, 95 % over "
        f"weeks {figures['accepted_gap_low']:+.3f} .. {figures['accepted_gap_high']:+.3f})."
    )
