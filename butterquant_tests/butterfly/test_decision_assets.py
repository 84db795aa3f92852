"""The asset decision_records in a house of stand-ins: what the warehouse holds after corrections, and when it was."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest

from butterquant_assets.butterfly import decision_schemas, stored_models
from butterquant_assets.butterfly.decision_assets import TRAINING, decision_records
from butterquant_assets.butterfly.decisions import DecisionRules, ModelView, decide
from butterquant_assets.foundation import model_store
from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.foundation.settings import HomeSettings
from butterquant_assets.foundation.warehouse import Warehouse
from butterquant_assets.market.collect_progress import CollectConfig
from butterquant_assets.orchestration.axes import MonthAxes
from butterquant_assets.orchestration.declaration import Result, Work, lake_asset
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.rebuild import rebuild
from butterquant_tests.butterfly.decision_cases import model, outcomes_of, scan_of, session_days

BINDING = {"start": "2018-01", "end": "2018-02", "market_start": "2018-01", "market_end": "2018-02"}
DAYS = session_days("2018-01-22", 20)  # to Friday, 16 February; the Monday after it is a holiday
WHOLE = scan_of(DAYS, 4, 1)
LEFT_OUT: dict[str, Any] = {"rows": []}
DICE: dict[str, Any] = {"version": "ab12@2018-01", "seed": 3}
KEYS = ["session", "ticker"]
REJECT_COLUMNS = [*KEYS, "reason"]
IN_TIME = datetime(2018, 2, 20, 14, 29, tzinfo=UTC)
LATER = datetime(2018, 2, 21, 3, tzinfo=UTC)


class Settings(HomeSettings):
    """The sections that the asset asks for."""

    decisions: DecisionRules = DecisionRules(places=2)
    collect: CollectConfig = CollectConfig()


def any_table(name: str, columns: Iterable[str]) -> Contract:
    return Contract(f"butterfly/{name}", pa.DataFrameSchema({c: pa.Column() for c in columns}), tuple(KEYS))


def of_months(frame: pd.DataFrame, work: Work) -> pd.DataFrame:
    return frame[frame["session"].dt.strftime("%Y-%m").isin(work.keys)].reset_index(drop=True)


def left() -> pd.DataFrame:
    """The scan without what corrections took away."""
    return WHOLE.drop(index=LEFT_OUT["rows"]).reset_index(drop=True)


@lake_asset(
    any_table("daily_scan", WHOLE.columns), any_table("scan_rejects", REJECT_COLUMNS), code=[], axis="scan", batch=6
)
def daily_scan(work: Work) -> Result:
    """The scan, and as rejects what is left out of it."""
    gone = WHOLE.loc[LEFT_OUT["rows"], KEYS].assign(reason="zero_volume").astype({"reason": "str"})
    return Result({"daily_scan": of_months(left(), work), "scan_rejects": of_months(gone, work)})


@lake_asset(any_table("scan_outcomes", outcomes_of(WHOLE, np.zeros(len(WHOLE))).columns), code=[], axis="scan")
def scan_outcomes(work: Work) -> pd.DataFrame:
    """Every trade pays the same."""
    rows = left()
    return of_months(outcomes_of(rows, np.full(len(rows), 0.02)), work)


@lake_asset(decision_schemas.TRADE_DECISIONS, code=[], axis="scan")
def trade_decisions(work: Work) -> pd.DataFrame:
    """Decisions of a model that rolls dice: those of the whole scan, as far as they are left."""
    rows = left()
    view = model(len(WHOLE), DICE["seed"], DICE["version"], 0.0)
    view = ModelView(view.version, view.probabilities[WHOLE.index.drop(LEFT_OUT["rows"])], view.class_values, 0.0)
    return of_months(decide(rows, view, challenger=None, rules=DecisionRules(places=2)), work)


@pytest.fixture(autouse=True)
def stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that holds the model."""
    ensemble = SimpleNamespace(calibrator=SimpleNamespace(version=lambda: "calibrated"))

    def timed(store: object, version: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(label=DICE["version"], threshold=0.0, ensemble=ensemble)]

    monkeypatch.setattr(stored_models, "stored_models", timed)
    card = {"data_versions": {TRAINING: "training"}}
    monkeypatch.setattr(model_store.ModelStore, "load_card", lambda self, name, version: card)
    monkeypatch.setitem(LEFT_OUT, "rows", [])
    for name, value in DICE.items():
        monkeypatch.setitem(DICE, name, value)


def recorded(home: Path, url: str, at: datetime, **settings: Any) -> tuple[pd.DataFrame, dict[str, bytes]]:
    """Decisions of the warehouse after a run at that time, and the receipts in the lake by month."""
    given = Settings(home=home, warehouse_url=url, **settings)
    wanted = [daily_scan, scan_outcomes, trade_decisions, decision_records]
    house = House(given, MonthAxes(BINDING, {"scan": 2}), wanted, lambda: None, clock=lambda: at)  # type: ignore[arg-type,return-value]
    for declaration in house.declarations:
        done = rebuild(house, declaration, house.keys("scan"), force=True)
        assert done.count(declaration.names[0], "rebuilt") == 2
    with Warehouse(url) as warehouse:
        span = {"first": DAYS[0], "last": DAYS[-1]}
        found = warehouse.fetch("trade_decisions", span)
        known = warehouse.fetch("decision_outcomes", span | {"known_by": pd.Timestamp("2019-01-01")})
    assert list(map(tuple, known[KEYS].to_numpy())) == list(map(tuple, left()[KEYS].to_numpy()))
    folder = home / "lake" / "butterfly" / "decision_records"
    return found, {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


def test_what_a_correction_takes_out_of_the_scan_is_not_selected_any_more_and_keeps_its_time(
    tmp_path: Path, warehouse_url: str
) -> None:
    before, _ = recorded(tmp_path, warehouse_url, IN_TIME)
    assert len(before) == 3 * len(WHOLE)
    lost = before[(before["selected"] == 1) & (before["session"] == DAYS[-1])].iloc[0]
    LEFT_OUT["rows"] = WHOLE.index[(WHOLE["session"] == lost["session"]) & (WHOLE["ticker"] == lost["ticker"])].tolist()
    after, _ = recorded(tmp_path, warehouse_url, LATER)
    assert len(after) == len(before)
    gone = after["withdrawn_at"].notna()
    assert set(zip(*(after.loc[gone, key] for key in KEYS), strict=True)) == {(lost["session"], lost["ticker"])}
    assert gone.sum() == 3
    assert set(after.loc[gone, "withdrawn_reason"]) == {"no analysis any more: zero_volume"}
    assert (after.loc[gone, "withdrawn_at"] == pd.Timestamp("2018-02-21 03:00")).all()
    assert (after.loc[gone, "selected"] == 0).all()
    assert after.loc[gone, "first_selected"].tolist() == before.loc[gone, "selected"].tolist()
    assert (after["decided_at"] == pd.Timestamp("2018-02-20 14:29")).all()
    # Another moved up, and says that it did not at the time.
    moved = after[(after["selected"] == 1) & (after["first_selected"] == 0)]
    assert len(moved) >= 1
    assert (moved["session"] == DAYS[-1]).all()
    assert moved["revised_at"].notna().all()


def test_only_the_newest_session_was_decided_in_time(tmp_path: Path, warehouse_url: str) -> None:
    found, _ = recorded(tmp_path, warehouse_url, IN_TIME)
    newest = found["session"] == DAYS[-1]
    assert set(found.loc[newest, "timing"]) == {"in_time"}
    assert set(found.loc[~newest, "timing"]) == {"afterwards"}


def test_the_settling_time_of_the_collector_counts(tmp_path: Path) -> None:
    close = datetime(2018, 2, 16, 21, 5, tzinfo=UTC)
    for name, minutes, expected in (("patient", 30, "early"), ("quick", 5, "in_time")):
        home = tmp_path / name
        url = f"sqlite:///{home / 'warehouse.sqlite'}"
        found, _ = recorded(home, url, close, collect=CollectConfig(settle_minutes=minutes))
        assert found.loc[found["session"] == DAYS[-1], "timing"].unique().tolist() == [expected]


def test_the_lake_does_not_know_the_time_of_the_run(tmp_path: Path) -> None:
    receipts = []
    for name, at in (("one", IN_TIME), ("other", LATER)):
        home = tmp_path / name
        receipts.append(recorded(home, f"sqlite:///{home / 'warehouse.sqlite'}", at)[1])
    assert len(receipts[0]) == 2
    assert receipts[0] == receipts[1]


def test_the_baselines_decisions_of_the_time_are_not_revised_because_another_model_serves(
    tmp_path: Path, warehouse_url: str
) -> None:
    before, _ = recorded(tmp_path, warehouse_url, IN_TIME)
    DICE.update(version="cd34@2018-02", seed=4)
    after, _ = recorded(tmp_path, warehouse_url, LATER)
    of_model = [*(f"p{k}" for k in range(4)), "expected_roi_document", "expected_roi_training", "threshold_chosen"]
    of_model += ["passes_document_gate", "passes_gate", "blend_score", "calibration_version", "training_content"]
    assert before.loc[before["track"] == "ai", of_model].notna().all(axis=None)
    for found in (before, after):
        baseline = found["track"] == "baseline"
        assert baseline.sum() == len(WHOLE)
        assert found.loc[baseline, of_model].isna().all(axis=None)
        assert found.loc[baseline, ["total_score", "analysis_content"]].notna().all(axis=None)
    assert after.loc[after["track"] == "baseline", "revised_at"].isna().all()
    with Warehouse(warehouse_url) as warehouse:
        assert warehouse.fetch("decision_revisions", {"first": DAYS[0], "last": DAYS[-1]}).empty
