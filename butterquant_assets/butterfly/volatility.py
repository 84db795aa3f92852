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
    Mask,
    Parts,
    ShortTermConfig,
    fold_numbers,
    folds_of,
    inputs_of,
    parquet_bytes,
    parts_of,
    reference_medians,
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
from butterquant_assets.foundation.model_store import canonical_json, content_version
from butterquant_assets.learning import regression
from butterquant_assets.learning.cards import plain_values
from butterquant_assets.learning.walk_forward import final_fold, fold_summary

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
class OutOfFold:
    """Forecasts of every predictor for the rows that some fold tests.

    Parameters
    ----------
    fold
        number of the fold that tests a row, -1 where none does, shape (n,)
    boundaries
        of the folds
    forecasts
        by predictor; NaN where `fold` is -1
    summary
        dates, rows and episodes of each fold
    """

    fold: npt.NDArray[np.int64]
    boundaries: tuple[str, ...]
    forecasts: dict[str, Forecast]
    summary: list[dict[str, Any]]

    @property
    def tested(self) -> Mask:
        """Rows with forecasts, shape (n,)."""
        return np.asarray(self.fold >= 0)


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


@dataclass(frozen=True, eq=False)
class TrainedVolatility:
    """A trained and judged volatility model as plain values.

    Parameters
    ----------
    version
        hash of the files and of everything that may change the card
    models
        by learner, trained on all rows; the primary one is `PRIMARY`
    files
        safe files of both, by ``<learner>/<name>``, and the out-of-fold forecasts
    training
        everything the card needs, besides the evaluation table and the ONNX parity
    evaluation
        predictor, part (``all`` or the boundary of a fold), metric, value
    out_of_fold
        session, ticker, target_session, fold, realised_vol_7 and ``vol_*``, ``variance_*`` of each predictor
    facts, plots
        what to show
    """

    version: str
    models: dict[str, VolatilityModel]
    files: dict[str, bytes]
    training: dict[str, Any]
    evaluation: pd.DataFrame
    out_of_fold: pd.DataFrame
    facts: dict[str, Any]
    plots: dict[str, bytes]


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


def walk(rows: pd.DataFrame, config: ShortTermConfig) -> OutOfFold:
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
    summary = fold_summary(
        folds, rows["session"].to_numpy(), rows["target_session"].to_numpy(), rows["episode"].to_numpy()
    )
    return OutOfFold(fold_numbers(rows, folds), tuple(str(fold.boundary) for fold in folds), forecasts, summary)


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
    version = content_version(b"".join(name.encode() + files[name] for name in sorted(files)), training)
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
            regression.from_files(
                {name.removeprefix(f"{kind}/"): files[name] for name in files if name.startswith(f"{kind}/")}
            ),
            Smearing(**training["smearing"][kind]),
        )
        for kind in LEARNERS
    }


def _final_models(rows: pd.DataFrame, config: ShortTermConfig) -> dict[str, VolatilityModel]:
    fold = final_fold(rows["session"].to_numpy(), rows["target_session"].to_numpy(), embargo_days=config.embargo_days)
    parts = parts_of(rows, fold, config)
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
            "learners": {kind: _shown(model.regressor.record) for kind, model in models.items()},
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


def _shown(record: Mapping[str, Any]) -> dict[str, Any]:
    """A learner's record without its loss curve, which its own files hold."""
    return {name: value for name, value in record.items() if not isinstance(value, dict | list)}


def _out_of_fold_table(rows: pd.DataFrame, walked: OutOfFold) -> pd.DataFrame:
    table = rows[["session", "ticker", "target_session", "realised_vol_7"]].assign(fold=walked.fold)
    for name, forecast in walked.forecasts.items():
        table[f"vol_{name}"], table[f"variance_{name}"] = forecast.volatility, forecast.variance
    return table[walked.tested].reset_index(drop=True)


def _plots(rows: pd.DataFrame, walked: OutOfFold, scores: volatility_scores.Scores) -> dict[str, bytes]:
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
