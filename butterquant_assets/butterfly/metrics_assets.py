"""The warehouse's table daily_metrics, as an asset: every analysis, and what the model in service makes of it."""

from __future__ import annotations

import calendar
from datetime import date

from butterquant_assets.butterfly import daily_metrics as metrics
from butterquant_assets.butterfly import features as feature_module
from butterquant_assets.butterfly import replay, stored_models
from butterquant_assets.butterfly.assets import MODEL
from butterquant_assets.butterfly.decision_assets import SCAN
from butterquant_assets.butterfly.update_assets import IN_SERVICE
from butterquant_assets.foundation import model_store, warehouse
from butterquant_assets.foundation.errors import LakeError
from butterquant_assets.foundation.freshness import Window
from butterquant_assets.orchestration.declaration import LakeAsset, Result, Work, lake_asset


def _fact(work: Work, asset: str, name: str) -> str:
    footer = work.freshness.snapshot.entry(asset, None).footer
    if footer is None:
        raise LakeError(f"{asset} is not materialised: run it first (butterquant run)")
    return str(footer.facts[name])


def _span(month: str) -> dict[str, date]:
    year, number = map(int, month.split("-"))
    return {"first": date(year, number, 1), "last": date(year, number, calendar.monthrange(year, number)[1])}


@lake_asset(
    metrics.DAILY_METRICS,
    reads=[Window(SCAN), Window(MODEL), Window(IN_SERVICE)],
    code=[metrics, replay, stored_models, feature_module, _span],
    axis="scan",
    batch=240,
    in_warehouse=True,
    kinds=frozenset({"parquet", "sql"}),
)
def daily_metrics(work: Work) -> Result:
    """Analyses of each session in the warehouse, with the probability and expected ROI the model of its time gives.

    The model is the champion; while no version was ever promoted, the newest one, as for `trade_decisions`. A month is
    written in one transaction and in the place of what stood there, so a row that a correction took away goes too.
    """
    store = model_store.ModelStore(work.house.settings.models_location)
    version = _fact(work, IN_SERVICE, "champion") or _fact(work, MODEL, "version")
    scanned = work.read(SCAN)
    rows = metrics.metric_rows(
        scanned, feature_module.build_features(scanned), stored_models.stored_models(store, version)
    )
    month_of_row = rows["time"].dt.strftime("%Y-%m")
    with warehouse.Warehouse(work.house.settings.warehouse_location) as house:
        house.migrate()
        for month in work.keys:
            house.replace_frame(
                "upsert_daily_metrics", rows[month_of_row == month], clear="clear_daily_metrics", params=_span(month)
            )
    return Result({"daily_metrics": metrics.receipts(rows)}, facts={month: {"model": version} for month in work.keys})


ASSETS: tuple[LakeAsset, ...] = (daily_metrics,)
