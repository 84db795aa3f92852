"""Studies over the vintages' own folds: what a trial is worth, that a killed study goes on, and what is published."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest
from pydantic import ValidationError

from butterquant_assets.butterfly import study, study_assets
from butterquant_assets.butterfly.config import CostConfig, TrainingConfig
from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.butterfly.study import StudyConfig, StudyReport
from butterquant_assets.butterfly.study_schemas import SUCCESS_STUDY
from butterquant_assets.butterfly.vintages import Walk
from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.foundation.freshness import Key
from butterquant_assets.foundation.settings import HomeSettings, load_settings
from butterquant_assets.foundation.study_store import open_journal
from butterquant_assets.learning.boosters import LightgbmSettings
from butterquant_assets.learning.members import MemberNetworkSettings, MemberSettings
from butterquant_assets.learning.tuning_objective import FoldData, Part, member_objective, with_parameters
from butterquant_assets.orchestration.axes import MonthAxes
from butterquant_assets.orchestration.declaration import LakeAsset, Work, lake_asset
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.rebuild import KEPT, REBUILT, Done, rebuild
from butterquant_tests.butterfly.market_cases import COSTS, QUICK, Tables, tables, walk_of

SETTINGS = MemberSettings(
    lightgbm=LightgbmSettings(rounds=8, patience=4, min_leaf_rows=20),
    mlp=MemberNetworkSettings(max_epochs=2),
)
CONFIG = replace(QUICK, members=("lightgbm",), settings=SETTINGS, student_hidden=(16,), student_epochs=2)
# Beyond ten the search is guided by what it has seen, and a lost trial would show.
ASKED = StudyConfig(trials=13)
DATA = {"butterfly/training_set": "v1"}


class Killed(BaseException):
    """Stands for a process that dies: nothing in the product may catch it."""


def given() -> Tables:
    return tables(edge=True)


def context_of(asked: StudyConfig = ASKED, config: TrainingConfig = CONFIG, **changed: Any) -> dict[str, str]:
    options: dict[str, Any] = {"costs": COSTS, "data_versions": DATA, "code_version": "c1"} | changed
    return study.study_context(asked, config, **options)


def run(folder: Path, asked: StudyConfig = ASKED, config: TrainingConfig = CONFIG, **options: Any) -> StudyReport:
    data, context = given(), context_of(asked, config)
    path = folder / f"{study.study_name(asked, context)}.journal"
    with open_journal(path) as storage:
        return study.run(
            data.training_set,
            data.analyses,
            data.features,
            config,
            COSTS,
            asked,
            storage=storage,
            context=context,
            **options,
        )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> StudyReport:
    return run(tmp_path_factory.mktemp("study"))


@lru_cache
def walk() -> Walk:
    return walk_of(given(), CONFIG)


def losses(walked: Walk, predictor: str) -> list[float]:
    """Log-loss by vintage of what a predictor said out of sample, straight from the walk's predictions."""
    y = given().training_set[CONFIG.label].to_numpy().astype(int)
    found = []
    for vintage in walked.vintages[:-1]:
        rows = np.flatnonzero(vintage.fold.test)
        found.append(-sum(np.log(walked.predictions[predictor][row, y[row]]) for row in rows) / len(rows))
    return found


def test_the_configuration_in_use_scores_what_the_vintages_scored(undisturbed: StudyReport) -> None:
    facts, member = undisturbed.facts, losses(walk(), "lightgbm")
    assert facts["folds"] == len(member) == 3
    assert facts["log-loss in use"] == pytest.approx(np.mean(member), abs=1e-12)
    assert facts["last fold alone"]["log-loss in use"] == pytest.approx(member[-1], abs=1e-9)
    assert facts["log-loss of geometry alone"] == pytest.approx(np.mean(losses(walk(), "base")), abs=1e-12)


def test_the_best_trial_scores_what_vintages_with_its_parameters_score(undisturbed: StudyReport) -> None:
    best = undisturbed.table[undisturbed.table["best"]].iloc[0]
    adopted = replace(CONFIG, settings=with_parameters(CONFIG.settings, json.loads(best["params"])))
    member = losses(walk_of(given(), adopted), "lightgbm")
    assert best["value"] == pytest.approx(np.mean(member), abs=1e-12)
    assert undisturbed.facts["log-loss of the best"] == best["value"]
    assert best["value"] < undisturbed.facts["log-loss in use"]
    gain = undisturbed.facts["log-loss in use"] - best["value"]
    assert undisturbed.facts["finding"].startswith(f"trial {best['trial']} is {gain:.5f} nats a row better")


def test_the_choice_on_the_earlier_folds_is_scored_on_the_last_one(undisturbed: StudyReport) -> None:
    data = given()
    folds = study.study_folds(data.training_set, data.analyses, data.features, CONFIG, COSTS)
    options: dict[str, Any] = {"kind": "lightgbm", "features": FEATURES, "settings": SETTINGS, "seed": CONFIG.seed}
    rows = undisturbed.table
    # A trial pruned on the way is worse than others there already, so the rest must hold the best of the early folds.
    reached = rows[~rows["reason"].str.contains("at step 1,")]
    early = member_objective(folds[:2], **options)
    by_trial = {row.trial: early(json.loads(row.params), lambda step, value: None) for row in reached.itertuples()}
    found = undisturbed.facts["last fold alone"]
    assert found["trial chosen on the folds before"] == min(by_trial, key=by_trial.__getitem__)
    parameters = json.loads(rows.set_index("trial").loc[found["trial chosen on the folds before"], "params"])
    late = member_objective(folds[2:], **options)(parameters, lambda step, value: None)
    assert found["its log-loss"] == pytest.approx(late, abs=1e-9)


def test_later_rows_do_not_move_an_earlier_fold_by_a_bit() -> None:
    whole, cut = given(), given().known_on("2018-01-15")
    folds = [study.study_folds(data.training_set, data.analyses, data.features, CONFIG, COSTS) for data in (whole, cut)]
    assert len(folds[1]) == 2
    for one, other in ((folds[0][0], folds[1][0]),):
        assert judged(one).labels.tolist() == judged(other).labels.tolist()
        for a, b in ((one.train, other.train), (one.validation, other.validation), (judged(one), judged(other))):
            assert a.X.tobytes() == b.X.tobytes()
            assert a.base is not None
            assert b.base is not None
            assert a.base.tobytes() == b.base.tobytes()


def judged(fold: FoldData) -> Part:
    assert fold.judged is not None
    return fold.judged


def test_weights_reach_the_training_part_where_rows_have_some() -> None:
    data = given()
    weight = np.linspace(0.5, 1.5, len(data.training_set))
    weighted = data.training_set.assign(weight=weight)
    fold = study.study_folds(weighted, data.analyses, data.features, CONFIG, COSTS)[0]
    place = {row.tobytes(): w for row, w in zip(data.training_set[list(FEATURES)].to_numpy(), weight, strict=True)}
    assert fold.train.weight is not None
    assert fold.train.weight.tolist() == [place[row.tobytes()] for row in fold.train.X]
    plain = study.study_folds(data.training_set, data.analyses, data.features, CONFIG, COSTS)[0]
    assert plain.train.weight is None


@pytest.mark.parametrize("call", [2, 12 * 3 + 1], ids=["during a random trial", "during a guided one"])
def test_a_study_killed_in_the_middle_of_a_trial_ends_like_an_undisturbed_one(
    tmp_path: Path, undisturbed: StudyReport, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    train, calls = study.train_member, iter(range(10_000))

    def dying(*arguments: Any, **options: Any) -> Any:
        if next(calls) == min(call, int(trainings(undisturbed.table)) - 1):
            raise Killed
        return train(*arguments, **options)

    monkeypatch.setattr(study, "train_member", dying)
    with pytest.raises(Killed):
        run(tmp_path)
    monkeypatch.setattr(study, "train_member", train)
    assert same(run(tmp_path), undisturbed)


def trainings(table: pd.DataFrame) -> int:
    """How many members the trials of a study over three folds trained."""
    return int(table["reason"].str.contains("at step 1,").map({True: 2, False: 3}).sum())


def same(one: StudyReport, other: StudyReport) -> bool:
    pd.testing.assert_frame_equal(one.table, other.table, check_exact=True)
    return one.facts == other.facts and one.plots == other.plots


def test_more_trials_continue_a_study_out_of_time(tmp_path: Path, undisturbed: StudyReport) -> None:
    hours = iter(range(0, 10_000 * 3600, 3600))
    short = run(tmp_path, replace(ASKED, seconds=3 * 3600.0), clock=lambda: float(next(hours)))
    assert len(short.table) == 3
    assert "3 of 13 trials within 10800 seconds" in short.facts["unfinished"]
    told: list[int] = []
    whole = run(tmp_path, on_trial=lambda trial: told.append(trial.number))
    assert told == list(range(3, 13))
    assert same(whole, undisturbed)
    pd.testing.assert_frame_equal(short.table.drop(columns="best"), whole.table.head(3).drop(columns="best"))


def test_what_a_study_publishes_keeps_its_contract(undisturbed: StudyReport) -> None:
    table = undisturbed.table
    assert SUCCESS_STUDY.validate(table).reasons() == []
    assert SUCCESS_STUDY.validate(study.not_asked().table).reasons() == []
    assert table["trial"].tolist() == list(range(13))
    assert set(undisturbed.plots) == {"study history", "study slices"}
    assert all(png.startswith(b"\x89PNG") for png in undisturbed.plots.values())
    assert "best of 13 trials flatters itself" in undisturbed.facts["warning"]
    assert json.loads(json.dumps(undisturbed.facts)) == undisturbed.facts


@pytest.mark.parametrize(
    ("row", "changed", "check"),
    [
        (0, {"best": True}, "best_is_lowest"),
        (1, {"best": False}, "best_is_lowest"),
        (2, {"value": 0.5, "state": "complete", "reason": ""}, "best_is_lowest"),
        (0, {"value": np.nan}, "only_failed_lack_value"),
        (3, {"value": 1.0}, "only_failed_lack_value"),
        (2, {"reason": ""}, "reason_is_given"),
        (0, {"reason": "slow"}, "reason_is_given"),
        (0, {"state": "running"}, "schema"),
        (0, {"value": -0.1}, "schema"),
        (0, {"trial": 1}, "unique_keys"),
    ],
)
def test_a_table_that_contradicts_itself_is_named(row: int, changed: dict[str, Any], check: str) -> None:
    rows: list[dict[str, Any]] = [
        {"state": "complete", "value": 1.2, "best": False, "reason": ""},
        {"state": "complete", "value": 1.1, "best": True, "reason": ""},
        {"state": "pruned", "value": 1.0, "best": False, "reason": "above the median"},
        {"state": "failed", "value": np.nan, "best": False, "reason": "DataError: no"},
        {"state": "complete", "value": 1.1, "best": False, "reason": ""},
    ]

    def table() -> pd.DataFrame:
        frame = pd.DataFrame([{"trial": number, "params": "{}"} | entry for number, entry in enumerate(rows)])
        return SUCCESS_STUDY.arrange(frame.astype({"state": "str", "params": "str", "reason": "str"}))

    assert SUCCESS_STUDY.validate(table()).reasons() == []
    rows[row] |= changed
    assert not SUCCESS_STUDY.validate(table()).checks[check].passed


class Settings(HomeSettings):
    """The sections that the study asks for."""

    study: StudyConfig = StudyConfig()
    training: TrainingConfig = TrainingConfig()
    costs: CostConfig = COSTS


def adopted(lines: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TrainingConfig:
    """The training's configuration in a shell where those variables are set."""
    for line in lines:
        (word,) = shlex.split(line)
        monkeypatch.setenv(*word.split("=", 1))
    return load_settings(Settings, {"home": tmp_path}).training


@pytest.mark.parametrize(
    "config", [TrainingConfig(), CONFIG], ids=["in the default configuration", "in one that differs"]
)
@pytest.mark.parametrize(
    ("member", "parameters"),
    [
        ("lightgbm", {"lightgbm.leaves": 5, "lightgbm.l2": 1 / 3, "lightgbm.learning_rate": 1e-05}),
        ("xgboost", {"xgboost.max_depth": 2, "xgboost.min_child_weight": 7.25}),
        ("mlp", {"mlp.hidden": (64, 32), "mlp.dropout": 0.1 + 0.2, "mlp.weight_decay": 1e-4}),
    ],
)
def test_the_variables_named_make_the_training_use_exactly_those_parameters(
    config: TrainingConfig,
    member: str,
    parameters: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    read = adopted(study.environment(config, member, parameters), monkeypatch, tmp_path)
    wanted = getattr(with_parameters(config.settings, parameters), member)
    assert getattr(read.settings, member) == wanted
    others = {name: value for name, value in asdict(read.settings).items() if name != member}
    assert others == {name: value for name, value in asdict(MemberSettings()).items() if name != member}


@pytest.mark.parametrize("member", ["mlp", "xgboost"])
def test_the_other_kinds_of_member_can_be_studied(
    tmp_path: Path, member: Literal["mlp", "xgboost"], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = replace(SETTINGS, xgboost=replace(SETTINGS.xgboost, rounds=5))
    config = replace(CONFIG, settings=quick)
    report = run(tmp_path, StudyConfig(member, trials=2), config)
    assert SUCCESS_STUDY.validate(report.table).reasons() == []
    best = json.loads(report.table.loc[report.table["best"], "params"].iloc[0])
    assert all(name.startswith(f"{member}.") for name in best)
    read = adopted(report.facts["to use the best"].splitlines(), monkeypatch, tmp_path)
    assert getattr(read.settings, member) == getattr(with_parameters(config.settings, best), member)


def test_no_trial_better_than_geometry_or_the_configuration_in_use_is_said_so() -> None:
    assert "better than geometry alone" in study._finding(3, best=1.0, in_use=1.1, geometry=1.0)
    assert "leave it as it is" in study._finding(3, best=1.0, in_use=1.0, geometry=1.2)
    assert study._finding(3, best=1.0, in_use=1.1, geometry=1.2).startswith("trial 3 is 0.10000 nats")


def changed_member(**values: Any) -> TrainingConfig:
    return replace(CONFIG, settings=replace(SETTINGS, lightgbm=replace(SETTINGS.lightgbm, **values)))


@pytest.mark.parametrize(
    "other",
    [
        lambda: (ASKED, context_of(data_versions={"butterfly/training_set": "v2"})),
        lambda: (ASKED, context_of(code_version="c2")),
        lambda: (ASKED, context_of(costs=CostConfig(commission_usd=1.0))),
        lambda: (ASKED, context_of(config=changed_member(rounds=9))),
        lambda: (ASKED, context_of(config=replace(CONFIG, label="label_net"))),
        lambda: (ASKED, context_of(config=replace(CONFIG, seed=8))),
        lambda: (replace(ASKED, seed=8), context_of()),
        lambda: (replace(ASKED, member="xgboost"), context_of(replace(ASKED, member="xgboost"))),
    ],
    ids=["data", "code", "costs", "fixed setting", "label", "seed of training", "seed of search", "member"],
)
def test_what_decides_the_values_begins_a_study_of_its_own(
    other: Callable[[], tuple[StudyConfig, Mapping[str, str]]],
) -> None:
    assert study.study_name(*other()) != study.study_name(ASKED, context_of())


def test_budget_and_adopted_parameters_do_not_begin_a_study_anew() -> None:
    name = study.study_name(ASKED, context_of())
    longer = replace(ASKED, trials=99, seconds=5.0)
    assert study.study_name(longer, context_of(longer)) == name
    assert study.study_name(ASKED, context_of(config=changed_member(leaves=3, l2=2.0))) == name
    assert study.study_name(ASKED, context_of(config=replace(CONFIG, base_prior_rows=1.0))) == name


@pytest.mark.parametrize("bad", [{"trials": -1}, {"seconds": 0.0}, {"seconds": float("nan")}, {"seed": -1}])
def test_a_budget_that_makes_no_sense_is_refused_by_name(bad: dict[str, Any]) -> None:
    (name,) = bad
    with pytest.raises(ConfigError, match=f"{name} is .*BUTTERQUANT_STUDY__{name.upper()}"):
        StudyConfig(**bad)


def test_a_member_without_a_space_is_refused_in_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BUTTERQUANT_STUDY__MEMBER", "logistic")
    with pytest.raises((ConfigError, ValidationError), match="lightgbm"):
        load_settings(Settings, {"home": tmp_path})


def test_too_few_rows_for_a_fold_and_no_trials_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no fold is possible"):
        run(tmp_path, config=replace(CONFIG, minimum_rows=5000))
    with pytest.raises(ConfigError, match="BUTTERQUANT_STUDY__TRIALS"):
        run(tmp_path, StudyConfig())


def source(name: str, frame: Callable[[], pd.DataFrame]) -> LakeAsset:
    """An asset that has those rows."""
    columns = {column: pa.Column(dtype) for column, dtype in frame().dtypes.items()}
    contract = Contract(name, pa.DataFrameSchema(columns), ("session", "ticker"), time=None)

    def compute(work: Work) -> pd.DataFrame:
        return frame()

    return lake_asset(contract, code=[source], axis=None)(compute)


DECLARATIONS = (
    source(study_assets.TRAINING, lambda: given().training_set),
    source(study_assets.ANALYSES, lambda: given().analyses),
    source(study_assets.FEATURES, lambda: given().features),
    *study_assets.ASSETS,
)


BINDING = {"market_start": "2018-01", "market_end": "2018-01", "start": "2018-01", "end": "2018-01"}


def house_of(home: Path, asked: StudyConfig, config: TrainingConfig = CONFIG) -> House:
    house = House(Settings(home=home, study=asked, training=config), MonthAxes(BINDING), DECLARATIONS, lambda: None)  # type: ignore
    for declaration in DECLARATIONS[:-1]:
        rebuild(house, declaration, (None,))
    return house


def materialise(house: House) -> Done:
    return rebuild(house, DECLARATIONS[-1].resolved(house.settings), (None,)).outcomes[study_assets.STUDY][None]


def trials_in(journal: Path) -> int:
    # 4 is the journal's code for a trial begun.
    return sum(json.loads(line)["op_code"] == 4 for line in journal.read_text().splitlines())


def facts_of(done: Done) -> Mapping[Key, Any]:
    assert done.footer is not None
    return done.footer.facts  # type: ignore[return-value]


def test_without_trials_nothing_is_read_searched_or_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = house_of(tmp_path, StudyConfig())

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("work was done although no study was asked for")

    for owner, name in ((Work, "read"), (study_assets, "open_journal"), (study, "study_folds")):
        monkeypatch.setattr(owner, name, refuse)
    done = materialise(house)
    assert done.action == REBUILT
    assert facts_of(done)["study"] == "no study was asked for; set BUTTERQUANT_STUDY__TRIALS"
    assert len(house.lake.read(study_assets.STUDY, None)) == 0
    assert not (tmp_path / "studies").exists()
    assert not (tmp_path / "plots").exists()


def test_the_asset_publishes_a_study_and_scores_adopted_parameters_without_a_new_trial(tmp_path: Path) -> None:
    asked = StudyConfig(trials=3)
    done = materialise(house_of(tmp_path, asked))
    assert done.action == REBUILT, done.reasons
    (journal,) = (tmp_path / "studies").glob("*.journal")
    assert journal.stem == facts_of(done)["study"]
    assert done.footer is not None
    assert set(done.footer.artifacts) == {
        f"plots/butterfly/success_study/study {name}.png" for name in ("history", "slices")
    }
    again = house_of(tmp_path, asked)
    assert materialise(again).action == KEPT
    table, trials = again.lake.read(study_assets.STUDY, None), trials_in(journal)
    best = table[table["best"]].iloc[0]
    settings = with_parameters(CONFIG.settings, json.loads(best["params"]))
    done = materialise(house_of(tmp_path, asked, replace(CONFIG, settings=settings)))
    assert done.action == REBUILT
    assert facts_of(done)["log-loss in use"] == best["value"]
    assert "leave it as it is" in facts_of(done)["finding"] or "geometry alone" in facts_of(done)["finding"]
    pd.testing.assert_frame_equal(again.lake.read(study_assets.STUDY, None), table)
    assert trials_in(journal) == trials == 3
