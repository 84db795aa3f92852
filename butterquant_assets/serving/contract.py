"""What a model card promises to callers: features with units and ranges, classes, what each class pays, thresholds.

What belongs here: reading the ``serving`` entry of a card into arrays that requests are checked with. What does not:
the session that computes probabilities (model.py), and requests themselves (payloads.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import ModelStoreError

Floats = npt.NDArray[np.float64]

GATES: tuple[str, ...] = ("document", "training")
"""Ways to value the classes, in the order of the columns of `Contract.class_values`."""

_THRESHOLD_OF = {"document": "document", "training": "chosen"}
LARGEST = float(np.finfo(np.float32).max)
"""The graph computes in float32: a larger number would enter it as infinity."""


@dataclass(frozen=True)
class Feature:
    """One input of a model.

    Parameters
    ----------
    name, unit
        as on the card; the unit may be empty
    low, high
        physically possible values, both included; None is no bound
    nullable
        whether a caller may send null for a missing value
    description, example
        for people; the example is a possible value
    """

    name: str
    unit: str
    low: float | None
    high: float | None
    nullable: bool
    description: str
    example: float


@dataclass(frozen=True, eq=False)
class Contract:
    """What requests to one model version are checked against.

    Parameters
    ----------
    features
        in the order of the model's input
    low, high
        bounds by feature, shape (d,), finite
    nullable
        where null is allowed, shape (d,)
    classes
        in the order of the model's output
    class_values
        ROI that stands for each class, one column per gate of `GATES`, shape (k, 2)
    thresholds
        expected ROI above which a gate executes; None: nothing passes this gate
    default_gate
        of requests that name none
    calibration_method, calibration_version
        as on the card
    """

    features: tuple[Feature, ...]
    low: Floats
    high: Floats
    nullable: npt.NDArray[np.bool_]
    classes: tuple[str, ...]
    class_values: Floats
    thresholds: Mapping[str, float | None]
    default_gate: str
    calibration_method: str
    calibration_version: str

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names in order."""
        return tuple(feature.name for feature in self.features)


def read_contract(card: Mapping[str, Any]) -> Contract:
    """The contract on a model card.

    Parameters
    ----------
    card
        of a published version; ``input.features``, ``output.classes`` and ``serving`` are read

    Returns
    -------
    Contract

    Raises
    ------
    ModelStoreError
        if an entry is missing or contradicts another.
    """
    try:
        return _read(card["serving"], list(card["input"]["features"]), tuple(card["output"]["classes"]))
    except (KeyError, TypeError, ValueError) as error:
        what = f"has no entry {error}" if isinstance(error, KeyError) else f"is malformed: {error}"
        raise ModelStoreError(
            f"the card of {card.get('name')} {card.get('version')} {what}, which serving needs; build the model again "
            "with this version of the package"
        ) from error


def _read(serving: Mapping[str, Any], names: list[str], classes: tuple[str, ...]) -> Contract:
    features = tuple(_feature(entry) for entry in serving["features"])
    if [feature.name for feature in features] != names or len(set(names)) != len(names):
        raise ValueError("serving.features and input.features differ in their names or order, or repeat one")
    if len(names) < 2:
        raise ValueError(f"input.features names {len(names)} features, expected two or more")
    values = np.array([serving["class_values"][gate] for gate in GATES], dtype=np.float64).T
    if values.shape != (len(classes), len(GATES)) or not np.isfinite(values).all():
        raise ValueError(f"serving.class_values needs {len(classes)} finite numbers by each of {', '.join(GATES)}")
    thresholds = {gate: _number(serving["threshold"][_THRESHOLD_OF[gate]]) for gate in GATES}
    if serving["default_gate"] not in GATES:
        raise ValueError(f"serving.default_gate is {serving['default_gate']!r}, expected one of {', '.join(GATES)}")
    return Contract(
        features=features,
        low=np.array([-LARGEST if f.low is None else f.low for f in features]),
        high=np.array([LARGEST if f.high is None else f.high for f in features]),
        nullable=np.array([f.nullable for f in features]),
        classes=classes,
        class_values=values,
        thresholds=thresholds,
        default_gate=serving["default_gate"],
        calibration_method=str(serving["calibration"]["method"]),
        calibration_version=str(serving["calibration"]["version"]),
    )


def _feature(entry: Mapping[str, Any]) -> Feature:
    low, high = _number(entry["low"]), _number(entry["high"])
    if low is not None and high is not None and low > high:
        raise ValueError(f"feature {entry['name']} has low {low} above high {high}")
    if type(entry["nullable"]) is not bool:
        raise ValueError(f"feature {entry['name']} has nullable {entry['nullable']!r}, expected true or false")
    example = _number(entry.get("example"))
    return Feature(
        name=str(entry["name"]),
        unit=str(entry["unit"] or ""),
        low=low,
        high=high,
        nullable=entry["nullable"],
        description=str(entry.get("description") or entry["name"]),
        example=_inside(low, high) if example is None else example,
    )


def _number(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    if isinstance(value, (str, bool)) or not np.isfinite(number):
        raise ValueError(f"{value!r} is no finite number")
    return number


def _inside(low: float | None, high: float | None) -> float:
    """A value between the bounds, to show one."""
    if low is not None and high is not None:
        return (low + high) / 2.0
    if low is not None:
        return low + 1.0
    return 0.0 if high is None else high - 1.0
