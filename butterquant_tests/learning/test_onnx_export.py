"""ONNX files: the same answers as torch, the same bytes for the same weights, nothing outside the file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from butterquant_assets.foundation.errors import ModelStoreError
from butterquant_assets.learning.mlp import TrainedMlp, predict
from butterquant_assets.learning.onnx_export import check_parity, export_onnx, predict_onnx
from butterquant_tests.learning.test_mlp import FAST, planted, trained_on, with_base


@pytest.fixture(scope="module")
def trained() -> TrainedMlp:
    return trained_on(settings=replace(FAST, max_epochs=5))


@pytest.fixture(scope="module")
def exported(trained: TrainedMlp) -> bytes:
    return export_onnx(trained)


def test_onnx_answers_as_torch_does_at_every_batch_size(trained: TrainedMlp, exported: bytes) -> None:
    report = check_parity(trained, exported)
    assert report["batch"].tolist() == [1, 2, 257]
    assert (report["max_abs_difference"] <= 1e-5).all()


def test_missing_values_are_imputed_inside_the_file(trained: TrainedMlp, exported: bytes) -> None:
    X, _ = planted(100, 9)
    assert np.isnan(X).any()
    assert predict_onnx(exported, X) == pytest.approx(predict(trained, X), abs=1e-5)
    assert np.isfinite(predict_onnx(exported, np.full((1, X.shape[1]), np.nan))).all()


def test_input_and_output_are_the_documented_ones(exported: bytes) -> None:
    graph = onnx.load_from_string(exported).graph
    shapes = [
        (v.name, v.type.tensor_type.elem_type, v.type.tensor_type.shape.dim[1].dim_value)
        for v in (*graph.input, *graph.output)
    ]
    assert shapes == [("features", onnx.TensorProto.FLOAT, 6), ("probabilities", onnx.TensorProto.FLOAT, 4)]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param


def test_two_exports_are_byte_identical_and_tell_nothing_of_the_machine(trained: TrainedMlp, exported: bytes) -> None:
    assert export_onnx(trained) == exported
    for trace in (b"site-packages", b".py", b"/home", b"pytorch", b"stack_trace"):
        assert trace not in exported


def test_weights_lie_inside_the_file(exported: bytes) -> None:
    initializers = onnx.load_from_string(exported).graph.initializer
    assert initializers
    assert not any(tensor.external_data for tensor in initializers)


def test_a_file_of_other_weights_is_refused(trained: TrainedMlp, exported: bytes) -> None:
    other = replace(trained, state=trained.state | {"input_mean": trained.state["input_mean"] + 1})
    with pytest.raises(ModelStoreError, match="ONNX and torch differ by"):
        check_parity(other, exported)


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(ModelStoreError, match="no usable ONNX model"):
        predict_onnx(b"not a model", np.zeros((1, 6)))


def test_a_network_with_a_base_takes_its_logarithms_as_second_input() -> None:
    residual, X, base, _ = with_base(replace(FAST, max_epochs=3), labels_say_more=True)
    exported = export_onnx(residual)
    assert [value.name for value in onnx.load_from_string(exported).graph.input] == [
        "features",
        "base_log_probabilities",
    ]
    assert predict_onnx(exported, X, base) == pytest.approx(predict(residual, X, base), abs=1e-6)
    assert (check_parity(residual, exported)["max_abs_difference"] <= 1e-5).all()
