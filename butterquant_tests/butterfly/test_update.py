"""The weekly update: it follows what changes, sees nothing of the future, and is stored and judged like any model."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import replay, success, update_schemas
from butterquant_assets.butterfly.model_schemas import PROBABILITIES
from butterquant_assets.butterfly.replay import updated_models
from butterquant_assets.butterfly.update import UpdateConfig, UpdateWalk
from butterquant_assets.butterfly.update_version import UpdatedSuccess, judge_update, week_table
from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning import ensemble as ensemble_files
from butterquant_assets.learning.onnx_ensemble import check_ensemble_parity, export_ensemble
from butterquant_tests.butterfly.market_cases import KEYS
from butterquant_tests.butterfly.update_cases import CONFIG, LABEL, Case, calibrated, shifted_rows, update_case


@pytest.fixture(scope="module")
def case() -> Case:
    return update_case()


@pytest.fixture(scope="module")
def shifted() -> pd.DataFrame:
    return shifted_rows()


@pytest.fixture(scope="module")
def followed(case: Case, shifted: pd.DataFrame) -> UpdateWalk:
    return case.walk(shifted)


@pytest.fixture(scope="module")
def made(case: Case, followed: UpdateWalk) -> UpdatedSuccess:
    return case.build(followed)


def files_of(walk: UpdateWalk) -> list[dict[str, bytes]]:
    return [ensemble_files.to_files(week.ensemble) for week in walk.weeks]


def loss(p: np.ndarray, walk: UpdateWalk) -> float:
    y = walk.rows.loc[walk.judged, LABEL].to_numpy().astype(int)
    return float(-np.log(p[walk.judged][np.arange(len(y)), y]).mean())


# ------------------------------------------------------------------------------------------------ what it learns


def test_a_shift_of_the_class_frequencies_is_followed_and_promoted(case: Case, followed: UpdateWalk) -> None:
    assert followed.refusal() is None
    assert loss(followed.probabilities, followed) < loss(followed.unchanged, followed) - 0.1
    found = judge_update("u", followed, case.parent.models, label=LABEL, champion=case.parent.version, seed=7)
    assert found.promoted, found.reason
    assert found.low > 0
    assert found.champion == case.parent.version
    assert found.rows == followed.judged.sum()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_where_the_vintages_are_right_no_update_is_promoted(case: Case, seed: int) -> None:
    luck = np.random.default_rng(seed).random((len(case.rows), 1))
    true = replay.predict_at_the_time(case.parent.models, case.rows)
    drawn = (true.cumsum(axis=1) < luck).sum(axis=1).clip(0, 3)
    walk = case.walk(case.rows.assign(**{LABEL: drawn.astype(float)}))
    if walk.refusal() is None:
        found = judge_update("u", walk, case.parent.models, label=LABEL, champion=case.parent.version, seed=7)
        assert not found.promoted


def test_each_week_starts_from_its_vintage_so_trees_do_not_pile_up(followed: UpdateWalk) -> None:
    for week in followed.weeks:
        before, after = (e.members["lightgbm"] for e in (week.vintage.ensemble, week.ensemble))
        assert len(after.texts) == len(before.texts) + (1 if week.rounds else 0)
        assert week.ensemble.weights == week.vintage.ensemble.weights
        assert sum(week.rounds.values()) <= CONFIG.rounds


def test_rows_the_vintage_learnt_from_count_as_new_for_earlier_vintages_only(case: Case) -> None:
    final = case.parent.models[-1].first
    everything = case.walk(sample=pd.concat([case.given.training_set, case.rows]))
    assert everything.served.vintage.first == final
    assert everything.served.new_rows == 0
    assert "0 new rows of 0 episodes" in everything.served.reason
    assert case.walk().served.new_rows > 0


def test_a_calibrator_is_refitted_on_outcomes_known_by_then_and_its_method_kept(
    case: Case, shifted: pd.DataFrame
) -> None:
    walk = case.walk(shifted, models=calibrated(list(case.parent.models), 2.5))
    learnt = [week for week in walk.weeks if week.updated]
    assert len(learnt) > 5
    for week in learnt:
        assert week.ensemble.calibrator.method == "temperature"
        horizon = pd.Timestamp(str(week.first)) - pd.Timedelta(days=CONFIG.embargo_days)
        scanned = int((walk.rows["evaluation_session"] < horizon).sum())
        sample = case.given.training_set
        met = sample["session"] >= pd.Timestamp(str(case.parent.models[0].first))
        left_to_scan = sample["session"].isin(walk.rows["session"])
        sampled = int((met & ~left_to_scan & (sample["evaluation_session"] < horizon)).sum())
        assert week.calibration_rows == scanned + sampled > 0
    # The vintages' temperature was made up; the refitted one is what the outcomes ask for.
    assert all(week.ensemble.calibrator.tables["temperature"][0] < 2.0 for week in learnt)


# ------------------------------------------------------------------------------------------------ no look-ahead


def test_what_comes_after_a_week_changes_nothing_of_its_model_and_predictions(case: Case, followed: UpdateWalk) -> None:
    models = calibrated(list(case.parent.models), 1.3)
    whole = case.walk(followed.rows, models=models)
    learnt = [number for number, week in enumerate(whole.weeks[:-1]) if week.updated]
    for number in (learnt[0], learnt[len(learnt) // 2]):
        end = pd.Timestamp(str(whole.weeks[number + 1].first))
        rows = whole.rows[whole.rows["session"] < end].reset_index(drop=True)
        rows.loc[rows["evaluation_session"] >= end, ["evaluation_session", LABEL]] = (pd.NaT, np.nan)
        sample = case.given.training_set[case.given.training_set["session"] < end]
        cut = case.walk(rows, models=models, sample=sample)
        assert [week.first for week in cut.weeks[: number + 1]] == [week.first for week in whole.weeks[: number + 1]]
        assert files_of(cut)[: number + 1] == files_of(whole)[: number + 1]
        assert cut.probabilities.tobytes() == whole.probabilities[: len(rows)].tobytes()
        assert cut.unchanged.tobytes() == whole.unchanged[: len(rows)].tobytes()


def test_outcomes_become_known_only_after_the_embargo(case: Case, followed: UpdateWalk) -> None:
    number = next(number for number, week in enumerate(followed.weeks) if week.updated)
    week = followed.weeks[number]
    horizon = pd.Timestamp(str(week.first)) - pd.Timedelta(days=CONFIG.embargo_days)
    rows = followed.rows.copy()
    late = rows["evaluation_session"] >= horizon
    rows.loc[late, LABEL] = 3.0 - rows.loc[late, LABEL]
    assert files_of(case.walk(rows))[: number + 1] == files_of(followed)[: number + 1]
    # By the latest of the known rows boosting stops, so their outcomes show in the record of the trees.
    newest = ~late & (rows["session"] == rows.loc[~late, "session"].max())
    rows.loc[newest, LABEL] = 3.0 - rows.loc[newest, LABEL]
    assert files_of(case.walk(rows))[number] != files_of(followed)[number]


# ------------------------------------------------------------------------------------------------ storing


def test_the_same_inputs_give_the_same_bytes_and_version(
    case: Case, followed: UpdateWalk, made: UpdatedSuccess
) -> None:
    one, other = made, case.build(case.walk(followed.rows))
    assert one.version == other.version
    assert one.files == other.files
    assert one.training == other.training
    assert case.build(followed, replace(CONFIG, seed=8)).version != one.version


def test_stored_weeks_give_the_same_models_back(case: Case, followed: UpdateWalk, made: UpdatedSuccess) -> None:
    parent = case.parent
    models = updated_models("u" * 16, made.training, made.files, parent.models, parent.files)
    learnt = [week for week in followed.weeks if week.updated]
    own = [model for model in models if model.label.startswith("u")]
    assert [model.first for model in own] == [week.first for week in learnt]
    for model, week in zip(own, learnt, strict=True):
        assert ensemble_files.to_files(model.ensemble) == ensemble_files.to_files(week.ensemble)
    assert own[-1].label == "u" * 16
    assert own[0].label == f"{'u' * 16}@{learnt[0].first}"
    firsts = [model.first for model in models]
    assert firsts == sorted(set(firsts))
    # Before the first updated week the vintages of the parent decide, under the parent's name.
    before = [model for model in models if model.first < learnt[0].first]
    assert before == [model for model in parent.models if model.first < learnt[0].first]
    again = replay.predict_at_the_time(models, followed.rows)
    np.testing.assert_allclose(again, followed.probabilities, atol=1e-6)


def test_the_onnx_graph_of_an_update_agrees_with_it(followed: UpdateWalk, made: UpdatedSuccess) -> None:
    ensemble = success.restore(made.files)
    rows = success.rows_to_compare(followed.rows)
    parity = check_ensemble_parity(ensemble, export_ensemble(ensemble), rows)
    assert parity["max_abs_difference"].max() <= 1e-5


def test_the_card_names_parent_rows_weeks_and_configuration(
    case: Case, followed: UpdateWalk, made: UpdatedSuccess
) -> None:
    parity = pd.DataFrame({"batch": [1], "max_abs_difference": [1e-8]})
    card = success.card(made.training, made.evaluation, parity)
    told = card["training"]["update"]
    assert replay.parent_of(card) == replay.parent_of(made.training) == told["parent"] == case.parent.version
    assert replay.parent_of(case.parent.training) is None
    assert told["new_rows"] == followed.served.new_rows
    assert told["weeks_updated"] == sum(week.updated for week in followed.weeks)
    assert [week["first"] for week in card["splits"]["weeks"]] == [str(week.first) for week in followed.weeks]
    assert card["config"]["update"]["rounds"] == CONFIG.rounds
    assert card["config"]["training"] == case.parent.training["config"]["training"]
    assert card["data_versions"] == {
        "training_set": "v1",
        "butterfly/daily_scan": "s1",
        "butterfly/scan_outcomes": "o1",
    }
    assert set(card["evaluation"]["weekly_update"]) == {"model", "parent", "geometry"}
    assert card["verdict"]["rows"] == followed.judged.sum()
    calibrator = success.restore(made.files).calibrator
    assert card["serving"]["calibration"] == {"method": calibrator.method, "version": calibrator.version()}


def test_stored_predictions_are_the_updates_where_it_decided_and_the_parents_before(
    case: Case, followed: UpdateWalk, made: UpdatedSuccess
) -> None:
    stored = pd.read_parquet(io.BytesIO(made.files[success.OUT_OF_SAMPLE]))
    parents = pd.read_parquet(io.BytesIO(case.parent.files[success.OUT_OF_SAMPLE]))
    assert list(stored.columns) == list(parents.columns)
    assert not stored.duplicated([*KEYS, "predictor"]).any()
    assert len(stored) == len(parents) + 2 * followed.updated.sum()  # the tickers are others
    ours = followed.rows.loc[followed.updated, KEYS].merge(stored[stored["predictor"] == "model"], on=KEYS)
    assert ours[list(PROBABILITIES)].to_numpy().tobytes() == followed.probabilities[followed.updated].tobytes()


def test_the_table_of_weeks_keeps_its_contract(followed: UpdateWalk) -> None:
    contract = update_schemas.SUCCESS_UPDATE
    table = contract.arrange(week_table(followed, LABEL))
    assert contract.validate(table).reasons() == []
    assert table["updated"].any()
    assert not table["updated"].all()
    assert table["rows"].sum() == len(followed.rows)
    lying = table.assign(rounds=0, calibration_rows=0)
    assert not contract.validate(lying).passed


# ------------------------------------------------------------------------------------------------ nothing to do


def test_too_few_rows_or_episodes_leave_the_model_as_it_is_with_the_reason(case: Case) -> None:
    for config in (replace(CONFIG, minimum_rows=5000), replace(CONFIG, minimum_episodes=500)):
        walk = case.walk(config=config)
        assert not any(week.updated for week in walk.weeks)
        reason = walk.refusal()
        assert reason is not None
        assert f"at least {config.minimum_rows} rows of {config.minimum_episodes} episodes are needed" in reason
        assert np.array_equal(walk.probabilities, walk.unchanged, equal_nan=True)


def test_without_any_known_outcome_there_is_no_update(case: Case) -> None:
    rows = case.rows.assign(evaluation_session=pd.NaT, **{LABEL: np.nan}).astype(case.rows.dtypes.to_dict())
    walk = case.walk(rows)
    assert "0 new rows" in str(walk.refusal())
    assert not walk.judged.any()
    assert np.isfinite(walk.probabilities).all()


def test_no_scanned_row_is_refused(case: Case) -> None:
    with pytest.raises(DataError, match="no row was scanned"):
        case.walk(case.rows.iloc[:0])


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"minimum_rows": 0}, {"embargo_days": -1}, {"validation_share": 1.0}])
def test_a_configuration_that_makes_no_sense_is_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"update.{next(iter(wrong))} is"):
        UpdateConfig(**wrong)  # type: ignore[arg-type]
