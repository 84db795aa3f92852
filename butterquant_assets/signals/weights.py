"""From factors to one number: its sign is the direction of a signal, its size the confidence.

What belongs here: the weights, and what happens when a factor is missing. What does not: gates, targets, probabilities.

Source: REFERENCE section 2: W = .50 (.7 T + .3 C) + .35 (.5 V + .3 O + .2 M) + .15 B.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.signals.scaling import within_limits

Floats = npt.NDArray[np.float64]

# In ten-thousandths, so that a sum of any of them is exact and a complete score is divided by exactly 1.
_PARTS = {"T": 3500, "C": 1500, "V": 1750, "O": 1050, "M": 700, "B": 1500}
_WHOLE = 10_000
WEIGHTS: Mapping[str, float] = {name: part / _WHOLE for name, part in _PARTS.items()}


@dataclass(frozen=True)
class Scores:
    """What the factors say together.

    Attributes
    ----------
    score
        W, strictly between -100 and 100, positive = bullish; NaN where every factor is missing
    direction
        its sign: 1 long, -1 short, 0 no signal (W is 0 or missing)
    confidence
        its absolute value, 0 .. 100; NaN where W is
    weight_present
        sum of the weights of the factors that were there, 0 .. 1
    renormalised
        whether a factor was missing, so that the weights of the others were scaled up
    """

    score: Floats
    direction: npt.NDArray[np.int8]
    confidence: Floats
    weight_present: Floats
    renormalised: npt.NDArray[np.bool_]


def score(factors: Mapping[str, npt.ArrayLike]) -> Scores:
    """Weigh the factors.

    A missing factor is left out and the weights of those that are there are divided by their sum. That may let one
    light factor speak for all: `weight_present` says how much was there.

    Parameters
    ----------
    factors
        T, C, V, O, M and B by name (others are ignored), each -100 .. 100, NaN = missing, all of one shape

    Returns
    -------
    Scores
        arrays of that shape

    Raises
    ------
    DataError
        if one of the six is not given at all (give NaN where it is missing), if shapes differ, or if a value lies
        outside -100 .. 100.
    """
    absent = [name for name in _PARTS if name not in factors]
    if absent:
        raise DataError(f"factors {', '.join(absent)} are not given; expected {', '.join(_PARTS)}, NaN where missing")
    arrays = {name: np.asarray(factors[name], dtype=np.float64) for name in _PARTS}
    shape = arrays["T"].shape
    weighted, present = np.zeros(shape), np.zeros(shape, dtype=np.int64)
    for name, values in arrays.items():
        if values.shape != shape:
            raise DataError(f"factor {name} has shape {values.shape}, factor T {shape}; give all of one panel")
        known = ~np.isnan(values)
        beyond = known & (np.abs(np.where(known, values, 0.0)) > 100.0)
        if beyond.any():
            raise DataError(f"factor {name} has the value {values[beyond][0]}, expected -100 .. 100; scale it first")
        weighted += np.where(known, _PARTS[name] * values, 0.0)
        present += np.where(known, _PARTS[name], 0)
    total = np.full(shape, np.nan)
    np.divide(weighted, present, out=total, where=present > 0)
    total = within_limits(total)
    direction = np.where(np.isnan(total), 0.0, np.sign(total)).astype(np.int8)
    return Scores(total, direction, np.abs(total), present / _WHOLE, present < _WHOLE)
