"""One graph for the whole ensemble: the native answers for every kind and calibrator, and nothing but the model."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest

from butterquant_assets.foundation.errors import DataError, ModelStoreError
from butterquant_assets.learning.calibration import METHODS, Calibrator, fit_calibrator
from butterquant_assets.learning.ensemble import Ensemble, from_files, to_files
from butterquant_assets.learning.members import KINDS, TrainedMember, train_member, warm_start
from butterquant_assets.learning.onnx_ensemble import check_ensemble_parity, export_ensemble
from butterquant_assets.learning.onnx_export import open_session, run_session
from butterquant_tests.learning.test_members import FEATURES, HELD_OUT, SETTINGS, TRAIN, Market, member

NONE = Calibrator("none")


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """10,000 rows like the training rows, some far outside, with zeros and missing values, one of them empty."""
    random = np.random.default_rng(8)
    X = Market(10_000, 77).X * random.choice([1.0, 1.0, 1.0, 20.0], size=(10_000, 1))
    X[random.random(X.shape) < 0.02] = 0.0
    X[0] = np.nan
    return X


@pytest.fixture(scope="module")
def student() -> TrainedMember:
    return train_member(
        "mlp", TRAIN.X, TRAIN.base, HELD_OUT.X, HELD_OUT.base, features=FEATURES, settings=SETTINGS, seed=0
    )


@pytest.fixture(scope="module")
def plain_base() -> TrainedMember:
    """A base without a network, since exporting one takes a second."""
    return member("logistic", with_base=False)


@pytest.fixture(scope="module")
def members() -> dict[str, TrainedMember]:
    return {kind: member(kind) for kind in KINDS}


@pytest.fixture(scope="module")
def blend(student: TrainedMember, members: dict[str, TrainedMember]) -> Ensemble:
    weights = {"base": 0.1, "mlp": 0.3, "xgboost": 0.25, "lightgbm": 0.2, "logistic": 0.15}
    uncalibrated = Ensemble(student, members, weights, NONE)
    pooled = uncalibrated.blend(uncalibrated.predict_parts(HELD_OUT.X))
    return Ensemble(student, members, weights, fit_calibrator("venn_abers", pooled, HELD_OUT.y))


@pytest.fixture(scope="module")
def exported(blend: Ensemble) -> bytes:
    return export_ensemble(blend)


def test_the_blend_of_all_kinds_answers_as_natively_at_every_batch_size(
    blend: Ensemble, exported: bytes, rows: np.ndarray
) -> None:
    report = check_ensemble_parity(blend, exported, rows)
    assert report["batch"].tolist() == [1, 2, 257, 10_000]
    assert (report["max_abs_difference"] <= 1e-5).all()
    answers = run_session(open_session(exported), rows)
    assert answers.sum(axis=1) == pytest.approx(np.ones(10_000), abs=1e-6)
    assert np.abs(answers[1:] - answers[:-1]).max() > 0.5  # rows do get different answers


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_alone_answers_as_natively_on_a_base(
    plain_base: TrainedMember, members: dict[str, TrainedMember], kind: str, rows: np.ndarray
) -> None:
    alone = Ensemble(plain_base, {kind: members[kind]}, {kind: 1.0}, NONE)
    check_ensemble_parity(alone, export_ensemble(alone), rows)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_alone_answers_as_natively_without_a_base(kind: str, rows: np.ndarray) -> None:
    alone = Ensemble(None, {kind: member(kind, with_base=False)}, {kind: 1.0}, NONE)
    check_ensemble_parity(alone, export_ensemble(alone), rows)


@pytest.mark.parametrize("method", METHODS)
def test_every_calibrator_answers_as_natively(
    plain_base: TrainedMember, members: dict[str, TrainedMember], method: str, rows: np.ndarray
) -> None:
    trees = {kind: members[kind] for kind in ("xgboost", "lightgbm")}
    weights = {"base": 0.2, "xgboost": 0.5, "lightgbm": 0.3}
    uncalibrated = Ensemble(plain_base, trees, weights, NONE)
    pooled = uncalibrated.blend(uncalibrated.predict_parts(HELD_OUT.X))
    calibrated = Ensemble(plain_base, trees, weights, fit_calibrator(method, pooled, HELD_OUT.y))
    check_ensemble_parity(calibrated, export_ensemble(calibrated), rows)
    moved = np.abs(calibrated.predict(rows) - uncalibrated.predict(rows)).max()
    assert moved == 0 if method == "none" else moved > 1e-3


def test_steps_of_a_harsh_calibrator_do_not_break_parity(
    plain_base: TrainedMember, members: dict[str, TrainedMember], rows: np.ndarray
) -> None:
    """Each class jumps from nothing to certainty exactly at a score that occurs."""
    parts = {"xgboost": members["xgboost"]}
    raw = Ensemble(plain_base, parts, {"xgboost": 1.0}, NONE).predict(rows)
    thresholds = np.sort(raw[100:108].T, axis=1)
    values = np.tile(np.where(np.arange(9) < 4, 0.05, 0.95), (4, 1))
    harsh = Ensemble(
        plain_base, parts, {"xgboost": 1.0}, Calibrator("venn_abers", {"thresholds": thresholds, "values": values})
    )
    check_ensemble_parity(harsh, export_ensemble(harsh), rows)


def test_a_base_alone_and_members_that_learnt_nothing_can_be_exported(student: TrainedMember, rows: np.ndarray) -> None:
    only_base = Ensemble(student, {}, {"base": 1.0}, NONE)
    check_ensemble_parity(only_base, export_ensemble(only_base), rows)
    for kind in ("xgboost", "lightgbm"):
        nothing = train_member(
            kind, TRAIN.X, TRAIN.y, HELD_OUT.X, 3 - HELD_OUT.y, features=FEATURES, seed=0,
            settings=replace(SETTINGS, **{kind: replace(getattr(SETTINGS, kind), rounds=2)}),
        )  # fmt: skip
        assert nothing.record["rounds"] == [0]
        alone = Ensemble(None, {kind: nothing}, {kind: 1.0}, NONE)
        check_ensemble_parity(alone, export_ensemble(alone), rows[:300])


@pytest.mark.parametrize("kind", ["xgboost", "lightgbm"])
def test_a_warm_started_member_answers_as_natively(
    plain_base: TrainedMember, members: dict[str, TrainedMember], kind: str, rows: np.ndarray
) -> None:
    new, held = Market(500, 30, tilt=-1.5), Market(200, 31, tilt=-1.5)
    updated = warm_start(
        members[kind], new.X, new.y, held.X, held.y, settings=SETTINGS, rounds=5, base=new.base,
        base_validation=held.base, seed=2,
    )  # fmt: skip
    assert updated.record["rounds"][1] > 0
    alone = Ensemble(plain_base, {kind: updated}, {kind: 1.0}, NONE)
    check_ensemble_parity(alone, export_ensemble(alone), rows)


def test_the_graph_is_valid_self_contained_and_takes_any_number_of_rows(exported: bytes, rows: np.ndarray) -> None:
    model = onnx.load_from_string(exported)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": 18, "ai.onnx.ml": 3}
    described = [
        (v.name, v.type.tensor_type.elem_type, v.type.tensor_type.shape.dim[0].dim_param,
         v.type.tensor_type.shape.dim[1].dim_value)
        for v in (*model.graph.input, *model.graph.output)
    ]  # fmt: skip
    assert described == [("features", 1, "n", 5), ("probabilities", 1, "n", 4)]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    session = open_session(exported)
    assert [run_session(session, rows[:n]).shape for n in (0, 1, 3)] == [(0, 4), (1, 4), (3, 4)]


def test_two_exports_are_byte_identical_also_of_the_ensemble_read_back(blend: Ensemble, exported: bytes) -> None:
    assert export_ensemble(from_files(to_files(blend))) == exported
    for trace in (b"site-packages", b".py", b"/home", b"pytorch", b"stack_trace", b"torch"):
        assert trace not in exported


def digest() -> str:
    """SHA-256 of the files and the graph of an ensemble of all kinds, trained from the start."""
    import hashlib

    base = train_member(
        "mlp", TRAIN.X, TRAIN.base, HELD_OUT.X, HELD_OUT.base, features=FEATURES, settings=SETTINGS, seed=0
    )
    ensemble = Ensemble(base, {kind: member(kind) for kind in KINDS}, dict.fromkeys(KINDS, 0.25), NONE)
    files = to_files(ensemble)
    return hashlib.sha256(b"".join(files[path] for path in sorted(files)) + export_ensemble(ensemble)).hexdigest()


@pytest.mark.slow
def test_equal_trainings_give_equal_bytes_in_two_processes() -> None:
    script = "from butterquant_tests.learning.test_onnx_ensemble import digest; print(digest())"
    # The second process uses other thread and hash settings, which must not matter.
    runs = [
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=dict(os.environ) | extra
        ).stdout
        for extra in ({"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "1"}, {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "2"})
    ]
    assert runs[0] == runs[1]
    assert len(runs[0].strip()) == 64


def test_members_without_weight_are_left_out(plain_base: TrainedMember, members: dict[str, TrainedMember]) -> None:
    without = Ensemble(plain_base, {"logistic": members["logistic"]}, {"logistic": 1.0}, NONE)
    unused = Ensemble(plain_base, members, {"logistic": 1.0, "xgboost": 0.0}, NONE)
    assert export_ensemble(unused) == export_ensemble(without)


def test_a_file_of_another_ensemble_and_no_file_are_refused(
    plain_base: TrainedMember, members: dict[str, TrainedMember], rows: np.ndarray
) -> None:
    first, second = (Ensemble(plain_base, {kind: members[kind]}, {kind: 1.0}, NONE) for kind in ("logistic", "xgboost"))
    exported = export_ensemble(first)
    with pytest.raises(ModelStoreError, match="differ by"):
        check_ensemble_parity(second, exported, rows[:50])
    with pytest.raises(ModelStoreError, match="no usable ONNX model"):
        check_ensemble_parity(first, exported[:100], rows[:50])
    with pytest.raises(DataError, match="no row to compare"):
        check_ensemble_parity(first, exported, rows[:0])
