"""An ensemble as one self-contained ONNX graph: base, members, blend and calibration.

Networks and trees compute in float32, as everywhere. From the logits on the graph computes in double, as the native
prediction does, so that the two differ by the rounding of logits and by nothing else; a calibrator is in its served
form (`learning.served_calibration`), through which that rounding cannot grow.

What belongs here: blending and calibrating inside the graph, and the comparison with the native answer. What does not:
the members' subgraphs (`learning.onnx_graph`), and where the file is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import DataError, ModelStoreError
from butterquant_assets.learning.calibration import Calibrator
from butterquant_assets.learning.ensemble import BASE, Ensemble
from butterquant_assets.learning.members import TrainedMember, logistic_of, network_of
from butterquant_assets.learning.mlp import rebuild
from butterquant_assets.learning.onnx_export import OUTPUT, open_session, parity_report, run_session
from butterquant_assets.learning.onnx_graph import (
    GraphBuilder,
    logistic_outputs,
    network_outputs,
    repeated,
    tree_outputs,
)
from butterquant_assets.learning.probabilities import SMALLEST
from butterquant_assets.learning.served_calibration import CELLS

COMPARED_ROWS = 64  # at least so many at every batch size


def export_ensemble(ensemble: Ensemble) -> bytes:
    """The ensemble as one ONNX file.

    Parameters
    ----------
    ensemble
        members without weight are left out

    Returns
    -------
    bytes
        input ``features`` float32 [n, d], NaN being missing; output ``probabilities`` float32 [n, k]; any n; opset 18
        and ai.onnx.ml 3. Equal ensembles give equal bytes; nothing in them tells of the exporting process

    Raises
    ------
    ModelStoreError
        if a member cannot be expressed.
    """
    graph = GraphBuilder()
    used = ensemble.used()
    base = None
    if ensemble.base is not None and any(name == BASE or ensemble.members[name].with_base for name in used):
        base = member_probabilities(graph, ensemble.base, None)
    logs = None if base is None else graph.add("Log", clip_probabilities(graph, base))
    pooled = ""
    for name, weight in used.items():
        part = base if name == BASE and base is not None else member_probabilities(graph, ensemble.members[name], logs)
        share = graph.add("Mul", part, graph.constant(weight))
        pooled = graph.add("Add", pooled, share) if pooled else share
    result = _calibrated(graph, pooled, ensemble.served)
    return graph.finish(result, len(ensemble.features), OUTPUT, ensemble.n_classes)


def check_ensemble_parity(
    ensemble: Ensemble, onnx_bytes: bytes, X: npt.ArrayLike, batches: Sequence[int] = (1, 2, 257)
) -> pd.DataFrame:
    """Compare the ONNX file with the native prediction on given rows, at several batch sizes and all at once.

    Parameters
    ----------
    ensemble, onnx_bytes
        an ensemble and its export
    X
        raw features, shape (n, d), as they occur, missing values included
    batches
        batch sizes beside n; at least 64 rows are compared at each

    Returns
    -------
    DataFrame
        columns ``batch``, ``max_abs_difference`` (of probabilities)

    Raises
    ------
    DataError
        if there is no row.
    ModelStoreError
        if a difference exceeds 1e-5, or the file is no ONNX model of this shape.
    """
    values = np.asarray(X, dtype=np.float64)
    if not len(values):
        raise DataError("there is no row to compare on; give some as they occur")
    session, ours = open_session(onnx_bytes), ensemble.predict(values)
    sizes, differences = [*[size for size in batches if size < len(values)], len(values)], []
    for size in sizes:
        rows = min(len(values), max(size, COMPARED_ROWS))
        theirs = [run_session(session, values[first : first + size]) for first in range(0, rows, size)]
        answer = np.concatenate(theirs)
        if answer.shape[1:] != ours.shape[1:]:
            raise ModelStoreError(f"ONNX returns {answer.shape[1:]} classes, the ensemble {ours.shape[1:]}")
        differences.append(float(np.abs(answer - ours[: len(answer)]).max()))
    return parity_report(sizes, differences)


def member_probabilities(graph: GraphBuilder, member: TrainedMember, base_logs: str | None) -> str:
    """Probabilities of a member, double [n, k]."""
    k = member.n_classes
    if member.kind == "mlp":
        margins: str | None = network_outputs(graph, rebuild(network_of(member)), len(member.features))
    elif member.kind == "logistic":
        margins = logistic_outputs(graph, logistic_of(member))
    else:
        margins = tree_outputs(graph, member.kind, member.texts, k)
    start = base_logs if member.with_base else None
    if start is None and "start" in member.tensors:
        start = repeated(graph, member.tensors["start"]) if margins is None else graph.constant(member.tensors["start"])
    if margins is None or start is None:
        logits = margins or start or repeated(graph, np.zeros(k))
    else:
        logits = graph.add("Add", margins, start)
    return graph.add("Softmax", logits, axis=1)


def clip_probabilities(graph: GraphBuilder, value: str) -> str:
    """Probabilities within [1e-7, 1 - 1e-7], as before every logarithm."""
    return graph.add("Clip", value, graph.constant(SMALLEST), graph.constant(1 - SMALLEST))


def _calibrated(graph: GraphBuilder, pooled: str, calibrator: Calibrator) -> str:
    if calibrator.method == "none":
        return pooled
    bounded, tables = clip_probabilities(graph, pooled), calibrator.tables
    logs = graph.add("Log", bounded) if calibrator.method != "isotonic" else ""
    if calibrator.method == "temperature":
        return graph.add("Softmax", graph.add("Div", logs, graph.constant(tables["temperature"])), axis=1)
    if calibrator.method == "sigmoid":
        complement = graph.add("Sub", graph.constant(1.0), bounded)
        odds = graph.add("Sub", logs, graph.add("Log", complement))
        scaled = graph.add("Mul", odds, graph.constant(tables["slope"]))
        curve = graph.add("Sigmoid", graph.add("Add", scaled, graph.constant(tables["intercept"])))
    else:
        curve = _interpolated(graph, bounded, tables["values"])
    shares = clip_probabilities(graph, curve)
    total = graph.add("ReduceSum", shares, graph.constant([1], np.int64), keepdims=1)
    return graph.add("Div", shares, total)


def _interpolated(graph: GraphBuilder, bounded: str, values: npt.NDArray[np.float64]) -> str:
    """Linear interpolation of each class between the knots j / CELLS of a served calibrator."""
    k, knots = values.shape
    if knots != CELLS + 1:
        raise ModelStoreError(f"a served curve has {knots} knots; expected {CELLS + 1}")
    along = graph.add("Mul", bounded, graph.constant(float(CELLS)))
    cell = graph.add("Min", graph.add("Floor", along), graph.constant(CELLS - 1.0))
    first = graph.add("Add", graph.cast(cell, "int64"), graph.constant(np.arange(k) * knots, np.int64))
    table = graph.constant(values.ravel())
    below = graph.add("Gather", table, first)
    above = graph.add("Gather", table, graph.add("Add", first, graph.constant(1, np.int64)))
    rise = graph.add("Mul", graph.add("Sub", above, below), graph.add("Sub", along, cell))
    return graph.add("Add", below, rise)
