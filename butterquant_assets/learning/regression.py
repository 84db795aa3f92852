"""Regression by boosted trees or a network: training, predicting, ONNX and files.

What belongs here: one number per row by squared error. What does not: classes (`learning.members`), and what the number
means or how it is transformed before and after.

The target is standardised by the training part, and what is learnt starts from its mean; where nothing learnt has a
lower validation error the mean is kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import ConfigError, DataError, ModelStoreError
from butterquant_assets.foundation.model_content import canonical_json, weights_bytes
from butterquant_assets.learning.boosters import LightgbmSettings, train_trees, tree_margins
from butterquant_assets.learning.mlp_network import (
    MlpSettings,
    add_scaler_buffers,
    check_settings,
    deterministic,
    fill_buffers,
    fit_network,
    hidden_layers,
    load_state,
    to_tensor,
    zero_last,
)
from butterquant_assets.learning.onnx_graph import GraphBuilder, network_outputs, repeated, tree_outputs
from butterquant_assets.learning.probabilities import Rows, as_served, check_weights
from butterquant_assets.learning.scaling import fit_scaler

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float64]
Kind = Literal["lightgbm", "mlp"]
KINDS: tuple[Kind, ...] = ("lightgbm", "mlp")
OUTPUT = "prediction"
RECORD, TENSORS, TREES = "regressor.json", "tensors.safetensors", "trees_0.txt"
NETWORK_SETTINGS = MlpSettings(hidden=(64, 32), dropout=0.1, batch_size=256, max_epochs=60, patience=10)


@dataclass(frozen=True, eq=False)
class TrainedRegressor:
    """A trained regression as plain values.

    Parameters
    ----------
    kind
        ``lightgbm`` or ``mlp``
    features
        input columns in order
    tensors
        the network's state; ``target`` (2,) is mean and scale of the training targets
    trees
        LightGBM's own text, empty for a network or where no tree helped
    record
        plain values: ``seed``, ``validation_losses`` (mean squared error of the standardised target, the start first),
        what was kept, and for a network its architecture
    """

    kind: Kind
    features: tuple[str, ...]
    tensors: dict[str, npt.NDArray[Any]]
    trees: bytes
    record: dict[str, Any]


def train_regressor(
    kind: str,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    X_val: npt.ArrayLike,
    y_val: npt.ArrayLike,
    *,
    features: Sequence[str],
    settings: LightgbmSettings | MlpSettings | None = None,
    sample_weight: npt.ArrayLike | None = None,
    seed: int,
) -> TrainedRegressor:
    """Minimise the squared error on the training part; stop on the validation part.

    Parameters
    ----------
    kind
        ``lightgbm`` or ``mlp``
    X, X_val
        raw features, shapes (n, d) and (m, d); NaN is missing: trees route it, a network imputes the training median
    y, y_val
        targets, shapes (n,) and (m,), all finite
    features
        column names, length d
    settings
        of that kind; None takes the defaults
    sample_weight
        weights of the training rows, shape (n,)
    seed
        of every random draw

    Returns
    -------
    TrainedRegressor
        byte-identical for equal inputs

    Raises
    ------
    ConfigError
        if the kind is unknown, or the settings are another's or out of range.
    DataError
        if a part is empty, a target is missing, training targets are all equal, or an input is infinite.
    """
    if kind not in KINDS:
        raise ConfigError(f"{kind!r} is no kind of regression; use one of {', '.join(KINDS)}")
    chosen = settings or (LightgbmSettings() if kind == "lightgbm" else NETWORK_SETTINGS)
    if isinstance(chosen, MlpSettings) != (kind == "mlp"):
        raise ConfigError(f"{kind} does not take {type(chosen).__name__}")
    values, held_out = as_served(X, features), as_served(X_val, features)
    targets, held_targets = _targets(y, len(values), "training"), _targets(y_val, len(held_out), "validation")
    mean, scale = float(targets.mean()), float(targets.std())
    if not scale > 0:
        raise DataError(f"all {targets.size} training targets are {mean}; there is nothing to learn")
    weight = check_weights(sample_weight, len(values))
    train = Rows(values, (targets - mean) / scale, np.zeros((len(values), 1)), weight)
    validation = Rows(held_out, (held_targets - mean) / scale, np.zeros((len(held_out), 1)))
    target = {"target": np.array([mean, scale])}
    if isinstance(chosen, MlpSettings):
        tensors, record = _fit_network(train, validation, features, replace(chosen, seed=seed))
        return TrainedRegressor("mlp", tuple(features), tensors | target, b"", record)
    segment = train_trees("lightgbm", train, validation, settings=chosen, seed=seed, task="regression")
    record = {"seed": seed, "rounds": segment.rounds, "validation_losses": list(segment.losses)}
    return TrainedRegressor("lightgbm", tuple(features), target, segment.text, record)


def predict_regressor(model: TrainedRegressor, X: npt.ArrayLike) -> Floats:
    """Predictions in the unit of the training targets; raw features (n, d) in, shape (n,) out.

    Raises
    ------
    DataError
        if an input is infinite.
    """
    values = as_served(X, model.features)
    mean, scale = model.tensors["target"]
    standardised: Floats
    if model.kind == "lightgbm":
        standardised = tree_margins("lightgbm", [model.trees], values, 1)[:, 0]
    else:
        import torch

        with deterministic(model.record["seed"], "cpu"), torch.no_grad():
            outputs = _rebuild(model).residual(to_tensor(values, "cpu"))
        standardised = outputs.numpy()[:, 0].astype(np.float64)
    predictions: Floats = mean + scale * standardised
    return predictions


def regressor_outputs(graph: GraphBuilder, model: TrainedRegressor) -> str:
    """What the regression makes of the graph's features, in the unit of the training targets, double [n, 1]."""
    mean, scale = (float(value) for value in model.tensors["target"])
    if model.kind == "mlp":
        outputs: str | None = network_outputs(graph, _rebuild(model), len(model.features))
    else:
        outputs = tree_outputs(graph, "lightgbm", (model.trees,), 1)
    if outputs is None:
        return repeated(graph, [mean])
    return graph.add("Add", graph.add("Mul", outputs, graph.constant(scale)), graph.constant([mean]))


def to_files(model: TrainedRegressor) -> dict[str, bytes]:
    """A regression as files that run no code when they are read; equal models give equal bytes."""
    record = {"kind": model.kind, "features": list(model.features), "record": model.record}
    return {RECORD: canonical_json(record), TENSORS: weights_bytes(model.tensors), TREES: model.trees}


def from_files(files: Mapping[str, bytes]) -> TrainedRegressor:
    """The regression that `to_files` wrote.

    Raises
    ------
    ModelStoreError
        if a file is missing or cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        plain = json.loads(files[RECORD])
        if plain["kind"] not in KINDS:
            raise ModelStoreError(f"{plain['kind']!r} is no kind of regression; this version cannot read it")
        kind = cast("Kind", plain["kind"])
        return TrainedRegressor(kind, tuple(plain["features"]), load(files[TENSORS]), files[TREES], plain["record"])
    except KeyError as error:
        raise ModelStoreError(f"a regression lacks {error}; found {', '.join(sorted(files)) or 'nothing'}") from error
    except (ValueError, TypeError, SafetensorError) as error:
        raise ModelStoreError(f"a regression's files cannot be read: {error}; rebuild the version") from error


def _network(n_features: int, hidden: Sequence[int], dropout: float) -> Any:
    import torch

    class Regression(torch.nn.Module):
        """Raw features in, the standardised target out."""

        input_median: torch.Tensor
        input_mean: torch.Tensor
        input_scale: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            add_scaler_buffers(self, n_features)
            self.layers = hidden_layers(n_features, hidden, dropout, 1)
            zero_last(self.layers)

        def residual(self, features: torch.Tensor) -> torch.Tensor:
            observed = torch.where(torch.isnan(features), self.input_median, features)
            result: torch.Tensor = self.layers((observed - self.input_mean) / self.input_scale)
            return result

    return Regression()


def _fit_network(
    train: Rows, validation: Rows, features: Sequence[str], settings: MlpSettings
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    check_settings(settings)
    scaler = fit_scaler(train.X, features)
    weight = np.ones(len(train.X)) if train.weight is None else train.weight / train.weight.mean()
    with deterministic(settings.seed, "cpu"):
        network = _network(len(features), settings.hidden, settings.dropout)
        fill_buffers(network, scaler)
        parts = [(to_tensor(part.X, "cpu"), to_tensor(part.labels, "cpu")) for part in (train, validation)]
        (X, y), weights = parts[0], to_tensor(weight, "cpu")

        def loss(rows: torch.Tensor) -> torch.Tensor:
            error: torch.Tensor = network.residual(X[rows])[:, 0] - y[rows]
            return (weights[rows] * error**2).mean()

        def evaluate() -> tuple[float, float]:
            first, second = (float(((network.residual(A)[:, 0] - b) ** 2).mean()) for A, b in parts)
            return first, second

        fit = fit_network(network, loss, evaluate, len(train.X), settings, start_competes=True)
    record = {
        "seed": settings.seed,
        "architecture": {"hidden": list(settings.hidden), "dropout": settings.dropout},
        "best_epoch": fit.best_epoch,
        "validation_losses": [float(value) for value in fit.history["validation_loss"]],
    }
    return fit.state, record


def _rebuild(model: TrainedRegressor) -> Any:
    import torch

    architecture = model.record["architecture"]
    with torch.random.fork_rng(devices=[]):  # the initial weights, overwritten at once, draw random numbers
        network = _network(len(model.features), architecture["hidden"], architecture["dropout"])
    return load_state(network, {name: tensor for name, tensor in model.tensors.items() if name != "target"})


def _targets(y: npt.ArrayLike, rows: int, part: str) -> Floats:
    values = np.asarray(y, dtype=np.float64)
    if values.shape != (rows,):
        raise ValueError(f"{part} targets have shape {values.shape}; expected ({rows},)")
    if not rows or not np.isfinite(values).all():
        raise DataError(f"{part} has {rows} rows, {int((~np.isfinite(values)).sum())} without target; leave those out")
    return values
