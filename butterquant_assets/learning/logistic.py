"""Multinomial logistic regression that starts from given margins, as plain arrays.

scikit-learn's takes no offset, so that a residual on base probabilities cannot be fitted with it; without an offset the
two agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning.probabilities import IMPROVEMENT, Rows, mean_log_loss, softmax
from butterquant_assets.learning.scaling import InputScaler, fit_scaler

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LogisticSettings:
    """Multinomial logistic regression with an L2 penalty on standardised inputs.

    Parameters
    ----------
    inverse_penalties
        candidates for scikit-learn's ``C``, in rising order; the one of the lowest validation log-loss is kept, ties go
        to the stronger penalty
    """

    inverse_penalties: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)


@dataclass(frozen=True, eq=False)
class LogisticFit:
    """Coefficients (d, k) on standardised inputs, intercepts (k,), and how they were chosen.

    `inverse_penalty` is None where no candidate helped on the validation part; everything is 0 then.
    """

    scaler: InputScaler
    coefficients: Floats
    intercepts: Floats
    inverse_penalty: float | None
    losses: tuple[float, ...]

    def margins(self, X: npt.ArrayLike) -> Floats:
        """What is added to the starting margins, shape (n, k)."""
        result: Floats = self.scaler.apply(X) @ self.coefficients + self.intercepts
        return result


def train_logistic(
    train: Rows, validation: Rows, *, features: Sequence[str], settings: LogisticSettings
) -> LogisticFit:
    """Fit for each candidate penalty and keep the one of the lowest validation log-loss.

    Minimises C x (weighted sum of log-losses) + ||coefficients||^2 / 2, intercepts free: scikit-learn's problem, with
    starting margins, which scikit-learn does not take.

    Parameters
    ----------
    train, validation
        rows with their starting margins; NaN is imputed by the training median
    features
        column names, length d
    settings
        candidates

    Returns
    -------
    LogisticFit

    Raises
    ------
    ConfigError
        if there is no candidate, or they do not rise from above 0.
    DataError
        if a column is missing throughout, or the optimiser does not converge.
    """
    candidates = settings.inverse_penalties
    if not candidates or candidates[0] <= 0 or list(candidates) != sorted(set(candidates)):
        raise ConfigError(f"inverse_penalties is {candidates}; expected rising numbers above 0")
    scaler = _float32_scaler(fit_scaler(train.X, features))
    Z, Z_held = scaler.apply(train.X), scaler.apply(validation.X)
    k = train.margins.shape[1]
    parameters = np.zeros((Z.shape[1] + 1, k))
    best_loss, best, chosen = mean_log_loss(validation.margins, validation.labels), np.zeros_like(parameters), None
    losses = [best_loss]
    for candidate in candidates:
        # Each starts from the last: the path from strong to weak penalties is short.
        parameters = _fit_logistic(Z, train, candidate, parameters)
        loss = mean_log_loss(validation.margins + Z_held @ parameters[:-1] + parameters[-1], validation.labels)
        losses.append(loss)
        if loss < best_loss - IMPROVEMENT:
            best_loss, best, chosen = loss, parameters, candidate
    return LogisticFit(scaler, best[:-1], best[-1], chosen, tuple(losses))


def _fit_logistic(Z: Floats, train: Rows, inverse_penalty: float, start: Floats) -> Floats:
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    n, k = train.margins.shape
    weight = np.ones(n) if train.weight is None else train.weight
    truth = np.eye(k)[train.labels]
    scale = weight.sum()

    def objective(flat: Floats) -> tuple[float, Floats]:
        coefficients, intercepts = flat[: -k or None].reshape(-1, k), flat[-k:]
        logits = train.margins + Z @ coefficients + intercepts
        penalty = (coefficients**2).sum() / (2 * inverse_penalty * scale)
        error = (softmax(logits) - truth) * (weight / scale)[:, None]
        gradient = np.vstack([Z.T @ error + coefficients / (inverse_penalty * scale), error.sum(axis=0)])
        return mean_log_loss(logits, train.labels, weight) + penalty, gradient.ravel()

    with threadpool_limits(limits=1):  # sums in one order, so that equal inputs give equal bytes
        found = minimize(
            objective,
            start.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 5000, "ftol": 1e-13, "gtol": 1e-8},
        )
    if not np.isfinite(found.fun) or np.abs(found.jac).max() > 1e-4:
        raise DataError(
            f"logistic regression did not converge: {found.message}, gradient {np.abs(found.jac).max():.1e}; look for "
            "extreme feature values or a stronger penalty"
        )
    result: Floats = found.x.reshape(-1, k)
    return result


def _float32_scaler(scaler: InputScaler) -> InputScaler:
    """The scaler rounded to what the ONNX graph can hold, so that both subtract the same numbers."""
    return InputScaler(
        *(vector.astype(np.float32).astype(np.float64) for vector in (scaler.median, scaler.mean, scaler.scale))
    )
