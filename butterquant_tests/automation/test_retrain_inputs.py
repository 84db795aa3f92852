from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from butterquant_assets.automation import retrain_inputs
from butterquant_assets.butterfly import update_assets
from butterquant_assets.foundation.contracts import Outcome, Verdict
from butterquant_assets.foundation.lake import Footer, Lake, content_hash
from butterquant_assets.market.schemas import empty_rows
from butterquant_assets.monitoring import schemas
from butterquant_assets.monitoring.retrain_signals import NAMES, SignalConfig


@pytest.fixture
def house(tmp_path: Path) -> Any:
    return SimpleNamespace(lake=Lake(tmp_path))


def drifted(month: str) -> pd.DataFrame:
    given = {
        "month": pd.Timestamp(month).as_unit("us"),
        "column": "momentum_7d",
        "statistic": 0.4,
        "threshold": 0.2,
        "judged": True,
        "alarm": True,
        "learnt": False,
        "reason": "strays",
    }
    empty = empty_rows(schemas.FEATURE_DRIFT)
    row = pd.DataFrame([{name: given.get(name) for name in empty.columns}])
    return row.astype({name: kind for name, kind in empty.dtypes.items() if name in given})


def test_a_home_without_monitoring_tables_fires_nothing(house: Any) -> None:
    found = retrain_inputs.monitored(house, SignalConfig())
    assert tuple(condition.name for condition in found) == NAMES
    assert not any(condition.fired for condition in found)


def test_the_newest_month_of_a_table_speaks(house: Any) -> None:
    for month in ("2018-05", "2018-06"):
        frame = drifted(month)
        footer = Footer(content_hash(frame), {}, "", "", Verdict({"schema": Outcome(True)}), len(frame))
        house.lake.write("monitoring/feature_drift", month, frame, footer)
    fired = [condition for condition in retrain_inputs.monitored(house, SignalConfig()) if condition.fired]
    assert [(condition.name, condition.month) for condition in fired] == [("feature_drift", "2018-06")]
    assert fired[0].figures["worst_statistic"] == 0.4


def test_what_the_weekly_update_releases_exists_and_trains() -> None:
    trained = {name for asset in update_assets.ASSETS if asset.pool == "training" for name in asset.names}
    assert trained >= retrain_inputs.UPDATES
