"""The multilayer perceptron: its graph, its training, its predictions.

The graph takes raw features. Imputation, standardisation and the correction back to natural class frequencies are
buffers inside it, so whoever runs the exported file needs nothing else and can get none of them wrong. Equal inputs
and seed give byte-identical weights on the CPU.

A network *with a base* learns a residual: it adds its outputs to the logarithms of base probabilities, which become a
second input of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.learning.mlp_network import (
    MlpSettings,
    add_scaler_buffers,
    check_settings,
    deterministic,
    fill_buffers,
    fit_network,
    hidden_layers,
    load_state,
    resolve_device,
    to_tensor,
    zero_last,
)
from butterquant_assets.learning.probabilities import (
    check_distributions,
    check_labels,
    check_weights,
    log_probabilities,
)
from butterquant_assets.learning.scaling import check_inputs, fit_scaler

if TYPE_CHECKING:
    import torch

__all__ = ["MlpSettings", "TrainedMlp", "class_weights", "predict", "predict_logits", "rebuild", "train_mlp"]

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TrainedMlp:
    """A trained network as plain values.

    Parameters
    ----------
    state
        tensors of the network by name, numpy arrays (float32, counters int64)
    features
        input columns in order
    hidden, dropout, n_classes
        architecture, enough to rebuild the graph
    history
        columns ``epoch`` (from 1), ``train_loss``, ``validation_loss``: mean log-loss in nats of the corrected
        probabilities in evaluation mode, comparable with each other and with every report. With a base it begins at
        epoch 0, the base itself.
    best_epoch
        the epoch whose weights are kept
    seed
        seed of the training
    with_base
        whether the graph takes base log-probabilities beside the features
    """

    state: dict[str, npt.NDArray[Any]]
    features: tuple[str, ...]
    hidden: tuple[int, ...]
    dropout: float
    n_classes: int
    history: pd.DataFrame
    best_epoch: int
    seed: int
    with_base: bool = False

    def architecture(self) -> dict[str, Any]:
        """What is needed, besides the tensors, to rebuild the graph: plain values for a model card."""
        plain = {
            "kind": "mlp",
            "features": list(self.features),
            "hidden": list(self.hidden),
            "dropout": self.dropout,
            "n_classes": self.n_classes,
        }
        return plain | {"with_base": True} if self.with_base else plain


def class_weights(labels: npt.ArrayLike, n_classes: int = 4) -> Floats:
    """Inverse-frequency weights n / (present classes x count), shape (n_classes,), of mean 1 over the rows.

    A class absent from the labels has weight 1: it enters no loss, so any weight does, and 1 leaves its logit alone.
    """
    counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=n_classes).astype(np.float64)
    present = counts > 0
    weights: Floats = np.divide(counts.sum() / present.sum(), counts, out=np.ones(n_classes), where=present)
    return weights


def train_mlp(
    X_train: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    X_validation: npt.ArrayLike,
    validation_labels: npt.ArrayLike,
    *,
    features: Sequence[str],
    settings: MlpSettings,
    n_classes: int = 4,
    device: str = "cpu",
    base: npt.ArrayLike | None = None,
    base_validation: npt.ArrayLike | None = None,
    sample_weight: npt.ArrayLike | None = None,
) -> TrainedMlp:
    """Train on the training part; stop, and choose the epoch, on the validation part.

    Parameters
    ----------
    X_train, X_validation
        raw features, shapes (n, d) and (m, d); NaN is missing
    train_labels, validation_labels
        classes 0 .. n_classes - 1, shapes (n,) and (m,); or probabilities of shapes (n, n_classes) and (m, n_classes),
        whose cross-entropy is then minimised, without class weights
    features
        column names, length d
    settings
        network and optimiser
    n_classes
        number of classes
    device
        ``cpu`` (default, byte-identical for a seed), a torch device such as ``cuda`` (not promised to be), or ``auto``:
        ``cuda`` where torch sees one
    base, base_validation
        base probabilities, shapes (n, n_classes) and (m, n_classes), or None. The network then learns what to add to
        their logarithms. It starts at nothing, and this start competes: where no epoch has a lower validation loss
        the base is kept as it is (``best_epoch`` 0)
    sample_weight
        weights of the training rows, shape (n,); the validation loss is not weighted

    Returns
    -------
    TrainedMlp

    Raises
    ------
    DataError
        if a part is empty, training holds a single class, a column is missing throughout or infinite, a probability or
        weight is none, or the loss is not finite.
    ConfigError
        if a setting is out of range.
    ValueError
        if a shape does not fit, or only one part has a base.

    Notes
    -----
    Each hidden block is Linear, BatchNorm, ReLU, Dropout (document, seed 000). The loss is weighted by inverse class
    frequency, which trains the posterior q_k proportional to w_k p_k of a market whose classes are equally frequent.
    The graph subtracts log w_k from the logits before the softmax, which gives back p_k, so the probabilities refer to
    natural frequencies and their log-loss is comparable with the baselines'. Sources: C. Elkan, *The Foundations of
    Cost-Sensitive Learning*, IJCAI 2001, theorem 2; M. Saerens, P. Latinne, C. Decaestecker, *Adjusting the Outputs of
    a Classifier to New a Priori Probabilities*, Neural Computation 14 (2002), equation 2.4.
    """
    check_settings(settings)
    device = resolve_device(device)
    train = _part(X_train, train_labels, base, features, n_classes, "training")
    held_out = _part(X_validation, validation_labels, base_validation, features, n_classes, "validation")
    if (base is None) != (base_validation is None):
        raise ValueError("either both parts have base probabilities or neither")
    hard = train.targets.ndim == 1
    if hard and np.unique(train.targets).size < 2:
        raise DataError(
            f"all {len(train.targets)} training rows have class {train.targets[0]}; there is nothing to tell apart"
        )
    weights = class_weights(train.targets, n_classes) if hard and settings.class_weighted else np.ones(n_classes)
    scaler = fit_scaler(train.X, features)
    with deterministic(settings.seed, device):
        network = _network(len(features), settings.hidden, settings.dropout, n_classes, with_base=base is not None)
        fill_buffers(network, scaler, log_class_weights=np.log(weights))
        network.to(device)
        loss = _loss(network, train, check_weights(sample_weight, len(train.X)), device)
        evaluate = _evaluation(network, train, held_out, device)
        fit = fit_network(network, loss, evaluate, len(train.X), settings, start_competes=base is not None)
    return TrainedMlp(
        state=fit.state,
        features=tuple(features),
        hidden=tuple(settings.hidden),
        dropout=settings.dropout,
        n_classes=n_classes,
        history=fit.history,
        best_epoch=fit.best_epoch,
        seed=settings.seed,
        with_base=base is not None,
    )


def predict(trained: TrainedMlp, X: npt.ArrayLike, base: npt.ArrayLike | None = None) -> Floats:
    """Class probabilities by torch on the CPU.

    Parameters
    ----------
    trained
        the network
    X
        raw features in the order of ``trained.features``, shape (n, d); NaN is imputed inside the graph
    base
        base probabilities, shape (n, n_classes); for a network with a base, and for no other

    Returns
    -------
    float64 array of shape (n, n_classes), computed in float32

    Raises
    ------
    DataError
        if an input is infinite.
    ValueError
        if base probabilities are missing or not asked for.
    """
    import torch

    if trained.with_base != (base is not None):
        raise ValueError(f"this network {'needs' if trained.with_base else 'takes no'} base probabilities")
    values = check_inputs(X, trained.features)
    inputs = [to_tensor(values, "cpu")]
    if base is not None:
        checked = check_distributions(base, len(values), trained.n_classes, "base probabilities")
        inputs.append(to_tensor(log_probabilities(checked), "cpu"))
    network = rebuild(trained)
    with deterministic(trained.seed, "cpu"), torch.no_grad():
        return np.asarray(network(*inputs).numpy(), dtype=np.float64)


def predict_logits(trained: TrainedMlp, X: npt.ArrayLike) -> Floats:
    """What the network adds to the base log-probabilities (to zeros, without a base), before the softmax.

    Parameters
    ----------
    trained, X
        as for `predict`

    Returns
    -------
    float64 array of shape (n, n_classes), computed in float32 and already corrected to natural class frequencies
    """
    import torch

    values = check_inputs(X, trained.features)
    network: Any = rebuild(trained)
    with deterministic(trained.seed, "cpu"), torch.no_grad():
        return np.asarray(network.residual(to_tensor(values, "cpu")).numpy(), dtype=np.float64)


def rebuild(trained: TrainedMlp) -> torch.nn.Module:
    """The torch module (evaluation mode, CPU) that `trained` describes: raw features in, probabilities out."""
    import torch

    with torch.random.fork_rng(devices=[]):  # the initial weights, overwritten at once, draw random numbers
        network = _network(
            len(trained.features), trained.hidden, trained.dropout, trained.n_classes, with_base=trained.with_base
        )
    loaded: torch.nn.Module = load_state(network, trained.state)
    return loaded


def _network(
    n_features: int, hidden: Sequence[int], dropout: float, n_classes: int, *, with_base: bool
) -> torch.nn.Module:
    import torch

    class Network(torch.nn.Module):
        """Raw features, and the logarithms of base probabilities where there are any, in; probabilities out."""

        input_median: torch.Tensor
        input_mean: torch.Tensor
        input_scale: torch.Tensor
        log_class_weights: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            add_scaler_buffers(self, n_features)
            self.register_buffer("log_class_weights", torch.zeros(n_classes))
            self.layers = hidden_layers(n_features, hidden, dropout, n_classes)
            if with_base:
                zero_last(self.layers)

        def outputs(self, features: torch.Tensor) -> torch.Tensor:
            observed = torch.where(torch.isnan(features), self.input_median, features)
            result: torch.Tensor = self.layers((observed - self.input_mean) / self.input_scale)
            return result

        def residual(self, features: torch.Tensor) -> torch.Tensor:
            return self.outputs(features) if with_base else self.outputs(features) - self.log_class_weights

        def weighted_logits(self, features: torch.Tensor, base: torch.Tensor | None) -> torch.Tensor:
            # With a base the last layer starts at zero, so the weights enter here, or the start would not be the base.
            outputs = self.outputs(features)
            return outputs if base is None else outputs + base + self.log_class_weights

        def logits(self, features: torch.Tensor, base: torch.Tensor | None) -> torch.Tensor:
            residual = self.residual(features)
            return residual if base is None else residual + base

        def forward(self, features: torch.Tensor, base_log_probabilities: torch.Tensor | None = None) -> torch.Tensor:
            return torch.softmax(self.logits(features, base_log_probabilities), dim=1)

    return Network()


@dataclass(frozen=True, eq=False)
class _Part:
    X: Floats
    targets: Any  # classes (n,) or probabilities (n, n_classes)
    base: Floats | None

    def tensors(self, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        import torch

        targets = (
            torch.from_numpy(self.targets).to(device) if self.targets.ndim == 1 else to_tensor(self.targets, device)
        )
        base = None if self.base is None else to_tensor(log_probabilities(self.base), device)
        return to_tensor(self.X, device), targets, base


def _part(
    X: npt.ArrayLike, targets: npt.ArrayLike, base: npt.ArrayLike | None, features: Sequence[str], k: int, part: str
) -> _Part:
    values, raw = check_inputs(X, features), np.asarray(targets)
    checked: Any
    if raw.ndim == 2 and raw.size:
        checked = check_distributions(raw, len(values), k, f"{part} targets")
    else:
        checked = check_labels(raw, k, part)
    given = None if base is None else check_distributions(base, len(values), k, f"{part} base probabilities")
    return _Part(values, checked, given)


def _loss(
    network: Any, train: _Part, sample_weight: Floats | None, device: str
) -> Callable[[torch.Tensor], torch.Tensor]:
    from torch.nn import functional

    X, targets, base = train.tensors(device)
    weights = network.log_class_weights.exp() if targets.ndim == 1 else None
    scaled = None if sample_weight is None else to_tensor(sample_weight / sample_weight.mean(), device)

    def loss(rows: torch.Tensor) -> torch.Tensor:
        logits = network.weighted_logits(X[rows], None if base is None else base[rows])
        if scaled is None:
            return functional.cross_entropy(logits, targets[rows], weight=weights)
        losses = functional.cross_entropy(logits, targets[rows], weight=weights, reduction="none")
        # Divided by the number of rows, not by their weights: a batch of light rows must move the network less.
        return (losses * scaled[rows]).mean()

    return loss


def _evaluation(network: Any, train: _Part, held_out: _Part, device: str) -> Callable[[], tuple[float, float]]:
    from torch.nn import functional

    parts = [part.tensors(device) for part in (train, held_out)]

    def evaluate() -> tuple[float, float]:
        first, second = (float(functional.cross_entropy(network.logits(X, base), y)) for X, y, base in parts)
        return first, second

    return evaluate
