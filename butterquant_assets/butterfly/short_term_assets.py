"""The next seven sessions as assets: targets -> training rows -> models of volatility, direction and quiet -> ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from butterquant_assets.butterfly import moves, short_term, short_term_onnx, short_term_training, volatility
from butterquant_assets.butterfly.assets import (
    ANALYSES,
    BAR_COLUMNS,
    BARS,
    FEATURES,
    LINEAGE,
    LOOK_BACK,
    VIX,
    artifact_hashes,
)
from butterquant_assets.butterfly.features import FEATURES as FEATURE_NAMES
from butterquant_assets.butterfly.short_term_onnx import Served
from butterquant_assets.butterfly.short_term_schemas import (
    SHORT_TERM,
    SHORT_TERM_SET,
    evaluation_contract,
    forecast_parity_contract,
    no_target_after,
)
from butterquant_assets.foundation import model_store
from butterquant_assets.foundation.contracts import Outcome
from butterquant_assets.foundation.errors import LakeError
from butterquant_assets.foundation.freshness import Window
from butterquant_assets.learning.schemas import parity_contract
from butterquant_assets.orchestration.declaration import LakeAsset, Result, Work, lake_asset

SHORT, SET = SHORT_TERM.table, SHORT_TERM_SET.table
VOLATILITY_MODEL, DIRECTION_MODEL, QUIET_MODEL = (
    f"butterfly/{name}_model" for name in (volatility.NAME, "direction", "quiet")
)
NO_FUTURE = "no_target_from_the_future"
LEARNT = frozenset({"lightgbm", "parquet"})


def _missing_counts(frames: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    reasons = frames[SHORT]["missing_reason"]
    missing = reasons[reasons != ""].value_counts().sort_index()
    return {"without targets": {str(reason): int(count) for reason, count in missing.items()}}


@lake_asset(
    SHORT_TERM,
    # The VIX also tells up to when data exists, where only some tickers' bars are read.
    reads=[Window(ANALYSES), Window(BARS, LOOK_BACK, 1, by="group"), Window(VIX, 0, 1)],
    code=[short_term, _missing_counts],
    axis="analysis",
    batch=12,
    group="ticker",
    summarise=_missing_counts,
    faults={NO_FUTURE: "a row whose target session lies after the last session of the data has no target"},
    lineage={
        column: [(LINEAGE[source.split(".")[0]], source.split(".")[1]) for source in sources]
        for column, sources in short_term.SHORT_TERM_SOURCES.items()
    },
)
def short_term_rows(work: Work) -> Result:
    """References of volatility as of each analysis, and what its next seven sessions brought."""
    bars, vix = work.read(BARS, BAR_COLUMNS), work.read(VIX, ["session"])
    last = max(bars["session"].max(), vix["session"].max())
    made = short_term.short_term_rows(work.read(ANALYSES, ["session", "ticker"]), bars, last)
    keeps = no_target_after(last).holds(made)
    months = made["session"].dt.strftime("%Y-%m")
    faults: dict[str | None, dict[str, Outcome]] = {}
    for month in work.keys:
        early = made[(months == month) & ~keeps]
        examples = tuple(f"{row.ticker} {row.session.date()}" for row in early.head(5).itertuples())
        faults[month] = {NO_FUTURE: Outcome(early.empty, len(early), examples)}
    return Result({"short_term": made}, faults=faults)


@lake_asset(
    SHORT_TERM_SET,
    reads=[Window(ANALYSES), Window(FEATURES), Window(SHORT)],
    code=[short_term_training],
    axis=None,
    lineage={name: [(FEATURES, name)] for name in FEATURE_NAMES}
    | {name: [(SHORT, name)] for name in (*short_term.REFERENCES, "target_session", *short_term.TARGETS)},
)
def short_term_set(work: Work) -> Result:
    """Features joined with references and targets; rows without targets are counted, not kept."""
    analysed = work.read(ANALYSES, ["session", "ticker", "stratum", "episode"])
    joined = short_term_training.join_short_term_set(analysed, work.read(FEATURES), work.read(SHORT))
    return Result({"short_term_set": joined.rows}, facts={None: joined.facts})


@lake_asset(
    evaluation_contract(VOLATILITY_MODEL),
    reads=[Window(SET)],
    # The export counts as well: it decides what is published under the version that training names.
    code=[volatility, short_term_onnx, model_store],
    config=lambda settings: settings.short_term,
    axis=None,
    kinds=LEARNT | {"pytorch"},
    pool="training",
)
def volatility_model(work: Work) -> Result:
    """Volatility of seven sessions: retrained through time, judged beside GARCH and HAR-RV on what it met next."""
    trained = volatility.train_and_judge(
        work.read(SET),
        work.config,
        data_versions=work.freshness.inputs(VOLATILITY_MODEL, None),
        code_version=work.freshness.nodes[VOLATILITY_MODEL].code,
    )
    return _stored(work, volatility.NAME, trained)


@lake_asset(
    evaluation_contract(DIRECTION_MODEL),
    reads=[Window(SET)],
    code=[moves, short_term_onnx, model_store],
    config=lambda settings: settings.short_term,
    axis=None,
    kinds=LEARNT,
    pool="training",
)
def direction_model(work: Work) -> Result:
    """Down, flat or up by 2 % in seven sessions: judged beside what the GARCH forecast alone says."""
    return _train_moves(work, "direction")


@lake_asset(
    evaluation_contract(QUIET_MODEL),
    reads=[Window(SET)],
    code=[moves, short_term_onnx, model_store],
    config=lambda settings: settings.short_term,
    axis=None,
    kinds=LEARNT,
    pool="training",
)
def quiet_model(work: Work) -> Result:
    """Whether a stock stays within 2 % for seven sessions: judged beside what the GARCH forecast alone says."""
    return _train_moves(work, "quiet")


@lake_asset(
    forecast_parity_contract("butterfly/volatility_onnx"),
    reads=[Window(VOLATILITY_MODEL), Window(SET)],
    code=[short_term_onnx, model_store],
    axis=None,
    kinds=frozenset({"onnx", "parquet"}),
)
def volatility_onnx(work: Work) -> Result:
    """The volatility forecast as one ONNX graph, compared with the native one on real rows, published with its card."""
    return _published(work, volatility.NAME, short_term_onnx.restore_volatility, short_term_onnx.volatility_card)


@lake_asset(
    parity_contract("butterfly/direction_onnx"),
    reads=[Window(DIRECTION_MODEL), Window(SET)],
    code=[short_term_onnx, model_store],
    axis=None,
    kinds=frozenset({"onnx", "parquet"}),
)
def direction_onnx(work: Work) -> Result:
    """The direction model as one ONNX graph, compared with the native one on real rows, published with its card."""
    return _published(work, "direction", short_term_onnx.restore_moves, short_term_onnx.moves_card)


@lake_asset(
    parity_contract("butterfly/quiet_onnx"),
    reads=[Window(QUIET_MODEL), Window(SET)],
    code=[short_term_onnx, model_store],
    axis=None,
    kinds=frozenset({"onnx", "parquet"}),
)
def quiet_onnx(work: Work) -> Result:
    """The quiet model as one ONNX graph, compared with the native one on real rows, published with its card."""
    return _published(work, "quiet", short_term_onnx.restore_moves, short_term_onnx.moves_card)


ASSETS: tuple[LakeAsset, ...] = (
    short_term_rows,
    short_term_set,
    volatility_model,
    volatility_onnx,
    direction_model,
    direction_onnx,
    quiet_model,
    quiet_onnx,
)


def _train_moves(work: Work, task: str) -> Result:
    model = f"butterfly/{task}_model"
    trained = moves.train_and_judge(
        work.read(SET),
        task,
        work.config,
        data_versions=work.freshness.inputs(model, None),
        code_version=work.freshness.nodes[model].code,
    )
    return _stored(work, task, trained)


def _stored(work: Work, name: str, trained: short_term_training.Trained[Any]) -> Result:
    """The evaluation of a trained model, its files put into the model store."""
    store, home = model_store.ModelStore(work.house.settings.models_location), work.house.settings.home
    stored = {plot.replace(" ", "_").replace("-", "_").lower(): png for plot, png in trained.plots.items()}
    folder = store.write_weights(name, trained.version, {}, trained.training, stored, files=trained.files)
    return Result(
        {f"{name}_model": trained.evaluation},
        facts={None: trained.facts},
        plots=trained.plots,
        artifacts=artifact_hashes(home, folder, exclude=(model_store.ONNX, model_store.CARD)),
    )


def _published(
    work: Work,
    name: str,
    restore: Callable[[Mapping[str, bytes], Mapping[str, Any]], Served],
    card: Callable[[Mapping[str, Any], pd.DataFrame, pd.DataFrame], dict[str, Any]],
) -> Result:
    """The export of a stored model, compared and published."""
    store, model = model_store.ModelStore(work.house.settings.models_location), f"butterfly/{name}_model"
    footer = work.freshness.snapshot.entry(model, None).footer
    if footer is None:
        raise LakeError(f"{model} is not materialised: run it first (butterquant run)")
    version = footer.facts["version"]
    training = store.load_weights(name, version).training
    files = {path: store.read_file(name, version, path) for path in store.files(name, version)}
    served = restore(files, training)
    exported = served.export()
    parity = short_term_onnx.check_parity(served, exported, short_term_onnx.rows_to_compare(work.read(SET)))
    path = store.publish(name, version, exported, card(training, work.read(model), parity))
    facts = {"version": version, "bytes": len(exported), "worst_difference": float(parity["max_abs_difference"].max())}
    return Result(
        {f"{name}_onnx": parity},
        facts={None: facts},
        artifacts=artifact_hashes(work.house.settings.home, path.parent),
    )
