"""The multilayer perceptron: its graph, its training, its predictions.

The graph takes raw features. Imputation, standardisation and the correction back to natural class frequencies are
buffers inside it, so whoever runs the exported file needs nothing else and can get none of them wrong. Equal inputs
and seed give byte-identical weights on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning.scaling import InputScaler, check_inputs, fit_scaler

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MlpSettings:
    """The network and its optimiser.

    Parameters
    ----------
    hidden
        width of each hidden layer
    dropout
        share of hidden units left out in each training step
    learning_rate, weight_decay
        of AdamW
    batch_size
        rows per step, about: an epoch is cut into equal batches, so none is too small for batch normalisation
    max_epochs, patience
        training stops after `max_epochs`, or when the validation log-loss has not fallen for `patience` epochs
    seed
        of the initial weights, the order of rows and the dropout
    """

    hidden: tuple[int, ...] = (128, 64)
    dropout: float = 0.3
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch_size: int = 64
    max_epochs: int = 200
    patience: int = 20
    seed: int = 7


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
        probabilities in evaluation mode, comparable with each other and with every report
    best_epoch
        the epoch whose weights are kept
    seed
        seed of the training
    """

    state: dict[str, npt.NDArray[Any]]
    features: tuple[str, ...]
    hidden: tuple[int, ...]
    dropout: float
    n_classes: int
    history: pd.DataFrame
    best_epoch: int
    seed: int

    def architecture(self) -> dict[str, Any]:
        """What is needed, besides the tensors, to rebuild the graph: plain values for a model card."""
        return {
            "kind": "mlp",
            "features": list(self.features),
            "hidden": list(self.hidden),
            "dropout": self.dropout,
            "n_classes": self.n_classes,
        }


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
) -> TrainedMlp:
    """Train on the training part; stop, and choose the epoch, on the validation part.

    Parameters
    ----------
    X_train, X_validation
        raw features, shapes (n, d) and (m, d); NaN is missing
    train_labels, validation_labels
        classes 0 .. n_classes - 1, shapes (n,) and (m,)
    features
        column names, length d
    settings
        network and optimiser
    n_classes
        number of classes
    device
        ``cpu`` (default, byte-identical for a seed) or a torch device such as ``cuda`` (not promised to be)

    Returns
    -------
    TrainedMlp

    Raises
    ------
    DataError
        if a part is empty, training holds a single class, a column is missing throughout or infinite, or the loss is
        not finite.
    ConfigError
        if a setting is out of range.

    Notes
    -----
    Each hidden block is Linear, BatchNorm, ReLU, Dropout (document, seed 000). The loss is weighted by inverse class
    frequency, which trains the posterior q_k proportional to w_k p_k of a market whose classes are equally frequent.
    The graph subtracts log w_k from the logits before the softmax, which gives back p_k, so the probabilities refer to
    natural frequencies and their log-loss is comparable with the baselines'. Sources: C. Elkan, *The Foundations of
    Cost-Sensitive Learning*, IJCAI 2001, theorem 2; M. Saerens, P. Latinne, C. Decaestecker, *Adjusting the Outputs of
    a Classifier to New a Priori Probabilities*, Neural Computation 14 (2002), equation 2.4.
    """
    import torch

    _check_settings(settings)
    values, labels = check_inputs(X_train, features), _labels(train_labels, n_classes, "training")
    held_out, held_out_labels = (
        check_inputs(X_validation, features),
        _labels(validation_labels, n_classes, "validation"),
    )
    if np.unique(labels).size < 2:
        raise DataError(f"all {labels.size} training rows have class {labels[0]}; there is nothing to tell apart")
    scaler, weights = fit_scaler(values, features), class_weights(labels, n_classes)
    with _deterministic(settings.seed, device):
        network = _network(len(features), settings.hidden, settings.dropout, n_classes)
        _fill_buffers(network, scaler, weights)
        network.to(device)
        X, y = _tensor(values, device), torch.from_numpy(labels).to(device)
        X_held, y_held = _tensor(held_out, device), torch.from_numpy(held_out_labels).to(device)
        history, best_epoch, state = _fit(network, X, y, X_held, y_held, settings)
    return TrainedMlp(
        state=state,
        features=tuple(features),
        hidden=tuple(settings.hidden),
        dropout=settings.dropout,
        n_classes=n_classes,
        history=history,
        best_epoch=best_epoch,
        seed=settings.seed,
    )


def predict(trained: TrainedMlp, X: npt.ArrayLike) -> Floats:
    """Class probabilities by torch on the CPU.

    Parameters
    ----------
    trained
        the network
    X
        raw features in the order of ``trained.features``, shape (n, d); NaN is imputed inside the graph

    Returns
    -------
    float64 array of shape (n, n_classes), computed in float32

    Raises
    ------
    DataError
        if an input is infinite.
    """
    import torch

    values = check_inputs(X, trained.features)
    network = rebuild(trained)
    with _deterministic(trained.seed, "cpu"), torch.no_grad():
        return np.asarray(network(_tensor(values, "cpu")).numpy(), dtype=np.float64)


def rebuild(trained: TrainedMlp) -> torch.nn.Module:
    """The torch module (evaluation mode, CPU) that `trained` describes: raw features in, probabilities out."""
    import torch

    with torch.random.fork_rng(devices=[]):  # the initial weights, overwritten at once, draw random numbers
        network = _network(len(trained.features), trained.hidden, trained.dropout, trained.n_classes)
    network.load_state_dict({name: torch.from_numpy(np.array(tensor)) for name, tensor in trained.state.items()})
    return network.eval()


def _network(n_features: int, hidden: Sequence[int], dropout: float, n_classes: int) -> torch.nn.Module:
    import torch

    class Network(torch.nn.Module):
        """Raw features in, class probabilities out."""

        input_median: torch.Tensor
        input_mean: torch.Tensor
        input_scale: torch.Tensor
        log_class_weights: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            for name in ("input_median", "input_mean", "input_scale"):
                self.register_buffer(name, torch.ones(n_features))
            self.register_buffer("log_class_weights", torch.zeros(n_classes))
            layers: list[torch.nn.Module] = []
            width = n_features
            for units in hidden:
                layers += [torch.nn.Linear(width, units), torch.nn.BatchNorm1d(units)]
                layers += [torch.nn.ReLU(), torch.nn.Dropout(dropout)]
                width = units
            self.layers = torch.nn.Sequential(*layers, torch.nn.Linear(width, n_classes))

        def weighted_logits(self, features: torch.Tensor) -> torch.Tensor:
            observed = torch.where(torch.isnan(features), self.input_median, features)
            logits: torch.Tensor = self.layers((observed - self.input_mean) / self.input_scale)
            return logits

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return torch.softmax(self.weighted_logits(features) - self.log_class_weights, dim=1)

    return Network()


def _fill_buffers(network: torch.nn.Module, scaler: InputScaler, weights: Floats) -> None:
    import torch

    values = {
        "input_median": scaler.median,
        "input_mean": scaler.mean,
        "input_scale": scaler.scale,
        "log_class_weights": np.log(weights),
    }
    for name, value in values.items():
        network.get_buffer(name).copy_(torch.from_numpy(value.astype(np.float32)))


def _fit(
    network: Any,
    X: torch.Tensor,
    y: torch.Tensor,
    X_held: torch.Tensor,
    y_held: torch.Tensor,
    settings: MlpSettings,
) -> tuple[pd.DataFrame, int, dict[str, npt.NDArray[Any]]]:
    import torch

    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, foreach=False
    )
    loss = torch.nn.CrossEntropyLoss(weight=network.log_class_weights.exp())
    order = torch.Generator().manual_seed(settings.seed)
    batches = max(1, len(X) // settings.batch_size)
    records: list[tuple[int, float, float]] = []
    best_loss, best_epoch, best_state = np.inf, 0, {}
    for epoch in range(1, settings.max_epochs + 1):
        network.train()
        for rows in torch.randperm(len(X), generator=order).to(X.device).tensor_split(batches):
            optimiser.zero_grad()
            loss(network.weighted_logits(X[rows]), y[rows]).backward()
            optimiser.step()
        train_loss, validation_loss = _log_loss(network, X, y), _log_loss(network, X_held, y_held)
        if not (np.isfinite(train_loss) and np.isfinite(validation_loss)):
            raise DataError(
                f"the loss of epoch {epoch} is {train_loss} (training) and {validation_loss} (validation); "
                "look for extreme feature values or lower the learning rate"
            )
        records.append((epoch, train_loss, validation_loss))
        if validation_loss < best_loss:
            best_loss, best_epoch = validation_loss, epoch
            best_state = {name: tensor.cpu().numpy().copy() for name, tensor in network.state_dict().items()}
        if epoch - best_epoch >= settings.patience:
            break
    return pd.DataFrame(records, columns=["epoch", "train_loss", "validation_loss"]), best_epoch, best_state


def _log_loss(network: Any, X: torch.Tensor, y: torch.Tensor) -> float:
    import torch

    network.eval()
    with torch.no_grad():
        logits = network.weighted_logits(X) - network.log_class_weights
        return float(torch.nn.functional.cross_entropy(logits, y))


@contextmanager
def _deterministic(seed: int, device: str) -> Iterator[None]:
    """One thread, deterministic algorithms and a seeded generator; the process gets its own settings back."""
    import torch

    on_cpu = device == "cpu"
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    # Elsewhere, deterministic algorithms depend on environment variables that this function must not touch.
    with torch.random.fork_rng(devices=None if not on_cpu else []):
        torch.manual_seed(seed)
        try:
            if on_cpu:
                torch.use_deterministic_algorithms(True)
            torch.set_num_threads(1)
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


def _tensor(values: Floats, device: str) -> torch.Tensor:
    import torch

    return torch.from_numpy(values.astype(np.float32)).to(device)


def _labels(labels: npt.ArrayLike, n_classes: int, part: str) -> npt.NDArray[np.int64]:
    raw = np.asarray(labels)
    if not raw.size:
        raise DataError(f"the {part} part has no rows")
    wrong = ~np.isin(raw, np.arange(n_classes))
    if wrong.any():
        raise DataError(f"{wrong.sum()} {part} labels are no class 0 .. {n_classes - 1}, e.g. {raw[wrong][0]!r}")
    return raw.astype(np.int64)


def _check_settings(settings: MlpSettings) -> None:
    for name in ("batch_size", "max_epochs", "patience"):
        if getattr(settings, name) < 1:
            raise ConfigError(f"{name} is {getattr(settings, name)}; it must be 1 or more")
    if settings.batch_size < 2:
        raise ConfigError("batch_size is 1; batch normalisation needs at least 2 rows")
    if not 0 <= settings.dropout < 1:
        raise ConfigError(f"dropout is {settings.dropout}; it must lie in [0, 1)")
    if settings.learning_rate <= 0 or settings.weight_decay < 0:
        raise ConfigError(
            f"learning_rate {settings.learning_rate} must be above 0 and weight_decay {settings.weight_decay} not below"
        )
    if any(units < 1 for units in settings.hidden):
        raise ConfigError(f"hidden is {settings.hidden}; every layer needs at least one unit")
