"""The weekly update of the success model in service: made, published, judged like any challenger; and which serves."""

from __future__ import annotations

from typing import Any

import pandas as pd

from butterquant_assets.butterfly import features as feature_module
from butterquant_assets.butterfly import stored_models, success, update, update_schemas, update_version
from butterquant_assets.butterfly.assets import FEEDBACK, TRAINING, artifact_hashes
from butterquant_assets.foundation import model_store
from butterquant_assets.foundation.freshness import Window
from butterquant_assets.foundation.registry import Registry
from butterquant_assets.foundation.registry_roles import versions_in_service
from butterquant_assets.foundation.settings import HomeSettings
from butterquant_assets.learning import onnx_ensemble
from butterquant_assets.market.schemas import empty_rows
from butterquant_assets.orchestration.declaration import LakeAsset, Result, Work, lake_asset

SCAN, OUTCOMES, CHAMPION = "butterfly/daily_scan", "butterfly/scan_outcomes", "butterfly/success_champion"
UPDATE, IN_SERVICE = update_schemas.SUCCESS_UPDATE.table, update_schemas.SUCCESS_IN_SERVICE.table
ROLES = "model_roles"
SEED = 7


def _walk(work: Work, parent: update_version.Parent, scanned: pd.DataFrame) -> update.UpdateWalk:
    config, settings, _ = work.config
    label = str(parent.training["label"])
    rows = update.update_rows(scanned, feature_module.build_features(scanned), work.read(OUTCOMES), label)
    learnt = work.read(FEEDBACK) if "feedback" in parent.training.get("training", {}) else None
    return update.walk_weeks(rows, work.read(TRAINING), parent.models, config, settings, label=label, feedback=learnt)


def _publish(
    work: Work,
    store: model_store.ModelStore,
    walk: update.UpdateWalk,
    parent: update_version.Parent,
    scanned: pd.DataFrame,
) -> str:
    """Write the update to the model store with its ONNX graph and card; returns its version."""
    config, _, costs = work.config
    read = work.freshness.inputs(UPDATE, None)
    made = update_version.build_update(
        walk,
        scanned,
        parent,
        config,
        costs,
        data_versions={name: read[name] for name in (SCAN, OUTCOMES)},
        code_version=work.freshness.nodes[UPDATE].code,
    )
    store.write_weights(success.NAME, made.version, {}, made.training, {}, files=made.files)
    exported = onnx_ensemble.export_ensemble(walk.served.ensemble)
    compared = success.rows_to_compare(walk.rows)
    parity = onnx_ensemble.check_ensemble_parity(walk.served.ensemble, exported, compared)
    store.publish(success.NAME, made.version, exported, success.card(made.training, made.evaluation, parity))
    return made.version


def _judge(
    registry: Registry, store: model_store.ModelStore, walk: update.UpdateWalk, version: str, champion: str, label: str
) -> dict[str, Any]:
    """Register and judge a version; one that was judged before keeps its verdict. Facts of the judgement."""
    registry.register(store.load_card(success.NAME, version))
    judged = registry.last_word(success.NAME, version)
    if judged is None:
        rival = stored_models.stored_models(store, champion)
        evidence = update_version.judge_update(version, walk, rival, label=label, champion=champion, seed=SEED)
        plain = evidence.to_json()
        if evidence.promoted:
            judged = registry.promote(success.NAME, version, evidence=plain, reason=evidence.reason, against=champion)
        else:
            judged = registry.refuse(success.NAME, version, evidence=plain, reason=evidence.reason)
    found = dict(judged.evidence or {})
    figures = {name: found.get(name) for name in ("rows", "episodes", "difference", "low", "high")}
    return {"version": version, "promoted": judged.action == "promoted", "reason": judged.reason} | figures


def _update(
    work: Work, store: model_store.ModelStore, registry: Registry, parent: update_version.Parent, champion: str
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Facts and weeks of the update; why there is none, and no weeks, where there is none."""
    nothing, scanned = empty_rows(update_schemas.SUCCESS_UPDATE), work.read(SCAN)
    if not work.config[0].enabled:
        return {"reason": "no update: updates are switched off (BUTTERQUANT_UPDATE__ENABLED)"}, nothing
    if scanned.empty:
        return {"reason": "no update: nothing was scanned"}, nothing
    walk, label = _walk(work, parent, scanned), str(parent.training["label"])
    refusal = walk.refusal()
    if refusal is not None:
        return {"reason": refusal}, nothing
    version = _publish(work, store, walk, parent, scanned)
    return _judge(registry, store, walk, version, champion, label), update_version.week_table(walk, label)


@lake_asset(
    update_schemas.SUCCESS_UPDATE,
    reads=[Window(SCAN), Window(OUTCOMES), Window(TRAINING), Window(FEEDBACK), Window(CHAMPION)],
    code=[stored_models, update, update_version, onnx_ensemble, model_store, _walk, _publish, _judge, _update],
    config=lambda settings: (settings.update, settings.training.settings, settings.costs),
    axis=None,
    in_warehouse=True,
    kinds=frozenset({"xgboost", "lightgbm", "onnx", "sql", "parquet"}),
    pool="training",
)
def success_update(work: Work) -> Result:
    """The model in service, its trees and calibration continued week by week on what was scanned; judged, then kept."""
    store = model_store.ModelStore(work.house.settings.models_location)
    facts: dict[str, Any] = {"version": "", "promoted": False, "champion": "", "parent": ""}
    made, table = {"reason": "no update: no model is in service"}, empty_rows(update_schemas.SUCCESS_UPDATE)
    with Registry(work.house.settings.warehouse_location, store) as registry:
        # By the registry, not by the facts of the full training's judgement: an earlier update may serve by now.
        champion = registry.champion(success.NAME)
        if champion is not None:
            parent = stored_models.full_training(store, champion.version)
            made, table = _update(work, store, registry, parent, champion.version)
            serving = registry.champion(success.NAME) or champion
            facts |= {"champion": serving.version, "parent": parent.version}
    facts |= made
    artifacts = {}
    if facts["version"]:
        folder = store.directory(success.NAME, facts["version"])
        artifacts = artifact_hashes(work.house.settings.home, folder)
    return Result({"success_update": table}, facts={None: facts}, artifacts=artifacts)


def roles(settings: HomeSettings) -> dict[str, str]:
    """The success model in service, by the registry."""
    held = versions_in_service(settings.warehouse_location)
    return {success.NAME: held[success.NAME]} if success.NAME in held else {}


@lake_asset(
    update_schemas.SUCCESS_IN_SERVICE,
    reads=[Window(CHAMPION), Window(UPDATE), Window(f"source:{ROLES}")],
    code=[stored_models, roles],
    ledgers={ROLES: roles},
    axis=None,
    kinds=frozenset({"parquet", "sql"}),
)
def success_in_service(work: Work) -> Result:
    """Which version decides: what the judgements left in service, or who promoted or rolled back by hand since."""
    champion = roles(work.house.settings).get(success.NAME, "")
    store = model_store.ModelStore(work.house.settings.models_location)
    facts = {"champion": champion, "parent": stored_models.full_training(store, champion).version if champion else ""}
    return Result({"success_in_service": pd.DataFrame([facts]).astype("str")}, facts={None: facts})


ASSETS: tuple[LakeAsset, ...] = (success_update, success_in_service)
