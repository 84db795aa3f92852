"""Compiled kernels of the ARIMA(p, 1, q) fit, p <= 3 and q <= 2: likelihood, gradient, search and forecast.

What belongs here: loops over one window that numba compiles. What does not: checks of the input, orders and reasons;
they are in `arima_batch`, which imports this module inside the function that needs it, since numba is slow to import.
It is one file, though long, because numba's cache of compiled code watches the file of the function called, not the
files of the functions that one calls.

Likelihood. The first close is diffuse, so the likelihood of the closes is that of the stationary ARMA(p, q) of their
n steps y. With w_t = y_t for the first three steps and w_t = y_t - phi_1 y_{t-1} - ... afterwards, the covariance of w
has two sub-diagonals whatever the order (Ansley 1979; Brockwell and Davis, "Time Series: Theory and Methods", 1991,
section 5.3), so that its factors L D L', D = sigma^2 diag(r), and the innovations e = L^-1 w take a few operations a
step. The variance of the shocks is concentrated out: sigma^2 = S / n, S = sum e^2 / r, and with it

    -log L = n/2 (log(2 pi S / n) + 1) + 1/2 sum log r.

The gradient is the adjoint of that recursion, run backwards. Parameters are partial autocorrelations (Monahan 1984),
mapped to the real line as in statsmodels, x / sqrt(1 + x^2), for the search. The innovation variances of a moving
average with a root on the unit circle never settle, so there is no switch to a steady state to be wrong about.

Search. L-BFGS with the line search of More and Thuente (1994), with the constants and stopping rule of scipy's
L-BFGS-B, from the start of Hannan and Rissanen (1982) that statsmodels uses: a likelihood of nearly white steps has
several optima, and the one next to a consistent estimate is the estimator the theory speaks of. A second search
from where the first ends goes to the bottom, with moving-average parameters on a line folded at the unit circle:
there the likelihood is even, so an optimum with a unit root is an ordinary minimum instead of one at infinity.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Function = TypeVar("Function", bound=Callable[..., object])

PARAMETERS = 5  # three autoregressive places, then two moving-average ones; unused places hold 0
AR_PLACES = 3
MEMORY = 12  # pairs kept by L-BFGS, as in statsmodels
LINE_TRIALS = 20
EPSILON = 2.220446049250313e-16
SCALED_DECIMALS = 7
NOISE_SHARE = 1e-9  # of the price: steps that deviate less from their average are rounding noise
LEAST_VARIANCE = 1e-12  # of the shocks, over that of the steps: below it the likelihood has no maximum

# Rows of the work array: innovation variances, their inverses, the two sub-diagonals of L, innovations.
R, INVERSE, FIRST, SECOND, INNOVATION = range(5)

# The first search stops as scipy does by default, so that it ends in the same basin; the second goes to the bottom.
ITERATIONS = 200
COARSE_DECREASE, COARSE_STEEPNESS = 1e7 * EPSILON, 1e-5
FINE_DECREASE, FINE_STEEPNESS = 1e-13, 1e-8

# Places in the reasons of `arima_batch`.
FITTED, NOT_FINITE, CONSTANT, NOT_CONVERGED, NO_SHOCKS, FORECAST_NOT_FINITE = range(6)


def compiled(function: Function) -> Function:
    """Compile with numba: no fast-math, so the same bytes everywhere; releases the GIL; division follows IEEE."""
    return cast(Function, numba.njit(cache=True, nogil=True, error_model="numpy")(function))


@compiled
def transform(x: Floats, ar: int, ma: int, folded: bool, partial: Floats, slope: Floats) -> None:
    """Partial autocorrelations of the search parameters `x` and their slopes, shapes (5,).

    x / sqrt(1 + x^2); for moving-average places on the `folded` line x itself up to 1, then back: a zigzag of period 4.
    """
    for place in range(PARAMETERS):
        partial[place] = 0.0
        slope[place] = 0.0
        if (place < AR_PLACES and place < ar) or (place >= AR_PLACES and place - AR_PLACES < ma):
            if folded and place >= AR_PLACES:
                fold = math.floor((x[place] + 1.0) / 2.0)
                sign = 1.0 if fold % 2.0 == 0.0 else -1.0
                partial[place] = sign * (x[place] - 2.0 * fold)
                slope[place] = sign
            else:
                share = 1.0 / (1.0 + x[place] * x[place])
                partial[place] = x[place] * math.sqrt(share)
                slope[place] = share * math.sqrt(share)


@compiled
def coefficients(partial: Floats, coefficient: Floats) -> None:
    """(phi1, phi2, phi3, theta1, theta2) of partial autocorrelations (Durbin 1960), both of shape (5,)."""
    r1, r2, r3, s1, s2 = partial[0], partial[1], partial[2], partial[3], partial[4]
    inner = r1 * (1.0 - r2)
    coefficient[0] = inner - r3 * r2
    coefficient[1] = r2 - r3 * inner
    coefficient[2] = r3
    coefficient[3] = s1 * (1.0 + s2)
    coefficient[4] = s2


@compiled
def covariance_inverse(partial: Floats, inverse: Floats) -> None:
    """Inverse, shape (3, 3), of the matrix that takes the autocovariances (0, 1, 2) to the right side of Yule-Walker.

    Written in partial autocorrelations nothing cancels near a unit root: the determinant is prod (1 - r^2).
    """
    r1, r2, r3 = partial[0], partial[1], partial[2]
    scale = 1.0 / ((1.0 - r1) * (1.0 + r1) * (1.0 - r2) * (1.0 + r2) * (1.0 - r3) * (1.0 + r3))
    square = r1 * r1 * (1.0 - r2)
    product = r1 * r2 * r3
    inverse[0, 0] = scale
    inverse[0, 1] = scale * (r1 + r1 * r2 + r2 * r3)
    inverse[0, 2] = scale * (r2 + r1 * r3 + product)
    inverse[1, 0] = scale * r1
    inverse[1, 1] = scale * (1.0 + r2 + product)
    inverse[1, 2] = scale * (r1 * r2 + r2 * r3 + r3)
    inverse[2, 0] = scale * (square + r2)
    inverse[2, 1] = scale * (r1 + r3 + r1 * r2 - square * r3)
    inverse[2, 2] = scale * (1.0 - square + r1 * r3 + product)


@compiled
def negative_log_likelihood(
    y: Floats, partial: Floats, coefficient: Floats, inverse: Floats, gamma: Floats, work: Floats, steps: int
) -> tuple[float, float]:
    """-log L of steps `y`, shape (n,), and S; infinity where the covariance is not positive in float64.

    Fills `coefficient`, `inverse`, `gamma` (autocovariances 0, 1, 2 over sigma^2) and `work`, shape (5, n + steps), for
    the gradient and the forecast; the last `steps` places continue the factors of the covariance past the data.
    """
    n = y.size
    coefficients(partial, coefficient)
    covariance_inverse(partial, inverse)
    phi1, phi2, phi3, theta1, theta2 = coefficient[0], coefficient[1], coefficient[2], coefficient[3], coefficient[4]
    psi1 = phi1 + theta1
    d0 = 1.0 + theta1 * psi1 + theta2 * (phi1 * psi1 + phi2 + theta2)
    d1 = theta1 + theta2 * psi1
    for lag in range(3):
        gamma[lag] = inverse[lag, 0] * d0 + inverse[lag, 1] * d1 + inverse[lag, 2] * theta2
    moving0 = 1.0 + theta1 * theta1 + theta2 * theta2
    moving1 = theta1 + theta1 * theta2
    total, logs, product = 0.0, 0.0, 1.0
    for t in range(n + steps):
        # Covariance of w_t with itself and with the two before it.
        diagonal, first, second, w = moving0, moving1, theta2, 0.0
        if t < 3:
            diagonal = gamma[0]
            first = gamma[1] if t > 0 else 0.0
            second = gamma[2] if t > 1 else 0.0
            w = y[t]
        else:
            if t == 3:
                first = d1
            if t < n:
                w = y[t] - phi1 * y[t - 1] - phi2 * y[t - 2] - phi3 * y[t - 3]
        l1, l2, r, e = 0.0, 0.0, diagonal, w
        if t > 1:
            l2 = second * work[INVERSE, t - 2]
            first -= second * work[FIRST, t - 1]
            r -= l2 * second
            e -= l2 * work[INNOVATION, t - 2]
        if t > 0:
            l1 = first * work[INVERSE, t - 1]
            r -= l1 * first
            e -= l1 * work[INNOVATION, t - 1]
        if not r > 0.0:
            return math.inf, 0.0
        work[R, t] = r
        work[INVERSE, t] = 1.0 / r
        work[FIRST, t] = l1
        work[SECOND, t] = l2
        if t < n:
            work[INNOVATION, t] = e
            total += e * e * work[INVERSE, t]
            product *= r
            if t % 16 == 15:
                logs += math.log(product)
                product = 1.0
        else:
            work[INNOVATION, t] = 0.0
    logs += math.log(product)
    if not 0.0 < total < math.inf:
        return math.inf, 0.0
    return 0.5 * n * (math.log(2.0 * math.pi * total / n) + 1.0) + 0.5 * logs, total


@compiled
def add_gradient(
    y: Floats,
    total: float,
    partial: Floats,
    slope: Floats,
    coefficient: Floats,
    inverse: Floats,
    gamma: Floats,
    work: Floats,
    gradient: Floats,
) -> None:
    """Gradient of -log L by the search parameters, shape (5,), from what `negative_log_likelihood` left behind.

    A name with `_bar` is the derivative of -log L by that quantity; the loop undoes the recursion from the last step.
    """
    n = y.size
    phi1, phi2, phi3, theta1, theta2 = coefficient[0], coefficient[1], coefficient[2], coefficient[3], coefficient[4]
    weight = n / total
    moving0_bar, moving1_bar, second_bar, d1_bar = 0.0, 0.0, 0.0, 0.0
    phi1_bar, phi2_bar, phi3_bar = 0.0, 0.0, 0.0
    gamma0_bar, gamma1_bar, gamma2_bar = 0.0, 0.0, 0.0
    e_next, e_after, r_next, r_after, l1_next = 0.0, 0.0, 0.0, 0.0, 0.0
    for t in range(n - 1, -1, -1):
        inverse_r, l1, l2 = work[INVERSE, t], work[FIRST, t], work[SECOND, t]
        ratio = work[INNOVATION, t] * inverse_r
        e_bar = weight * ratio + e_next
        r_bar = 0.5 * inverse_r - 0.5 * weight * ratio * ratio + r_next
        first_share, second_share = 0.0, 0.0
        l1_carry = 0.0
        if t > 0:
            l1_bar = l1_next - work[INNOVATION, t - 1] * e_bar - 2.0 * l1 * work[R, t - 1] * r_bar
            first_share = l1_bar * work[INVERSE, t - 1]
        if t > 1:
            l2_bar = -work[INNOVATION, t - 2] * e_bar - 2.0 * l2 * work[R, t - 2] * r_bar
            second_share = l2_bar * work[INVERSE, t - 2]
            l1_carry = -(theta2 if t > 2 else gamma[2]) * first_share
        e_next = e_after - l1 * e_bar
        e_after = -l2 * e_bar
        r_next = r_after - l1 * l1 * r_bar - l1 * first_share
        r_after = -l2 * l2 * r_bar - l2 * second_share
        l1_next = l1_carry
        if t > 2:
            phi1_bar -= e_bar * y[t - 1]
            phi2_bar -= e_bar * y[t - 2]
            phi3_bar -= e_bar * y[t - 3]
            moving0_bar += r_bar
            second_bar += second_share - work[FIRST, t - 1] * first_share
            if t == 3:
                d1_bar = first_share
            else:
                moving1_bar += first_share
        else:
            gamma0_bar += r_bar
            gamma1_bar += first_share
            if t > 1:
                gamma2_bar += second_share - work[FIRST, t - 1] * first_share
    # gamma = inverse (d0, d1, theta2); the derivative of an inverse is -inverse' . inverse'.
    g0, g1, g2 = gamma[0], gamma[1], gamma[2]
    d0_bar = inverse[0, 0] * gamma0_bar + inverse[1, 0] * gamma1_bar + inverse[2, 0] * gamma2_bar
    y1_bar = inverse[0, 1] * gamma0_bar + inverse[1, 1] * gamma1_bar + inverse[2, 1] * gamma2_bar
    y2_bar = inverse[0, 2] * gamma0_bar + inverse[1, 2] * gamma1_bar + inverse[2, 2] * gamma2_bar
    phi1_bar += d0_bar * (g1 + phi3 * g2) + y1_bar * g0 + y2_bar * g1
    phi2_bar += d0_bar * (phi3 * g1 + g2) + y1_bar * g1 + y2_bar * g0
    phi3_bar += d0_bar * (2.0 * phi3 * g0 + phi2 * g1 + phi1 * g2) + y1_bar * g2 + y2_bar * g1
    d1_bar += y1_bar
    psi1 = phi1 + theta1
    psi2_bar = d0_bar * theta2
    psi1_bar = d0_bar * theta1 + d1_bar * theta2 + psi2_bar * phi1
    theta1_bar = 2.0 * moving0_bar * theta1 + moving1_bar * (1.0 + theta2) + d0_bar * psi1 + d1_bar + psi1_bar
    theta2_bar = 2.0 * moving0_bar * theta2 + moving1_bar * theta1 + second_bar + y2_bar + psi2_bar
    theta2_bar += d0_bar * (phi1 * psi1 + phi2 + theta2) + d1_bar * psi1
    phi1_bar += psi2_bar * psi1 + psi1_bar
    phi2_bar += psi2_bar
    r1, r2, r3 = partial[0], partial[1], partial[2]
    inner = r1 * (1.0 - r2)
    inner_bar = phi1_bar - r3 * phi2_bar
    gradient[0] = (1.0 - r2) * inner_bar * slope[0]
    gradient[1] = (phi2_bar - r3 * phi1_bar - r1 * inner_bar) * slope[1]
    gradient[2] = (phi3_bar - r2 * phi1_bar - inner * phi2_bar) * slope[2]
    gradient[3] = theta1_bar * (1.0 + partial[4]) * slope[3]
    gradient[4] = (theta2_bar + theta1_bar * partial[3]) * slope[4]


@compiled
def dot(a: Floats, b: Floats) -> float:
    """Inner product of two vectors of shape (5,)."""
    total = 0.0
    for place in range(PARAMETERS):
        total += a[place] * b[place]
    return total


@compiled
def trial_step(
    best: Floats, other: Floats, step: float, f: float, g: float, bracketed: bool, lowest: float, highest: float
) -> tuple[float, bool]:
    """Next step of the line search and whether a minimum is bracketed; updates `best` and `other`, (step, f, slope).

    Procedure dcstep of MINPACK-2 (More and Thuente 1994): cubic and secant steps, whichever is safer in each case.
    """
    stx, fx, gx = best[0], best[1], best[2]
    opposite = g * (gx / abs(gx)) < 0.0
    theta = 3.0 * (fx - f) / (step - stx) + gx + g
    scale = max(abs(theta), abs(gx), abs(g))
    root = (theta / scale) ** 2 - (gx / scale) * (g / scale)
    gamma = scale * math.sqrt(max(0.0, root))
    if f > fx:  # the minimum is bracketed
        if step < stx:
            gamma = -gamma
        cubic = stx + (gamma - gx + theta) / (gamma - gx + gamma + g) * (step - stx)
        quadratic = stx + (gx / ((fx - f) / (step - stx) + gx)) / 2.0 * (step - stx)
        chosen = cubic if abs(cubic - stx) < abs(quadratic - stx) else cubic + (quadratic - cubic) / 2.0
        bracketed = True
    elif opposite:
        if step > stx:
            gamma = -gamma
        cubic = step + (gamma - g + theta) / (gamma - g + gamma + gx) * (stx - step)
        secant = step + g / (g - gx) * (stx - step)
        chosen = cubic if abs(cubic - step) > abs(secant - step) else secant
        bracketed = True
    elif abs(g) < abs(gx):  # the slope flattens: the cubic may have no minimum
        if step > stx:
            gamma = -gamma
        ratio = (gamma - g + theta) / (gamma + (gx - g) + gamma)
        edge = highest if step > stx else lowest
        cubic = step + ratio * (stx - step) if ratio < 0.0 and gamma != 0.0 else edge
        secant = step + g / (g - gx) * (stx - step)
        if bracketed:
            chosen = cubic if abs(cubic - step) < abs(secant - step) else secant
            limit = step + 0.66 * (other[0] - step)
            chosen = min(limit, chosen) if step > stx else max(limit, chosen)
        else:
            chosen = cubic if abs(cubic - step) > abs(secant - step) else secant
            chosen = min(max(chosen, lowest), highest)
    elif bracketed:
        theta = 3.0 * (f - other[1]) / (other[0] - step) + other[2] + g
        scale = max(abs(theta), abs(other[2]), abs(g))
        gamma = scale * math.sqrt(max(0.0, (theta / scale) ** 2 - (other[2] / scale) * (g / scale)))
        if step > other[0]:
            gamma = -gamma
        chosen = step + (gamma - g + theta) / (gamma - g + gamma + other[2]) * (other[0] - step)
    else:
        chosen = highest if step > stx else lowest
    if f > fx:
        other[0], other[1], other[2] = step, f, g
    else:
        if opposite:
            other[0], other[1], other[2] = stx, fx, gx
        best[0], best[1], best[2] = step, f, g
    return chosen, bracketed


@compiled
def objective(
    y: Floats,
    x: Floats,
    order: Integers,
    folded: bool,
    gradient: Floats,
    partial: Floats,
    slope: Floats,
    coefficient: Floats,
    inverse: Floats,
    gamma: Floats,
    work: Floats,
) -> float:
    """-log L over the number of closes, as statsmodels minimises it; fills `gradient`."""
    transform(x, order[0], order[1], folded, partial, slope)
    value, total = negative_log_likelihood(y, partial, coefficient, inverse, gamma, work, 0)
    if not value < math.inf:
        return math.inf
    add_gradient(y, total, partial, slope, coefficient, inverse, gamma, work, gradient)
    closes = y.size + 1.0
    for place in range(PARAMETERS):
        gradient[place] /= closes
    return value / closes


@compiled
def lbfgs_direction(
    gradient: Floats,
    moves: Floats,
    changes: Floats,
    curvatures: Floats,
    pairs: int,
    newest: int,
    scale: float,
    alphas: Floats,
    direction: Floats,
) -> None:
    """Fill `direction` with minus the inverse Hessian times `gradient`, by the two-loop recursion (Nocedal 1980).

    The last `pairs` moves and changes of the gradient lie in a ring that ends at `newest`; shapes (12, 5).
    """
    for place in range(PARAMETERS):
        direction[place] = -gradient[place]
    for back in range(pairs):
        pair = (newest - back) % MEMORY
        alphas[pair] = dot(moves[pair], direction) / curvatures[pair]
        for place in range(PARAMETERS):
            direction[place] -= alphas[pair] * changes[pair, place]
    for place in range(PARAMETERS):
        direction[place] *= scale
    for back in range(pairs - 1, -1, -1):
        pair = (newest - back) % MEMORY
        beta = dot(changes[pair], direction) / curvatures[pair]
        for place in range(PARAMETERS):
            direction[place] += (alphas[pair] - beta) * moves[pair, place]


@compiled
def line_search(
    y: Floats,
    x: Floats,
    start: Floats,
    direction: Floats,
    old_f: float,
    descent: float,
    step: float,
    order: Integers,
    folded: bool,
    gradient: Floats,
    partial: Floats,
    slope: Floats,
    coefficient: Floats,
    inverse: Floats,
    gamma: Floats,
    work: Floats,
) -> tuple[float, float, bool, int]:
    """Move `x` from `start` along `direction` until the Wolfe conditions hold (dcsrch; constants 1e-3 and 0.9).

    Returns the objective there, the step, whether a step was found, and the evaluations spent.
    """
    f = old_f
    best, other, best_aux, other_aux = np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3)
    best[0], best[1], best[2] = 0.0, f, descent
    other[0], other[1], other[2] = 0.0, f, descent
    lowest, highest, width, wider = 0.0, 5.0 * step, 1.0e10, 2.0e10
    bracketed, first_stage = False, True
    target = 1e-3 * descent
    for trial_number in range(LINE_TRIALS if descent < 0.0 else 0):
        for place in range(PARAMETERS):
            x[place] = start[place] + step * direction[place]
        f = objective(y, x, order, folded, gradient, partial, slope, coefficient, inverse, gamma, work)
        if not f < math.inf:
            highest = step
            step = best[0] + 0.1 * (step - best[0])
            continue
        g = dot(gradient, direction)
        bound = old_f + step * target
        if f <= bound and abs(g) <= -0.9 * descent:
            return f, step, True, trial_number + 1
        if first_stage and f <= bound and g >= 0.0:
            first_stage = False
        if bracketed and (step <= lowest or step >= highest or highest - lowest <= 0.1 * highest):
            # The interval is exhausted and this is its best point: good enough if it is lower than the start.
            return f, step, f < old_f, trial_number + 1
        if first_stage and f <= best[1] and f > bound:
            for kept, aux in ((best, best_aux), (other, other_aux)):
                aux[0], aux[1], aux[2] = kept[0], kept[1] - kept[0] * target, kept[2] - target
            trial, bracketed = trial_step(
                best_aux, other_aux, step, f - step * target, g - target, bracketed, lowest, highest
            )
            for kept, aux in ((best, best_aux), (other, other_aux)):
                kept[0], kept[1], kept[2] = aux[0], aux[1] + aux[0] * target, aux[2] + target
        else:
            trial, bracketed = trial_step(best, other, step, f, g, bracketed, lowest, highest)
        if bracketed:
            if abs(other[0] - best[0]) >= 0.66 * wider:
                trial = best[0] + 0.5 * (other[0] - best[0])
            wider, width = width, abs(other[0] - best[0])
            lowest, highest = min(best[0], other[0]), max(best[0], other[0])
        else:
            lowest, highest = trial + 1.1 * (trial - best[0]), trial + 4.0 * (trial - best[0])
        step = min(max(trial, 0.0), 1.0e10)
        if bracketed and (step <= lowest or step >= highest or highest - lowest <= 0.1 * highest):
            step = best[0]
    return f, step, False, LINE_TRIALS


@compiled
def search(
    y: Floats,
    x: Floats,
    order: Integers,
    folded: bool,
    iterations: int,
    decrease: float,
    steepness: float,
    partial: Floats,
    coefficient: Floats,
    work: Floats,
) -> tuple[float, bool, int]:
    """Minimise -log L by L-BFGS from `x`, which moves to the minimum; returns -log L, converged, evaluations.

    Parameters
    ----------
    decrease
        stop when an iteration lowers the objective by less than this share of it
    steepness
        stop when no component of its gradient is larger
    """
    gradient, old_gradient, direction = np.zeros(PARAMETERS), np.zeros(PARAMETERS), np.zeros(PARAMETERS)
    start, slope, alphas = np.zeros(PARAMETERS), np.zeros(PARAMETERS), np.zeros(MEMORY)
    moves, changes, curvatures = np.zeros((MEMORY, PARAMETERS)), np.zeros((MEMORY, PARAMETERS)), np.zeros(MEMORY)
    inverse, gamma = np.zeros((3, 3)), np.zeros(3)
    closes = y.size + 1.0
    f = objective(y, x, order, folded, gradient, partial, slope, coefficient, inverse, gamma, work)
    evaluations, pairs, newest, scale = 1, 0, -1, 1.0
    if not f < math.inf:
        return math.inf, False, evaluations
    iteration = 0
    while iteration < iterations:
        if np.max(np.abs(gradient)) <= steepness:
            return f * closes, True, evaluations
        lbfgs_direction(gradient, moves, changes, curvatures, pairs, newest, scale, alphas, direction)
        descent = dot(gradient, direction)
        step = 1.0
        if iteration == 0 and not folded:  # as in L-BFGS-B; the second search starts near its end and must not leap
            step = 1.0 / math.sqrt(dot(direction, direction))
        old_f = f
        for place in range(PARAMETERS):
            start[place] = x[place]
            old_gradient[place] = gradient[place]
        f, step, found, spent = line_search(
            y,
            x,
            start,
            direction,
            f,
            descent,
            step,
            order,
            folded,
            gradient,
            partial,
            slope,
            coefficient,
            inverse,
            gamma,
            work,
        )
        evaluations += spent
        if not found:
            for place in range(PARAMETERS):
                x[place] = start[place]
            f = objective(y, x, order, folded, gradient, partial, slope, coefficient, inverse, gamma, work)
            evaluations += 1
            if pairs == 0:  # no descent even along the gradient: what is left is rounding
                return f * closes, False, evaluations
            pairs, newest, scale = 0, -1, 1.0
            iteration += 1
            continue
        iteration += 1
        if old_f - f <= decrease * max(abs(old_f), abs(f), 1.0):
            return f * closes, True, evaluations
        for place in range(PARAMETERS):
            start[place] = x[place] - start[place]
            old_gradient[place] = gradient[place] - old_gradient[place]
        curvature = dot(old_gradient, start)
        if curvature > -EPSILON * step * descent:
            newest = (newest + 1) % MEMORY
            pairs = min(pairs + 1, MEMORY)
            for place in range(PARAMETERS):
                moves[newest, place] = start[place]
                changes[newest, place] = old_gradient[place]
            curvatures[newest] = curvature
            scale = curvature / dot(old_gradient, old_gradient)
    return f * closes, False, evaluations


@compiled
def least_squares(x: Floats, target: Floats, solution: Floats) -> bool:
    """Regression of `target`, shape (m,), on the columns of `x`, shape (m, k), by Cholesky; False if degenerate."""
    m, k = x.shape
    factor, right = np.zeros((k, k)), np.zeros(k)
    for row in range(k):
        for column in range(row + 1):
            for t in range(m):
                factor[row, column] += x[t, row] * x[t, column]
        for t in range(m):
            right[row] += x[t, row] * target[t]
    for row in range(k):
        full = factor[row, row]
        for column in range(row + 1):
            for inner in range(column):
                factor[row, column] -= factor[row, inner] * factor[column, inner]
            if column < row:
                factor[row, column] /= factor[column, column]
        if not factor[row, row] > 1e-10 * full:
            return False
        factor[row, row] = math.sqrt(factor[row, row])
        for column in range(row):
            right[row] -= factor[row, column] * right[column]
        right[row] /= factor[row, row]
    for row in range(k - 1, -1, -1):
        for column in range(row + 1, k):
            right[row] -= factor[column, row] * right[column]
        right[row] /= factor[row, row]
        solution[row] = right[row]
    return True


@compiled
def hannan_rissanen(y: Floats, order: Integers, partial: Floats) -> None:
    """Starting partial autocorrelations as statsmodels finds them: a regression on lags and on a long one's residuals.

    A block that would not be stationary, or not invertible, starts at zero, as there.
    """
    ar, ma = order[0], order[1]
    partial[:] = 0.0
    lags = 2 * ma
    lost = max(lags + ma, ar)
    shocks, target = np.zeros(y.size), y[lags:]
    past, solution = np.empty((y.size - lags, lags)), np.zeros(PARAMETERS)
    for t in range(y.size - lags):
        for lag in range(lags):
            past[t, lag] = y[lags + t - 1 - lag]
    if not least_squares(past, target, solution):
        return
    for t in range(y.size - lags):
        shocks[lags + t] = target[t]
        for lag in range(lags):
            shocks[lags + t] -= past[t, lag] * solution[lag]
    past = np.empty((y.size - lost, ar + ma))
    for t in range(y.size - lost):
        for lag in range(ar):
            past[t, lag] = y[lost + t - 1 - lag]
        for lag in range(ma):
            past[t, ar + lag] = shocks[lost + t - 1 - lag]
    if not least_squares(past, y[lost:], solution):
        return
    theta1 = solution[ar]
    phi1 = solution[0] if ar > 0 else 0.0
    phi2 = solution[1] if ar > 1 else 0.0
    phi3 = solution[2] if ar > 2 else 0.0
    theta2 = solution[ar + 1] if ma > 1 else 0.0
    if abs(phi3) < 1.0:
        share = 1.0 - phi3 * phi3
        r2 = (phi2 + phi3 * phi1) / share
        if abs(r2) < 1.0 and abs((phi1 + phi3 * phi2) / share) < 1.0 - r2:
            partial[0], partial[1], partial[2] = (phi1 + phi3 * phi2) / share / (1.0 - r2), r2, phi3
    if abs(theta2) < 1.0 and abs(theta1) < 1.0 + theta2:
        partial[3], partial[4] = theta1 / (1.0 + theta2), theta2


@compiled
def fit(y: Floats, order: Integers, partial: Floats, coefficient: Floats, work: Floats) -> tuple[float, bool, int]:
    """-log L at the optimum next to the start `partial`, converged, evaluations; `partial` moves to the optimum."""
    x = np.zeros(PARAMETERS)
    for place in range(PARAMETERS):
        x[place] = partial[place] / math.sqrt((1.0 - partial[place]) * (1.0 + partial[place]))
    value, converged, evaluations = search(
        y, x, order, False, ITERATIONS, COARSE_DECREASE, COARSE_STEEPNESS, partial, coefficient, work
    )
    if not value < math.inf:
        return value, False, evaluations
    for place in range(AR_PLACES, PARAMETERS):
        x[place] = partial[place]
    value, polished, more = search(
        y, x, order, True, ITERATIONS, FINE_DECREASE, FINE_STEEPNESS, partial, coefficient, work
    )
    return value, converged or polished, evaluations + more


@compiled
def forecast(y: Floats, partial: Floats, coefficient: Floats, work: Floats, mean: Floats, deviation: Floats) -> float:
    """Sum of the steps forecast and its standard deviation 1 .. steps ahead, by the exact predictor; returns sigma^2.

    The factors of the covariance go on past the data, so w_t = e_t + l1_t e_{t-1} + l2_t e_{t-2} there too, known
    innovations taken as they are and future ones uncorrelated with variance sigma^2 r_t: what statsmodels' filter
    gives, also where the moving average is not invertible and weights of the infinite past would not do.
    """
    n, steps = y.size, mean.size
    _, total = negative_log_likelihood(y, partial, coefficient, np.zeros((3, 3)), np.zeros(3), work, steps)
    variance = total / n
    path = np.zeros(steps + 3)
    path[0], path[1], path[2] = y[n - 3], y[n - 2], y[n - 1]
    level = 0.0
    for h in range(steps):
        w = work[FIRST, n + h] * work[INNOVATION, n + h - 1] + work[SECOND, n + h] * work[INNOVATION, n + h - 2]
        path[h + 3] = w + coefficient[0] * path[h + 2] + coefficient[1] * path[h + 1] + coefficient[2] * path[h]
        level += path[h + 3]
        mean[h] = level
        deviation[h] = 0.0
    for shock in range(steps):
        step1, step2, step3, level = 0.0, 0.0, 0.0, 0.0
        for h in range(shock, steps):
            response = coefficient[0] * step1 + coefficient[1] * step2 + coefficient[2] * step3
            if h == shock:
                response += 1.0
            elif h == shock + 1:
                response += work[FIRST, n + h]
            elif h == shock + 2:
                response += work[SECOND, n + h]
            step1, step2, step3 = response, step1, step2
            level += response
            deviation[h] += work[R, n + shock] * level * level
    for h in range(steps):
        deviation[h] = math.sqrt(variance * deviation[h])
    return variance


@compiled
def scaled_steps(closes: Floats, y: Floats) -> tuple[float, int]:
    """Steps of `closes`, shape (n + 1,), over their standard deviation, into `y`; that deviation and a status.

    Closes are rounded to seven decimals of a typical step: a likelihood can have two optima as good as each other, and
    the last bits, which depend on the currency, would choose between them.
    """
    n = y.size
    largest, average = 0.0, 0.0
    for t in range(n + 1):
        if not math.isfinite(closes[t]):
            return math.nan, NOT_FINITE
        largest = max(largest, abs(closes[t]))
    for t in range(n):
        average += (closes[t + 1] - closes[t]) / n
    squares = 0.0
    for t in range(n):
        squares += (closes[t + 1] - closes[t] - average) ** 2
    unit = math.sqrt(squares / n)
    if not math.isfinite(unit):
        return unit, NOT_FINITE
    if unit <= NOISE_SHARE * largest:
        return unit, CONSTANT
    scale = 10.0**SCALED_DECIMALS
    before = 0.0
    for t in range(n):
        after = np.rint((closes[t + 1] - closes[0]) / unit * scale) / scale
        y[t] = after - before
        before = after
    return unit, FITTED


@compiled
def fit_rows(
    closes: Floats,
    orders: Integers,
    chosen: Integers,
    log_likelihood: Floats,
    converged: npt.NDArray[np.bool_],
    evaluations: Integers,
    mean: Floats,
    deviation: Floats,
    status: Integers,
) -> None:
    """Fit every order to each row of `closes`, shape (rows, n + 1), and forecast with the lowest AIC.

    Fills `chosen` (rows,), -1 without one; `log_likelihood` and `converged` (rows, orders); `evaluations` (rows,);
    `mean` and its `deviation` (rows, steps), in the unit of the closes; `status` (rows,). No row sees another.
    """
    rows, n = closes.shape[0], closes.shape[1] - 1
    steps = mean.shape[1]
    y, work = np.zeros(n), np.zeros((5, n + steps))
    partial, coefficient = np.zeros(PARAMETERS), np.zeros(PARAMETERS)
    best_partial = np.zeros(PARAMETERS)
    for row in range(rows):
        chosen[row] = -1
        unit, status[row] = scaled_steps(closes[row], y)
        if status[row] != FITTED:
            continue
        lowest = math.inf
        for place in range(orders.shape[0]):
            hannan_rissanen(y, orders[place], partial)
            value, done, spent = fit(y, orders[place], partial, coefficient, work)
            evaluations[row] += spent
            converged[row, place] = done
            if not value < math.inf:
                continue
            log_likelihood[row, place] = -value - n * math.log(unit)
            criterion = 2.0 * (orders[place, 0] + orders[place, 1] + value)
            if done and criterion < lowest:
                lowest = criterion
                chosen[row] = place
                best_partial[:] = partial
        if chosen[row] < 0:
            status[row] = NOT_CONVERGED
            continue
        if not forecast(y, best_partial, coefficient, work, mean[row], deviation[row]) > LEAST_VARIANCE:
            status[row] = NO_SHOCKS
            continue
        for h in range(steps):
            mean[row, h] = closes[row, n] + unit * mean[row, h]
            deviation[row, h] *= unit
            if not (math.isfinite(mean[row, h]) and math.isfinite(deviation[row, h])):
                status[row] = FORECAST_NOT_FINITE
