"""A linear pool of members with a calibrator behind it: its weights, its predictions, its files.

    p = calibrator(w_0 base + sum of w_m p_m)

What belongs here: how trained members are combined. What does not: how they are trained (`learning.members`), how the
calibrator is fitted (`learning.calibration`), and which rows weights may be learnt on: out-of-fold predictions whose
labels were known by then, which the caller has to see to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import DataError, ModelStoreError
from butterquant_assets.foundation.model_content import canonical_json, files_under, weights_bytes
from butterquant_assets.learning import members as member_files
from butterquant_assets.learning.calibration import Calibrator
from butterquant_assets.learning.members import TrainedMember, predict_member
from butterquant_assets.learning.probabilities import check_distributions, check_labels, clipped
from butterquant_assets.learning.served_calibration import served_calibrator

Floats = npt.NDArray[np.float64]

BASE = "base"
ENSEMBLE, CALIBRATOR = "ensemble.json", "calibrator.safetensors"
OPTIMALITY = 1e-8  # nats by which the log-loss of the weights may exceed the lowest possible
MAXIMUM_STEPS = 50_000
NEGLIGIBLE = 1e-6


def fit_weights(
    predictions: Mapping[str, npt.ArrayLike],
    labels: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    *,
    prior: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Weights of a linear pool that minimise its log-loss.

    Minimises  E x (mean over rows of -log sum_m w_m p_m[label]) - sum_m prior_m log w_m  over the simplex, where E is
    the number of rows, or of groups where groups are given. The problem is convex; the answer does not depend on a
    start.

    Parameters
    ----------
    predictions
        probabilities by name, shapes (n, k); out-of-fold ones, or the pool believes whoever overfitted most
    labels
        classes, shape (n,)
    groups
        episode of each row, shape (n,): rows of one episode tell nearly the same, so the prior is weighed against the
        number of episodes. Without a prior groups change nothing
    prior
        pseudo-counts by name, not negative: how many episodes (rows, without groups) the belief is worth that this
        entry is right; names left out count 0. Members that resemble each other hardly pull apart, so that a few
        counts weigh much

    Returns
    -------
    dict
        weight by name, in alphabetical order, summing to 1; entries below 1e-6 are 0

    Raises
    ------
    DataError
        if there is no row or no entry, a probability or label is none, or the prior is negative or of no entry.

    Notes
    -----
    Expectation-maximisation: w_m becomes its mean responsibility. A step is accepted as the last when the largest
    gradient shows that no other weights are better by 1e-8 nats a row (Cover, *An algorithm for maximizing expected
    log investment return*, 1984, theorem 3); steps are extrapolated where that gains (Varadhan, Roland, *Simple and
    globally convergent methods for accelerating the convergence of any EM algorithm*, 2008, scheme S3).
    """
    names = sorted(predictions)
    if not names:
        raise DataError("there is no prediction to weigh; give at least one")
    k = np.asarray(predictions[names[0]]).shape[-1]
    y = check_labels(labels, k, "weighing")
    likelihoods = np.column_stack(
        [
            clipped(check_distributions(predictions[name], len(y), k, f"probabilities of {name}"))[np.arange(len(y)), y]
            for name in names
        ]
    )
    evidence = len(y) if groups is None else np.unique(np.asarray(groups)).size
    counts = _prior_counts(prior or {}, names) / evidence
    weights = _maximise(likelihoods, counts)
    kept = np.where(weights < NEGLIGIBLE, 0.0, weights)
    return {name: float(weight) for name, weight in zip(names, kept / kept.sum(), strict=True)}


def _prior_counts(prior: Mapping[str, float], names: list[str]) -> Floats:
    strangers = sorted(set(prior) - set(names))
    counts = np.array([float(prior.get(name, 0.0)) for name in names])
    if strangers or not (np.isfinite(counts) & (counts >= 0)).all():
        raise DataError(
            f"the prior is {dict(prior)}; expected pseudo-counts, 0 or more, of {', '.join(names)} and of no other"
        )
    return counts


def _maximise(likelihoods: Floats, prior: Floats) -> Floats:
    """Weights that maximise mean log(likelihoods @ w) + prior @ log w; likelihoods (n, m), prior (m,)."""
    total = 1.0 + prior.sum()

    def step(weights: Floats) -> Floats:
        updated: Floats = (weights * (likelihoods / (likelihoods @ weights)[:, None]).mean(axis=0) + prior) / total
        return updated

    def value(weights: Floats) -> float:
        known = prior > 0
        return float(np.log(likelihoods @ weights).mean() + prior[known] @ np.log(weights[known]))

    weights = np.full(likelihoods.shape[1], 1.0 / likelihoods.shape[1])
    for _ in range(MAXIMUM_STEPS):
        first = step(weights)
        # By concavity no weights are better than these by more than (largest gradient - total).
        positive = weights > 0
        if (first[positive] / weights[positive]).max() * total - total <= OPTIMALITY:
            return weights
        second = step(first)
        change, bend = first - weights, (second - first) - (first - weights)
        length = float(np.linalg.norm(change)) / max(float(np.linalg.norm(bend)), 1e-300)
        leap = weights + 2 * length * change + length**2 * bend
        usable = bool((leap > 0).all()) and value(leap) >= value(second)
        weights = step(leap / leap.sum()) if usable else second
    return weights


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Members, their weights, and a calibrator.

    Parameters
    ----------
    base
        the member that gives base probabilities (without a base of its own), or None
    members
        by name; they learn residuals on the base where there is one
    weights
        by name of member, and ``base`` where there is one; not negative, summing to 1
    calibrator
        as fitted. Predictions use its served form (`learning.served_calibration`), which rounding cannot move

    Raises
    ------
    DataError
        if weights do not fit the members, or members have other features or classes than each other.
    """

    base: TrainedMember | None
    members: dict[str, TrainedMember]
    weights: dict[str, float]
    calibrator: Calibrator

    def __post_init__(self) -> None:
        everyone = self.everyone()
        if not everyone or BASE in self.members:
            raise DataError(f"an ensemble needs members, none of them named {BASE!r}; found {sorted(self.members)}")
        names, total = set(everyone), sum(self.weights.values())
        if set(self.weights) - names or abs(total - 1) > 1e-9 or min(self.weights.values()) < 0:
            raise DataError(f"weights are {self.weights}; expected shares that sum to 1 of {', '.join(sorted(names))}")
        if len({(member.features, member.n_classes) for member in everyone.values()}) > 1:
            raise DataError("members differ in their features or classes; train them on the same columns")
        if self.base is not None and self.base.with_base:
            raise DataError("the base itself needs base probabilities; give one that does not")
        needy = sorted(name for name, member in self.members.items() if member.with_base and self.base is None)
        if needy:
            raise DataError(f"{', '.join(needy)} learnt on base probabilities, but the ensemble has no base")

    def everyone(self) -> dict[str, TrainedMember]:
        """Base and members by name."""
        return ({} if self.base is None else {BASE: self.base}) | self.members

    @property
    def features(self) -> tuple[str, ...]:
        """Input columns in order."""
        return next(iter(self.everyone().values())).features

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return next(iter(self.everyone().values())).n_classes

    def used(self) -> dict[str, float]:
        """Weights above 0, by name in alphabetical order: sums are then the same however members were listed."""
        return {name: weight for name, weight in sorted(self.weights.items()) if weight > 0}

    @cached_property
    def served(self) -> Calibrator:
        """The form of the calibrator that predictions use."""
        return served_calibrator(self.calibrator)

    def predict_parts(self, X: npt.ArrayLike, *, unused: bool = False) -> dict[str, Floats]:
        """Uncalibrated probabilities of base and members by name, of the ones without weight only where asked."""
        base = None if self.base is None else predict_member(self.base, X)
        parts = {} if base is None else {BASE: base}
        for name, member in self.members.items():
            if unused or self.weights.get(name, 0.0) > 0:
                parts[name] = predict_member(member, X, base if member.with_base else None)
        return parts

    def blend(self, parts: Mapping[str, npt.ArrayLike]) -> Floats:
        """The pool of such parts, not calibrated, shape (n, k)."""
        used = [(weight, np.asarray(parts[name])) for name, weight in self.used().items()]
        pooled: Floats = sum((weight * part for weight, part in used), np.zeros_like(used[0][1], dtype=np.float64))
        return pooled

    def predict(self, X: npt.ArrayLike) -> Floats:
        """Calibrated class probabilities.

        Parameters
        ----------
        X
            raw features in the order of ``features``, shape (n, d); NaN is missing

        Returns
        -------
        array of shape (n, k)

        Raises
        ------
        DataError
            if an input is infinite.
        """
        return self.served.apply(self.blend(self.predict_parts(X)))


def to_files(ensemble: Ensemble) -> dict[str, bytes]:
    """An ensemble as files that run no code when they are read.

    Returns
    -------
    dict
        content by path: ``ensemble.json``, ``calibrator.safetensors``, and the members' files under ``base/`` and
        ``members/<name>/``; equal ensembles give equal bytes
    """
    record = {
        "members": sorted(ensemble.members),
        "base": ensemble.base is not None,
        "weights": ensemble.weights,
        "calibrator": {"method": ensemble.calibrator.method, "version": ensemble.calibrator.version()},
    }
    files = {ENSEMBLE: canonical_json(record), CALIBRATOR: weights_bytes(ensemble.calibrator.tables)}
    for name, member in ensemble.everyone().items():
        folder = BASE if name == BASE else f"members/{name}"
        files |= {f"{folder}/{path}": content for path, content in member_files.to_files(member).items()}
    return files


def from_files(files: Mapping[str, bytes]) -> Ensemble:
    """The ensemble that `to_files` wrote; other paths are ignored.

    Raises
    ------
    ModelStoreError
        if a file is missing or cannot be read, or the calibrator is not the recorded one.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        record: dict[str, Any] = json.loads(files[ENSEMBLE])
        calibrator = Calibrator(record["calibrator"]["method"], load(files[CALIBRATOR]))
        recorded = record["calibrator"]["version"]
        base = _member(files, BASE) if record["base"] else None
        parts = {name: _member(files, f"members/{name}") for name in record["members"]}
        weights = {name: float(weight) for name, weight in record["weights"].items()}
    except KeyError as error:
        raise ModelStoreError(f"an ensemble lacks {error}; rebuild the version") from error
    except (ValueError, TypeError, SafetensorError) as error:
        raise ModelStoreError(f"an ensemble's files cannot be read: {error}; rebuild the version") from error
    if calibrator.version() != recorded:
        raise ModelStoreError(f"the calibrator is {calibrator.version()}, recorded was {recorded}; rebuild the version")
    return Ensemble(base, parts, weights, calibrator)


def _member(files: Mapping[str, bytes], folder: str) -> TrainedMember:
    return member_files.from_files(files_under(folder, files))
