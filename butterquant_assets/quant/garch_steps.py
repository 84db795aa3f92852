"""Compiled optimiser of GARCH(1,1): which step to take, given value, gradient and Hessian.

What belongs here: the two phases of a fit and the small quadratic programs they solve. What does not: the sums over
time (`garch_kernel`) and what a fit means for a row (`garch_batch`). Imports numba at module level through
`garch_kernel`, so it is imported only inside the functions that need it.

A GARCH likelihood often has several local maxima (on real windows of 504 returns, four in ten), and the highest is in
one window of twelve a degenerate one: alpha = 0, a smooth drift of variance away from its backcast instead of
clustering. `arch` mostly avoids those because of where it starts and how it steps. So phase one takes the steps of
`arch`: sequential quadratic programming (SLSQP) from the same start, in the same units, with the same line search and
stopping rule, only with exact gradients. Phase two takes Newton steps with the exact Hessian from there to the optimum.

Both minimise over mu and the polytope omega in [omega_low, omega_high], alpha >= 0, beta >= 0, alpha + beta <= 1, which
makes every quadratic program one over a face of that polytope: omega free or at either end, (alpha, beta) in the
triangle, on one of its edges or at a corner.

Sources: D. Kraft, "A software package for sequential quadratic programming", DFVLR-FB 88-28 (1988), as in scipy;
M. J. D. Powell, "A fast algorithm for nonlinearly constrained optimization calculations" (1978), for the damped update.
"""

from __future__ import annotations

from math import inf, isnan, sqrt

import numpy as np

from butterquant_assets.quant.garch_kernel import Floats, compiled

# Bounds of omega in units of the series' variance, tolerance and limits of the line search: those of arch and SLSQP.
OMEGA_LOW, OMEGA_HIGH = 1e-8, 10.0
TOLERANCE, ITERATIONS = 1e-6, 100
SUFFICIENT, SHRINK, LINE_STEPS = 0.1, 0.1, 10
# Newton: the last step is taken unseen when it promises less than this; see `newton_rows`.
PROMISED, NEWTON_ITERATIONS = 1e-11, 100
ARMIJO, SHORTEST = 1e-4, 1e-8
# A pivot below this part of its diagonal means that a matrix is not safely positive definite.
PIVOT = 1e-11
RIDGE = 1e-8
FACES, CORNERS = 21, 7

# Verdicts on a lane.
SEARCHING, DONE, FAILED = 0, 1, 2


@compiled
def _solve(matrix: Floats, right: Floats, size: int, pivot: float, factor: Floats, solution: Floats) -> bool:
    """Solve by Cholesky; False where the matrix is not safely positive definite."""
    for i in range(size):
        for j in range(i + 1):
            value = matrix[i, j]
            for k in range(j):
                value -= factor[i, k] * factor[j, k]
            if i == j:
                if not value > pivot * matrix[i, i]:
                    return False
                factor[i, i] = sqrt(value)
            else:
                factor[i, j] = value / factor[j, j]
    for i in range(size):
        value = right[i]
        for k in range(i):
            value -= factor[i, k] * solution[k]
        solution[i] = value / factor[i, i]
    for i in range(size - 1, -1, -1):
        value = solution[i]
        for k in range(i + 1, size):
            value -= factor[k, i] * solution[k]
        solution[i] = value / factor[i, i]
    return True


@compiled
def _span(face: int, x: Floats, low: float, high: float, basis: Floats, step: Floats) -> int:
    """Directions of a face (columns of `basis`) and the shortest parameter change onto it; returns their number.

    Face = 7 x (0 omega free, 1 at its lower, 2 at its upper bound) + (0 triangle, 1 alpha = 0, 2 beta = 0,
    3 alpha + beta = 1, 4 alpha = beta = 0, 5 alpha = 1, 6 beta = 1).
    """
    basis[:], step[:] = 0.0, 0.0
    basis[0, 0] = 1.0
    size = 1
    omega, corner = face // CORNERS, face % CORNERS
    if omega == 0:
        basis[1, size] = 1.0
        size += 1
    else:
        step[1] = (low if omega == 1 else high) - x[1]
    if corner in (0, 2):
        basis[2, size] = 1.0
        size += 1
    if corner in (0, 1):
        basis[3, size] = 1.0
        size += 1
    if corner == 3:
        basis[2, size], basis[3, size] = 1.0, -1.0
        size += 1
        step[3] = 1.0 - x[2] - x[3]
    if corner in (1, 4, 6):
        step[2] = -x[2]
    if corner in (2, 4, 5):
        step[3] = -x[3]
    if corner == 5:
        step[2] = 1.0 - x[2]
    if corner == 6:
        step[3] = 1.0 - x[3]
    return size


@compiled
def _on_face(
    face: int, x: Floats, g: Floats, matrix: Floats, pivot: float, low: float, high: float, ws: Floats, step: Floats
) -> float:
    """Minimise g'd + d'Md/2 over one face: the model value, inf where outside the bounds, nan where not convex."""
    basis, reduced, factor = ws[0], ws[1], ws[2]
    right, solution, push = ws[3, 0], ws[3, 1], ws[3, 2]
    size = _span(face, x, low, high, basis, step)
    for i in range(4):
        push[i] = g[i]
        for j in range(4):
            push[i] += matrix[i, j] * step[j]
    for a in range(size):
        right[a] = 0.0
        for i in range(4):
            right[a] -= basis[i, a] * push[i]
        for b in range(a + 1):
            total = 0.0
            for i in range(4):
                for j in range(4):
                    total += basis[i, a] * matrix[i, j] * basis[j, b]
            reduced[a, b] = total
    if not _solve(reduced, right, size, pivot, factor, solution):
        return np.nan
    for a in range(size):
        for i in range(4):
            step[i] += basis[i, a] * solution[a]
    slack = 1e-13
    omega, alpha, beta = x[1] + step[1], x[2] + step[2], x[3] + step[3]
    if omega < low - 1e-14 * high or omega > high * (1.0 + 1e-14):
        return inf
    if alpha < -slack or beta < -slack or alpha + beta > 1.0 + slack:
        return inf
    value = 0.0
    for i in range(4):
        value += g[i] * step[i]
        for j in range(4):
            value += 0.5 * step[i] * matrix[i, j] * step[j]
    return value


@compiled
def _is_optimal(face: int, g: Floats, matrix: Floats, step: Floats) -> bool:
    """Whether no neighbouring face is lower: the multipliers of the constraints that hold this face have their sign."""
    omega, corner = face // CORNERS, face % CORNERS
    on_omega, on_alpha, on_beta = g[1], g[2], g[3]
    for j in range(4):
        on_omega += matrix[1, j] * step[j]
        on_alpha += matrix[2, j] * step[j]
        on_beta += matrix[3, j] * step[j]
    if (omega == 1 and on_omega < 0.0) or (omega == 2 and on_omega > 0.0):
        return False
    if corner == 1:
        return bool(on_alpha >= 0.0)
    if corner == 2:
        return bool(on_beta >= 0.0)
    if corner == 3:
        return bool(on_alpha + on_beta <= 0.0)
    if corner == 4:
        return bool(on_alpha >= 0.0 and on_beta >= 0.0)
    if corner == 5:
        return bool(on_alpha <= 0.0 and on_beta >= on_alpha)
    if corner == 6:
        return bool(on_beta <= 0.0 and on_alpha >= on_beta)
    return True


@compiled
def best_step(
    x: Floats, g: Floats, matrix: Floats, pivot: float, low: float, high: float, last: int, ws: Floats, step: Floats
) -> tuple[float, int]:
    """Minimise the model over the polytope: (value, face); nan where the model is not convex.

    The last face is tried right after the interior; a face with the right multipliers is the answer, for a convex
    program has one minimum. Where rounding hides it, the lowest of all faces is.
    """
    value = _on_face(0, x, g, matrix, pivot, low, high, ws, step)
    if value < inf or isnan(value):
        return value, 0
    lowest, best = inf, -1
    trial = ws[3, 3]
    for attempt in range(FACES):
        face = last if attempt == 0 else attempt
        if face == 0 or (attempt > 0 and face == last):
            continue
        value = _on_face(face, x, g, matrix, pivot, low, high, ws, trial)
        if value < inf and _is_optimal(face, g, matrix, trial):
            step[:] = trial
            return value, face
        if value < lowest:
            lowest, best = value, face
    if best >= 0:
        _on_face(best, x, g, matrix, pivot, low, high, ws, step)
    return lowest, best


@compiled
def _move(x: Floats, step: Floats, low: float, high: float, target: Floats) -> None:
    """Write x + step into `target`, rounding onto the bounds."""
    for k in range(4):
        target[k] = x[k] + step[k]
    target[1] = min(max(target[1], low), high)
    target[2] = min(max(target[2], 0.0), 1.0)
    target[3] = min(max(target[3], 0.0), 1.0)


@compiled
def _dot(a: Floats, b: Floats) -> float:
    return float(a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3])


@compiled
def identity(matrix: Floats) -> None:
    """Overwrite a (4, 4) matrix with the identity."""
    for i in range(4):
        for j in range(4):
            matrix[i, j] = 1.0 if i == j else 0.0


@compiled
def _update(matrix: Floats, step: Floats, change: Floats, image: Floats) -> None:
    """Update a BFGS matrix, damped by Powell so that it stays positive definite."""
    for i in range(4):
        image[i] = _dot(matrix[i], step)
    curvature, old = _dot(step, change), _dot(step, image)
    damp = 1.0
    if curvature < 0.2 * old:
        damp = 0.8 * old / (old - curvature)
        curvature = 0.2 * old
    for i in range(4):
        image_i, change_i = image[i], damp * change[i] + (1.0 - damp) * image[i]
        for j in range(4):
            change_j = damp * change[j] + (1.0 - damp) * image[j]
            matrix[i, j] += change_i * change_j / curvature - image_i * image[j] / old


# Slots of the state of one lane: rows of (4, 4) and scalars.
_X, _STEP, _GRADIENT = 0, 1, 2
VALUE, _SLOPE, _LINE, _COUNT, _FACE, _RESETS, LOW, HIGH = range(8)


@compiled
def _next_direction(rows: Floats, matrix: Floats, scalars: Floats, ws: Floats, point: Floats) -> int:
    """Solve the quadratic program at the lane's point and set its next trial; the lane's verdict."""
    x, step, g = rows[_X], rows[_STEP], rows[_GRADIENT]
    low, high = scalars[LOW], scalars[HIGH]
    while True:
        scalars[_COUNT] += 1.0
        if scalars[_COUNT] > ITERATIONS:
            return FAILED
        value, face = best_step(x, g, matrix, 0.0, low, high, int(scalars[_FACE]), ws, step)
        if value < inf:
            scalars[_FACE] = face
            slope = _dot(g, step)
            if abs(slope) < TOLERANCE:
                return DONE
            if slope < 0.0:
                scalars[_SLOPE], scalars[_LINE] = slope, 1.0
                _move(x, step, low, high, point)
                return SEARCHING
        scalars[_RESETS] += 1.0
        if scalars[_RESETS] > 5.0:
            return FAILED
        identity(matrix)


@compiled
def accepts(value: float, scalars: Floats) -> bool:
    """Whether phase one takes a trial with this value, so that it needs its gradient."""
    gain = value - scalars[VALUE]
    return bool(scalars[_COUNT] == 0.0 or gain <= SUFFICIENT * scalars[_SLOPE] or scalars[_LINE] > LINE_STEPS)


@compiled
def advance_sqp(
    value: float, g: Floats, rows: Floats, matrix: Floats, scalars: Floats, ws: Floats, point: Floats
) -> int:
    """Digest one evaluation at `point` and set the next one there; the lane's verdict."""
    if scalars[_COUNT] == 0.0:
        scalars[VALUE] = value
        rows[_X], rows[_GRADIENT] = point, g
        return _next_direction(rows, matrix, scalars, ws, point)
    gain = value - scalars[VALUE]
    step = rows[_STEP]
    if not accepts(value, scalars):
        scale = max(scalars[_SLOPE] / (2.0 * (scalars[_SLOPE] - gain)), SHRINK)
        step *= scale
        scalars[_SLOPE] *= scale
        scalars[_LINE] += 1.0
        _move(rows[_X], step, scalars[LOW], scalars[HIGH], point)
        return SEARCHING
    if abs(gain) < TOLERANCE or sqrt(_dot(step, step)) < TOLERANCE:
        rows[_X] = point
        return DONE
    change, image = ws[3, 0], ws[3, 1]
    for k in range(4):
        change[k] = g[k] - rows[_GRADIENT, k]
    _update(matrix, step, change, image)
    scalars[VALUE] = value
    rows[_X], rows[_GRADIENT] = point, g
    return _next_direction(rows, matrix, scalars, ws, point)


@compiled
def newton_direction(
    x: Floats,
    g: Floats,
    hessian: Floats,
    information: Floats,
    low: float,
    high: float,
    ws: Floats,
    step: Floats,
    mixed: Floats,
) -> float:
    """Newton step over the polytope; by the expected information where the Hessian is not convex there.

    Off its optimum, and towards faces on which the optimum does not lie, the Hessian may be indefinite. Then the
    expected information, which is always convex, chooses the face, and the Hessian the step on it where it can.
    """
    value, face = best_step(x, g, hessian, PIVOT, low, high, 0, ws, step)
    if not isnan(value):
        return value
    mixed[:] = information
    for i in range(4):
        mixed[i, i] *= 1.0 + RIDGE
    value, face = best_step(x, g, mixed, PIVOT, low, high, 0, ws, step)
    if face > 0:
        trial = ws[3, 3]
        sharper = _on_face(face, x, g, hessian, PIVOT, low, high, ws, trial)
        if sharper <= 0.0:
            step[:] = trial
            return sharper
    return value


@compiled
def advance_newton(
    value: float,
    g: Floats,
    hessian: Floats,
    information: Floats,
    rows: Floats,
    scalars: Floats,
    ws: Floats,
    mixed: Floats,
    point: Floats,
) -> int:
    """Digest one evaluation at `point` with its Hessian and set the next one there; the lane's verdict."""
    step = rows[_STEP]
    low, high = scalars[LOW], scalars[HIGH]
    if scalars[_COUNT] > 0.0 and not value - scalars[VALUE] <= ARMIJO * scalars[_SLOPE]:
        bend = value - scalars[VALUE] - scalars[_SLOPE]
        scale = max(0.1, min(0.5, -0.5 * scalars[_SLOPE] / bend))
        step *= scale
        scalars[_SLOPE] *= scale
        scalars[_LINE] *= scale
        _move(rows[_X], step, low, high, point)
        return SEARCHING if scalars[_LINE] > SHORTEST else FAILED
    scalars[_COUNT] += 1.0
    rows[_X] = point
    promised = newton_direction(point, g, hessian, information, low, high, ws, step, mixed)
    if not promised < inf or scalars[_COUNT] > NEWTON_ITERATIONS:
        return FAILED
    scalars[VALUE] = value
    _move(rows[_X], step, low, high, point)
    if promised > -PROMISED:
        scalars[VALUE] = value + promised
        rows[_X] = point
        return DONE
    scalars[_SLOPE], scalars[_LINE] = _dot(g, step), 1.0
    return SEARCHING
