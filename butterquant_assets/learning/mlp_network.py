"""The torch side of a multilayer perceptron: its layers, the loop that fits it, and the state of the process meanwhile.

What belongs here: what classifier and regressor share. What does not: labels, losses and what the outputs mean
(`learning.mlp`, `learning.regression`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning.scaling import InputScaler

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float64]
Tensors = dict[str, npt.NDArray[Any]]


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
        training stops after `max_epochs`, or when the validation loss has not fallen for `patience` epochs
    seed
        of the initial weights, the order of rows and the dropout
    class_weighted
        whether a classifier's loss is weighted by inverse class frequency, as the documents ask; the probabilities
        refer to natural frequencies either way
    """

    hidden: tuple[int, ...] = (128, 64)
    dropout: float = 0.3
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch_size: int = 64
    max_epochs: int = 200
    patience: int = 20
    seed: int = 7
    class_weighted: bool = True


@dataclass(frozen=True, eq=False)
class Fit:
    """What the loop keeps: the tensors of the best epoch, and the losses of all (``epoch``, two losses)."""

    state: Tensors
    best_epoch: int
    history: pd.DataFrame


def hidden_layers(n_features: int, hidden: Sequence[int], dropout: float, n_outputs: int) -> torch.nn.Sequential:
    """Blocks of Linear, BatchNorm, ReLU and Dropout, and a last Linear."""
    import torch

    layers: list[torch.nn.Module] = []
    width = n_features
    for units in hidden:
        layers += [
            torch.nn.Linear(width, units),
            torch.nn.BatchNorm1d(units),
            torch.nn.ReLU(),
            torch.nn.Dropout(dropout),
        ]
        width = units
    return torch.nn.Sequential(*layers, torch.nn.Linear(width, n_outputs))


def zero_last(layers: torch.nn.Sequential) -> None:
    """Let the outputs start at zero, whatever the features."""
    import torch

    last = layers[-1]
    if isinstance(last, torch.nn.Linear):
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)


def add_scaler_buffers(network: torch.nn.Module, n_features: int) -> None:
    """Buffers for medians, means and scales, so that they travel with the weights."""
    import torch

    for name in ("input_median", "input_mean", "input_scale"):
        network.register_buffer(name, torch.ones(n_features))


def fill_buffers(network: torch.nn.Module, scaler: InputScaler, **others: Floats) -> None:
    """Set the scaler's buffers and others by name, rounded to float32."""
    import torch

    values = {"input_median": scaler.median, "input_mean": scaler.mean, "input_scale": scaler.scale} | others
    for name, value in values.items():
        network.get_buffer(name).copy_(torch.from_numpy(value.astype(np.float32)))


def fit_network(
    network: Any,
    loss: Callable[[torch.Tensor], Any],
    evaluate: Callable[[], tuple[float, float]],
    rows: int,
    settings: MlpSettings,
    *,
    start_competes: bool = False,
) -> Fit:
    """Minimise `loss` in equal batches and keep the epoch of the lowest validation loss.

    Parameters
    ----------
    network
        a module of `hidden_layers`, on its device
    loss
        of the rows of one batch, given their positions
    evaluate
        loss of the training and the validation part in evaluation mode
    rows
        of the training part
    settings
        optimiser and patience
    start_competes
        whether the untrained network counts as epoch 0 and is kept unless an epoch is better

    Raises
    ------
    DataError
        if a loss is not finite.
    """
    import torch

    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, foreach=False
    )
    order = torch.Generator().manual_seed(settings.seed)
    device = next(network.parameters()).device
    batches = max(1, rows // settings.batch_size)
    records: list[tuple[int, float, float]] = []
    best_loss, best_epoch, best_state = np.inf, 0, _state(network)
    for epoch in range(0 if start_competes else 1, settings.max_epochs + 1):
        if epoch:
            network.train()
            for chosen in torch.randperm(rows, generator=order).to(device).tensor_split(batches):
                optimiser.zero_grad()
                loss(chosen).backward()
                optimiser.step()
        network.eval()
        with torch.no_grad():
            train_loss, validation_loss = evaluate()
        if not (np.isfinite(train_loss) and np.isfinite(validation_loss)):
            raise DataError(
                f"the loss of epoch {epoch} is {train_loss} (training) and {validation_loss} (validation); "
                "look for extreme feature values or lower the learning rate"
            )
        records.append((epoch, train_loss, validation_loss))
        if validation_loss < best_loss:
            best_loss, best_epoch, best_state = validation_loss, epoch, _state(network)
        if epoch - best_epoch >= settings.patience:
            break
    return Fit(best_state, best_epoch, pd.DataFrame(records, columns=["epoch", "train_loss", "validation_loss"]))


def _state(network: Any) -> Tensors:
    return {name: tensor.cpu().numpy().copy() for name, tensor in network.state_dict().items()}


def load_state(network: Any, state: Tensors) -> Any:
    """`network` with those tensors, in evaluation mode."""
    import torch

    network.load_state_dict({name: torch.from_numpy(np.array(tensor)) for name, tensor in state.items()})
    return network.eval()


def to_tensor(values: npt.NDArray[Any], device: str) -> torch.Tensor:
    """A float32 tensor on the device."""
    import torch

    return torch.from_numpy(values.astype(np.float32)).to(device)


def resolve_device(device: str) -> str:
    """`device`, where ``auto`` is ``cuda`` if torch sees one and ``cpu`` otherwise."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def deterministic(seed: int, device: str) -> Iterator[None]:
    """One thread, deterministic algorithms and a seeded generator; the process gets its own settings back."""
    import torch

    on_cpu = device == "cpu"
    threads = torch.get_num_threads()
    before = torch.are_deterministic_algorithms_enabled()
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
            torch.use_deterministic_algorithms(before, warn_only=warn_only)


def check_settings(settings: MlpSettings) -> None:
    """Refuse settings out of range.

    Raises
    ------
    ConfigError
        naming the setting and its range.
    """
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
