"""ONNX files: the same answers as torch, the same bytes for the same weights, nothing outside the file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from butterquant_assets.foundation.errors import ModelStoreError
from butterquant_assets.learning.mlp import TrainedMlp, predict
from butterquant_assets.learning.onnx_export import open_session, parity_report, run_session
from butterquant_tests.learning.network_onnx import export_onnx
from butterquant_tests.learning.test_mlp import FAST, planted, trained_on


@pytest.fixture(scope="module")
def trained() -> TrainedMlp:
    return trained_on(settings=replace(FAST, max_epochs=5))


@pytest.fixture(scope="module")
def exported(trained: TrainedMlp) -> bytes:
    return export_onnx(trained)


def test_onnx_answers_as_torch_does_at_every_batch_size(trained: TrainedMlp, exported: bytes) -> None:
    X, _ = planted(300, 9)
    session = open_session(exported)
    for batch in (1, 2, 257):
        rows = X[:batch]
        assert run_session(session, rows) == pytest.approx(predict(trained, rows), abs=1e-5)


def test_missing_values_are_imputed_inside_the_file(trained: TrainedMlp, exported: bytes) -> None:
    X, _ = planted(100, 9)
    session = open_session(exported)
    assert np.isnan(X).any()
    assert run_session(session, X) == pytest.approx(predict(trained, X), abs=1e-5)
    assert np.isfinite(run_session(session, np.full((1, X.shape[1]), np.nan))).all()


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


@pytest.mark.parametrize("difference", [2e-5, np.nan])
def test_answers_that_differ_are_refused_with_their_batch(difference: float) -> None:
    assert parity_report([1, 2], [0.0, 1e-6])["max_abs_difference"].tolist() == [0.0, 1e-6]
    with pytest.raises(ModelStoreError, match=r"ONNX and torch differ by .* at batch 257"):
        parity_report([1, 257], [0.0, difference])


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(ModelStoreError, match="no usable ONNX model"):
        open_session(b"not a model")
