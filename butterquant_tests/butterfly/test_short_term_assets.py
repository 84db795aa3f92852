"""The short-term assets in a small house: from bars to published ONNX files, and what a changed bar costs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import assets, short_term_assets
from butterquant_assets.butterfly.config import AnalysisConfig, SamplingConfig
from butterquant_assets.butterfly.short_term_schemas import SHORT_TERM, no_target_after
from butterquant_assets.butterfly.short_term_training import (
    INPUTS,
    NetworkSettings,
    ShortTermConfig,
    inputs_of,
)
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.foundation.settings import HomeSettings, load_settings
from butterquant_assets.learning.boosters import LightgbmSettings
from butterquant_assets.learning.onnx_export import open_session, run_session
from butterquant_assets.market import assets as market_assets
from butterquant_assets.market.sources.base import open_source
from butterquant_assets.orchestration.axes import MonthAxes
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.rebuild import KEPT, REBUILT, Rebuilt, rebuild

MODELS = ("volatility", "direction", "quiet")
BEFORE = ("market/equity_bars", "market/vix", "butterfly/vix_samples", "butterfly/analyses", "butterfly/features")
ASSETS = [name for asset in short_term_assets.ASSETS for name in asset.names]
# The last months the source holds, so that some rows have no seven sessions after them yet.
BINDING = {"start": "2018-08", "end": "2018-12", "market_start": "2016-06", "market_end": "2018-12"}
TINY = ShortTermConfig(
    minimum_train_rows=40,
    minimum_train_episodes=2,
    step_rows=40,
    minimum_weighing_rows=20,
    lightgbm=LightgbmSettings(rounds=20, min_leaf_rows=10),
    mlp=NetworkSettings(max_epochs=3),
)


class Settings(HomeSettings):
    """The sections that the assets in use ask for."""

    sampling: SamplingConfig = SamplingConfig(low_days=5, normal_days=9, high_days=4, tickers_per_day=6)
    analysis_in_use: AnalysisConfig = AnalysisConfig()
    costs: Any = None
    training: Any = None
    short_term: ShortTermConfig = TINY


class Corrected:
    """A source in which one close has been corrected."""

    def __init__(self, source: Any, ticker: str, session: pd.Timestamp) -> None:
        self.source, self.ticker, self.session = source, ticker, session

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def fingerprints(self, dataset: str, months: Sequence[str]) -> Mapping[str, str]:
        found = dict(self.source.fingerprints(dataset, months))
        month = self.session.strftime("%Y-%m")
        return found | ({month: "corrected"} if dataset == "equity_bars" and month in found else {})

    def fetch(self, dataset: str, months: Sequence[str]) -> Any:
        got = self.source.fetch(dataset, months)
        if dataset != "equity_bars":
            return got
        rows = got.rows.copy()
        concerned = (rows["ticker"] == self.ticker) & (rows["session"] == self.session)
        rows.loc[concerned, "close"] = (rows.loc[concerned, "high"] + rows.loc[concerned, "low"]) / 2
        return replace(got, rows=rows)


def house_of(home: Path, source: Any, config: ShortTermConfig = TINY) -> House:
    declarations = [*market_assets.ASSETS, *assets.ASSETS, *short_term_assets.ASSETS]
    return House(Settings(home=home, short_term=config), MonthAxes(BINDING), declarations, lambda: source)


def made(house: House, names: Sequence[str]) -> dict[str, Rebuilt]:
    done = {}
    for name in names:
        declaration = house.declaration(name)
        keys = house.keys(declaration.axis) if declaration.axis else (None,)
        done[name] = rebuild(house, declaration, keys)
    return done


def table(house: House, name: str) -> pd.DataFrame:
    months = house.declaration(name).axis
    return house.lake.read(name, None if months is None else list(house.keys(months)))


def facts(house: House, name: str) -> Mapping[str, Any]:
    footer = house.freshness().snapshot.entry(name, None).footer
    assert footer is not None
    return footer.facts


@pytest.fixture(scope="module")
def source() -> Any:
    return open_source("sample", seed=3, tickers=7)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, source: Any) -> House:
    """A house in which everything has been made once."""
    house = house_of(tmp_path_factory.mktemp("house"), source)
    for name, done in made(house, [*BEFORE, *ASSETS]).items():
        assert done.count(name, REBUILT) == len(done.outcomes[name]), (name, done.outcomes[name])
    return house


def test_every_analysis_has_its_references_and_targets_only_where_seven_sessions_are_known(built: House) -> None:
    rows, analysed = table(built, "butterfly/short_term"), table(built, "butterfly/analyses")
    assert rows[["session", "ticker"]].equals(analysed[["session", "ticker"]])
    assert SHORT_TERM.validate(rows).reasons() == []
    last = table(built, "market/vix")["session"].max()
    assert no_target_after(last).holds(rows).all()
    late = rows["missing_reason"] == "after_data_end"
    assert 0 < late.sum() < len(rows)
    assert (rows.loc[late, "target_session"] > last).all()
    joined = table(built, "butterfly/short_term_set")
    assert len(joined) == (rows["missing_reason"] == "").sum()
    assert facts(built, "butterfly/short_term_set")["without targets"] == {"after_data_end": int(late.sum())}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_judged_stored_exported_and_published_under_one_version(built: House, name: str) -> None:
    version = facts(built, f"butterfly/{name}_model")["version"]
    store = ModelStore(built.settings.models_location)
    card = store.verify(name, version)
    assert store.versions(name) == [version]
    assert card["verdict"]["sentence"] == facts(built, f"butterfly/{name}_model")["verdict"]
    assert "short_term_set" in json.dumps(card["data_versions"])
    evaluation = table(built, f"butterfly/{name}_model")
    judged = evaluation[(evaluation["predictor"] == "all_rows") & (evaluation["part"] == "all")]
    kept = pd.read_parquet(store.directory(name, version) / "out_of_sample.parquet")
    assert float(judged.set_index("metric").loc["rows", "value"]) == len(kept) > 0
    session = open_session(store.onnx_path(name, version).read_bytes())
    inputs = inputs_of(table(built, "butterfly/short_term_set"))
    assert session.get_inputs()[0].shape[1] == len(INPUTS)
    answers = run_session(session, inputs)
    if name == "volatility":
        assert ((answers > 0.02) & (answers < 3.0)).all()
    else:
        assert answers.sum(axis=1) == pytest.approx(np.ones(len(inputs)), abs=1e-6)
    assert table(built, f"butterfly/{name}_onnx")["max_abs_difference"].max() <= 1e-5


def test_what_is_current_is_left_alone(built: House) -> None:
    for name, done in made(built, ASSETS).items():
        assert done.count(name, KEPT) == len(done.outcomes[name])


def test_training_again_gives_the_same_version(built: House) -> None:
    before = facts(built, "butterfly/quiet_model")["version"]
    rebuild(built, built.declaration("butterfly/quiet_model"), (None,), force=True)
    assert facts(built, "butterfly/quiet_model")["version"] == before


def test_too_few_rows_are_refused_with_what_is_missing(built: House) -> None:
    demanding = house_of(built.settings.home, built.source, ShortTermConfig())
    with pytest.raises(DataError, match="at least 600 rows from 10 episodes are needed"):
        rebuild(demanding, demanding.declaration("butterfly/direction_model"), (None,))


def test_every_minimum_and_every_iteration_count_can_be_set_from_the_environment() -> None:
    names = {"MINIMUM_TRAIN_ROWS": "20", "MINIMUM_WEIGHING_ROWS": "9", "LIGHTGBM__ROUNDS": "5", "MLP__MAX_EPOCHS": "2"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in names.items():
            patch.setenv(f"BUTTERQUANT_SHORT_TERM__{name}", value)
        read = load_settings(Settings, {}).short_term
    assert (read.minimum_train_rows, read.minimum_weighing_rows) == (20, 9)
    assert (read.lightgbm.rounds, read.mlp.max_epochs) == (5, 2)
    assert read.mlp.hidden == NetworkSettings().hidden != (128, 64)


def test_a_corrected_bar_changes_the_rows_of_its_own_ticker_and_no_others(
    built: House, source: Any, tmp_path: Path
) -> None:
    before = table(built, "butterfly/short_term")
    concerned = before[before["session"] >= "2018-10-01"].iloc[0]
    ticker, session = str(concerned["ticker"]), concerned["session"]
    shutil.copytree(built.settings.home, tmp_path / "home")
    house = house_of(tmp_path / "home", Corrected(source, ticker, session))
    made(house, [*BEFORE, "butterfly/short_term"])
    after = table(house, "butterfly/short_term")
    keys = ["session", "ticker"]
    both = before.merge(after, on=keys, suffixes=("", "_after"), how="outer", indicator=True)
    assert (both["_merge"] == "both").all()
    moved = both["rv_22"] != both["rv_22_after"]
    assert moved.any()
    assert set(both.loc[moved, "ticker"]) == {ticker}
    assert both.loc[moved, "session"].min() == session
    pd.testing.assert_frame_equal(
        after[after["ticker"] != ticker].reset_index(drop=True),
        before[before["ticker"] != ticker].reset_index(drop=True),
    )
