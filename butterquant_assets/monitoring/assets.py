"""Monitoring of the model in service as assets: drift, regime, decay, and one report over time."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from butterquant_assets.butterfly import success
from butterquant_assets.butterfly.assets import BAR_COLUMNS, BARS, MODEL, TRAINING, VIX
from butterquant_assets.butterfly.decision_assets import DECISIONS, OUTCOMES, SCAN
from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.butterfly.update_assets import IN_SERVICE
from butterquant_assets.foundation import drift_plots
from butterquant_assets.foundation.calendar import shift_key
from butterquant_assets.foundation.errors import LakeError
from butterquant_assets.foundation.files import write_atomically
from butterquant_assets.foundation.freshness import Freshness, Window
from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.monitoring import decay, drift_table, evidently_report, live, regime, report, schemas
from butterquant_assets.orchestration.declaration import LakeAsset, Result, Work, lake_asset

FEATURE_DRIFT, PREDICTION_DRIFT, REGIME = (
    contract.table for contract in (schemas.FEATURE_DRIFT, schemas.PREDICTION_DRIFT, schemas.REGIME)
)
DECAY = {
    schemas.CALIBRATION_DECAY.table: drift_plots.calibration_over_time,
    schemas.DECISION_DECAY.table: drift_plots.decisions_over_time,
}
PAGE = "reports/monitoring/feature_drift.html"
SERVING = [Window(MODEL), Window(IN_SERVICE), Window(TRAINING)]
UNDER_WAY = -1
"""A month under way is judged together with sessions of the month before, see `drift_table.current_sessions`."""


@dataclass(frozen=True, eq=False)
class _InService:
    """The model that decides: the record of its full training, and what it predicted out of sample."""

    training: Mapping[str, Any]
    store: ModelStore
    version: str

    @classmethod
    def of(cls, work: Work) -> _InService:
        """The champion, or where none was ever promoted the newest model, as decisions take it."""
        store = ModelStore(work.house.settings.models_location)
        serving = _facts(work, IN_SERVICE)
        version = str(serving["champion"]) or str(_facts(work, MODEL)["version"])
        full = str(serving["parent"]) or version
        return cls(store.load_weights(success.NAME, full).training, store, version)

    def learnt(self, work: Work) -> pd.DataFrame:
        return live.learnt_rows(work.read(TRAINING), self.training)

    def promised(self, learnt: pd.DataFrame) -> pd.DataFrame:
        stored = self.store.read_file(success.NAME, self.version, success.OUT_OF_SAMPLE)
        return live.promised_predictions(pd.read_parquet(io.BytesIO(stored)), learnt, str(self.training["label"]))


def _facts(work: Work, asset: str) -> Mapping[str, Any]:
    footer = work.freshness.snapshot.entry(asset, None).footer
    if footer is None:
        raise LakeError(f"{asset} is not materialised: run it first (butterquant run)")
    return footer.facts


def _newest(frames: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Alarm and reasons of the newest month with a verdict in plain words."""
    return report.newest(next(iter(frames.values())))


@lake_asset(
    schemas.FEATURE_DRIFT,
    reads=[Window(SCAN, UNDER_WAY, 0), *SERVING],
    code=[drift_table, live, report, _newest, _InService],
    config=lambda settings: settings.monitoring.drift,
    axis="scan",
    batch=240,
    summarise=_newest,
    lineage={"statistic": [(SCAN, "session"), (TRAINING, "session")]},
)
def feature_drift(work: Work) -> pd.DataFrame:
    """The 23 features of each scanned month against what the model in service has learnt from."""
    learnt = _InService.of(work).learnt(work)
    rows = live.scanned_features(work.read(SCAN))
    return drift_table.drift_by_month(learnt, rows, FEATURES, work.keys, work.config)


@lake_asset(
    schemas.PREDICTION_DRIFT,
    reads=[Window(DECISIONS, UNDER_WAY, 0), Window(SCAN, UNDER_WAY, 0), *SERVING],
    code=[drift_table, live, report, _newest, _InService],
    config=lambda settings: settings.monitoring.drift,
    axis="scan",
    batch=240,
    summarise=_newest,
)
def prediction_drift(work: Work) -> pd.DataFrame:
    """What the model in service says of each month's candidates against what it said walking forward."""
    model = _InService.of(work)
    values = model.training["serving"]["class_values"]["training"]
    learnt = model.learnt(work)
    promised = live.with_expected_roi(model.promised(learnt), values)
    said = live.with_expected_roi(live.live_predictions(work.read(DECISIONS), work.read(SCAN)), values)
    return drift_table.drift_by_month(
        promised, said, live.PREDICTIONS, work.keys, work.config, learnt_until=learnt["session"].max()
    )


@lake_asset(
    schemas.REGIME,
    reads=[Window(VIX), Window(BARS), Window(TRAINING)],
    code=[regime, report, _newest],
    config=lambda settings: settings.monitoring.drift,
    axis=None,
    summarise=_newest,
)
def market_regime(work: Work) -> Result:
    """The market of each month against that of the months before it: an alarm of its own."""
    first = work.read(TRAINING, ["session"])["session"].min()
    figures = regime.session_figures(work.read(VIX, ["session", "close"]), work.read(BARS, BAR_COLUMNS))
    months = sorted(figures.loc[figures["session"] >= first, "session"].dt.strftime("%Y-%m").unique())
    table = regime.regime_by_month(figures, months, first, work.config)
    drawn = {"regime over time": drift_plots.regime_over_time(table)} if len(table) else {}
    return Result({"regime": table}, plots=drawn)


@lake_asset(
    schemas.CALIBRATION_DECAY,
    reads=[Window(DECISIONS), Window(OUTCOMES), Window(SCAN), *SERVING],
    code=[decay, live, report, _newest, _InService],
    config=lambda settings: (settings.monitoring.drift, settings.monitoring.seed),
    axis="scan",
    batch=240,
    summarise=_newest,
)
def calibration_decay(work: Work) -> pd.DataFrame:
    """Log-loss and calibration of live predictions with known outcomes against what the walk-forward promised."""
    rules, seed = work.config
    model = _InService.of(work)
    learnt = model.learnt(work)
    label = str(model.training["label"])
    known = live.known_outcomes(work.read(DECISIONS), work.read(OUTCOMES), work.read(SCAN), label)
    return decay.calibration_by_month(
        model.promised(learnt), known, work.keys, rules, seed=seed, learnt_until=learnt["session"].max()
    )


def _trailing_reads(settings: Any) -> list[Window]:
    first = 1 - settings.monitoring.decay.trailing_months
    return [Window(DECISIONS, first, 0), Window(OUTCOMES, first, 0), *SERVING]


def _months_left(freshness: Freshness, assets: Sequence[str], first: str) -> list[str]:
    """Months from `first` on, before those that the assets cover, of which the lake still holds them all."""
    covered = {name: freshness.nodes[name].keys or () for name in assets}
    held = [
        {
            key
            for key, found in freshness.snapshot.held.get(name, {}).items()
            if key is not None and found.footer is not None and covered[name] and first <= key < covered[name][0]
        }
        for name in assets
    ]
    return sorted(set.intersection(*held))


def _with_history(work: Work, *assets: str) -> list[pd.DataFrame]:
    """What the windows of some assets hold, with the months that have left the scan since.

    Else a month would be judged by fewer of the months before it with every one that joins. Those that have left are
    settled: nothing makes them again, and pruning keeps them. A file of an earlier version that lacks a column is left
    out; a verdict says how many months it rests on.
    """
    first = shift_key(work.keys[0], 1 - work.config.trailing_months, "month")
    whole = [[work.read(asset)] for asset in assets]
    for key in _months_left(work.freshness, assets, first):
        parts = [work.read_keys(asset, [key]) for asset in assets]
        if all(set(part) >= set(now[0]) for part, now in zip(parts, whole, strict=True)):
            for part, now in zip(parts, whole, strict=True):
                now.append(part[now[0].columns])
    return [pd.concat(frames, ignore_index=True) for frames in whole]


@lake_asset(
    schemas.DECISION_DECAY,
    reads=_trailing_reads,
    code=[decay, live, report, _newest, _with_history, _months_left, _InService],
    config=lambda settings: settings.monitoring.decay,
    axis="scan",
    batch=240,
    summarise=_newest,
)
def decision_decay(work: Work) -> pd.DataFrame:
    """Realised ROI of the decisions against what they expected."""
    learnt = _InService.of(work).learnt(work)
    joined = live.judged_decisions(*_with_history(work, DECISIONS, OUTCOMES))
    return decay.decisions_by_month(joined, work.keys, work.config, learnt["session"].max())


@lake_asset(
    schemas.DRIFT_REPORT,
    reads=[*(Window(name) for name in (FEATURE_DRIFT, PREDICTION_DRIFT, REGIME, *DECAY)), Window(SCAN), *SERVING],
    code=[report, live, drift_table, evidently_report, _newest, _InService],
    config=lambda settings: (settings.monitoring.html, settings.monitoring.seed, settings.monitoring.drift.sessions),
    axis=None,
    kinds=frozenset({"parquet", "html"}),
    summarise=_newest,
)
def drift_report(work: Work) -> Result:
    """Drift and regime over time in one table, with plots, also of decay, and Evidently's page of the newest month.

    The plots over time are drawn here: the tables are made month by month, and a run seldom makes all of them.
    """
    html, seed, sessions = work.config
    features, predictions, market = (work.read(name) for name in (FEATURE_DRIFT, PREDICTION_DRIFT, REGIME))
    table = report.summarise(features, predictions, market[market["month"].isin(features["month"].unique())])
    titles = {"feature drift": features, "prediction drift": predictions}
    drawn = {
        f"{name} over time": drift_plots.drift_over_time(part, f"{name.capitalize()}: statistic over threshold")
        for name, part in titles.items()
        if len(part)
    }
    for name, draw in DECAY.items():
        if len(part := work.read(name)):
            drawn[f"{name.rpartition('/')[2].replace('_', ' ')} over time"] = draw(part)
    if not html or features.empty:
        return Result({"drift_report": table}, plots=drawn)
    newest = features["month"].max()
    current = drift_table.current_sessions(work.read(SCAN), f"{newest:%Y-%m}", sessions)
    page = evidently_report.drift_html(
        _InService.of(work).learnt(work),
        live.scanned_features(current.reset_index(drop=True)),
        FEATURES,
        month=f"{newest:%Y-%m}",
        verdict=_sentence(features[features["month"] == newest]),
        seed=seed,
    )
    path = work.house.settings.home / PAGE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page)
    return Result(
        {"drift_report": table},
        facts={None: {"report": PAGE}},
        plots=drawn,
        artifacts={PAGE: hashlib.sha256(page).hexdigest()},
    )


def _sentence(features: pd.DataFrame) -> str:
    found = report.newest(features)
    if found["reasons"]:
        return "; ".join(found["reasons"][: report.SHOWN])
    return "no column strays by more than luck"


ASSETS: tuple[LakeAsset, ...] = (
    feature_drift,
    prediction_drift,
    market_regime,
    calibration_decay,
    decision_decay,
    drift_report,
)
