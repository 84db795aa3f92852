"""Imputation and standardisation fitted on the training part alone.

Every learner of this package sees inputs through the same three vectors: medians for what is missing, then mean and
scale. They are fitted on training rows only, and the network carries them inside its graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import DataError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class InputScaler:
    """Medians, means and scales of the training columns, each of shape (d,)."""

    median: Floats
    mean: Floats
    scale: Floats

    def apply(self, X: npt.ArrayLike) -> Floats:
        """Replace NaN by the training medians, then standardise; shape (n, d) in and out."""
        values = np.asarray(X, dtype=np.float64)
        return (np.where(np.isnan(values), self.median, values) - self.mean) / self.scale


def fit_scaler(X: npt.ArrayLike, names: Sequence[str]) -> InputScaler:
    """Fit medians on the observed training values, then mean and standard deviation on the imputed columns.

    Parameters
    ----------
    X
        training rows, shape (n, d); NaN is missing, infinities are refused
    names
        column names, for messages, length d

    Returns
    -------
    InputScaler
        A constant column has scale 1, so it becomes 0 instead of dividing by nothing.

    Raises
    ------
    DataError
        if a column has no observed value or holds an infinity.
    """
    values = check_inputs(X, names)
    unseen = np.flatnonzero(np.isnan(values).all(axis=0))
    if unseen.size:
        raise DataError(
            f"feature {', '.join(names[int(i)] for i in unseen)} is missing in all {len(values)} training rows, so "
            "nothing can be imputed; mend its source or leave it out"
        )
    median = np.nanmedian(values, axis=0)
    imputed = np.where(np.isnan(values), median, values)
    mean = imputed.mean(axis=0)
    # A constant column's standard deviation may come out as rounding noise: judge constancy on the values themselves.
    constant = imputed.max(axis=0) == imputed.min(axis=0)
    mean = np.where(constant, imputed[0], mean)
    scale = np.where(constant, 1.0, imputed.std(axis=0))
    return InputScaler(median, mean, scale)


def check_inputs(X: npt.ArrayLike, names: Sequence[str]) -> Floats:
    """`X` as float64 of shape (n, d) with d = len(names); NaN may be missing values, infinities are refused.

    Raises
    ------
    DataError
        if a value is infinite.
    ValueError
        if the shape does not fit the names.
    """
    values = np.asarray(X, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(names):
        raise ValueError(f"inputs have shape {values.shape}; expected (n, {len(names)})")
    rows, columns = np.nonzero(np.isinf(values))
    if rows.size:
        raise DataError(
            f"feature {names[columns[0]]} is infinite in row {rows[0]} ({rows.size} such values in all); a missing "
            "value is NaN, an infinity is a defect of the feature"
        )
    return values
