"""Model cards: what a model is, what it learnt from, how good it was, and what it must not be used for.

A card is plain values only, so it can be stored as JSON and read without this package. The same model gives the same
card: no clock, no machine name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.foundation.errors import DataError

CARD_FORMAT = 1


def build_card(
    *,
    purpose: str,
    architecture: Mapping[str, Any],
    features: Sequence[str],
    label: str,
    label_definition: str,
    class_names: Sequence[str],
    training: Mapping[str, Any],
    splits: Mapping[str, Any],
    evaluation: pd.DataFrame,
    confusion_matrix: Sequence[Sequence[int]],
    verdict: Mapping[str, Any],
    data_versions: Mapping[str, str],
    code_version: str,
    config: Mapping[str, Any],
    seeds: Mapping[str, int],
    onnx_parity: pd.DataFrame,
    limits: Sequence[str],
) -> dict[str, Any]:
    """Assemble a model card.

    Parameters
    ----------
    purpose
        what the model predicts, in one sentence
    architecture
        enough to rebuild the network
    features
        input columns in the order of the ONNX input
    label, label_definition
        label column and what it means
    class_names
        in the order of the ONNX output
    training
        how training went, for instance best_epoch and epochs
    splits
        dates, rows and episodes of each part, plain values
    evaluation
        columns predictor, part, metric, value; NaN becomes None
    confusion_matrix
        of the model on the test part, true class by row
    verdict
        whether the model beats its decisive baseline, with figures and in words
    data_versions
        content hash of each input table
    code_version
        hash of the code that made the model
    config
        configuration in use
    seeds
        every seed by what it seeds
    onnx_parity
        columns batch, max_abs_difference
    limits
        what the model must not be used for, in plain words; at least one

    Returns
    -------
    dict of plain values with sorted, stable content

    Raises
    ------
    DataError
        if something a reader must find is empty, or the classes do not fit the confusion matrix.
    """
    if not len(class_names):
        raise DataError("a model card without class_names helps nobody; give it")
    if len(confusion_matrix) != len(class_names):
        raise DataError(
            f"{len(class_names)} classes are named but the confusion matrix has {len(confusion_matrix)} rows"
        )
    return _card(
        output={"name": "probabilities", "type": "float32", "classes": list(class_names)},
        further={"confusion_matrix_test": [list(row) for row in confusion_matrix]},
        purpose=purpose, architecture=architecture, features=features, label=label, label_definition=label_definition,
        training=training, splits=splits, evaluation=evaluation, verdict=verdict, data_versions=data_versions,
        code_version=code_version, config=config, seeds=seeds, onnx_parity=onnx_parity, limits=limits,
    )  # fmt: skip


def build_forecast_card(*, unit: str, **parts: Any) -> dict[str, Any]:
    """Assemble the card of a model that forecasts a number.

    Parameters
    ----------
    unit
        of what it forecasts
    parts
        those of `build_card` but ``class_names`` and ``confusion_matrix``; the ONNX parity is that of the forecast

    Returns
    -------
    dict of plain values with sorted, stable content

    Raises
    ------
    DataError
        if something a reader must find is empty.
    """
    if not unit:
        raise DataError("a model card without unit helps nobody; give it")
    return _card(output={"name": "prediction", "type": "float32", "unit": unit}, further={}, **parts)


def _card(
    *,
    output: Mapping[str, Any],
    further: Mapping[str, Any],
    purpose: str,
    architecture: Mapping[str, Any],
    features: Sequence[str],
    label: str,
    label_definition: str,
    training: Mapping[str, Any],
    splits: Mapping[str, Any],
    evaluation: pd.DataFrame,
    verdict: Mapping[str, Any],
    data_versions: Mapping[str, str],
    code_version: str,
    config: Mapping[str, Any],
    seeds: Mapping[str, int],
    onnx_parity: pd.DataFrame,
    limits: Sequence[str],
) -> dict[str, Any]:
    required = {
        "features": features, "data_versions": data_versions, "seeds": seeds, "limits": limits,
        "code_version": code_version, "label_definition": label_definition,
    }  # fmt: skip
    empty = [name for name, value in required.items() if not len(value)]
    if empty or evaluation.empty:
        raise DataError(f"a model card without {', '.join(empty or ['evaluation'])} helps nobody; give it")
    card = {
        "card_format": CARD_FORMAT,
        "purpose": purpose,
        "input": {"name": "features", "type": "float32", "features": list(features), "missing": "NaN, imputed inside"},
        "output": dict(output),
        "label": {"column": label, "definition": label_definition},
        "architecture": dict(architecture),
        "training": dict(training),
        "splits": dict(splits),
        "evaluation": evaluation_tree(evaluation),
        "verdict": dict(verdict),
        "data_versions": dict(data_versions),
        "code_version": code_version,
        "config": dict(config),
        "seeds": dict(seeds),
        "onnx_parity": {
            str(int(batch)): float(difference)
            for batch, difference in zip(onnx_parity["batch"], onnx_parity["max_abs_difference"], strict=True)
        },
        "limits": list(limits),
        **further,
    }
    plain: dict[str, Any] = plain_values(card)
    return plain


def evaluation_tree(evaluation: pd.DataFrame) -> dict[str, dict[str, dict[str, float | None]]]:
    """Long evaluation rows as part -> predictor -> metric -> value, with None for NaN (no row passed the gate)."""
    tree: dict[str, dict[str, dict[str, float | None]]] = {}
    columns = (evaluation[name] for name in ("predictor", "part", "metric", "value"))
    for predictor, part, metric, value in zip(*columns, strict=True):
        tree.setdefault(part, {}).setdefault(predictor, {})[metric] = None if np.isnan(value) else float(value)
    return tree


def plain_values(value: Any) -> Any:
    """The same with numpy scalars, arrays and tuples as Python values; NaN and infinities become None.

    Raises
    ------
    TypeError
        if a value has no plain form.
    """
    if isinstance(value, Mapping):
        return {str(key): plain_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_values(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain_values(value.tolist())
    if isinstance(value, np.generic):
        return plain_values(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    raise TypeError(f"{type(value).__name__} {value!r} has no plain form in a model card")


def without_curves(record: Mapping[str, Any]) -> dict[str, Any]:
    """A learner's record as a card shows it: without its loss curves, which its own files hold."""
    return {name: value for name, value in record.items() if not isinstance(value, dict | list)}
