"""One model version in memory: loaded only when its file is intact, and scoring checked rows.

What belongs here: the onnxruntime session and what its probabilities mean in expected ROI. What does not: which version
is served (watcher.py), and whether a request is acceptable (payloads.py).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import DataError, ModelStoreError
from butterquant_assets.foundation.model_store import ONNX, ModelStore
from butterquant_assets.learning.onnx_export import INPUT, OUTPUT
from butterquant_assets.serving.contract import Contract, Floats, read_contract

PROBABILITY_TOLERANCE = 1e-4
_FLOAT_TENSOR = "tensor(float)"

Infer = Callable[[npt.NDArray[np.float32]], Any]


class Scores(NamedTuple):
    """What a model says of n rows.

    Parameters
    ----------
    probabilities
        of each class, shape (n, k), computed in float32
    expected_roi
        probability-weighted class values, one column per gate of `contract.GATES`, shape (n, 2)
    """

    probabilities: Floats
    expected_roi: Floats


class ServedModel:
    """A version ready to answer. Never changes after it is made, and may be used from several threads.

    Parameters
    ----------
    name, version
        in the model store
    card
        its model card
    contract
        what the card promises
    infer
        float32 features (n, d) to probabilities (n, k)
    """

    __slots__ = ("_infer", "card", "contract", "name", "version")

    def __init__(self, name: str, version: str, card: Mapping[str, Any], contract: Contract, infer: Infer) -> None:
        self.name, self.version, self.card, self.contract, self._infer = name, version, card, contract, infer

    def score(self, features: npt.NDArray[np.float32]) -> Scores:
        """Probabilities and expected ROI.

        Parameters
        ----------
        features
            shape (n, d), float32, contiguous, checked against the contract; NaN is missing

        Returns
        -------
        Scores

        Raises
        ------
        DataError
            naming the first row for which a probability is not finite: its values overflow the graph.
        """
        probabilities = self._infer(features).astype(np.float64)
        expected = probabilities @ self.contract.class_values
        if not math.isfinite(expected.sum()):
            row = int(np.argmin(np.isfinite(expected).all(axis=1)))
            raise DataError(
                f"{self.name} {self.version} gives no finite probability for row {row}; look for extreme values in it"
            )
        return Scores(probabilities, expected)


def load_model(store: ModelStore, name: str, version: str) -> ServedModel:
    """Load a published version and try it before anybody depends on it.

    Parameters
    ----------
    store
        where it lies
    name, version
        which

    Returns
    -------
    ServedModel

    Raises
    ------
    ModelStoreError
        if the version is not published, a file is missing or altered, the card lacks what serving needs, the graph's
        input or output is not the card's, or the trial run gives something else than probabilities.
    """
    path, card = store.onnx_path(name, version), store.load_card(name, version)
    contract, content = read_contract(card), _read(path)
    # The bytes that are hashed are those that are loaded: the file may change between two reads.
    if hashlib.sha256(content).hexdigest() != card["files"][ONNX]:
        raise ModelStoreError(f"{path} changed while it was read; publish the version again")
    session = _session(content)
    _check_interface(session, contract, f"{name} {version}")
    outputs, run = [OUTPUT], session.run
    model = ServedModel(name, version, card, contract, lambda features: run(outputs, {INPUT: features})[0])
    _try(model)
    return model


def _read(path: Any) -> bytes:
    try:
        content: bytes = path.read_bytes()
    except OSError as error:
        raise ModelStoreError(f"{path} cannot be read: {error.strerror}; publish the version again") from error
    return content


def _session(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base but Exception
        raise ModelStoreError(f"the ONNX file is not usable: {str(error)[:300]}") from error


def _check_interface(session: Any, contract: Contract, whose: str) -> None:
    inputs = [(value.name, value.type, value.shape[1:]) for value in session.get_inputs()]
    outputs = [(value.name, value.type, value.shape[1:]) for value in session.get_outputs()]
    wanted_in = [(INPUT, _FLOAT_TENSOR, [len(contract.features)])]
    wanted_out = [(OUTPUT, _FLOAT_TENSOR, [len(contract.classes)])]
    if inputs != wanted_in or outputs != wanted_out:
        raise ModelStoreError(
            f"the ONNX graph of {whose} has input {inputs} and output {outputs}; its card promises {wanted_in} and "
            f"{wanted_out}; build the model again"
        )


def _try(model: ServedModel) -> None:
    """One row and three rows of possible values, and one with everything missing that may be."""
    contract = model.contract
    row = np.array([feature.example for feature in contract.features])
    for rows in (row[None], np.stack([row, np.where(contract.nullable, np.nan, row), row])):
        try:
            found = model.score(rows.astype(np.float32)).probabilities
        except Exception as error:
            raise ModelStoreError(f"the trial run of {model.name} {model.version} failed: {error}") from error
        wrong = np.abs(found.sum(axis=1) - 1.0) > PROBABILITY_TOLERANCE
        if found.shape != (len(rows), len(contract.classes)) or wrong.any() or found.min() < -PROBABILITY_TOLERANCE:
            raise ModelStoreError(
                f"the trial run of {model.name} {model.version} gave {found.tolist()}, which are no probabilities of "
                f"{len(contract.classes)} classes for {len(rows)} rows; build the model again"
            )
