"""Compiled fits of GARCH(1,1) to the rows of an array: eight rows at a time, each leaving its lane when it is done.

What belongs here: the order of the work. What does not: sums over time (`garch_kernel`), steps (`garch_steps`), and
what a failed fit means (`garch_batch`). Imported only inside the functions that need it, because it imports numba.
"""

from __future__ import annotations

from math import log, pi, sqrt

import numpy as np
import numpy.typing as npt

from butterquant_assets.quant import garch_steps as steps
from butterquant_assets.quant.garch_kernel import (
    GRID,
    LANES,
    WORKSPACE,
    Floats,
    best_of_grid,
    bounded,
    bounded_value,
    compiled,
    exponential_mean_square,
    forecast_volatility,
    gradient_lanes,
    hessian_lanes,
    read_curvature,
    read_gradient,
    start_lanes,
    variance_limits,
)

Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int8]

OK, NON_FINITE, CONSTANT, NOT_CONVERGED, BAD_FORECAST = 0, 1, 2, 3, 4
# Columns of the facts about a series that the fit needs again and again.
_MEAN, _VARIANCE, _BACKCAST, _LARGEST = 0, 1, 2, 3

SQP, NEWTON = 0, 1
_SEARCHING, _DONE = steps.SEARCHING, steps.DONE


@compiled
def describe(returns: Floats, minimum_std: float, facts: Floats) -> int:
    """Write mean, variance, backcast and largest squared residual of a series; whether it can be fitted."""
    total = 0.0
    for value in returns:
        if not np.isfinite(value):
            return NON_FINITE
        total += value
    mean = total / returns.size
    total, largest = 0.0, 0.0
    for value in returns:
        square = (value - mean) ** 2
        total += square
        largest = max(largest, square)
    variance = total / returns.size
    if not (np.isfinite(mean) and np.isfinite(variance)):
        return NON_FINITE
    if sqrt(variance) <= minimum_std:
        return CONSTANT
    facts[_MEAN], facts[_VARIANCE], facts[_LARGEST] = mean, variance, largest
    facts[_BACKCAST] = exponential_mean_square(returns, mean)
    return OK


@compiled
def _is_limited(lowest: float, highest: float, facts: Floats) -> bool:
    """Whether a variance may have met one of arch's limits, judged by the tightest these limits can be."""
    return not lowest >= max(facts[_LARGEST] / 1e6, facts[_VARIANCE] / 1e8) or not highest <= 1.0 + facts[_LARGEST]


@compiled
def _search(phase: int, returns: Floats, queue: Rows, facts: Floats, x: Floats, value: Floats, failed: Flags) -> None:
    """Run one phase on the rows in `queue` from the points in `x`; leaves the end points and values there."""
    sessions = returns.shape[1]
    workspace, lanes_returns = np.zeros(WORKSPACE), np.zeros(sessions * LANES)
    points, scale, backcast = np.zeros((LANES, 4)), np.ones(LANES), np.ones(LANES)
    points[:, 1] = 1.0
    rows, matrices, scalars = np.zeros((LANES, 3, 4)), np.zeros((LANES, 4, 4)), np.zeros((LANES, 8))
    small, mixed, g = np.zeros((4, 4, 4)), np.zeros((4, 4)), np.zeros(4)
    hessian, information = np.zeros((4, 4)), np.zeros((4, 4))
    lower, upper = np.zeros(sessions), np.zeros(sessions)
    holds = np.full(LANES, -1)
    waiting, active = 0, 0
    while waiting < queue.size or active > 0:
        for lane in range(LANES):
            if holds[lane] >= 0 or waiting >= queue.size:
                continue
            row = queue[waiting]
            waiting += 1
            active += 1
            holds[lane] = row
            for t in range(sessions):
                lanes_returns[t * LANES + lane] = returns[row, t]
            points[lane] = x[row]
            scale[lane], backcast[lane] = 1.0 / facts[row, _VARIANCE], facts[row, _BACKCAST]
            scalars[lane] = 0.0
            scalars[lane, steps.LOW] = steps.OMEGA_LOW * facts[row, _VARIANCE]
            scalars[lane, steps.HIGH] = steps.OMEGA_HIGH * facts[row, _VARIANCE]
            steps.identity(matrices[lane])
        start_lanes(workspace, points, scale, backcast)
        if phase == SQP:
            gradient_lanes(lanes_returns, sessions, workspace)
        else:
            hessian_lanes(lanes_returns, sessions, workspace)
        for lane in range(LANES):
            row = holds[lane]
            if row < 0:
                continue
            objective, lowest, highest = read_gradient(workspace, lane, g)
            objective += 0.5 * sessions * log(facts[row, _VARIANCE])
            if _is_limited(lowest, highest, facts[row]):
                mean, variance = facts[row, _MEAN], facts[row, _VARIANCE]
                variance_limits(returns[row], mean, variance, backcast[lane], lower, upper)
                objective = bounded_value(returns[row], points[lane], backcast[lane], scale[lane], lower, upper)
                if phase == NEWTON or steps.accepts(objective, scalars[lane]):
                    bounded(returns[row], points[lane], backcast[lane], lower, upper, g, hessian, information)
            elif phase == NEWTON:
                read_curvature(workspace, lane, hessian, information)
            if phase == SQP:
                verdict = steps.advance_sqp(
                    objective, g, rows[lane], matrices[lane], scalars[lane], small, points[lane]
                )
            else:
                verdict = steps.advance_newton(
                    objective, g, hessian, information, rows[lane], scalars[lane], small, mixed, points[lane]
                )
            if verdict != _SEARCHING:
                x[row] = rows[lane, 0]
                value[row] = scalars[lane, steps.VALUE]
                failed[row] = verdict != _DONE
                holds[lane] = -1
                active -= 1


@compiled
def fit_rows(
    returns: Floats,
    minimum_std: float,
    second_start: tuple[float, float],
    parameters: Floats,
    log_likelihood: Floats,
    daily_vol: Floats,
    mean_vol: Floats,
    status: Codes,
) -> None:
    """Fit and forecast every row of `returns` (n, T) in percent; write results and status row by row.

    A row whose fit fails from the start of `arch` is tried once more from the second start (alpha, beta).
    """
    count, sessions = returns.shape
    facts, value, failed = np.zeros((count, 4)), np.zeros(count), np.zeros(count, np.bool_)
    grid = np.zeros(6 * GRID)
    queue = np.empty(count, np.int64)
    found = 0
    for row in range(count):
        status[row] = describe(returns[row], minimum_std, facts[row])
        if status[row] == OK:
            mean, variance, backcast = facts[row, _MEAN], facts[row, _VARIANCE], facts[row, _BACKCAST]
            best_of_grid(returns[row], mean, variance, backcast, grid, parameters[row])
            queue[found] = row
            found += 1
    queue = queue[:found]
    _search(SQP, returns, queue, facts, parameters, value, failed)
    # Newton judges by itself whether a row converges: where phase one gave up is a start like any other.
    _search(NEWTON, returns, queue, facts, parameters, value, failed)
    again = queue[failed[queue]]
    alpha, beta = second_start
    for late in again:
        parameters[late, 0], parameters[late, 1] = facts[late, _MEAN], facts[late, _VARIANCE] * (1.0 - alpha - beta)
        parameters[late, 2], parameters[late, 3] = alpha, beta
    _search(SQP, returns, again, facts, parameters, value, failed)
    _search(NEWTON, returns, again, facts, parameters, value, failed)
    for fitted in queue:
        if failed[fitted]:
            status[fitted] = NOT_CONVERGED
            continue
        log_likelihood[fitted] = -value[fitted] - 0.5 * sessions * log(2.0 * pi)
        mean_vol[fitted] = forecast_volatility(returns[fitted], parameters[fitted], daily_vol[fitted])
        if not (np.isfinite(daily_vol[fitted]).all() and (daily_vol[fitted] > 0.0).all()):
            status[fitted] = BAD_FORECAST
