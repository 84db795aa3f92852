"""Calibration of class probabilities: what a calibrator does, how it is fitted, which method is used.

What belongs here: the methods' formulas, and the choice among them by predictions made before their outcomes were
known. What does not: how each method's tables are fitted (`learning.calibration_tables`), how calibrated probabilities
are (`learning.reliability`), and where they come from. Only predictions made out of sample may come in; nothing here
can see whether they were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning import calibration_tables, metrics
from butterquant_assets.learning.calibration_choice import compare, decide, holding_periods, walk_forward_blocks
from butterquant_assets.learning.calibration_tables import clipped, log_odds

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

METHODS = ("none", "temperature", "sigmoid", "isotonic", "venn_abers")
TABLES: dict[str, tuple[str, ...]] = {
    "none": (),
    "temperature": ("temperature",),
    "sigmoid": ("slope", "intercept"),
    "isotonic": ("knots", "values"),
    "venn_abers": ("thresholds", "values"),
}
MINIMUM_ROWS = 300
# As for an edge: fewer groups than this all favour a method by luck too often, and their spread says nothing.
MINIMUM_GROUPS = 6
GROWTH = 1.25


@dataclass(frozen=True, eq=False)
class Calibrator:
    """A map from class probabilities to class probabilities, given by a method and its tables.

    Parameters
    ----------
    method
        one of `METHODS`
    tables
        arrays of float64, by method, for k classes:

        * none: no table; probabilities stay as they are
        * temperature: ``temperature`` (1,); softmax(log p / T)
        * sigmoid: ``slope`` and ``intercept`` (k,); q = sigma(slope * logit(p) + intercept)
        * isotonic: ``knots`` and ``values`` (k, m); q interpolates linearly between knots, flat outside
        * venn_abers: ``thresholds`` (k, m), ``values`` (k, m + 1); q is the value whose index is the number of
          thresholds at or below p

        The last three work class by class, and q is divided by its sum over classes. Rows of knots and thresholds
        ascend and are padded by repeating their last entry, the values likewise.

    Raises
    ------
    ConfigError
        if the method is unknown.
    DataError
        if a table is missing, unexpected, of the wrong shape, not finite or not ascending.
    """

    method: str
    tables: dict[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in TABLES:
            raise ConfigError(f"{self.method!r} is no calibration method; use one of {', '.join(METHODS)}")
        object.__setattr__(self, "tables", {name: _frozen(table) for name, table in self.tables.items()})
        _check_tables(self.method, self.tables)

    def apply(self, probabilities: npt.ArrayLike) -> Floats:
        """Calibrated probabilities, shape (n, k), rows sum to 1.

        Parameters
        ----------
        probabilities
            shape (n, k), rows sum to 1; clipped to [1e-7, 1 - 1e-7] first, except by ``none``, which changes nothing

        Returns
        -------
        array of shape (n, k)

        Raises
        ------
        DataError
            if a probability is missing.
        """
        p = np.asarray(probabilities, dtype=np.float64)
        self._check_input(p)
        if self.method == "none":
            return p.copy()
        if self.method == "temperature":
            logits = np.log(clipped(p)) / self.tables["temperature"]
            weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        else:
            # A steep sigmoid can round every class to 0, and 0 / 0 is no probability.
            weights = clipped(self._one_vs_rest(p))
        calibrated: Floats = weights / weights.sum(axis=1, keepdims=True)
        return calibrated

    def version(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the method and the tables: equal only for equal content."""
        digest = hashlib.sha256(self.method.encode())
        for name in sorted(self.tables):
            table = self.tables[name]
            digest.update(f"|{name}{table.shape}|".encode() + table.astype("<f8").tobytes())
        return digest.hexdigest()[:16]

    def _one_vs_rest(self, p: Floats) -> Floats:
        if self.method == "sigmoid":
            from scipy.special import expit

            q: Floats = expit(self.tables["slope"] * log_odds(p) + self.tables["intercept"])
            return q
        curve = _interpolated if self.method == "isotonic" else _stepped
        places, values = (self.tables[name] for name in TABLES[self.method])
        return np.column_stack(
            [curve(column, *rows) for column, *rows in zip(clipped(p).T, places, values, strict=True)]
        )

    def _check_input(self, p: Floats) -> None:
        classes = next((len(self.tables[name]) for name in TABLES[self.method] if name != "temperature"), None)
        if p.ndim != 2 or (classes is not None and p.shape[1] != classes):
            raise ValueError(f"probabilities have shape {p.shape}; expected (n, {classes or 'k'})")
        missing = ~np.isfinite(p).all(axis=1)
        if missing.any():
            raise DataError(f"{missing.sum()} rows hold missing probabilities, first row {int(missing.argmax())}")


@dataclass(frozen=True, eq=False)
class ChosenCalibrator:
    """The calibrator to use, and what it was chosen on.

    Parameters
    ----------
    calibrator
        of the chosen method, fitted on all rows
    reason
        why this method, in words and figures
    table
        one row a method: ``method``, ``log_loss``, ``brier``, ``ece`` of its walk-forward probabilities, ``gain`` (how
        much lower the log-loss is than without calibration, nats a row), ``standard_error`` of the gain over groups
        (infinite from one group), ``rows``, ``chosen``. NaN where no row could be scored.
    out_of_fold
        what this whole procedure would have given at the time, the choice included, shape (n, k): NaN for rows before
        the first block, and nothing that became known after a row's block began has touched it
    candidates
        walk-forward probabilities of each method, shape (n, k), NaN likewise; of the chosen one they are slightly
        flattering, since it was chosen by them
    """

    calibrator: Calibrator
    reason: str
    table: pd.DataFrame
    out_of_fold: Floats
    candidates: dict[str, Floats]


def fit_calibrator(method: str, probabilities: npt.ArrayLike, labels: npt.ArrayLike, n_classes: int = 4) -> Calibrator:
    """Fit one calibration method.

    Parameters
    ----------
    method
        one of `METHODS`
    probabilities, labels
        predictions made out of sample and their outcomes, shapes (n, n_classes) and (n,), no missing values, n at
        least 1; with few rows smoothing and bounds keep every method finite, but see `choose_calibrator`
    n_classes
        number of classes, present or not; a class present in no row, or in all, keeps its probabilities

    Returns
    -------
    Calibrator

    Raises
    ------
    ConfigError
        if the method is unknown.
    DataError
        if there is no row, something is no probability distribution or no label.
    """
    p, y = metrics.check_predictions(probabilities, labels, n_classes)
    fit = calibration_tables.FITS.get(method)
    return Calibrator(method, fit(p, y) if fit else {})


def choose_calibrator(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    order: npt.ArrayLike,
    *,
    leave: npt.ArrayLike,
    groups: npt.ArrayLike,
    n_classes: int = 4,
    minimum_rows: int = MINIMUM_ROWS,
    minimum_groups: int = MINIMUM_GROUPS,
    embargo_days: int = 0,
    growth: float = GROWTH,
) -> ChosenCalibrator:
    """Choose a calibration method by walk-forward log-loss, with the benefit of the doubt to no calibration.

    Rows are cut into blocks of time. Each method is fitted on the rows whose outcome was known before a block began and
    calibrates the block. The first block begins as soon as `minimum_rows` outcomes are known, the next whenever that
    number has grown by the factor `growth`: so where a block begins depends on the past alone, and adding rows at the
    end changes nothing before. Of the methods whose pooled log-loss lies below that of no calibration by more than its
    standard error over groups, the best is chosen; if there is none, no calibration.

    Parameters
    ----------
    probabilities, labels
        predictions made out of sample and their outcomes, shapes (n, n_classes) and (n,), no missing values; no row at
        all is allowed and gives ``none``
    order
        entry date of each row, shape (n,), in any order
    leave
        date on which its outcome became known, shape (n,)
    groups
        what counts as one piece of independent evidence, such as the episode, shape (n,)
    n_classes
        number of classes, present or not
    minimum_rows
        fewest rows a method is fitted on, here and in every block
    minimum_groups
        fewest groups a choice other than ``none`` rests on
    embargo_days
        calendar days an outcome must have been known before a block begins
    growth
        above 1

    Returns
    -------
    ChosenCalibrator

    Raises
    ------
    ConfigError
        if a number makes no sense.
    DataError
        if something is no probability distribution or no label, or a date or group is missing.

    Notes
    -----
    The one-standard-error rule is that of Breiman, Friedman, Olshen, Stone, *Classification and Regression Trees*
    (1984), section 3.4.3, in favour of the simplest method; the standard error is that of a ratio of sums over
    clusters (Cochran, *Sampling Techniques*, 1977, section 6.3), since groups differ in size.
    """
    if minimum_rows < 1 or minimum_groups < 2 or embargo_days < 0 or not growth > 1:
        raise ConfigError(
            f"minimum_rows {minimum_rows}, minimum_groups {minimum_groups}, embargo_days {embargo_days} and growth "
            f"{growth} must be at least 1, at least 2, at least 0 and above 1"
        )
    entered, left, codes = holding_periods(order, leave, groups)
    if not codes.size:
        return _uncalibrated(np.empty((0, n_classes)), f"none: there are 0 rows, at least {minimum_rows} are needed")
    p, y = metrics.check_predictions(probabilities, labels, n_classes)
    blocks = walk_forward_blocks(entered, left, np.timedelta64(embargo_days, "D"), minimum_rows, growth)
    if codes.size < minimum_rows:
        return _uncalibrated(p, f"none: there are {codes.size} rows, at least {minimum_rows} are needed")
    if not blocks:
        return _uncalibrated(p, f"none: no row entered after {minimum_rows} outcomes were known, so none can be judged")
    candidates = {method: np.full(p.shape, np.nan) for method in METHODS}
    out_of_fold = np.full(p.shape, np.nan)
    for known, block in blocks:
        for method, predicted in candidates.items():
            predicted[block] = fit_calibrator(method, p[known], y[known], n_classes).apply(p[block])
        so_far, _ = decide(compare(candidates, y, codes, known), minimum_groups)
        out_of_fold[block] = candidates[so_far][block]
    table = compare(candidates, y, codes, np.ones(y.size, dtype=np.bool_))
    method, reason = decide(table, minimum_groups)
    shown = table.assign(chosen=table["method"] == method).drop(columns="groups")
    return ChosenCalibrator(fit_calibrator(method, p, y, n_classes), reason, shown, out_of_fold, candidates)


def _uncalibrated(p: Floats, reason: str) -> ChosenCalibrator:
    nothing = {method: np.full(p.shape, np.nan) for method in METHODS}
    table = compare(nothing, np.zeros(len(p), np.int64), np.zeros(len(p), np.int64), np.zeros(len(p), np.bool_))
    table = table.assign(chosen=table["method"] == "none").drop(columns="groups")
    return ChosenCalibrator(Calibrator("none"), reason, table, np.full(p.shape, np.nan), nothing)


def _frozen(table: npt.ArrayLike) -> Floats:
    copy = np.array(table, dtype=np.float64)
    copy.setflags(write=False)
    return copy


def _check_tables(method: str, tables: Mapping[str, Floats]) -> None:
    if set(tables) != set(TABLES[method]):
        raise DataError(
            f"a {method} calibrator has the tables {sorted(tables)}; expected {sorted(TABLES[method])}; fit it again"
        )
    shapes = {name: table.shape for name, table in tables.items()}
    if not _shapes_fit(method, [shapes[name] for name in TABLES[method]]):
        raise DataError(f"the tables of a {method} calibrator have the shapes {shapes}; fit it again")
    for name, table in tables.items():
        if not np.isfinite(table).all():
            raise DataError(f"table {name} of a {method} calibrator holds values that are not finite; fit it again")
        if name in ("knots", "thresholds") and (np.diff(table, axis=1) < 0).any():
            raise DataError(f"the {name} of a {method} calibrator do not ascend; fit it again")
    if method == "temperature" and not tables["temperature"][0] > 0:
        raise DataError(f"the temperature is {tables['temperature'][0]}; it must be above 0; fit it again")


def _shapes_fit(method: str, shapes: list[tuple[int, ...]]) -> bool:
    if method in ("none", "temperature"):
        return shapes in ([], [(1,)])
    first, second = shapes
    if method == "sigmoid":
        return len(first) == 1 and first == second and first[0] > 0
    extra = 1 if method == "venn_abers" else 0
    return len(first) == 2 and min(first) > 0 and second == (first[0], first[1] + extra)


def _interpolated(scores: Floats, knots: Floats, values: Floats) -> Floats:
    curve: Floats = np.interp(scores, knots, values)
    return curve


def _stepped(scores: Floats, thresholds: Floats, values: Floats) -> Floats:
    steps: Floats = values[np.searchsorted(thresholds, scores, side="right")]
    return steps
