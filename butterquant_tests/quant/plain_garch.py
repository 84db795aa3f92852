"""The plain implementation of `quant.garch`: the `arch` package, one series at a time.

Model: r_t = mu + e_t, e_t ~ N(0, v_t), v_t = omega + alpha e_{t-1}^2 + beta v_{t-1}.
Source: T. Bollerslev, "Generalized Autoregressive Conditional Heteroskedasticity", Journal of Econometrics 31 (1986).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import FitError
from butterquant_assets.quant.garch import SECOND_START_ALPHA, SECOND_START_BETA, GarchForecast
from butterquant_assets.quant.threads import one_thread

Floats = npt.NDArray[np.float64]

PERSISTENCE_TOLERANCE = 1e-6


def fit_forecast(returns_pct: npt.ArrayLike, horizon: int = 30) -> GarchForecast:
    returns = np.asarray(returns_pct, dtype=np.float64)

    from arch import arch_model

    model = arch_model(returns, mean="Constant", vol="GARCH", p=1, q=1, dist="normal", rescale=False)
    variance = float(returns.var())
    second_start = np.array(
        [
            returns.mean(),
            variance * (1.0 - SECOND_START_ALPHA - SECOND_START_BETA),
            SECOND_START_ALPHA,
            SECOND_START_BETA,
        ]
    )
    reasons: list[str] = []
    for start in (None, second_start):
        try:
            return _fit(model, start, horizon)
        except FitError as error:
            reasons.append(str(error))
    raise FitError(
        f"GARCH(1,1) has no usable fit on {returns.size} returns (standard deviation {np.sqrt(variance):.6g} %): "
        f"{reasons[0]} from arch's own start, {reasons[1]} from the second; reject the row"
    )


def _fit(model: Any, start: Floats | None, horizon: int) -> GarchForecast:
    # The optimiser may step through invalid numbers on its way; what counts is where it ends, which is checked below.
    with one_thread(), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = model.fit(disp="off", show_warning=False, starting_values=start)
        if result.convergence_flag != 0:
            raise FitError(f"did not converge ({result.optimization_result.message})")
        variance = np.asarray(result.forecast(horizon=horizon, reindex=False).variance, dtype=np.float64)[-1]
    mu, omega, alpha, beta = (float(value) for value in np.asarray(result.params))
    if not (np.isfinite(variance).all() and (variance > 0.0).all()):
        raise FitError(f"gave a variance forecast that is not finite and positive (first {variance[0]})")
    if alpha + beta > 1.0 + PERSISTENCE_TOLERANCE:
        raise FitError(f"was explosive (alpha + beta = {alpha + beta:.6f})")
    return GarchForecast(mu, omega, alpha, beta, float(result.loglikelihood), np.sqrt(variance))
