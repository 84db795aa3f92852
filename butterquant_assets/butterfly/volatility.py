"""The volatility model: training it by walk-forward, judging it beside GARCH and HAR-RV, and what to keep of it. Pure.

The learners regress log realised variance of the next seven sessions on the 23 features and the logs of the references,
starting from an anchor that is linear in those logs (HAR-RV with GARCH and the VIX): what they learn is what the anchor
misses. So a learner that finds nothing is the anchor, and calm training years do not cap what it says in a crisis. What
belongs here: how the pieces fit together. What does not: storing anything; references, anchor and smearing, which lie
in `volatility_forecasts`; scores, which lie in `volatility_scores`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly import volatility_forecasts, volatility_scores
from butterquant_assets.butterfly.short_term_training import (
    INPUTS,
    Parts,
    ShortTermConfig,
    Trained,
    Walked,
    folds_of,
    inputs_of,
    last_fold,
    parquet_bytes,
    parts_of,
    reference_medians,
    version_of,
    walked_folds,
)
from butterquant_assets.butterfly.volatility_forecasts import (
    GARCH,
    HAR_RV,
    HAR_RV_X,
    REFERENCE_FORECASTS,
    Forecast,
    LogLinear,
    Smearing,
    duan_smearing,
    fit_log_linear,
    log_realised_variance,
)
from butterquant_assets.foundation import forecast_plots
from butterquant_assets.foundation.model_content import canonical_json, files_under
from butterquant_assets.learning import regression
from butterquant_assets.learning.cards import plain_values, without_curves

Floats = npt.NDArray[np.float64]

NAME = "volatility"
PURPOSE = "Realised volatility of the next seven sessions, per year."
PRIMARY, SECONDARY = "lightgbm", "mlp"
LEARNERS = (PRIMARY, SECONDARY)
OUT_OF_SAMPLE = "out_of_sample.parquet"
PREDICTORS = (*REFERENCE_FORECASTS, *LEARNERS)
LIMITS = (
    "Not an offer to trade: nothing here is advice, and no live order may rest on it alone.",
    "Realised volatility is that of seven daily closes, a noisy measure: even the true variance errs against it.",
    "Rows of one day and one VIX episode share their market; the count of episodes, not of rows, is the evidence.",
    "Inputs must be those of this package: the 23 features, then the logs of five variances.",
)


@dataclass(frozen=True, eq=False)
class WalkedVolatility(Walked):
    """Forecasts of every predictor for the rows that some fold tests.

    Parameters
    ----------
    fold, boundaries, summary
        as in `Walked`
    forecasts
        by predictor; NaN where `fold` is -1
    """

    forecasts: dict[str, Forecast]


@dataclass(frozen=True, eq=False)
class VolatilityModel:
    """A learner with the anchor it starts from and the factors that turn log variance into a forecast."""

    anchor: LogLinear
    regressor: regression.TrainedRegressor
    smearing: Smearing

    def log_forecast(self, rows: pd.DataFrame) -> Floats:
        """Forecast of log variance, shape (n,)."""
        missed = regression.predict_regressor(self.regressor, inputs_of(rows))
        return np.asarray(self.anchor.log_forecast(rows) + missed, dtype=np.float64)

    def forecast(self, rows: pd.DataFrame) -> Forecast:
        """Forecasts for rows with the 23 features and the references, shape (n,)."""
        return self.smearing.forecast(self.log_forecast(rows))


TrainedVolatility = Trained[VolatilityModel]
"""Its primary model is `PRIMARY`; out of fold, ``vol_*`` and ``variance_*`` are the forecasts of each predictor."""


def train_model(kind: str, rows: pd.DataFrame, parts: Parts, config: ShortTermConfig) -> VolatilityModel:
    """One learner on the fitting rows, stopped early by the validation rows, smeared on all training rows.

    Parameters
    ----------
    kind
        one of `LEARNERS`
    rows
        columns of `short_term_schemas.SHORT_TERM_SET`
    parts
        masks over them
    config
        its learners and seed are used
    """
    X, realised = inputs_of(rows), log_realised_variance(rows)
    # The anchor's six numbers cannot adapt to the validation rows, and it needs the latest data most.
    anchor = fit_log_linear(rows[parts.train], volatility_forecasts.HAR_X)
    missed = realised - anchor.log_forecast(rows)
    regressor = regression.train_regressor(
        kind,
        X[parts.fit],
        missed[parts.fit],
        X[parts.validation],
        missed[parts.validation],
        features=INPUTS,
        settings=config.lightgbm if kind == "lightgbm" else config.mlp,
        seed=config.seed,
    )
    unsmeared = VolatilityModel(anchor, regressor, Smearing(1.0, 1.0))
    return replace(unsmeared, smearing=duan_smearing(realised[parts.train], unsmeared.log_forecast(rows[parts.train])))


def walk(rows: pd.DataFrame, config: ShortTermConfig) -> WalkedVolatility:
    """Every predictor's forecasts of the rows each fold tests, from what was known at its boundary.

    Raises
    ------
    DataError
        if the rows cannot give a single fold.
    """
    folds = folds_of(rows, config)
    forecasts = {name: Forecast(*np.full((2, len(rows)), np.nan)) for name in PREDICTORS}
    for fold in folds:
        parts = parts_of(rows, fold, config)
        train, test = rows[parts.train], rows[parts.test]
        made = volatility_forecasts.reference_forecasts(train, test) | {
            kind: train_model(kind, rows, parts, config).forecast(test) for kind in LEARNERS
        }
        for name, forecast in made.items():
            forecasts[name].variance[parts.test] = forecast.variance
            forecasts[name].volatility[parts.test] = forecast.volatility
    tests = walked_folds(rows, folds)
    return WalkedVolatility(tests.fold, tests.boundaries, tests.summary, forecasts)


def train_and_judge(
    rows: pd.DataFrame,
    config: ShortTermConfig,
    *,
    spread_over_episodes: bool = True,
    data_versions: Mapping[str, str],
    code_version: str,
) -> TrainedVolatility:
    """Judge by walk-forward beside every reference forecast; train on all rows what is kept.

    Parameters
    ----------
    rows
        columns of `short_term_schemas.SHORT_TERM_SET`
    config
        configuration in use
    spread_over_episodes
        whether the rows are those of `sampling.sample`; then an improvement comes with that reserve
    data_versions, code_version
        for the card and the version

    Raises
    ------
    DataError
        if there are fewer rows or episodes than `config` asks for.
    """
    walked = walk(rows, config)
    scores = volatility_scores.score(rows, walked.fold, walked.boundaries, walked.forecasts, seed=config.seed)
    verdict = volatility_scores.verdict(scores, PRIMARY, spread_over_episodes=spread_over_episodes)
    models = _final_models(rows, config)
    files = {
        f"{kind}/{name}": content
        for kind, model in models.items()
        for name, content in regression.to_files(model.regressor).items()
    }
    training = _record(models, rows, config, walked.summary, verdict.to_json(), data_versions, code_version)
    out_of_fold = _out_of_fold_table(rows, walked)
    files[OUT_OF_SAMPLE] = parquet_bytes(out_of_fold)
    files["anchors.json"] = canonical_json({name: training[name] for name in ("anchor", "smearing")})
    version = version_of(files, training)
    return TrainedVolatility(
        version=version,
        models=models,
        files=files,
        training=training,
        evaluation=scores.table,
        out_of_fold=out_of_fold,
        facts={
            "version": version,
            "verdict": verdict.sentence,
            "rmse over GARCH": {name: round(scores.figure(name, "rmse_over_garch"), 4) for name in PREDICTORS},
            "qlike": {name: round(scores.figure(name, "qlike"), 4) for name in PREDICTORS},
            "folds": walked.summary,
            "seed": config.seed,
        },
        plots=_plots(rows, walked, scores),
    )


def restore(files: Mapping[str, bytes], training: Mapping[str, Any]) -> dict[str, VolatilityModel]:
    """The models that were stored, as they were trained."""
    return {
        kind: VolatilityModel(
            LogLinear(**{name: tuple(value) for name, value in training["anchor"][kind].items()}),
            regression.from_files(files_under(kind, files)),
            Smearing(**training["smearing"][kind]),
        )
        for kind in LEARNERS
    }


def _final_models(rows: pd.DataFrame, config: ShortTermConfig) -> dict[str, VolatilityModel]:
    parts = parts_of(rows, last_fold(rows, config), config)
    return {kind: train_model(kind, rows, parts, config) for kind in LEARNERS}


def _record(
    models: Mapping[str, VolatilityModel],
    rows: pd.DataFrame,
    config: ShortTermConfig,
    folds: list[dict[str, Any]],
    verdict: Mapping[str, Any],
    data_versions: Mapping[str, str],
    code_version: str,
) -> dict[str, Any]:
    record: dict[str, Any] = plain_values(
        {
            "purpose": PURPOSE,
            "features": list(INPUTS),
            "label": "realised_vol_7",
            "label_definition": "sqrt(252/7 x sum of the squared log returns of the next seven sessions)",
            "output": "log variance missed by the anchor; variance = smearing x exp(anchor + output)",
            "anchor": {kind: asdict(model.anchor) for kind, model in models.items()},
            "primary": PRIMARY,
            "smearing": {kind: asdict(model.smearing) for kind, model in models.items()},
            "reference_medians": reference_medians(rows),
            "learners": {kind: without_curves(model.regressor.record) for kind, model in models.items()},
            "rows": len(rows),
            "episodes": int(rows["episode"].nunique()),
            "splits": folds,
            "verdict": verdict,
            "data_versions": dict(data_versions),
            "code_version": code_version,
            "config": asdict(config),
            "seeds": {"training": config.seed, "bootstrap": config.seed},
            "limits": list(LIMITS),
        }
    )
    return record


def _out_of_fold_table(rows: pd.DataFrame, walked: WalkedVolatility) -> pd.DataFrame:
    table = rows[["session", "ticker", "target_session", "realised_vol_7"]].assign(fold=walked.fold)
    for name, forecast in walked.forecasts.items():
        table[f"vol_{name}"], table[f"variance_{name}"] = forecast.volatility, forecast.variance
    return table[walked.tested].reset_index(drop=True)


def _plots(rows: pd.DataFrame, walked: WalkedVolatility, scores: volatility_scores.Scores) -> dict[str, bytes]:
    tested = walked.tested
    realised = rows.loc[tested, "realised_vol_7"].to_numpy(dtype=np.float64)
    shown = (GARCH, HAR_RV, HAR_RV_X, PRIMARY)
    return {
        "RMSE over GARCH": forecast_plots.values_with_intervals(
            scores.pooled("rmse_over_garch"),
            "RMSE of 7-session volatility over GARCH's",
            "ratio, 95 % over episodes",
            1.0,
            lower_is_better=True,
        ),
        "RMSE by fold": forecast_plots.values_by_fold(
            scores.by_fold("rmse_over_garch"), "RMSE of 7-session volatility over GARCH's, by fold", "ratio"
        ),
        "forecast and outcome": forecast_plots.forecast_and_outcome(
            realised, {name: walked.forecasts[name].volatility[tested] for name in shown}
        ),
    }
