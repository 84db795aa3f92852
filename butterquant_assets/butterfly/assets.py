"""The butterfly line as assets: samples -> analyses -> features and labels -> training set -> model -> ONNX."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from butterquant_assets.butterfly import (
    analysis,
    iv_fit,
    labels,
    model_schemas,
    report_schemas,
    sampling,
    schemas,
    success,
)
from butterquant_assets.butterfly import features as feature_module
from butterquant_assets.butterfly import iv_report as iv_report_module
from butterquant_assets.butterfly import label_report as label_report_module
from butterquant_assets.butterfly.config import AnalysisConfig
from butterquant_assets.foundation import model_store, plots
from butterquant_assets.foundation.contracts import Outcome
from butterquant_assets.foundation.errors import LakeError
from butterquant_assets.foundation.freshness import Window
from butterquant_assets.learning import onnx_ensemble
from butterquant_assets.learning.schemas import evaluation_contract, parity_contract
from butterquant_assets.market.schemas import IMPLIED_VOLS, empty_rows
from butterquant_assets.orchestration.declaration import LakeAsset, Limit, Result, Work, lake_asset

BARS, IMPLIED, VIX = "market/equity_bars", "market/implied_vols", "market/vix"
SAMPLES, ANALYSES = "butterfly/vix_samples", "butterfly/analyses"
FEATURES, LABELS, TRAINING = "butterfly/features", "butterfly/roi_labels", "butterfly/training_set"
FEEDBACK = "butterfly/feedback_rows"
MODEL = "butterfly/success_model"
PUBLISHED, CHAINS = "market/published_vols", "market/option_chains"
LINEAGE = {"analyses": ANALYSES, "equity_bars": BARS, "implied_vols": IMPLIED, "vix": VIX}
LOOK_BACK = -26  # months that hold 505 bars and a few missing ones
MAX_REJECT_SHARE = 0.2
PUBLISHED_DAYS = 91
NO_FUTURE = "no_label_from_the_future"
BAR_COLUMNS = ["session", "ticker", "close", "volume", "split_ratio"]


def level_reads(settings: Any, last: int) -> list[Window]:
    """What the volatility level reads besides bars, up to `last` months ahead."""
    level = settings.analysis_in_use.iv_level
    if level == "fitted":
        return [Window(VIX, LOOK_BACK, last)]
    if level == "published":
        return [Window(IMPLIED, LOOK_BACK if last == 0 else 0, last, by="group")]
    return []


def _analysis_reads(settings: Any) -> list[Window]:
    return [Window(SAMPLES, by="partition"), Window(BARS, LOOK_BACK, 0, by="group"), *level_reads(settings, 0)]


def _label_reads(settings: Any) -> list[Window]:
    fitted = settings.analysis_in_use.iv_level == "fitted"
    reads = [Window(ANALYSES), Window(BARS, LOOK_BACK if fitted else -3, 2, by="group"), *level_reads(settings, 2)]
    # The VIX also tells up to when data exists, where only some tickers' bars are read.
    return reads if fitted else [*reads, Window(VIX, 0, 2)]


def _reject_counts(frames: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    rejects = frames["butterfly/analysis_rejects"]
    by_reason = {str(reason): int(count) for reason, count in rejects["reason"].value_counts().sort_index().items()}
    return {"sampled": len(frames[ANALYSES]) + len(rejects), "rejected": len(rejects), "rejected by reason": by_reason}


@lake_asset(
    schemas.VIX_SAMPLES,
    reads=[Window(VIX), Window(BARS)],
    code=[sampling],
    config=lambda settings: settings.sampling,
    axis=None,
    digest="month",
    warns={"quota": "every VIX stratum has as many days as were asked for"},
)
def vix_samples(work: Work) -> Result:
    """Sampled (session, ticker) pairs, stratified by VIX and spread over episodes."""
    vix = work.read(VIX, ["session", "close"])
    bars = work.read(BARS, ["session", "ticker", "close", "volume"])
    first, last = work.house.keys("analysis")[0], work.house.keys("analysis")[-1]
    drawn = sampling.sample(vix, bars, first, last, work.config)
    summary = drawn.summary.set_index("stratum")
    short = summary[summary["taken_days"] < summary["asked_days"]]
    facts = {"strata": {name: {k: int(v) for k, v in row.items()} for name, row in summary.to_dict("index").items()}}
    warnings = {}
    if len(short):
        warnings["quota"] = "; ".join(
            f"{name}: {row['taken_days']} of {row['asked_days']} days, {row['found_days']} exist"
            for name, row in short.to_dict("index").items()
        )
    days = sampling.strata(vix, work.config.episode_gap)
    days = days[days["session"].dt.strftime("%Y-%m").between(first, last)]
    days = days.assign(taken=days["session"].isin(drawn.samples["session"]))
    return Result(
        {"vix_samples": drawn.samples},
        facts={None: facts},
        warnings={None: warnings},
        plots={"strata over time": plots.strata_over_time(days)},
    )


@lake_asset(
    schemas.ANALYSES,
    schemas.ANALYSIS_REJECTS,
    reads=_analysis_reads,
    code=[analysis, _reject_counts],
    config=lambda settings: (settings.analysis_in_use, settings.costs),
    axis="analysis",
    batch=12,
    group="ticker",
    digest="ticker",
    summarise=_reject_counts,
    limits={
        "reject_share": Limit(
            f"at most {MAX_REJECT_SHARE:.0%} of all sampled rows are rejected", "rejected", "sampled", MAX_REJECT_SHARE
        )
    },
)
def analyses(work: Work) -> Result:
    """As-of analysis of every sampled (session, ticker), from bars up to that session only."""
    samples, (config, costs) = work.read(SAMPLES), work.config
    made = analysis.analyse(samples, work.read(BARS, BAR_COLUMNS), implied_of(work), config, costs, vix=vix_of(work))
    return Result({"analyses": made.analyses, "analysis_rejects": made.rejects})


@lake_asset(
    schemas.FEATURES,
    reads=[Window(ANALYSES)],
    code=[feature_module],
    axis="analysis",
    batch=240,
    lineage={
        feature: [(ANALYSES, column) for column in sources]
        for feature, sources in feature_module.FEATURE_SOURCES.items()
    },
)
def features(work: Work) -> pd.DataFrame:
    """The 23 features of every analysis."""
    return feature_module.build_features(work.read(ANALYSES))


@lake_asset(
    schemas.ROI_LABELS,
    reads=_label_reads,
    code=[labels],
    config=lambda settings: (settings.analysis_in_use, settings.costs),
    axis="analysis",
    batch=12,
    group="ticker",
    faults={NO_FUTURE: "a row evaluated after the last session of the data has no label"},
    lineage={
        column: [(LINEAGE[source.split(".")[0]], source.split(".")[1]) for source in sources]
        for column, sources in labels.LABEL_SOURCES.items()
    },
)
def roi_labels(work: Work) -> Result:
    """What closing each butterfly on its evaluation session paid, by four definitions, and the class of each."""
    config, costs = work.config
    bars, vix = work.read(BARS, BAR_COLUMNS), work.read(VIX, ["session", "close"])
    last = max(bars["session"].max(), vix["session"].max())
    labelled = labels.label_trades(work.read(ANALYSES), bars, implied_of(work), last, config, costs, vix=vix)
    keeps = schemas.no_label_after(last).holds(labelled)
    months = labelled["session"].dt.strftime("%Y-%m")
    faults: dict[str | None, dict[str, Outcome]] = {}
    for month in work.keys:
        early = labelled[(months == month) & ~keeps]
        examples = tuple(f"{row.ticker} {row.session.date()}" for row in early.head(5).itertuples())
        faults[month] = {NO_FUTURE: Outcome(early.empty, len(early), examples)}
    return Result({"roi_labels": labelled}, faults=faults)


@lake_asset(
    schemas.TRAINING_SET,
    reads=[Window(ANALYSES), Window(FEATURES), Window(LABELS)],
    code=[success],
    axis=None,
)
def training_set(work: Work) -> Result:
    """Features joined with labels; rows without a label are counted, not kept."""
    analysed = work.read(ANALYSES, ["session", "ticker", "stratum", "episode"])
    joined = success.join_training_set(analysed, work.read(FEATURES), work.read(LABELS))
    drawn = (
        {
            "label distribution": plots.label_distribution(joined.rows),
            "ROI by definition": plots.roi_by_definition(joined.rows),
        }
        if len(joined.rows)
        else {}
    )
    return Result({"training_set": joined.rows}, facts={None: joined.facts}, plots=drawn)


@lake_asset(
    evaluation_contract("butterfly/success_model"),
    model_schemas.SUCCESS_PREDICTIONS,
    model_schemas.CALIBRATION_TABLE,
    reads=[Window(TRAINING), Window(FEEDBACK), Window(ANALYSES), Window(FEATURES)],
    # The export counts as well: it decides what is published under the version that training names.
    code=[success, onnx_ensemble, model_store],
    config=lambda settings: (settings.training, settings.analysis_in_use, settings.costs),
    axis=None,
    kinds=frozenset({"pytorch", "xgboost", "lightgbm", "parquet"}),
    pool="training",
)
def success_model(work: Work) -> Result:
    """The success model (four ROI classes): an ensemble retrained through time, judged on what it met next."""
    trained = success.train_and_judge(
        work.read(TRAINING),
        work.read(ANALYSES),
        work.read(FEATURES),
        *work.config,
        data_versions=work.freshness.inputs(MODEL, None),
        code_version=work.freshness.nodes[MODEL].code,
        feedback=work.read(FEEDBACK),
    )
    store = model_store.ModelStore(work.house.settings.models_location)
    stored = {name.replace(" ", "_").replace("-", "_").lower(): png for name, png in trained.plots.items()}
    folder = store.write_weights(success.NAME, trained.version, {}, trained.training, stored, files=trained.files)
    report = folder / success.REPORT
    return Result(
        {
            "success_model": trained.evaluation,
            "success_predictions": trained.predictions,
            "calibration_table": trained.calibration,
        },
        facts={None: trained.facts | {"report": str(report.relative_to(work.house.settings.home))}},
        plots=trained.plots,
        artifacts=artifact_hashes(work.house.settings.home, folder, exclude=(model_store.ONNX, model_store.CARD)),
    )


@lake_asset(
    parity_contract("butterfly/success_onnx"),
    # Feedback may change the model alone and none of the figures it is judged by.
    reads=[Window(MODEL), Window(TRAINING), Window(FEEDBACK)],
    code=[success, onnx_ensemble, model_store],
    axis=None,
    kinds=frozenset({"onnx", "parquet"}),
)
def success_onnx(work: Work) -> Result:
    """The success model as one ONNX graph, compared with the native one on real rows, published with its card."""
    store = model_store.ModelStore(work.house.settings.models_location)
    footer = work.freshness.snapshot.entry(MODEL, None).footer
    if footer is None:
        raise LakeError(f"{MODEL} is not materialised: run it first (butterquant run)")
    version = footer.facts["version"]
    files = {path: store.read_file(success.NAME, version, path) for path in store.files(success.NAME, version)}
    trained, training = success.restore(files), store.load_weights(success.NAME, version).training
    exported = onnx_ensemble.export_ensemble(trained)
    parity = onnx_ensemble.check_ensemble_parity(trained, exported, success.rows_to_compare(work.read(TRAINING)))
    path = store.publish(success.NAME, version, exported, success.card(training, work.read(MODEL), parity))
    facts = {"version": version, "bytes": len(exported), "worst_difference": float(parity["max_abs_difference"].max())}
    return Result(
        {"success_onnx": parity},
        facts={None: facts},
        artifacts=artifact_hashes(work.house.settings.home, path.parent),
    )


@lake_asset(
    report_schemas.LABEL_REPORT,
    reads=[Window(ANALYSES), Window(LABELS), Window(PUBLISHED)],
    code=[label_report_module],
    config=lambda settings: (settings.analysis_in_use, settings.costs),
    axis=None,
)
def label_report(work: Work) -> Result:
    """What the labels say under each definition, how sure they are, and how much of their edge is made by the proxy."""
    published = work.read(PUBLISHED)
    one_tenor = published.loc[published["days"] == PUBLISHED_DAYS, ["session", "ticker", "iv"]]
    report = label_report_module.build(work.read(ANALYSES), work.read(LABELS), one_tenor, *work.config)
    return Result({"label_report": report.table}, facts={None: report.facts}, plots=report.plots)


@lake_asset(
    report_schemas.IV_PROXY_REPORT,
    reads=[Window(BARS), Window(VIX), Window(PUBLISHED), Window(CHAINS)],
    code=[iv_report_module],
    config=lambda settings: settings.analysis_in_use.rate,
    axis=None,
)
def iv_proxy_report(work: Work) -> Result:
    """Proxies of implied volatility against published ones, and their smiles against quoted chains."""
    bars, vix, published = work.read(BARS, BAR_COLUMNS), work.read(VIX, ["session", "close"]), work.read(PUBLISHED)
    judged = iv_fit.published_rows(bars, published, vix, iv_fit.JUDGE_SPAN)
    fitting = iv_fit.published_rows(iv_fit.fitting_bars(bars.iloc[:0], published), published, vix, iv_fit.FIT_SPAN)
    report = iv_report_module.build(fitting, judged, work.read(CHAINS), work.config)
    facts = {"judged rows": len(judged.iv), "fitting rows": len(fitting.iv), "smiles": len(report.curves)}
    return Result({"iv_proxy_report": report.table}, facts={None: facts}, plots=iv_report_module.plots_of(report))


ASSETS: tuple[LakeAsset, ...] = (
    vix_samples,
    analyses,
    features,
    roi_labels,
    label_report,
    iv_proxy_report,
    training_set,
)
MODEL_ASSETS: tuple[LakeAsset, ...] = (success_model, success_onnx)
"""They read feedback rows too, so they come after `feedback_assets.ASSETS`."""


def implied_of(work: Work) -> pd.DataFrame:
    """Published volatilities where the level is made of them, else none."""
    if _level(work) == "published":
        return work.read(IMPLIED)
    return empty_rows(IMPLIED_VOLS)


def vix_of(work: Work) -> pd.DataFrame | None:
    """The VIX where the level is fitted on it, else None."""
    return work.read(VIX, ["session", "close"]) if _level(work) == "fitted" else None


def _level(work: Work) -> str:
    config: AnalysisConfig = work.config[0]
    return config.iv_level


def artifact_hashes(home: Path, folder: Path, exclude: Sequence[str] = ()) -> dict[str, str]:
    """SHA-256 of every file under `folder`, by path relative to the home."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in exclude)
    return {str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
