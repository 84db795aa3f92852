"""Feedback in a house: from decisions to the ledger, from the ledger to rows, and what makes these rows stale."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from butterquant_assets.butterfly import assets, decision_assets, decision_schemas, decisions, feedback_assets
from butterquant_assets.butterfly import features as feature_module
from butterquant_assets.butterfly.config import AnalysisConfig, CostConfig, SamplingConfig
from butterquant_assets.butterfly.feedback import FeedbackConfig
from butterquant_assets.butterfly.feedback_assets import feedback_in_use, take_feedback
from butterquant_assets.foundation.errors import LakeError, WarehouseError
from butterquant_assets.foundation.feedback_ledger import FeedbackLedger
from butterquant_assets.foundation.freshness import Window, plan
from butterquant_assets.foundation.settings import HomeSettings
from butterquant_assets.market import assets as market_assets
from butterquant_assets.market.sources.base import open_source
from butterquant_assets.orchestration.axes import MonthAxes
from butterquant_assets.orchestration.declaration import Work, lake_asset
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.rebuild import rebuild
from butterquant_tests import homes
from butterquant_tests.butterfly.decision_cases import model

KEYS = ["session", "ticker"]
BINDING = {"start": "2016-04", "end": "2016-05", "market_start": "2014-02", "market_end": "2016-07"}
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
ROWS, UNUSED = "butterfly/feedback_rows", "butterfly/feedback_unused"


class Settings(HomeSettings):
    """The sections that the assets in use ask for."""

    sampling: SamplingConfig = SamplingConfig(low_days=3, normal_days=5, high_days=2, tickers_per_day=3)
    analysis_in_use: AnalysisConfig = AnalysisConfig(iv_level="published", smile="flat")
    costs: CostConfig = CostConfig()
    training: Any = None
    decisions: Any = None
    feedback: FeedbackConfig = FeedbackConfig()


class Corrected:
    """A source in which the closes of one ticker have been corrected."""

    def __init__(self, source: Any, ticker: str) -> None:
        self.source, self.ticker = source, ticker

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def fingerprints(self, dataset: str, months: Sequence[str]) -> dict[str, str]:
        found = dict(self.source.fingerprints(dataset, months))
        return {
            month: f"{content} corrected" if dataset == "equity_bars" else content for month, content in found.items()
        }

    def fetch(self, dataset: str, months: Sequence[str]) -> Any:
        got = self.source.fetch(dataset, months)
        if dataset != "equity_bars":
            return got
        rows = got.rows.copy()
        own = rows["ticker"] == self.ticker
        rows.loc[own, "close"] = (rows.loc[own, "high"] + rows.loc[own, "low"]) / 2
        return replace(got, rows=rows)


@lake_asset(
    decision_schemas.TRADE_DECISIONS,
    reads=[Window(decision_assets.SCAN)],
    code=[decisions],
    axis="scan",
)
def trade_decisions(work: Work) -> pd.DataFrame:
    """Decisions of a model that rolls dice."""
    scanned = work.read(decision_assets.SCAN)
    view = model(len(scanned), 3, "ab12@2016-04", 0.0)
    return decisions.decide(scanned, view, challenger=None, rules=decisions.DecisionRules(places=2))


WANTED = (
    *(asset for asset in market_assets.ASSETS if asset.names[0] in (assets.BARS, assets.VIX, assets.IMPLIED)),
    *(asset for asset in assets.ASSETS if asset.axis or asset.names[0] in (assets.SAMPLES, assets.TRAINING)),
    *feedback_assets.ASSETS,
    decision_assets.daily_scan,
    decision_assets.scan_outcomes,
    trade_decisions,
)


def house_of(home: Path, source: Any, feedback: FeedbackConfig | None = None) -> House:
    settings = Settings(home=home, feedback=feedback or FeedbackConfig())
    return House(settings, MonthAxes(BINDING, {"scan": 2}), WANTED, lambda: source)


def refresh(house: House) -> dict[str, int]:
    """Bring everything up to date as a run does; partitions rebuilt by asset."""
    done, affected = {}, plan(house.freshness()).affected
    for declaration in house.declarations:
        if keys := sorted({key for name in declaration.names for key in affected[name]}, key=str):
            found = rebuild(house, declaration, keys)
            done |= {name: n for name in declaration.names if (n := found.count(name, "rebuilt"))}
    assert plan(house.freshness()).nothing_to_do
    return done


def read(house: House, name: str) -> pd.DataFrame:
    months = house.declaration(name).axis
    return house.lake.read(name, None if months is None else house.keys(months))


@pytest.fixture(scope="module")
def source() -> Any:
    return open_source("sample", seed=3, tickers=5)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, source: Any) -> Path:
    """A house with decisions and outcomes, and an empty ledger."""
    house = house_of(tmp_path_factory.mktemp("feedback"), source)
    refresh(house)
    return house.settings.home


@pytest.fixture
def fresh(built: Path, source: Any, tmp_path: Path) -> Callable[..., House]:
    """Opens a copy of the built house that one test may disturb."""
    home = Path(shutil.copytree(built, tmp_path / "home"))

    def opened(given: Any = source, feedback: FeedbackConfig | None = None) -> House:
        return house_of(home, given, feedback)

    return opened


def test_what_is_taken_becomes_rows_and_doing_it_again_changes_nothing(fresh: Callable[..., House]) -> None:
    house = fresh()
    assert read(house, ROWS).empty
    done = take_feedback(house, clock=lambda: NOON)
    assert done.take == 1
    assert done.facts["added"] > 10
    assert refresh(house) == {ROWS: 1, UNUSED: 1}
    rows, sampled = read(house, ROWS), read(house, assets.TRAINING)
    assert len(rows) == done.facts["added"]
    assert not pd.concat([rows[KEYS], sampled[KEYS]]).duplicated().any()
    before = house.lake.footer(ROWS)
    again = take_feedback(house, clock=lambda: NOON)
    assert again.take is None
    assert again.facts["added"] == 0
    assert refresh(house) == {}
    assert house.lake.footer(ROWS) == before
    with FeedbackLedger(house.settings.warehouse_location) as ledger:
        assert ledger.takes()["taken_at"].tolist() == [pd.Timestamp("2026-03-02 12:00")]


def test_rows_are_those_the_scan_analysed_and_labelled(fresh: Callable[..., House]) -> None:
    house = fresh()
    take_feedback(house, clock=lambda: NOON)
    refresh(house)
    rows = read(house, ROWS)
    scanned, outcomes = read(house, decision_assets.SCAN), read(house, decision_assets.OUTCOMES)
    features = feature_module.build_features(scanned).merge(scanned[[*KEYS, "stratum", "episode"]], on=KEYS)
    for table in (features, outcomes):
        shared = [name for name in rows.columns if name in table and name not in KEYS]
        assert len(shared) > 8
        expected = rows[KEYS].merge(table, on=KEYS, how="left")[shared]
        pd.testing.assert_frame_equal(rows[shared], expected, check_exact=True)


def test_step_by_step_the_ledger_grows_by_what_came_to_be_known(fresh: Callable[..., House]) -> None:
    house = fresh()
    day = pd.Timestamp("2016-05-20")
    first = take_feedback(house, day, clock=lambda: NOON)
    assert first.to_json()["known_until"] == "2016-05-20"
    assert first.facts["added"] > 0
    assert first.facts["unlabelled"]["open"] > 0
    refresh(house)
    assert (read(house, ROWS)["evaluation_session"] <= day).all()
    second = take_feedback(house, pd.Timestamp("2099-01-01"), clock=lambda: NOON)
    assert second.take == 2
    assert second.known_until == read(house, assets.VIX)["session"].max()  # no further than the data
    assert refresh(house) == {ROWS: 1, UNUSED: 1}
    assert len(read(house, ROWS)) == first.facts["added"] + second.facts["added"]


def test_a_deleted_file_is_made_again_from_the_ledger(fresh: Callable[..., House]) -> None:
    house = fresh()
    take_feedback(house, clock=lambda: NOON)
    refresh(house)
    path = Path(house.lake.path(ROWS))
    before = path.read_bytes()
    path.unlink()
    assert refresh(house) == {ROWS: 1, UNUSED: 1}
    assert path.read_bytes() == before


@pytest.mark.slow
def test_a_corrected_ticker_reaches_its_own_rows_and_no_others(fresh: Callable[..., House], source: Any) -> None:
    house = fresh()
    take_feedback(house, clock=lambda: NOON)
    refresh(house)
    before = read(house, ROWS)
    ticker = before["ticker"].iloc[0]
    house = fresh(Corrected(source, ticker))
    rebuilt = refresh(house)
    assert rebuilt[ROWS] == 1
    after = read(house, ROWS)
    others = before["ticker"] != ticker
    pd.testing.assert_frame_equal(
        after[after["ticker"] != ticker], before[others], check_exact=True, check_index_type=False
    )
    assert not after.loc[after["ticker"] == ticker, "current_iv"].empty
    assert not after[after["ticker"] == ticker].reset_index(drop=True).equals(before[~others].reset_index(drop=True))


def test_the_switch_and_the_weights_concern_what_was_taken(fresh: Callable[..., House], source: Any) -> None:
    house = fresh()
    taken = take_feedback(house, clock=lambda: NOON).facts["added"]
    refresh(house)
    off = fresh(source, FeedbackConfig(enabled=False))
    assert refresh(off) == {ROWS: 1, UNUSED: 1}
    assert feedback_in_use(off) == {"trades": taken, "rows": 0, "weight": 0.0, "unused": {"switched_off": taken}}
    assert not take_feedback(off, clock=lambda: NOON).enabled
    light = fresh(source, FeedbackConfig(ai_weight=0.5, baseline_weight=0.5, blend_weight=0.5))
    refresh(light)
    assert feedback_in_use(light) == {"trades": taken, "rows": taken, "weight": 0.5 * taken, "unused": {}}


def test_a_trade_that_was_sampled_since_is_left_to_the_sample(fresh: Callable[..., House]) -> None:
    house = fresh()
    sampled = read(house, assets.TRAINING)
    with FeedbackLedger(house.settings.warehouse_location, clock=lambda: NOON) as ledger:
        trades = sampled.iloc[:2].assign(tracks="ai", route="champion", model_version="m")
        ledger.append(trades, trades["evaluation_session"].max())
    refresh(house)
    assert read(house, ROWS).empty
    assert read(house, UNUSED)["reason"].tolist() == ["in_training_set"] * 2


def test_an_edited_ledger_is_refused_and_the_last_rows_stay(fresh: Callable[..., House]) -> None:
    house = fresh()
    take_feedback(house, clock=lambda: NOON)
    refresh(house)
    rows = read(house, ROWS)
    engine = sa.create_engine(house.settings.warehouse_location)
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM feedback_ledger WHERE ticker = :ticker"), {"ticker": rows["ticker"][0]})
    engine.dispose()
    with pytest.raises(WarehouseError, match="somebody edited them"):
        refresh(house)
    pd.testing.assert_frame_equal(read(house, ROWS), rows)


def test_without_decisions_there_is_nothing_to_take_and_the_error_says_what_to_do(tmp_path: Path, source: Any) -> None:
    with pytest.raises(LakeError, match="materialise it first"):
        take_feedback(house_of(tmp_path, source), clock=lambda: NOON)


@pytest.mark.slow
def test_the_model_retrains_once_after_a_take_and_everything_settles(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    built, data, _ = homes.shared(tmp_path_factory)
    home, _ = homes.copy_of(built, data, tmp_path)
    assert json.loads(homes.butterquant("feedback", "show", "--json", home=home).stdout)["takes"] == []
    taken = json.loads(homes.butterquant("feedback", "take", "--until", "2016-08-15", "--json", home=home).stdout)
    assert taken["added"] > 10
    report = homes.run(home)
    rebuilt = homes.rebuilt(report)
    assert report["status"] == "done"
    assert len(report["runs"]) == 1
    assert {name: rebuilt[name] for name in (ROWS, "butterfly/success_model", "butterfly/success_onnx")} == {
        ROWS: 1,
        "butterfly/success_model": 1,
        "butterfly/success_onnx": 1,
    }
    assert rebuilt["butterfly/success_champion"] == 1
    assert report["findings"]["model"]["feedback_rows"] == taken["added"]
    assert "butterfly/training_set" not in rebuilt
    assert "butterfly/daily_scan" not in rebuilt
    again = json.loads(homes.butterquant("feedback", "take", "--until", "2016-08-15", "--json", home=home).stdout)
    assert (again["take"], again["added"]) == (None, 0)
    assert homes.run(home)["runs"] == []
    shown = json.loads(homes.butterquant("feedback", "show", "--json", home=home).stdout)
    assert [entry["trades"] for entry in shown["takes"]] == [taken["added"]]
    before = homes.tree(home)
    (home / "lake" / f"{ROWS}.parquet").unlink()
    assert homes.rebuilt(homes.run(home)) == {ROWS: 1, UNUSED: 1}
    assert homes.tree(home) == before
    bad = homes.butterquant("feedback", "take", "--until", "August", home=home, check=False)
    assert bad.returncode == 2
    assert "'August' is no date; write it as YYYY-MM-DD" in bad.stderr
