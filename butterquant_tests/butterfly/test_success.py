"""The success model whole: joins, versions, files that give the same predictions back, and edge found where it is."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import evaluation, success, success_record, success_report
from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.butterfly.geometry import geometry_probabilities
from butterquant_assets.butterfly.labels import ROI_KINDS
from butterquant_assets.butterfly.model_schemas import CALIBRATION_TABLE, PROBABILITIES, SUCCESS_PREDICTIONS
from butterquant_assets.butterfly.success import TrainedSuccess, join_training_set, restore, restore_vintage
from butterquant_assets.butterfly.success_report import Findings, Outlook
from butterquant_assets.foundation.errors import ConfigError, DataError, ModelStoreError
from butterquant_assets.learning.schemas import evaluation_contract
from butterquant_tests.butterfly.market_cases import (
    KEYS,
    QUICK,
    Tables,
    edge_model,
    edge_walk,
    knows_the_calm,
    tables,
    trained,
    walk_of,
)

SMALL = replace(QUICK, members=("logistic",), student_hidden=(16,), student_epochs=3, step_rows=10_000)


def small_tables() -> Tables:
    return tables(140, seed=5, labelled=3, tickers=4)


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take the most time by far; here they do not matter."""

    def look(found: Findings) -> Outlook:
        return Outlook(b"report", {}, {})

    monkeypatch.setattr(success_report, "look", look)


def inputs() -> np.ndarray:
    return tables(edge=True).training_set[list(FEATURES)].to_numpy()


def long_form(model: TrainedSuccess, predictor: str) -> pd.DataFrame:
    rows = model.predictions[model.predictions["predictor"] == predictor]
    return tables(edge=True).training_set[KEYS].merge(rows, on=KEYS, how="left", validate="one_to_one")


# ------------------------------------------------------------------------------------------------ edge or none


def test_a_planted_edge_is_found_and_claimed_only_under_the_condition_of_proxy_volatilities() -> None:
    model, given = edge_model(), tables(edge=True)
    verdict = model.training["verdict"]
    assert verdict["beats_geometry"]
    assert verdict["low"] > 0
    assert "published volatilities" in verdict["sentence"]
    # What could be gained at most is known: at least a third of it is found from a few hundred rows.
    attainable = knows_the_calm(given.analyses, points=101)
    place = pd.MultiIndex.from_frame(given.analyses[KEYS]).get_indexer(
        pd.MultiIndex.from_frame(given.training_set[KEYS])
    )
    geometry = geometry_probabilities(given.analyses.iloc[place], QUICK.label)
    tested = edge_walk().tested
    y = given.training_set.loc[tested, QUICK.label].to_numpy().astype(int)
    gains = np.log(attainable[place][tested] / geometry[tested])[np.arange(len(y)), y]
    assert gains.mean() / 3 < verdict["gain"] < gains.mean() + 0.02


def test_no_edge_is_claimed_on_fair_markets() -> None:
    config = replace(QUICK, members=("logistic",), step_rows=200, student_epochs=20)
    for seed in (2, 3):
        given = tables(180, seed=seed, labelled=4, tickers=6)
        walk = walk_of(given, config)
        folds = [vintage.fold for vintage in walk.vintages[:-1]]
        baselines = evaluation.baseline_predictions(
            given.training_set, given.analyses, folds, label=config.label, features=FEATURES
        )
        found = evaluation.verdict(
            walk.predictions | baselines, given.training_set, walk.tested, label=config.label, seed=7
        )
        assert not found.beats_geometry
        assert found.episodes >= evaluation.MINIMUM_EPISODES


# ------------------------------------------------------------------------------------------------ files and tables


def test_files_give_the_same_predictions_back() -> None:
    model, walk, X = edge_model(), edge_walk(), inputs()
    assert np.array_equal(restore(model.files).predict(X), walk.final.ensemble.predict(X))
    shown = long_form(model, "model")
    for vintage in walk.vintages[:-1]:
        met = vintage.fold.test
        again = restore_vintage(vintage.name, model.files).predict(X[met])
        assert np.array_equal(again, shown.loc[met, list(PROBABILITIES)].to_numpy())
        assert set(shown.loc[met, "vintage"]) == {vintage.name}
    with pytest.raises(ModelStoreError, match="lacks"):
        restore_vintage("1999-01", model.files)


def test_no_file_is_a_pickle_and_the_final_vintage_is_stored_once() -> None:
    files = edge_model().files
    assert {path.rsplit(".", 1)[1] for path in files} == {"json", "safetensors", "txt", "parquet", "html"}
    months = {path.split("/")[1] for path in files if path.startswith("vintages/")}
    assert months == {vintage.name for vintage in edge_walk().vintages[:-1]}


def test_the_stored_out_of_sample_predictions_are_those_of_model_and_geometry() -> None:
    model = edge_model()
    stored = pd.read_parquet(io.BytesIO(model.files[success.OUT_OF_SAMPLE]))
    rivals = model.predictions[model.predictions["predictor"].isin(["model", "geometry"])].reset_index(drop=True)
    assert set(stored["predictor"]) == {"model", "geometry"}
    assert np.array_equal(stored[list(PROBABILITIES)].to_numpy(), rivals[list(PROBABILITIES)].to_numpy())
    assert stored[KEYS].to_numpy().tolist() == rivals[KEYS].to_numpy().tolist()


def test_tables_keep_their_contracts() -> None:
    model = edge_model()
    contract = evaluation_contract("butterfly/model_evaluation")
    assert SUCCESS_PREDICTIONS.validate(model.predictions).reasons() == []
    assert CALIBRATION_TABLE.validate(CALIBRATION_TABLE.arrange(model.calibration)).reasons() == []
    assert contract.validate(contract.arrange(model.evaluation)).reasons() == []
    walk = edge_walk()
    assert set(model.predictions["predictor"]) >= {"model", "pool", "base", "geometry", "class_prior", *QUICK.members}
    assert (model.predictions.groupby("predictor").size() == walk.tested.sum()).all()
    chosen = model.calibration[model.calibration["chosen"]].set_index("vintage")["method"]
    assert chosen.to_dict() == {vintage.name: vintage.ensemble.calibrator.method for vintage in walk.vintages}


def test_rows_under_any_index_keep_their_vintage(no_report: None) -> None:
    given = small_tables()
    moved = replace(given, training_set=given.training_set.set_axis(np.arange(len(given.training_set)) * 3 + 1))
    one, other = trained(given, SMALL), trained(moved, SMALL)
    assert one.version == other.version
    pd.testing.assert_frame_equal(one.predictions, other.predictions)
    assert one.predictions["vintage"].str.len().eq(7).all()


# ------------------------------------------------------------------------------------------------ versions and card


def test_the_same_inputs_give_the_same_bytes(no_report: None) -> None:
    one, other = (trained(small_tables(), SMALL) for _ in range(2))
    assert one.files == other.files
    assert one.version == other.version
    assert one.training == other.training
    pd.testing.assert_frame_equal(one.evaluation, other.evaluation, check_exact=True)


def test_the_version_changes_with_data_configuration_code_and_outcomes(no_report: None) -> None:
    given = small_tables()
    labels = given.training_set["label_mark"].to_numpy().copy()
    labels[-1] = 3.0 - labels[-1]
    models = [
        trained(given, SMALL),
        trained(given, SMALL, data_versions={"training_set": "v2"}),
        trained(given, SMALL, code_version="c2"),
        trained(given, replace(SMALL, base_prior_rows=6.0)),
        trained(given, replace(SMALL, seed=8)),
        trained(replace(given, training_set=given.training_set.assign(label_mark=labels)), SMALL),
    ]
    versions = [model.version for model in models]
    assert len(set(versions)) == len(versions)


def test_the_card_is_plain_json_and_says_what_a_service_needs() -> None:
    model = edge_model()
    parity = pd.DataFrame({"batch": [1], "max_abs_difference": [1e-8]})
    card = success.card(model.training, model.evaluation, parity)
    again = json.loads(json.dumps(card, allow_nan=False))
    assert again == card
    serving = card["serving"]
    assert [feature["name"] for feature in serving["features"]] == list(FEATURES)
    ranges = {
        feature["name"]: (feature["low"], feature["high"], feature["nullable"]) for feature in serving["features"]
    }
    assert ranges["dte_factor"] == (0.0, 2.0, False)
    assert ranges["skew_estimate"] == (None, None, True)
    rows = tables(edge=True).training_set
    means = rows.groupby(rows[QUICK.label].astype(int))["roi_net"].mean()
    assert serving["class_values"]["training"] == pytest.approx([means[k] for k in range(4)])
    assert serving["class_values"]["document"] == [0.0, 0.05, 0.2, 0.4]
    calibrator = edge_walk().final.ensemble.calibrator
    assert serving["calibration"] == {"method": calibrator.method, "version": calibrator.version()}
    # The calibrator a service reads about is the one in the files.
    assert restore(model.files).calibrator.version() == serving["calibration"]["version"]
    names = [vintage["vintage"] for vintage in card["splits"]["vintages"]]
    assert names == [vintage.name for vintage in edge_walk().vintages]
    assert card["architecture"]["weights"] == pytest.approx(edge_walk().final.ensemble.weights)
    assert np.array(card["confusion_matrix_test"]).sum() == edge_walk().tested.sum()


def test_a_class_without_training_rows_counts_at_its_bound() -> None:
    assert success_record.class_values([0, 0, 3], [-0.5, -0.7, 0.9]) == pytest.approx([-0.6, -0.10, 0.05, 0.9])
    assert success_record.class_values([1], [0.0]) == pytest.approx([-0.10, 0.0, 0.05, 0.15])


# ------------------------------------------------------------------------------------------------ refusals


def test_an_unknown_label_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'label_best' is no label; use one of label_mark, label_net"):
        trained(small_tables(), replace(SMALL, label="label_best"))


def test_too_few_rows_are_refused_with_the_reason() -> None:
    few = small_tables()
    few = replace(few, training_set=few.training_set.iloc[:200])
    with pytest.raises(DataError, match="at least 300 rows from 8 episodes are needed"):
        trained(few, SMALL)


# ------------------------------------------------------------------------------------------------ joining


def parts_of(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Analyses, features and labels that a training set is joined from."""
    outcomes = [f"{what}_{kind}" for what in ("roi", "label") for kind in ROI_KINDS]
    labels = rows[[*KEYS, "evaluation_session", *outcomes]].assign(missing_reason="", exit_spot=1.0)
    return rows[[*KEYS, "stratum", "episode"]], rows[[*KEYS, *FEATURES]], labels


def test_the_training_set_joins_by_key_and_counts_rows_without_label_by_reason() -> None:
    rows = small_tables().training_set.iloc[:12].reset_index(drop=True)
    analyses, features, labels = parts_of(rows)
    labels.loc[[3, 5], "missing_reason"] = "after_data_end"
    labels.loc[7, "missing_reason"] = "no_exit_iv"
    found = join_training_set(analyses, features.sample(frac=1, random_state=0), labels.sample(frac=1, random_state=1))
    kept = rows.drop(index=[3, 5, 7]).reset_index(drop=True)
    pd.testing.assert_frame_equal(found.rows[kept.columns], kept)
    assert "exit_spot" not in found.rows
    assert found.facts == {
        "analysed": 12,
        "unlabelled": {"after_data_end": 2, "no_exit_iv": 1},
        "sessions": kept["session"].nunique(),
        "episodes": kept["episode"].nunique(),
    }
