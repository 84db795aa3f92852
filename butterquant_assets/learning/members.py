"""One trained member of an ensemble, whatever its kind: training, predicting, and its files.

Every member is a residual: its probabilities are softmax(start + f(features)), where the start is the logarithm of base
probabilities, or without a base something constant. Features are rounded to float32 before anything else, as a served
model sees them, so that a value beside a threshold falls on the same side everywhere.

What belongs here: what the kinds share. What does not: how each learns (`learning.mlp`, `learning.boosters`,
`learning.logistic`), and how members are combined (`learning.ensemble`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError, DataError, ModelStoreError
from butterquant_assets.foundation.model_content import canonical_json, weights_bytes
from butterquant_assets.learning.baselines import smoothed_frequencies
from butterquant_assets.learning.boosters import (
    LightgbmSettings,
    Segment,
    TreeKind,
    XgboostSettings,
    train_trees,
    tree_margins,
)
from butterquant_assets.learning.logistic import LogisticFit, LogisticSettings, train_logistic
from butterquant_assets.learning.mlp import MlpSettings, TrainedMlp, predict_logits, train_mlp
from butterquant_assets.learning.probabilities import (
    Rows,
    as_served,
    check_distributions,
    check_labels,
    check_weights,
    log_probabilities,
    softmax,
)
from butterquant_assets.learning.scaling import InputScaler

Floats = npt.NDArray[np.float64]
Kind = Literal["mlp", "xgboost", "lightgbm", "logistic"]
KINDS: tuple[Kind, ...] = ("mlp", "xgboost", "lightgbm", "logistic")
TREES = ("xgboost", "lightgbm")
RECORD, TENSORS = "member.json", "tensors.safetensors"


@dataclass(frozen=True)
class MemberNetworkSettings(MlpSettings):
    """`MlpSettings` of a member; a class, so that setting one value keeps the others.

    Class weights are off: they serve rare classes at the cost of the log-loss, which the ensemble minimises.
    """

    batch_size: int = 256
    max_epochs: int = 60
    patience: int = 10
    class_weighted: bool = False


@dataclass(frozen=True)
class MemberSettings:
    """Settings of every kind of member; its seed comes from the training, not from here."""

    mlp: MemberNetworkSettings = field(default_factory=MemberNetworkSettings)
    xgboost: XgboostSettings = field(default_factory=XgboostSettings)
    lightgbm: LightgbmSettings = field(default_factory=LightgbmSettings)
    logistic: LogisticSettings = field(default_factory=LogisticSettings)


@dataclass(frozen=True, eq=False)
class TrainedMember:
    """A trained member as plain values.

    Parameters
    ----------
    kind
        one of `KINDS`
    features
        input columns in order
    n_classes
        number of classes
    tensors
        arrays by name: the network's state, the coefficients and scaler of a logistic regression, ``start``
        (n_classes,) of a member without base
    texts
        trees in the library's own format, one segment per training
    record
        plain values: ``with_base``, ``seed``, ``validation_losses`` (the start first), what was kept, and for a network
        its architecture
    """

    kind: Kind
    features: tuple[str, ...]
    n_classes: int
    tensors: dict[str, npt.NDArray[Any]]
    texts: tuple[bytes, ...]
    record: dict[str, Any]

    @property
    def with_base(self) -> bool:
        """Whether predicting needs base probabilities."""
        return bool(self.record["with_base"])


def train_member(
    kind: str,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    X_val: npt.ArrayLike,
    y_val: npt.ArrayLike,
    *,
    features: Sequence[str],
    n_classes: int = 4,
    settings: MemberSettings,
    base: npt.ArrayLike | None = None,
    base_validation: npt.ArrayLike | None = None,
    sample_weight: npt.ArrayLike | None = None,
    seed: int,
    device: str = "cpu",
) -> TrainedMember:
    """Train one member; stop on the validation part.

    Parameters
    ----------
    kind
        ``mlp``, ``xgboost``, ``lightgbm`` or ``logistic``
    X, X_val
        raw features, shapes (n, d) and (m, d); NaN is missing: trees route it, the others impute the training median
    y, y_val
        classes 0 .. n_classes - 1; for ``mlp`` also probabilities of shapes (n, n_classes) and (m, n_classes)
    features
        column names, length d
    n_classes
        number of classes
    settings
        of every kind; only those of `kind` are read
    base, base_validation
        base probabilities, shapes (n, n_classes) and (m, n_classes), or None. With a base, the member that adds nothing
        to it competes: it is kept where nothing learnt has a lower validation log-loss. Without one, trees and logistic
        regression start from the training frequencies, which then compete in the same way
    sample_weight
        weights of the training rows, shape (n,)
    seed
        of every random draw
    device
        for ``mlp`` only: ``cpu`` (byte-identical for a seed), ``cuda`` or ``auto``

    Returns
    -------
    TrainedMember

    Raises
    ------
    ConfigError
        if the kind is unknown or a setting is out of range.
    DataError
        if a part is empty, training holds a single class, an input is infinite, or training fails.
    ValueError
        if a shape does not fit, or only one part has a base.
    """
    if kind not in KINDS:
        raise ConfigError(f"{kind!r} is no kind of member; use one of {', '.join(KINDS)}")
    if (base is None) != (base_validation is None):
        raise ValueError("either both parts have base probabilities or neither")
    values, held_out = as_served(X, features), as_served(X_val, features)
    if kind == "mlp":
        return _train_network(
            values, y, held_out, y_val, features=features, n_classes=n_classes, device=device, base=base,
            base_validation=base_validation, sample_weight=sample_weight, settings=replace(settings.mlp, seed=seed),
        )  # fmt: skip
    labels = check_labels(y, n_classes, "training")
    if np.unique(labels).size < 2:
        raise DataError(f"all {labels.size} training rows have class {labels[0]}; there is nothing to tell apart")
    start = np.log(smoothed_frequencies(labels, n_classes))
    parts = []
    for part, truth, given in (
        (values, labels, base),
        (held_out, check_labels(y_val, n_classes, "validation"), base_validation),
    ):
        parts.append(Rows(part, truth, _start_margins(len(part), start, given)))
    train = replace(parts[0], weight=check_weights(sample_weight, len(values)))
    tensors = {} if base is not None else {"start": start}
    record: dict[str, Any] = {"with_base": base is not None, "seed": seed}
    if kind == "logistic":
        fit = train_logistic(train, parts[1], features=features, settings=settings.logistic)
        record |= {"inverse_penalty": fit.inverse_penalty, "validation_losses": list(fit.losses)}
        return TrainedMember("logistic", tuple(features), n_classes, tensors | _logistic_tensors(fit), (), record)
    tree_kind: TreeKind = "xgboost" if kind == "xgboost" else "lightgbm"
    segment = train_trees(tree_kind, train, parts[1], settings=getattr(settings, kind), seed=seed)
    record |= _segment_record([segment.rounds], segment)
    return TrainedMember(tree_kind, tuple(features), n_classes, tensors, (segment.text,), record)


def warm_start(
    member: TrainedMember,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    X_val: npt.ArrayLike,
    y_val: npt.ArrayLike,
    *,
    settings: MemberSettings,
    rounds: int = 20,
    base: npt.ArrayLike | None = None,
    base_validation: npt.ArrayLike | None = None,
    sample_weight: npt.ArrayLike | None = None,
    seed: int,
) -> TrainedMember:
    """Continue the boosting of a tree member on new rows by at most `rounds` rounds.

    Parameters
    ----------
    member
        of kind ``xgboost`` or ``lightgbm``; its trees stay as they are
    X, y, X_val, y_val, base, base_validation, sample_weight, seed
        as for `train_member`, of the new rows
    settings
        of the added trees
    rounds
        at most so many, fewer where the validation log-loss stops falling, none where it never falls

    Returns
    -------
    TrainedMember
        with one more segment of trees

    Raises
    ------
    ConfigError
        if the member has no trees.
    """
    if member.kind not in TREES:
        raise ConfigError(f"a member of kind {member.kind} has no trees to add to; train it anew")
    kind = cast("TreeKind", member.kind)
    parts = []
    for values, truth, given, part in ((X, y, base, "training"), (X_val, y_val, base_validation, "validation")):
        served = as_served(values, member.features)
        labels = check_labels(truth, member.n_classes, part)
        parts.append(Rows(served, labels, _margins(member, served, given)))
    train = replace(parts[0], weight=check_weights(sample_weight, len(parts[0].X)))
    segment = train_trees(kind, train, parts[1], settings=getattr(settings, kind), seed=seed, rounds=rounds)
    kept = [*member.record["rounds"], segment.rounds]
    record = member.record | _segment_record(kept, segment) | {"seed": seed}
    return replace(member, texts=(*member.texts, segment.text), record=record)


def predict_member(member: TrainedMember, X: npt.ArrayLike, base: npt.ArrayLike | None = None) -> Floats:
    """Class probabilities of one member.

    Parameters
    ----------
    member
        as trained
    X
        raw features in the order of ``member.features``, shape (n, d); NaN is missing
    base
        base probabilities, shape (n, n_classes); for a member with a base, and for no other

    Returns
    -------
    array of shape (n, n_classes)

    Raises
    ------
    DataError
        if an input is infinite or a base probability none.
    ValueError
        if a shape does not fit, or base probabilities are missing or not asked for.
    """
    return softmax(_margins(member, as_served(X, member.features), base))


def network_of(member: TrainedMember) -> TrainedMlp:
    """The network of a member of kind ``mlp``."""
    architecture = member.record["architecture"]
    return TrainedMlp(
        state=member.tensors,
        features=member.features,
        hidden=tuple(architecture["hidden"]),
        dropout=architecture["dropout"],
        n_classes=member.n_classes,
        history=pd.DataFrame(member.record["history"]),
        best_epoch=member.record["best_epoch"],
        seed=member.record["seed"],
        with_base=member.with_base,
    )


def logistic_of(member: TrainedMember) -> LogisticFit:
    """The regression of a member of kind ``logistic``."""
    tensors = member.tensors
    scaler = InputScaler(tensors["input_median"], tensors["input_mean"], tensors["input_scale"])
    losses = tuple(member.record["validation_losses"])
    return LogisticFit(scaler, tensors["coefficients"], tensors["intercepts"], member.record["inverse_penalty"], losses)


def to_files(member: TrainedMember) -> dict[str, bytes]:
    """A member as files that run no code when they are read: JSON, safetensors and the libraries' own text.

    Returns
    -------
    dict
        content by path: ``member.json``, ``tensors.safetensors`` and for trees ``trees_0.json`` or ``trees_0.txt`` and
        so on; equal members give equal bytes
    """
    ending = _ending(member.kind)
    record = {
        "kind": member.kind,
        "features": list(member.features),
        "n_classes": member.n_classes,
        "segments": len(member.texts),
        "record": member.record,
    }
    files = {RECORD: canonical_json(record), TENSORS: weights_bytes(member.tensors)}
    return files | {f"trees_{i}.{ending}": text for i, text in enumerate(member.texts)}


def from_files(files: Mapping[str, bytes]) -> TrainedMember:
    """The member that `to_files` wrote.

    Raises
    ------
    ModelStoreError
        if a file is missing or cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        plain = json.loads(files[RECORD])
        names = [f"trees_{i}.{_ending(plain['kind'])}" for i in range(plain["segments"])]
        member = TrainedMember(
            kind=plain["kind"],
            features=tuple(plain["features"]),
            n_classes=plain["n_classes"],
            tensors=load(files[TENSORS]),
            texts=tuple(files[name] for name in names),
            record=plain["record"],
        )
    except KeyError as error:
        raise ModelStoreError(f"a member lacks {error}; found {', '.join(sorted(files)) or 'nothing'}") from error
    except (ValueError, TypeError, SafetensorError) as error:
        raise ModelStoreError(f"a member's files cannot be read: {error}; rebuild the version") from error
    if member.kind not in KINDS:
        raise ModelStoreError(f"{member.kind!r} is no kind of member; this version cannot read it")
    return member


def _ending(kind: str) -> str:
    return "json" if kind == "xgboost" else "txt"


def _start_margins(rows: int, start: Floats, base: npt.ArrayLike | None) -> Floats:
    if base is None:
        return np.tile(start, (rows, 1))
    return log_probabilities(check_distributions(base, rows, len(start), "base probabilities"))


def _margins(member: TrainedMember, X: npt.NDArray[np.float32], base: npt.ArrayLike | None) -> Floats:
    if member.with_base != (base is not None):
        raise ValueError(f"this {member.kind} member {'needs' if member.with_base else 'takes no'} base probabilities")
    # A network without base learns its own intercept; the others keep theirs as the start.
    start = member.tensors.get("start", np.zeros(member.n_classes))
    if member.kind == "mlp":
        learnt = predict_logits(network_of(member), X)
    elif member.kind == "logistic":
        learnt = logistic_of(member).margins(X)
    else:
        learnt = tree_margins(member.kind, member.texts, X, member.n_classes)
    margins: Floats = np.add(_start_margins(len(X), start, base), learnt)
    return margins


def _train_network(
    X: npt.NDArray[np.float32],
    y: npt.ArrayLike,
    X_val: npt.NDArray[np.float32],
    y_val: npt.ArrayLike,
    *,
    features: Sequence[str],
    n_classes: int,
    **options: Any,
) -> TrainedMember:
    trained = train_mlp(X, y, X_val, y_val, features=features, n_classes=n_classes, **options)
    record = {
        "with_base": trained.with_base,
        "seed": trained.seed,
        "architecture": {"hidden": list(trained.hidden), "dropout": trained.dropout},
        "best_epoch": trained.best_epoch,
        "history": {
            "epoch": [int(epoch) for epoch in trained.history["epoch"]],
            "train_loss": [float(loss) for loss in trained.history["train_loss"]],
            "validation_loss": [float(loss) for loss in trained.history["validation_loss"]],
        },
    }
    return TrainedMember("mlp", tuple(features), n_classes, dict(trained.state), (), record)


def _logistic_tensors(fit: LogisticFit) -> dict[str, npt.NDArray[Any]]:
    return {
        "coefficients": fit.coefficients,
        "intercepts": fit.intercepts,
        "input_median": fit.scaler.median,
        "input_mean": fit.scaler.mean,
        "input_scale": fit.scaler.scale,
    }


def _segment_record(rounds: list[int], segment: Segment) -> dict[str, Any]:
    return {"rounds": rounds, "validation_losses": list(segment.losses)}
