"""The short-term models as functions of their 28 inputs alone, natively and as one ONNX graph each.

Trained models read rows: the anchor of volatility and the base probabilities of moves come from columns beside the
inputs. What is served has only the inputs, so here those parts are taken from the logs of variances among them; a
missing one takes the median of the training rows. Networks and trees compute in float32, everything else in double, but
for the normal distribution function, which ONNX knows in float32 only.

What belongs here: restoring what was stored, predicting from inputs, exporting, and the comparison of the two. What
does not: training (`volatility`, `moves`), and where files are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly import moves, volatility
from butterquant_assets.butterfly.iv_proxy import SESSIONS_PER_YEAR
from butterquant_assets.butterfly.moves_scores import GARCH_NORMAL, Task, normal_probabilities, of_tails, task_of
from butterquant_assets.butterfly.short_term import HORIZON, MOVE
from butterquant_assets.butterfly.short_term_training import INPUTS, LOG_REFERENCES, inputs_of
from butterquant_assets.butterfly.volatility import VolatilityModel
from butterquant_assets.foundation.errors import DataError, ModelStoreError
from butterquant_assets.learning import onnx_ensemble, regression
from butterquant_assets.learning.cards import build_card, build_forecast_card
from butterquant_assets.learning.members import TrainedMember, predict_member
from butterquant_assets.learning.onnx_export import INPUT, OUTPUT, open_session, parity_report, run_session
from butterquant_assets.learning.onnx_graph import GraphBuilder
from butterquant_assets.learning.probabilities import as_served

Floats = npt.NDArray[np.float64]

SEVEN_SESSIONS = float(np.sqrt(HORIZON / SESSIONS_PER_YEAR))
MOST_ROWS, MISSING_SHARE = 2000, 0.1
_PLACES = [INPUTS.index(name) for name in LOG_REFERENCES]
_GARCH = LOG_REFERENCES.index("log_garch_variance_7")


@dataclass(frozen=True, eq=False)
class ServedVolatility:
    """The volatility model as a function of its inputs.

    Parameters
    ----------
    model
        anchor, learner and smearing
    medians
        of `LOG_REFERENCES` over the training rows, shape (5,)
    """

    model: VolatilityModel
    medians: Floats

    def predict(self, X: npt.ArrayLike) -> Floats:
        """Expected volatility of seven sessions, per year; `INPUTS` (n, 28) in, NaN being missing, (n, 1) out.

        Raises
        ------
        DataError
            if an input is infinite.
        """
        anchor = self.model.anchor
        columns = _references(X, self.medians)[:, [LOG_REFERENCES.index(name) for name in anchor.columns]]
        log_variance = anchor.coefficients[0] + (columns * np.array(anchor.coefficients[1:])).sum(axis=1)
        log_variance = log_variance + regression.predict_regressor(self.model.regressor, X)
        return self.model.smearing.forecast(log_variance).volatility[:, None]

    def export(self) -> bytes:
        """One ONNX file: ``features`` float32 [n, 28] in, ``prediction`` float32 [n, 1] out.

        Equal models give equal bytes.
        """
        graph, anchor = GraphBuilder(), self.model.anchor
        weights = np.zeros((len(LOG_REFERENCES), 1))
        for name, coefficient in zip(anchor.columns, anchor.coefficients[1:], strict=True):
            weights[LOG_REFERENCES.index(name)] = coefficient
        linear = graph.add("MatMul", _reference_values(graph, self.medians), graph.constant(weights))
        start = graph.add("Add", linear, graph.constant([anchor.coefficients[0]]))
        log_variance = graph.add("Add", start, regression.regressor_outputs(graph, self.model.regressor))
        smeared = graph.add("Mul", _root_of_exp(graph, log_variance), graph.constant(self.model.smearing.volatility))
        return graph.finish(smeared, len(INPUTS), regression.OUTPUT, 1)


@dataclass(frozen=True, eq=False)
class ServedMoves:
    """A model of moves as a function of its inputs.

    Parameters
    ----------
    task
        what it predicts
    members
        learners by name; they start from GARCH-normal probabilities
    weights
        of `moves.POOLED` in the blend
    medians
        of `LOG_REFERENCES` over the training rows, shape (5,)
    """

    task: Task
    members: dict[str, TrainedMember]
    weights: dict[str, float]
    medians: Floats

    def predict(self, X: npt.ArrayLike) -> Floats:
        """Class probabilities; `INPUTS` (n, 28) in, NaN being missing, (n, k) out.

        Raises
        ------
        DataError
            if an input is infinite.
        """
        known = _references(X, self.medians)[:, _GARCH]
        base = normal_probabilities(SEVEN_SESSIONS * np.exp(0.5 * known), self.task)
        parts = {name: predict_member(self.members[name], X, base) for name in self._used()}
        return moves.pool({GARCH_NORMAL: base} | parts, self.weights)

    def export(self) -> bytes:
        """One ONNX file: ``features`` float32 [n, 28] in, ``probabilities`` float32 [n, k] out.

        Equal models give equal bytes.
        """
        graph = GraphBuilder()
        base = self._base(graph)
        logs = graph.add("Log", onnx_ensemble.clip_probabilities(graph, base)) if self._used() else ""
        blended = ""
        for name in moves.POOLED:
            if self.weights[name] > 0:
                part = (
                    base
                    if name == GARCH_NORMAL
                    else onnx_ensemble.member_probabilities(graph, self.members[name], logs)
                )
                share = graph.add("Mul", part, graph.constant(self.weights[name]))
                blended = graph.add("Add", blended, share) if blended else share
        return graph.finish(blended, len(INPUTS), OUTPUT, self.task.n_classes)

    def _used(self) -> list[str]:
        return [name for name in moves.LEARNERS if self.weights[name] > 0]

    def _base(self, graph: GraphBuilder) -> str:
        """GARCH-normal probabilities, double [n, k]: linear in the probability of a tail."""
        log_variance = graph.add(
            "Gather", _reference_values(graph, self.medians), graph.constant([_GARCH], np.int64), axis=1
        )
        volatility = graph.add("Mul", _root_of_exp(graph, log_variance), graph.constant(SEVEN_SESSIONS))
        bound = graph.add("Div", graph.constant(-MOVE / np.sqrt(2.0)), volatility)
        error = graph.cast(graph.add("Erf", graph.cast(bound, "float")), "double")
        tail = graph.add("Mul", graph.add("Add", error, graph.constant(1.0)), graph.constant(0.5))
        none, whole = (of_tails(np.full(1, value), np.full(1, value), self.task) for value in (0.0, 1.0))
        return graph.add("Add", graph.add("Mul", tail, graph.constant(whole - none)), graph.constant(none))


Served = ServedVolatility | ServedMoves


def restore_volatility(files: Mapping[str, bytes], training: Mapping[str, Any]) -> ServedVolatility:
    """The primary learner of a stored volatility model."""
    return ServedVolatility(volatility.restore(files, training)[training["primary"]], _medians(training))


def restore_moves(files: Mapping[str, bytes], training: Mapping[str, Any]) -> ServedMoves:
    """The blend of a stored model of moves."""
    return ServedMoves(task_of(training["task"]), moves.restore(files), dict(training["weights"]), _medians(training))


def volatility_card(training: Mapping[str, Any], evaluation: pd.DataFrame, parity: pd.DataFrame) -> dict[str, Any]:
    """The card of the volatility model."""
    return build_forecast_card(
        **_shared(training),
        unit="volatility, per year",
        architecture={
            "kind": training["primary"],
            "starts_from": "log variance linear in the logs of realised variances, GARCH and the VIX",
            "anchor": training["anchor"][training["primary"]],
            "smearing": training["smearing"][training["primary"]],
            "reference_medians": training["reference_medians"],
        },
        training={name: training[name] for name in ("rows", "episodes", "learners")},
        evaluation=evaluation,
        onnx_parity=parity,
    )


def moves_card(training: Mapping[str, Any], evaluation: pd.DataFrame, parity: pd.DataFrame) -> dict[str, Any]:
    """The card of a model of moves."""
    return build_card(
        **_shared(training),
        class_names=training["class_names"],
        confusion_matrix=training["confusion_matrix"],
        architecture={
            "kind": "blend",
            "base": training["base"],
            "weights": training["weights"],
            "reference_medians": training["reference_medians"],
        },
        training={name: training[name] for name in ("rows", "episodes")},
        evaluation=evaluation,
        onnx_parity=parity,
    )


def rows_to_compare(rows: pd.DataFrame, seed: int = 0) -> Floats:
    """Inputs on which an export is compared with the model: training rows, a tenth of their values missing.

    Parameters
    ----------
    rows
        columns of `short_term_schemas.SHORT_TERM_SET`
    seed
        of the choice; at most 2,000 rows are taken

    Returns
    -------
    array of shape (n, 28)
    """
    random = np.random.default_rng(seed)
    picked = np.sort(random.permutation(len(rows))[:MOST_ROWS])
    inputs = inputs_of(rows.iloc[picked])
    compared: Floats = np.where(random.random(inputs.shape) < MISSING_SHARE, np.nan, inputs)
    return compared


def check_parity(
    served: Served, onnx_bytes: bytes, X: npt.ArrayLike, batches: Sequence[int] = (1, 2, 257)
) -> pd.DataFrame:
    """Compare the ONNX file with the native prediction on given rows, at several batch sizes and all at once.

    Parameters
    ----------
    served, onnx_bytes
        a model and its export
    X
        inputs, shape (n, 28), as they occur, missing values included
    batches
        batch sizes beside n; at least 64 rows are compared at each

    Returns
    -------
    DataFrame
        columns ``batch``, ``max_abs_difference``: of probabilities, or relative to the forecast of volatility

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
    session, ours = open_session(onnx_bytes), served.predict(values)
    scale = ours if isinstance(served, ServedVolatility) else np.ones_like(ours)
    sizes = [*[size for size in batches if size < len(values)], len(values)]
    differences = []
    for size in sizes:
        rows = min(len(values), max(size, onnx_ensemble.COMPARED_ROWS))
        parts = [run_session(session, values[first : min(first + size, rows)]) for first in range(0, rows, size)]
        theirs, expected = np.concatenate(parts), ours[:rows]
        if theirs.shape != expected.shape:
            raise ModelStoreError(f"ONNX returns shape {theirs.shape} for {rows} rows, the model {expected.shape}")
        differences.append(float((np.abs(theirs - expected) / scale[:rows]).max()))
    return parity_report(sizes, differences)


def _references(X: npt.ArrayLike, medians: Floats) -> Floats:
    """The logs of variances among inputs rounded as served, shape (n, 5), none missing."""
    known = as_served(X, INPUTS)[:, _PLACES].astype(np.float64)
    filled: Floats = np.where(np.isnan(known), medians, known)
    return filled


def _reference_values(graph: GraphBuilder, medians: Floats) -> str:
    """The same in a graph, double [n, 5]."""
    places = graph.constant(_PLACES, np.int64)
    known = graph.cast(graph.add("Gather", INPUT, places, axis=1), "double")
    return graph.add("Where", graph.add("IsNaN", known), graph.constant(medians), known)


def _root_of_exp(graph: GraphBuilder, log_variance: str) -> str:
    return graph.add("Sqrt", graph.add("Exp", log_variance))


def _medians(training: Mapping[str, Any]) -> Floats:
    return np.array([training["reference_medians"][name] for name in LOG_REFERENCES], dtype=np.float64)


def _shared(training: Mapping[str, Any]) -> dict[str, Any]:
    """What both kinds of card take from the record of the training as it is."""
    names = ("purpose", "features", "label", "label_definition", "verdict", "data_versions", "code_version", "config")
    return {name: training[name] for name in (*names, "seeds", "limits")} | {"splits": {"folds": training["splits"]}}
