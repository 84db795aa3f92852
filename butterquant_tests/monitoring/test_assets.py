"""The monitoring assets in a small house: made once, left alone while current, and rebuilt when something is gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from butterquant_assets import definitions
from butterquant_assets.butterfly.config import SamplingConfig, ScanConfig, TrainingConfig
from butterquant_assets.learning.members import MemberSettings
from butterquant_assets.learning.mlp import MlpSettings
from butterquant_assets.monitoring import assets
from butterquant_assets.monitoring.config import MonitoringConfig
from butterquant_assets.monitoring.drift import DriftRules
from butterquant_assets.monitoring.retrain_signals import SignalConfig, conditions
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.rebuild import KEPT, REBUILT, Rebuilt, rebuild

NAMES = [name for asset in assets.ASSETS for name in asset.names]


class Settings(definitions.Settings):
    """A small market, a quick model, and verdicts after four months."""

    source: Any = "sample"
    start: str | None = "2016-01"
    end: str | None = "2016-09"
    tickers: int = 8
    sampling: SamplingConfig = SamplingConfig(low_days=10, normal_days=14, high_days=4, tickers_per_day=6)
    scan: ScanConfig = ScanConfig(months=2)
    training: TrainingConfig = TrainingConfig(
        members=("logistic",),
        minimum_rows=20,
        minimum_episodes=2,
        step_rows=30,
        student_epochs=3,
        settings=MemberSettings(mlp=MlpSettings(max_epochs=3)),
    )
    # With 23 sessions every month borrows from the one before, as one under way does.
    monitoring: MonitoringConfig = MonitoringConfig(drift=DriftRules(minimum_months=4, sessions=23))


def needed(house: House, names: set[str]) -> set[str]:
    """Names of everything that `names` rest on, themselves included."""
    found = set(names)
    for declaration in reversed(house.declarations):
        if found & set(declaration.names):
            found |= {window.asset for window in declaration.windows} | set(declaration.names)
    return found


def made(house: House, names: set[str]) -> dict[str, Rebuilt]:
    done: dict[str, Rebuilt] = {}
    for declaration in house.declarations:
        if names & set(declaration.names):
            keys = house.keys(declaration.axis) if declaration.axis else (None,)
            done[declaration.names[0]] = rebuild(house, declaration, keys)
    return done


def actions(done: dict[str, Rebuilt]) -> dict[str, set[str]]:
    return {name: {one.action for one in done[name].outcomes[name].values()} for name in NAMES}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    with pytest.MonkeyPatch.context() as patch:
        known = {name for declaration in definitions.DECLARATIONS for name in declaration.names}
        extra = [asset for asset in assets.ASSETS if asset.names[0] not in known]
        patch.setattr(definitions, "DECLARATIONS", (*definitions.DECLARATIONS, *extra))
        built = definitions.build_house(Settings(home=tmp_path_factory.mktemp("monitored") / "home"))
    done = made(built, needed(built, set(NAMES)))
    for name in NAMES:
        found = done[name].outcomes[name]
        assert {one.action for one in found.values()} == {REBUILT}, (name, [one.reasons for one in found.values()])
    return built


def table(house: House, name: str) -> Any:
    months = house.declaration(name).axis
    return house.lake.read(name, None if months is None else list(house.keys(months)))


@pytest.mark.slow
def test_every_table_is_made_with_its_alarm_in_plain_facts_and_its_plots_over_time(house: House) -> None:
    months = house.keys("scan")
    features = table(house, "monitoring/feature_drift")
    assert len(features) == 23 * len(months)
    assert features["judged"].all()
    assert set(table(house, "monitoring/prediction_drift")["column"]) == {"p0", "p1", "p2", "p3", "expected_roi"}
    for name in NAMES:
        key = house.keys("scan")[-1] if house.declaration(name).axis else None
        footer = house.lake.footer(name, key)
        assert footer is not None
        assert isinstance(footer.facts["alarm"], bool)
        assert all(isinstance(reason, str) for reason in json.loads(json.dumps(footer.facts["reasons"])))
    drawn = {path.parent.name for path in (house.settings.home / "plots" / "monitoring").rglob("*.png")}
    assert drawn == {"regime", "drift_report"}
    report = house.settings.home / "plots" / "monitoring" / "drift_report"
    assert {"calibration decay over time", "decision decay over time"} < {path.stem for path in report.rglob("*.png")}


@pytest.mark.slow
def test_a_month_made_alone_is_what_it_is_beside_the_others(house: House) -> None:
    wanted = needed(house, set(NAMES))
    monthly = [each for each in house.declarations if each.axis == "scan" and wanted & set(each.names)]
    names = [name for declaration in monthly for name in declaration.names]
    assert {name for name in NAMES if house.declaration(name).axis} < set(names)
    together = {(name, key): facts_and_rows(house, name, key) for name in names for key in house.keys("scan")}
    for declaration in monthly:
        for key in house.keys("scan"):
            rebuild(house, declaration, (key,), force=True)
    for (name, key), (facts, rows) in together.items():
        alone, made_alone = facts_and_rows(house, name, key)
        assert alone == facts, (name, key)
        pd.testing.assert_frame_equal(made_alone, rows)


def facts_and_rows(house: House, name: str, key: str) -> tuple[Any, pd.DataFrame]:
    footer = house.lake.footer(name, key)
    assert footer is not None
    return footer.facts, house.lake.read(name, [key])


@pytest.mark.slow
def test_the_tables_give_the_conditions_for_retraining(house: House) -> None:
    names = ("feature_drift", "prediction_drift", "calibration_decay", "decision_decay")
    found = conditions(*(table(house, f"monitoring/{name}") for name in names), SignalConfig())
    assert [condition.name for condition in found] == list(names)
    assert found[0].month == house.keys("scan")[-1]


@pytest.mark.slow
def test_what_is_current_is_left_alone_and_a_lost_page_costs_the_report_only(house: House) -> None:
    assert set().union(*actions(made(house, set(NAMES))).values()) == {KEPT}
    page = Path(house.settings.home) / assets.PAGE
    before = page.read_bytes()
    page.unlink()
    again = actions(made(house, set(NAMES)))
    assert {name for name in NAMES if again[name] == {REBUILT}} == {"monitoring/drift_report"}
    assert page.read_bytes() == before
