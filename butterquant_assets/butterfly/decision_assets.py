"""From the daily scan to decisions and what became of them, as assets; and which model decides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from butterquant_assets.butterfly import (
    analysis,
    challenge,
    decision_schemas,
    decision_timing,
    labels,
    model_schemas,
    performance,
    replay,
    scan,
    schemas,
    stored_models,
    success,
)
from butterquant_assets.butterfly import features as feature_module
from butterquant_assets.butterfly.assets import (
    BAR_COLUMNS,
    BARS,
    FEEDBACK,
    LOOK_BACK,
    MAX_REJECT_SHARE,
    MODEL,
    TRAINING,
    VIX,
    implied_of,
    level_reads,
    vix_of,
)
from butterquant_assets.butterfly.decisions import PROBABILITIES
from butterquant_assets.butterfly.update_assets import IN_SERVICE, success_in_service, success_update
from butterquant_assets.foundation import decision_plots, decision_record, model_store, warehouse
from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.foundation.errors import LakeError
from butterquant_assets.foundation.freshness import Window
from butterquant_assets.foundation.lake import combine
from butterquant_assets.foundation.registry import Registry
from butterquant_assets.orchestration.declaration import LakeAsset, Limit, Result, Work, lake_asset

SCAN, SCAN_REJECTS, OUTCOMES = "butterfly/daily_scan", "butterfly/scan_rejects", "butterfly/scan_outcomes"
ONNX, PREDICTIONS, CHAMPION = "butterfly/success_onnx", "butterfly/success_predictions", "butterfly/success_champion"
DECISIONS = "butterfly/trade_decisions"
GATES = ("passes_document_gate", "passes_gate")
SEED = 7


def _named(contract: Contract, table: str) -> Contract:
    """The same contract for another table."""
    return replace(contract, table=table)


def _scan_reads(settings: Any) -> list[Window]:
    windows = [Window(BARS, LOOK_BACK, 0, by="group"), *level_reads(settings, 0)]
    return windows if any(w.asset == VIX for w in windows) else [*windows, Window(VIX, LOOK_BACK, 0)]


def _outcome_reads(settings: Any) -> list[Window]:
    fitted = settings.analysis_in_use.iv_level == "fitted"
    reads = [Window(SCAN), Window(BARS, LOOK_BACK if fitted else -3, 2, by="group"), *level_reads(settings, 2)]
    return reads if fitted else [*reads, Window(VIX, 0, 2)]


def _scan_counts(frames: Any) -> dict[str, Any]:
    rejects = frames[SCAN_REJECTS]
    by_reason = {str(reason): int(count) for reason, count in rejects["reason"].value_counts().sort_index().items()}
    return {"scanned": len(frames[SCAN]) + len(rejects), "rejected": len(rejects), "rejected by reason": by_reason}


def _facts(work: Work, asset: str) -> dict[str, Any]:
    footer = work.freshness.snapshot.entry(asset, None).footer
    if footer is None:
        raise LakeError(f"{asset} is not materialised: run it first (butterquant run)")
    return dict(footer.facts)


def _judge(work: Work, store: model_store.ModelStore, version: str, champion: str | None) -> dict[str, Any]:
    stored = None if champion is None else store.read_file(success.NAME, champion, success.OUT_OF_SAMPLE)
    evidence = challenge.judge(
        version,
        work.read(PREDICTIONS),
        work.read(TRAINING),
        champion=champion,
        stored=stored,
        label=work.config,
        seed=SEED,
    )
    plain: dict[str, Any] = evidence.to_json()
    return plain


def _without_evidence(version: str, reason: str, action: str) -> dict[str, Any]:
    """What a decision made by hand says: no figures."""
    return {
        "challenger": version,
        "champion": None,
        "promoted": action == "promoted",
        "rows": 0,
        "episodes": 0,
        "reason": f"{action} by hand: {reason}",
    }


def _last_threshold(store: model_store.ModelStore, version: str) -> float | None:
    threshold: float | None = store.load_card(success.NAME, version)["serving"]["threshold"]["chosen"]
    return threshold


def _decision_rows(work: Work, decided: pd.DataFrame) -> pd.DataFrame:
    """Rows of the warehouse's table trade_decisions."""
    store = model_store.ModelStore(work.house.settings.models_location)
    versions = {str(label).partition("@")[0] for label in decided["model_version"].unique()}
    cards = {version: store.load_card(success.NAME, version) for version in sorted(versions)}
    models = [model for version in sorted(versions) for model in stored_models.stored_models(store, version)]
    thresholds = {model.label: model.threshold for model in models}
    calibrators = {model.label: model.ensemble.calibrator.version() for model in models}
    footer = work.freshness.snapshot.entry(SCAN, work.keys[0]).footer
    by_model = decided["track"] != "baseline"
    # The baseline's row names no model, so it holds no figure of the one that happened to serve.
    of_model = {name: decided[name].where(by_model) for name in (*PROBABILITIES, "expected_roi_document", *GATES)}
    base = decided["model_version"].str.split("@").str[0]  # a partition of no row has no columns
    return decided.assign(
        **of_model,
        blend_score=decided["blend_score"].where(by_model),
        expected_roi_training=decided["expected_roi"].where(by_model),
        threshold_document=float(work.config[0]),
        threshold_chosen=decided["model_version"].map(thresholds).astype("float64").where(by_model),
        calibration_version=decided["model_version"].map(calibrators).where(by_model),
        training_content=base.map({v: c["data_versions"][TRAINING] for v, c in cards.items()}).where(by_model),
        model_version=decided["model_version"].where(by_model),
        analysis_content=None if footer is None else footer.content,
        bars_content=None if footer is None else combine(f"{k}={v}" for k, v in sorted(footer.inputs.items())),
    ).drop(columns=["expected_roi", "score", "threshold", "status"])


@lake_asset(
    _named(schemas.ANALYSES, SCAN),
    _named(schemas.ANALYSIS_REJECTS, SCAN_REJECTS),
    reads=_scan_reads,
    code=[analysis, scan, _scan_counts],
    config=lambda settings: (settings.analysis_in_use, settings.costs, settings.sampling.episode_gap),
    axis="scan",
    batch=6,
    group="ticker",
    digest="ticker",
    summarise=_scan_counts,
    limits={
        "scan_reject_share": Limit(
            f"at most {MAX_REJECT_SHARE:.0%} of all scanned rows are rejected", "rejected", "scanned", MAX_REJECT_SHARE
        )
    },
)
def daily_scan(work: Work) -> Result:
    """As-of analysis of every ticker on every session of the recent months."""
    config, costs, gap = work.config
    bars, vix = work.read(BARS, BAR_COLUMNS), work.read(VIX, ["session", "close"])
    rows = scan.scan_samples(vix, bars, work.keys, gap)
    made = analysis.analyse(rows, bars, implied_of(work), config, costs, vix=vix_of(work))
    return Result({"daily_scan": made.analyses, "scan_rejects": made.rejects})


@lake_asset(
    _named(schemas.ROI_LABELS, OUTCOMES),
    reads=_outcome_reads,
    code=[labels],
    config=lambda settings: (settings.analysis_in_use, settings.costs),
    axis="scan",
    batch=6,
    group="ticker",
)
def scan_outcomes(work: Work) -> pd.DataFrame:
    """What closing each scanned butterfly on its evaluation session paid."""
    config, costs = work.config
    bars, vix = work.read(BARS, BAR_COLUMNS), work.read(VIX, ["session", "close"])
    last = max(bars["session"].max(), vix["session"].max())
    return labels.label_trades(work.read(SCAN), bars, implied_of(work), last, config, costs, vix=vix)


@lake_asset(
    model_schemas.SUCCESS_CHAMPION,
    reads=[Window(MODEL), Window(PREDICTIONS), Window(ONNX), Window(TRAINING), Window(FEEDBACK)],
    code=[challenge, _judge],
    config=lambda settings: settings.training.label,
    axis=None,
    in_warehouse=True,
    kinds=frozenset({"parquet", "sql"}),
)
def success_champion(work: Work) -> Result:
    """The newest model judged against the one in service: promoted on evidence only, the evidence kept."""
    store = model_store.ModelStore(work.house.settings.models_location)
    version = str(_facts(work, MODEL)["version"])
    with Registry(work.house.settings.warehouse_location, store) as registry:
        registry.register(store.load_card(success.NAME, version))
        judged = registry.last_word(success.NAME, version)
        if judged is None:
            champion = registry.champion(success.NAME)
            evidence = _judge(work, store, version, champion.version if champion else None)
            act = registry.promote if evidence["promoted"] else registry.refuse
            judged = act(success.NAME, version, evidence=evidence, reason=evidence["reason"])
        serving = registry.champion(success.NAME)
    # A version is judged once: a later run of the same version reports what was found, whatever serves by then.
    evidence = dict(judged.evidence or {}) or _without_evidence(version, judged.reason, judged.action)
    row = challenge.evidence_row(evidence, serving.version if serving else None)
    facts = {"champion": serving.version if serving else "", "challenger": version, "reason": evidence["reason"]}
    return Result({"success_champion": row}, facts={None: facts})


@lake_asset(
    decision_schemas.TRADE_DECISIONS,
    reads=[Window(SCAN), Window(MODEL), Window(CHAMPION), Window(IN_SERVICE)],
    code=[replay, stored_models, feature_module, challenge, _last_threshold],
    config=lambda settings: settings.decisions,
    axis="scan",
    batch=240,
)
def trade_decisions(work: Work) -> Result:
    """What each track would trade on each session, by the model of that time, and why."""
    store = model_store.ModelStore(work.house.settings.models_location)
    serving, newest = _facts(work, IN_SERVICE), str(_facts(work, MODEL)["version"])
    champion, scanned = str(serving["champion"]), work.read(SCAN)
    # Nor is the full training that the update in service started from on trial: it was judged against it, and lost.
    on_trial = (
        champion
        and newest not in (champion, serving["parent"])
        and challenge.stays_on_trial(work.read(CHAMPION), newest)
    )
    rival = stored_models.stored_models(store, newest) if on_trial else []
    models = stored_models.stored_models(store, champion or newest)
    made = replay.replay(scanned, feature_module.build_features(scanned), models, rival, work.config)
    drawn = {}
    if len(made):
        thresholds = {
            "training": _last_threshold(store, champion or newest),
            "document": work.config.threshold_document,
        }
        drawn["expected ROI"] = decision_plots.expected_roi_distribution(made, thresholds)
    return Result({"trade_decisions": made}, plots=drawn)


@lake_asset(
    decision_schemas.DECISION_PERFORMANCE,
    decision_schemas.DECISION_CALIBRATION,
    decision_schemas.DECISION_HISTORY,
    reads=[Window(DECISIONS), Window(OUTCOMES), Window(VIX)],
    code=[performance],
    config=lambda settings: settings.analysis_in_use.iv_level,
    axis=None,
)
def decision_performance(work: Work) -> Result:
    """Decisions joined to what happened: hit rates, predicted against realised ROI, uplift of the AI track."""
    decided, outcomes = work.read(DECISIONS), work.read(OUTCOMES)
    as_of = work.read(VIX, ["session"])["session"].max()
    found = performance.judge_decisions(
        decided, outcomes, as_of=as_of, seed=SEED, vols_are_proxy=work.config != "published"
    )
    whole = found.calibration[found.calibration["route"] == "all"]
    history = found.history[found.history["route"] == "all"]
    drawn = {}
    if len(whole):
        drawn["expected against realised"] = decision_plots.expected_against_realised(whole)
    if len(history):
        drawn["tracks over time"] = decision_plots.tracks_over_time(history)
    return Result(
        {
            "decision_performance": found.table,
            "decision_calibration": found.calibration,
            "decision_history": found.history,
        },
        facts={None: found.facts},
        plots=drawn,
    )


@lake_asset(
    model_schemas.DECISION_RECORDS,
    reads=[Window(DECISIONS), Window(SCAN), Window(SCAN_REJECTS), Window(OUTCOMES)],
    code=[replay, stored_models, decision_record, decision_timing, _decision_rows],
    config=lambda settings: (settings.decisions.threshold_document, settings.collect.settle_minutes),
    axis="scan",
    batch=1,
    in_warehouse=True,
    kinds=frozenset({"parquet", "sql"}),
)
def decision_records(work: Work) -> pd.DataFrame:
    """Decisions and outcomes written to the warehouse, with the versions of everything they rest on.

    The warehouse also keeps when each was first written, and whether that was in time; what is not decided any more is
    withdrawn there, never removed. None of this is in the lake: it depends on the time of the run.
    """
    _, settle_minutes = work.config
    (month,) = work.keys
    decided, outcomes = work.read(DECISIONS), work.read(OUTCOMES)
    known = outcomes[outcomes["missing_reason"] == ""]
    rows = _decision_rows(work, decided)
    results = known[["session", "ticker", "evaluation_session", "roi_mark", "roi_net"]].assign(
        label=known["label_mark"].astype("int64")
    )
    with warehouse.Warehouse(work.house.settings.warehouse_location) as house:
        house.migrate()
        at = work.house.now()  # no sooner: what is in time is judged by it
        decision_record.record_month(
            house,
            month,
            rows.assign(timing=decision_timing.timing(rows["session"], at, settle_minutes)),
            results,
            analysed=work.read(SCAN, ["session", "ticker"]),
            rejects=work.read(SCAN_REJECTS, ["session", "ticker", "reason"]),
            at=at,
        )
    parts = [
        frame.groupby("session").size().rename("rows").reset_index().assign(table=table)
        for table, frame in (("trade_decisions", rows), ("decision_outcomes", results))
    ]
    written = pd.concat(parts, ignore_index=True)
    return written.astype({"session": "datetime64[us]", "table": "str", "rows": "int64"})


ASSETS: tuple[LakeAsset, ...] = (
    daily_scan,
    scan_outcomes,
    success_champion,
    success_update,
    success_in_service,
    trade_decisions,
    decision_performance,
    decision_records,
)
