"""Networks as ONNX models: the same weights always give the same bytes, and the same answers as torch.

What belongs here: turning a torch module into ONNX, running a file, and saying how far two answers differ. What does
not: graphs put together of several members (`learning.onnx_graph`), and where the file is kept.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import ModelStoreError

if TYPE_CHECKING:
    import torch

INPUT, OUTPUT = "features", "probabilities"
PARITY_TOLERANCE = 1e-5
OPSET = 18
SAMPLE_ROWS = 2  # with one row the exporter may freeze the batch dimension


def module_to_onnx(module: torch.nn.Module, inputs: Mapping[str, int], output: str) -> Any:
    """A torch module in evaluation mode as an ONNX model, free of traces of the exporting process.

    Parameters
    ----------
    module
        takes one float32 tensor [n, width] for each input, in order and under these names
    inputs
        width by name
    output
        name of its single output

    Returns
    -------
    onnx.ModelProto
        of opset 18

    Raises
    ------
    ModelStoreError
        if the exporter returns nothing.
    """
    import torch

    samples = tuple(torch.zeros(SAMPLE_ROWS, width, dtype=torch.float32) for width in inputs.values())
    batch = torch.export.Dim("n")
    with _quiet_exporter():
        program = torch.onnx.export(
            module,
            samples,
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes={name: {0: batch} for name in inputs},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise ModelStoreError("the ONNX exporter returned nothing; check the versions of torch and onnxscript")
    return _without_traces(program.model_proto)


def finished(model: Any, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> bytes:
    """The bytes of a model after checking it: valid, and with these inputs and outputs [n, width] for any n.

    Raises
    ------
    ModelStoreError
        if an input or output is another, or its batch dimension is frozen.
    """
    import onnx

    onnx.checker.check_model(model, full_check=True)
    for values, expected in ((model.graph.input, inputs), (model.graph.output, outputs)):
        for value, (name, width) in zip(values, expected.items(), strict=True):
            batch, columns = value.type.tensor_type.shape.dim
            if value.name != name or not batch.dim_param or columns.dim_value != width:
                raise ModelStoreError(
                    f"ONNX {value.name} has shape [{batch.dim_param or batch.dim_value}, {columns.dim_value}]; "
                    f"expected {name} [n, {width}] with any n"
                )
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def parity_report(batches: Sequence[int], differences: Sequence[float]) -> pd.DataFrame:
    """A table of ``batch`` and ``max_abs_difference``.

    Raises
    ------
    ModelStoreError
        if a difference exceeds 1e-5 or is none.
    """
    worst = int(np.argmax(differences))
    # Written so that a NaN difference is refused as well.
    if not differences[worst] <= PARITY_TOLERANCE:
        raise ModelStoreError(
            f"ONNX and torch differ by {differences[worst]:.2e} at batch {batches[worst]}, more than "
            f"{PARITY_TOLERANCE:.0e}; export the model again from its own weights"
        )
    return pd.DataFrame({"batch": list(batches), "max_abs_difference": list(differences)})


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


def open_session(onnx_bytes: bytes) -> Any:
    """An onnxruntime session on the CPU with one thread.

    Raises
    ------
    ModelStoreError
        if the bytes are no ONNX model.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as failures

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    except (failures.InvalidProtobuf, failures.InvalidGraph, failures.NotImplemented, failures.Fail) as error:
        raise ModelStoreError(f"the {len(onnx_bytes)} bytes are no usable ONNX model: {error}") from error


def run_session(session: Any, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The single output of a session for raw features."""
    return np.asarray(session.run(None, {INPUT: np.asarray(X, dtype=np.float32)})[0], dtype=np.float64)


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
