"""Networks as ONNX files: the same weights always give the same bytes, and the same answers as torch.

What belongs here: turning a trained network into ONNX, and checking the result against torch. What does not: where the
file is kept.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import ModelStoreError
from butterquant_assets.learning.mlp import TrainedMlp, predict, rebuild

INPUT, OUTPUT = "features", "probabilities"
PARITY_TOLERANCE = 1e-5
OPSET = 18
SAMPLE_ROWS = 2  # with one row the exporter may freeze the batch dimension


def export_onnx(trained: TrainedMlp) -> bytes:
    """The network as one self-contained ONNX file.

    Parameters
    ----------
    trained
        the network

    Returns
    -------
    bytes
        input ``features`` float32 [n, d] (NaN is imputed inside), output ``probabilities`` float32 [n, n_classes], any
        n. The same weights give the same bytes: whatever tells of the exporting process (versions, paths, stack
        traces) is removed.

    Raises
    ------
    ModelStoreError
        if the exporter froze the batch dimension.
    """
    import onnx
    import torch

    sample = torch.zeros(SAMPLE_ROWS, len(trained.features), dtype=torch.float32)
    with _quiet_exporter():
        program = torch.onnx.export(
            rebuild(trained),
            (sample,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={INPUT: {0: torch.export.Dim("n")}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise ModelStoreError("the ONNX exporter returned nothing; check the versions of torch and onnxscript")
    model = _without_traces(program.model_proto)
    onnx.checker.check_model(model, full_check=True)
    _check_interface(model, len(trained.features), trained.n_classes)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def predict_onnx(onnx_bytes: bytes, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Class probabilities by onnxruntime on the CPU, one thread; shape (n, d) in, (n, n_classes) out.

    Raises
    ------
    ModelStoreError
        if the bytes are no ONNX model.
    """
    return _run(_session(onnx_bytes), X)


def check_parity(
    trained: TrainedMlp, onnx_bytes: bytes, batches: Sequence[int] = (1, 2, 257), seed: int = 0
) -> pd.DataFrame:
    """Compare the ONNX file with torch on random rows like the training rows, a tenth of their values missing.

    Parameters
    ----------
    trained, onnx_bytes
        the network and its export
    batches
        batch sizes to compare at
    seed
        of the random rows; the first row of each batch above one has no value at all

    Returns
    -------
    DataFrame
        columns ``batch``, ``max_abs_difference`` (of probabilities)

    Raises
    ------
    ModelStoreError
        if a difference exceeds 1e-5, or the file is no ONNX model.
    """
    session, random = _session(onnx_bytes), np.random.default_rng(seed)
    differences = []
    for batch in batches:
        rows = _random_rows(trained, batch, random)
        ours, theirs = predict(trained, rows), _run(session, rows)
        if theirs.shape != ours.shape:
            raise ModelStoreError(f"ONNX returns shape {theirs.shape} for {batch} rows, torch {ours.shape}")
        differences.append(float(np.abs(ours - theirs).max()))
    report = pd.DataFrame({"batch": list(batches), "max_abs_difference": differences})
    worst = int(np.argmax(differences))
    # Written so that a NaN difference is refused as well.
    if not differences[worst] <= PARITY_TOLERANCE:
        raise ModelStoreError(
            f"ONNX and torch differ by {differences[worst]:.2e} at batch {batches[worst]}, more than "
            f"{PARITY_TOLERANCE:.0e}; export the model again from its own weights"
        )
    return report


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence the exporter's remarks on its own internals and on torchvision; what it produces is checked."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _random_rows(trained: TrainedMlp, batch: int, random: np.random.Generator) -> npt.NDArray[np.float64]:
    shape = (batch, len(trained.features))
    rows = trained.state["input_mean"] + trained.state["input_scale"] * random.standard_normal(shape)
    missing = random.random(shape) < 0.1
    if batch > 1:
        missing[0] = True
    return np.where(missing, np.nan, rows)


def _session(onnx_bytes: bytes) -> Any:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as failures

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    except (failures.InvalidProtobuf, failures.InvalidGraph, failures.NotImplemented, failures.Fail) as error:
        raise ModelStoreError(f"the {len(onnx_bytes)} bytes are no usable ONNX model: {error}") from error


def _run(session: Any, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
    inputs = np.asarray(X, dtype=np.float32)
    return np.asarray(session.run([OUTPUT], {INPUT: inputs})[0], dtype=np.float64)


def _without_traces(model: Any) -> Any:
    """Remove producer, documentation and metadata, which hold versions, paths and stack traces."""
    model.producer_name, model.producer_version, model.doc_string = "butterquant-assets", "", ""
    model.graph.name, model.graph.doc_string = "classifier", ""
    graph = model.graph
    for holder in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        del holder.metadata_props[:]
        if holder is not model:
            holder.doc_string = ""
    del graph.value_info[:]
    return model


def _check_interface(model: Any, n_features: int, n_classes: int) -> None:
    for value, name, width in ((model.graph.input[0], INPUT, n_features), (model.graph.output[0], OUTPUT, n_classes)):
        batch, columns = value.type.tensor_type.shape.dim
        if value.name != name or not batch.dim_param or columns.dim_value != width:
            raise ModelStoreError(
                f"ONNX {value.name} has shape [{batch.dim_param or batch.dim_value}, {columns.dim_value}]; "
                f"expected {name} [n, {width}] with any n"
            )
