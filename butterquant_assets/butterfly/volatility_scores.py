"""How good volatility forecasts are, beside GARCH: scores by fold and pooled, intervals over episodes, a sentence.

What belongs here: comparing forecasts that were made. What does not: making them. The root mean squared error judges
volatility, QLIKE judges variance: both are proper for a noisy measure of variance or its root (QLIKE by Patton 2011),
and QLIKE is not ruled by a few days of crisis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly.short_term import HORIZON
from butterquant_assets.butterfly.short_term_training import SPREAD_OVER_EPISODES, VARIANCE_FLOOR, evaluation_rows
from butterquant_assets.butterfly.volatility_forecasts import (
    GARCH,
    GARCH_CORRECTED,
    HAR_RV,
    HAR_RV_X,
    REFERENCE_FORECASTS,
    Forecast,
)
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.learning.cards import plain_values
from butterquant_assets.learning.evidence import draw_episodes, episode_codes, expanded_interval
from butterquant_assets.learning.forecast_scores import diebold_mariano_panel

Floats = npt.NDArray[np.float64]
Losses = dict[str, dict[str, Floats]]

ALL_ROWS, ALL_PARTS = "all_rows", "all"
# All k episodes may favour the model by luck with probability 2^-k: below 2.5 % only from 6 on.
MINIMUM_EPISODES = 6
# Losses of rows up to six sessions apart share returns. Bartlett weights shrink the covariance that overlap gives, so
# that a lag of six rejects too often; four times that does so no longer by much (`learning.forecast_scores`).
DIEBOLD_MARIANO_LAG = 4 * (HORIZON - 1)
# What the source documents hope for: an RMSE lower than GARCH's by this share.
HOPED_LOW, HOPED_HIGH = 0.15, 0.25


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of forecasts.

    Parameters
    ----------
    table
        columns predictor, part (``all`` or the boundary of a fold), metric, value. Of each predictor and part ``rmse``
        (per year), ``qlike``, both ``*_over_garch``, and ``variance_ratio``, mean realised over mean forecast variance;
        for ``all`` also the 95 % intervals over episodes of the ratios (``*_low``, ``*_high``), and ``dm_statistic_*``,
        ``dm_p_value_*`` (Diebold and Mariano against GARCH, by session; positive where the predictor is better, missing
        where there are too few sessions). Under ``all_rows``: ``rows``, ``sessions``, ``episodes``, ``floored_rows``.
    ratios
        RMSE of each predictor over that of each reference forecast, with low and high, by (predictor, reference)
    """

    table: pd.DataFrame
    ratios: dict[tuple[str, str], tuple[float, float, float]]

    def figure(self, predictor: str, metric: str, part: str = ALL_PARTS) -> float:
        """One value of the table."""
        rows = self.table
        chosen = (rows["predictor"] == predictor) & (rows["metric"] == metric) & (rows["part"] == part)
        return float(rows.loc[chosen, "value"].iloc[0])

    def pooled(self, metric: str) -> pd.DataFrame:
        """Columns name, value, low, high of a ratio over all rows, one row per predictor that has an interval."""
        names = [name for name in dict.fromkeys(self.table["predictor"]) if name not in (ALL_ROWS, GARCH)]
        values = [[self.figure(name, f"{metric}{end}") for end in ("", "_low", "_high")] for name in names]
        return pd.DataFrame(values, columns=["value", "low", "high"]).assign(name=names)

    def by_fold(self, metric: str) -> pd.DataFrame:
        """Columns fold, series, value of a metric of every predictor by fold, in time order."""
        rows = self.table[(self.table["metric"] == metric) & (self.table["part"] != ALL_PARTS)]
        named = rows.rename(columns={"part": "fold", "predictor": "series"})
        return named[["fold", "series", "value"]].sort_values(["fold", "series"]).reset_index(drop=True)


@dataclass(frozen=True)
class VolatilityVerdict:
    """Whether a learner forecasts volatility better than GARCH, and than every reference.

    Parameters
    ----------
    predictor
        the learner judged
    ratio, low, high
        its RMSE over GARCH's, with the 95 % interval over episodes
    rows, episodes
        behind it
    beats_garch
        True only if the interval lies below 1 and there are at least six episodes
    beats_references
        the same against GARCH, bias-corrected GARCH, HAR-RV and HAR-RV with GARCH and the VIX alike
    sentence
        the same in words
    """

    predictor: str
    ratio: float
    low: float
    high: float
    rows: int
    episodes: int
    beats_garch: bool
    beats_references: bool
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Plain values for a model card; bounds that do not exist (one episode) are None."""
        values: dict[str, Any] = plain_values(asdict(self))
        return values


def score(
    rows: pd.DataFrame,
    fold: npt.NDArray[np.int64],
    boundaries: tuple[str, ...],
    forecasts: Mapping[str, Forecast],
    *,
    seed: int,
) -> Scores:
    """Score forecasts against what was realised.

    Parameters
    ----------
    rows
        columns session, episode, realised_vol_7
    fold
        number of the fold that tests each row, -1 for rows to leave out, shape (n,)
    boundaries
        of the folds, in time order
    forecasts
        by predictor, shape (n,); those of `REFERENCE_FORECASTS` must be among them
    seed
        of the bootstrap

    Raises
    ------
    DataError
        if a tested row lacks a forecast, or a forecast is not positive.
    """
    tested = fold >= 0
    judged, number = rows[tested], fold[tested]
    made = {name: Forecast(one.variance[tested], one.volatility[tested]) for name, one in forecasts.items()}
    losses = losses_of(judged["realised_vol_7"].to_numpy(dtype=np.float64), made)
    variance = judged["realised_vol_7"].to_numpy(dtype=np.float64) ** 2
    records: dict[tuple[str, str], dict[str, float]] = {
        (ALL_ROWS, part): _evidence(judged[mask]) for part, mask in _parts(number, boundaries).items()
    }
    for name in made:
        for part, mask in _parts(number, boundaries).items():
            records[name, part] = _scores(losses, name, mask) | {
                "variance_ratio": float(variance[mask].mean() / made[name].variance[mask].mean())
            }
        records[name, ALL_PARTS] |= _against_garch(losses, name, judged, seed)
    ratios = {
        (name, reference): _rmse_ratio(losses["squared_error"], name, reference, judged["episode"].to_numpy(), seed)
        for name in made
        for reference in REFERENCE_FORECASTS
        if name != reference
    }
    return Scores(evaluation_rows(records), ratios)


def losses_of(realised_vol: Floats, forecasts: Mapping[str, Forecast]) -> Losses:
    """Squared error of volatility and QLIKE of variance, by loss and predictor, shape (n,) each.

    QLIKE = v/f - log(v/f) - 1 with realised variance v (floored, since a price that did not move has none) and its
    forecast f.

    Raises
    ------
    DataError
        if a forecast is missing or not positive.
    """
    variance = np.maximum(realised_vol**2, VARIANCE_FLOOR)
    losses: Losses = {"squared_error": {}, "qlike": {}}
    for name, forecast in forecasts.items():
        usable = (forecast.variance > 0.0) & (forecast.volatility > 0.0)
        usable &= np.isfinite(forecast.variance) & np.isfinite(forecast.volatility)
        if not usable.all():
            raise DataError(
                f"{(~usable).sum()} of {usable.size} forecasts of {name} are not positive numbers; a predictor must "
                "forecast every row it is judged on"
            )
        ratio = variance / forecast.variance
        losses["squared_error"][name] = (realised_vol - forecast.volatility) ** 2
        losses["qlike"][name] = ratio - np.log(ratio) - 1.0
    return losses


def verdict(scores: Scores, predictor: str, *, spread_over_episodes: bool = True) -> VolatilityVerdict:
    """Judge one predictor against GARCH and the other references.

    Parameters
    ----------
    scores
        from `score`
    predictor
        whom to judge
    spread_over_episodes
        whether the rows are those of `sampling.sample`; then an improvement comes with that reserve
    """
    rows, episodes = (int(scores.figure(ALL_ROWS, name)) for name in ("rows", "episodes"))
    ratio, low, high = scores.ratios[predictor, GARCH]
    enough = episodes >= MINIMUM_EPISODES
    beats = {name: enough and scores.ratios[predictor, name][2] < 1.0 for name in REFERENCE_FORECASTS}
    reserve = f" With this reserve: {SPREAD_OVER_EPISODES}." if spread_over_episodes and beats[GARCH] else ""
    p_value = scores.figure(predictor, "dm_p_value_squared_error")
    tested = "too few sessions for Diebold-Mariano" if np.isnan(p_value) else f"Diebold-Mariano p {p_value:.3f}"
    sentence = (
        f"On {rows:,} out-of-sample rows from {episodes} {'episode' if episodes == 1 else 'episodes'} the RMSE of "
        f"{predictor} is {ratio:.3f} times that of GARCH (95 % over episodes {low:.3f} .. {high:.3f}, "
        f"{tested}), where removing GARCH's bias alone gives "
        f"{scores.ratios[GARCH_CORRECTED, GARCH][0]:.3f}, HAR-RV {scores.ratios[HAR_RV, GARCH][0]:.3f} and HAR-RV with "
        f"GARCH and the VIX {scores.ratios[HAR_RV_X, GARCH][0]:.3f}: "
        f"{_conclusion(ratio, low, enough, beats)}{reserve}"
    )
    return VolatilityVerdict(predictor, ratio, low, high, rows, episodes, beats[GARCH], all(beats.values()), sentence)


def _conclusion(ratio: float, low: float, enough: bool, beats: Mapping[str, bool]) -> str:
    gain = 1.0 - ratio
    hoped = f"the {HOPED_LOW:.0%} to {HOPED_HIGH:.0%} that were hoped for"
    against_hope = (
        f"less than {hoped}" if gain < HOPED_LOW else f"within {hoped}" if gain <= HOPED_HIGH else f"more than {hoped}"
    )
    if not enough:
        return f"fewer than {MINIMUM_EPISODES} episodes cannot show an improvement, so none is claimed."
    if all(beats.values()):
        return f"it forecasts better than GARCH and every other reference, by {gain:.0%} against GARCH, {against_hope}."
    if beats[GARCH]:
        equal = " and ".join(name for name in beats if not beats[name])
        return f"it forecasts better than GARCH, by {gain:.0%}, {against_hope}, but not shown better than {equal}."
    if low > 1.0:
        return "it forecasts worse than GARCH."
    return "no improvement over GARCH is shown."


def _parts(number: npt.NDArray[np.int64], boundaries: tuple[str, ...]) -> dict[str, npt.NDArray[np.bool_]]:
    parts = {boundary: number == fold for fold, boundary in enumerate(boundaries)}
    return parts | {ALL_PARTS: np.ones(number.size, dtype=np.bool_)}


def _evidence(rows: pd.DataFrame) -> dict[str, float]:
    floored = rows["realised_vol_7"].to_numpy(dtype=np.float64) ** 2 < VARIANCE_FLOOR
    return {
        "rows": float(len(rows)),
        "sessions": float(rows["session"].nunique()),
        "episodes": float(rows["episode"].nunique()),
        "floored_rows": float(floored.sum()),
    }


def _scores(losses: Losses, name: str, mask: npt.NDArray[np.bool_]) -> dict[str, float]:
    rmse, garch_rmse = (float(np.sqrt(losses["squared_error"][one][mask].mean())) for one in (name, GARCH))
    qlike, garch_qlike = (float(losses["qlike"][one][mask].mean()) for one in (name, GARCH))
    return {
        "rmse": rmse,
        "rmse_over_garch": rmse / garch_rmse,
        "qlike": qlike,
        "qlike_over_garch": qlike / garch_qlike,
    }


def _against_garch(losses: Losses, name: str, rows: pd.DataFrame, seed: int) -> dict[str, float]:
    if name == GARCH:
        return {}
    _, low, high = _rmse_ratio(losses["squared_error"], name, GARCH, rows["episode"].to_numpy(), seed)
    _, qlike_low, qlike_high = _mean_ratio(losses["qlike"], name, GARCH, rows["episode"].to_numpy(), seed)
    found = {
        "rmse_over_garch_low": low,
        "rmse_over_garch_high": high,
        "qlike_over_garch_low": qlike_low,
        "qlike_over_garch_high": qlike_high,
    }
    session = rows["session"].to_numpy()
    if rows["session"].nunique() < DIEBOLD_MARIANO_LAG + 2:
        return found | {f"dm_{value}_{loss}": float("nan") for value in ("statistic", "p_value") for loss in losses}
    for loss, values in losses.items():
        tested = diebold_mariano_panel(values[GARCH], values[name], session, lag=DIEBOLD_MARIANO_LAG)
        found |= {f"dm_statistic_{loss}": tested.statistic, f"dm_p_value_{loss}": tested.p_value}
    return found


def _rmse_ratio(
    losses: Mapping[str, Floats], name: str, reference: str, episode: npt.NDArray[Any], seed: int
) -> tuple[float, float, float]:
    ratio, low, high = _mean_ratio(losses, name, reference, episode, seed)
    return float(np.sqrt(ratio)), float(np.sqrt(low)), float(np.sqrt(high))


def _mean_ratio(
    losses: Mapping[str, Floats], name: str, reference: str, episode: npt.NDArray[Any], seed: int
) -> tuple[float, float, float]:
    """Ratio of mean losses with its interval over episodes; 0 .. infinity from a single episode."""
    codes = episode_codes(episode, episode.size)
    count = int(codes.max()) + 1
    sums = [np.bincount(codes, weights=losses[one], minlength=count) for one in (name, reference)]
    picks = draw_episodes(count, seed=seed)
    drawn = sums[0][picks].sum(axis=1) / sums[1][picks].sum(axis=1)
    low, high = expanded_interval(drawn, count)
    return float(sums[0].sum() / sums[1].sum()), max(low, 0.0), high
