"""Compiled likelihood of GARCH(1,1): value, gradient and Hessian, for several series at once.

What belongs here: the sums over time, nothing else; which step to take is decided in `garch_steps`. numba is imported
at module level, so this module is imported only inside the functions that need it.

Eight series are worked on side by side ("lanes"), because a variance recursion is a chain in which every step waits for
the one before: eight independent chains fill the processor. Every lane does the same operations in the same order
whatever its neighbours hold (no reduction across lanes, no fused or reordered arithmetic), so a series gives the same
bytes alone, in any batch and in any place.

Model and notation: e_t = r_t - mu, q_t = e_t^2, s_t = omega + alpha q_{t-1} + beta s_{t-1}, q_{-1} = s_{-1} = backcast;
the objective is f = 1/2 sum(log s_t + q_t / s_t), the negative log-likelihood without its constant.
Source: G. Fiorentini, G. Calzolari, L. Panattoni, "Analytic derivatives and the computation of GARCH estimates",
Journal of Applied Econometrics 11 (1996); bounds and backcast as in `arch` 8 (univariate/volatility.py).

The sum of logarithms is the logarithm of products of 32 variances, each divided by the series' own variance: within
the bounds of the parameters a factor lies in 1e-8 .. 1e7, so that such a product can neither overflow nor vanish. The
variances of the starting grid lie closer together, and 64 are multiplied.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, log
from typing import TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., object])

LANES = 8
GRID = 16
BACKCAST_DECAY, BACKCAST_SESSIONS = 0.94, 75
# Variances multiplied before one logarithm is taken.
PRODUCT, GRID_PRODUCT = 32, 64

# Rows of the workspace of the lanes: row k lies at [k * LANES, (k + 1) * LANES).
# Parameters mu, omega, alpha, beta, then 1 / variance of the series, then the recursions, then the sums.
_S, _Q, _E, _R = 5 * LANES, 6 * LANES, 7 * LANES, 8 * LANES
_SO, _SA, _SB, _MA = 9 * LANES, 10 * LANES, 11 * LANES, 12 * LANES
_BB, _AB, _OB, _MAB = 13 * LANES, 14 * LANES, 15 * LANES, 16 * LANES
_LOW, _HIGH, _PRODUCT, _F = 17 * LANES, 18 * LANES, 19 * LANES, 20 * LANES
_G = 21 * LANES
_H = _G + 4 * LANES
_I = _H + 10 * LANES
WORKSPACE = _I + 10 * LANES
# Packed order of a symmetric matrix over (mu, omega, alpha, beta).
PACKED = ((0, 0), (0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (3, 3))


def compiled(function: Function) -> Function:
    """Compile on first call, cached on disk, holding no lock while it runs; no rearranged arithmetic (`fastmath`)."""
    return cast("Function", numba.njit(nogil=True, cache=True, error_model="numpy")(function))


@compiled
def exponential_mean_square(returns: Floats, mu: float) -> float:
    """Mean of (r - mu)^2 over the first 75 sessions, weighted by 0.94^t: the backcast of `arch`."""
    total, weights, weight = 0.0, 0.0, 1.0
    for t in range(min(BACKCAST_SESSIONS, returns.size)):
        total += weight * (returns[t] - mu) ** 2
        weights += weight
        weight *= BACKCAST_DECAY
    return total / weights


@compiled
def variance_limits(
    returns: Floats, mean: float, variance: float, backcast: float, lower: Floats, upper: Floats
) -> tuple[float, float]:
    """Limits `arch` puts on each conditional variance; returns the highest lower and the lowest upper one."""
    largest = 0.0
    for value in returns:
        largest = max(largest, (value - mean) ** 2)
    smooth, square = backcast, backcast
    highest_lower, lowest_upper = 0.0, inf
    for t in range(returns.size):
        smooth = (1.0 - BACKCAST_DECAY) * square + BACKCAST_DECAY * smooth
        square = (returns[t] - mean) ** 2
        lower[t] = max(smooth / 1e6, variance / 1e8)
        upper[t] = min(max(smooth * 1e6, 1.0 + largest), 1e7 * (1.0 + largest))
        highest_lower = max(highest_lower, lower[t])
        lowest_upper = min(lowest_upper, upper[t])
    return highest_lower, lowest_upper


@compiled
def best_of_grid(returns: Floats, mean: float, variance: float, backcast: float, w: Floats, x: Floats) -> None:
    """Write the best of the 16 starting points of `arch` into `x`: alpha x persistence, omega by variance targeting."""
    place = 0
    for alpha in (0.01, 0.05, 0.1, 0.2):
        for persistence in (0.5, 0.7, 0.9, 0.98):
            w[place] = (1.0 - persistence) * variance
            w[GRID + place] = alpha
            w[2 * GRID + place] = persistence - alpha
            w[3 * GRID + place] = backcast
            w[4 * GRID + place] = 1.0
            w[5 * GRID + place] = 0.0
            place += 1
    scale = 1.0 / variance
    square = backcast
    width = w.size // 6  # which is GRID; a length known beforehand would be unrolled instead of vectorised
    for t in range(returns.size):
        after = (returns[t] - mean) ** 2
        for i in range(width):
            s = w[i] + w[GRID + i] * square + w[2 * GRID + i] * w[3 * GRID + i]
            w[3 * GRID + i] = s
            w[4 * GRID + i] *= s * scale
            w[5 * GRID + i] += after / s
        square = after
        if t % GRID_PRODUCT == GRID_PRODUCT - 1 or t == returns.size - 1:
            for i in range(GRID):
                w[5 * GRID + i] += log(w[4 * GRID + i])
                w[4 * GRID + i] = 1.0
    best = 0
    for i in range(1, GRID):
        if w[5 * GRID + i] < w[5 * GRID + best]:
            best = i
    x[0], x[1], x[2], x[3] = mean, w[best], w[GRID + best], w[2 * GRID + best]


@compiled
def start_lanes(w: Floats, points: Floats, scale: Floats, backcast: Floats) -> None:
    """Set the workspace to the time before the first return, at parameters `points` (lane, 4)."""
    w[5 * LANES :] = 0.0
    for lane in range(LANES):
        for k in range(4):
            w[k * LANES + lane] = points[lane, k]
        w[4 * LANES + lane] = scale[lane]
        w[_S + lane] = backcast[lane]
        w[_Q + lane] = backcast[lane]
        w[_LOW + lane] = inf
        w[_PRODUCT + lane] = 1.0


@compiled
def take_logarithms(w: Floats) -> None:
    """Move the products of variances into the sums of logarithms."""
    for lane in range(LANES):
        w[_F + lane] += 0.5 * log(w[_PRODUCT + lane])
        w[_PRODUCT + lane] = 1.0


@compiled
def copy_session(returns: Floats, place: int, w: Floats) -> None:
    """Copy one session of all lanes; all reads before all writes, which lets the compiler make it one move."""
    r0, r1, r2, r3 = returns[place], returns[place + 1], returns[place + 2], returns[place + 3]
    r4, r5, r6, r7 = returns[place + 4], returns[place + 5], returns[place + 6], returns[place + 7]
    w[_R], w[_R + 1], w[_R + 2], w[_R + 3] = r0, r1, r2, r3
    w[_R + 4], w[_R + 5], w[_R + 6], w[_R + 7] = r4, r5, r6, r7


@compiled
def gradient_lanes(returns: Floats, sessions: int, w: Floats) -> None:
    """Objective and gradient in all lanes; `returns` holds session t of lane lane at [t * LANES + lane]."""
    for t in range(sessions):
        copy_session(returns, t * LANES, w)
        for lane in range(LANES):
            alpha, beta = w[2 * LANES + lane], w[3 * LANES + lane]
            s, q, e = w[_S + lane], w[_Q + lane], w[_E + lane]
            d_omega = 1.0 + beta * w[_SO + lane]
            d_alpha = q + beta * w[_SA + lane]
            d_beta = s + beta * w[_SB + lane]
            per_alpha = beta * w[_MA + lane] - 2.0 * e
            s = w[LANES + lane] + alpha * q + beta * s
            e = w[_R + lane] - w[lane]
            q = e * e
            inverse = 1.0 / s
            ratio = q * inverse
            slope = 0.5 * inverse * (1.0 - ratio)
            w[_SO + lane], w[_SA + lane], w[_SB + lane], w[_MA + lane] = d_omega, d_alpha, d_beta, per_alpha
            w[_S + lane], w[_Q + lane], w[_E + lane] = s, q, e
            w[_LOW + lane] = min(w[_LOW + lane], s)
            w[_HIGH + lane] = max(w[_HIGH + lane], s)
            w[_PRODUCT + lane] *= s * w[4 * LANES + lane]
            w[_F + lane] += 0.5 * ratio
            w[_G + lane] += slope * alpha * per_alpha - e * inverse
            w[_G + LANES + lane] += slope * d_omega
            w[_G + 2 * LANES + lane] += slope * d_alpha
            w[_G + 3 * LANES + lane] += slope * d_beta
        if t % PRODUCT == PRODUCT - 1:
            take_logarithms(w)
    take_logarithms(w)


@compiled
def hessian_lanes(returns: Floats, sessions: int, w: Floats) -> None:
    """Objective, gradient, Hessian and expected information in all lanes."""
    for t in range(sessions):
        copy_session(returns, t * LANES, w)
        for lane in range(LANES):
            alpha, beta = w[2 * LANES + lane], w[3 * LANES + lane]
            s, q, e = w[_S + lane], w[_Q + lane], w[_E + lane]
            so, sa, sb, ma = w[_SO + lane], w[_SA + lane], w[_SB + lane], w[_MA + lane]
            bb = 2.0 * sb + beta * w[_BB + lane]
            ab = sa + beta * w[_AB + lane]
            ob = so + beta * w[_OB + lane]
            mab = ma + beta * w[_MAB + lane]
            mm = 2.0 * alpha * so
            sb = s + beta * sb
            sa = q + beta * sa
            so = 1.0 + beta * so
            ma = beta * ma - 2.0 * e
            s = w[LANES + lane] + alpha * q + beta * s
            e = w[_R + lane] - w[lane]
            q = e * e
            inverse = 1.0 / s
            ratio = q * inverse
            slope = 0.5 * inverse * (1.0 - ratio)
            curve = inverse * inverse * (ratio - 0.5)
            expected = 0.5 * inverse * inverse
            cross = e * inverse * inverse
            sm = alpha * ma
            w[_SO + lane], w[_SA + lane], w[_SB + lane], w[_MA + lane] = so, sa, sb, ma
            w[_BB + lane], w[_AB + lane], w[_OB + lane], w[_MAB + lane] = bb, ab, ob, mab
            w[_S + lane], w[_Q + lane], w[_E + lane] = s, q, e
            w[_LOW + lane] = min(w[_LOW + lane], s)
            w[_HIGH + lane] = max(w[_HIGH + lane], s)
            w[_PRODUCT + lane] *= s * w[4 * LANES + lane]
            w[_F + lane] += 0.5 * ratio
            w[_G + lane] += slope * sm - e * inverse
            w[_G + LANES + lane] += slope * so
            w[_G + 2 * LANES + lane] += slope * sa
            w[_G + 3 * LANES + lane] += slope * sb
            w[_H + lane] += slope * mm + curve * sm * sm + inverse + 2.0 * cross * sm
            w[_H + LANES + lane] += curve * sm * so + cross * so
            w[_H + 2 * LANES + lane] += slope * ma + curve * sm * sa + cross * sa
            w[_H + 3 * LANES + lane] += slope * alpha * mab + curve * sm * sb + cross * sb
            w[_H + 4 * LANES + lane] += curve * so * so
            w[_H + 5 * LANES + lane] += curve * so * sa
            w[_H + 6 * LANES + lane] += slope * ob + curve * so * sb
            w[_H + 7 * LANES + lane] += curve * sa * sa
            w[_H + 8 * LANES + lane] += slope * ab + curve * sa * sb
            w[_H + 9 * LANES + lane] += slope * bb + curve * sb * sb
            w[_I + lane] += expected * sm * sm + inverse
            w[_I + LANES + lane] += expected * sm * so
            w[_I + 2 * LANES + lane] += expected * sm * sa
            w[_I + 3 * LANES + lane] += expected * sm * sb
            w[_I + 4 * LANES + lane] += expected * so * so
            w[_I + 5 * LANES + lane] += expected * so * sa
            w[_I + 6 * LANES + lane] += expected * so * sb
            w[_I + 7 * LANES + lane] += expected * sa * sa
            w[_I + 8 * LANES + lane] += expected * sa * sb
            w[_I + 9 * LANES + lane] += expected * sb * sb
        if t % PRODUCT == PRODUCT - 1:
            take_logarithms(w)
    take_logarithms(w)


@compiled
def read_gradient(w: Floats, lane: int, g: Floats) -> tuple[float, float, float]:
    """Objective of lane `l` (up to log of the scale) and its gradient; also the extremes of its variances."""
    for k in range(4):
        g[k] = w[_G + k * LANES + lane]
    return w[_F + lane], w[_LOW + lane], w[_HIGH + lane]


@compiled
def read_curvature(w: Floats, lane: int, hessian: Floats, information: Floats) -> None:
    """Fill both symmetric matrices (4, 4) of lane `l`."""
    for k, (i, j) in enumerate(PACKED):
        hessian[i, j] = hessian[j, i] = w[_H + k * LANES + lane]
        information[i, j] = information[j, i] = w[_I + k * LANES + lane]


@compiled
def bounded_value(returns: Floats, x: Floats, backcast: float, scale: Floats, lower: Floats, upper: Floats) -> float:
    """Objective of one series with the limits of `arch` on each variance: what `bounded` returns, without the rest."""
    mu, omega, alpha, beta = x
    s, q, total, product = backcast, backcast, 0.0, 1.0
    for t in range(returns.size):
        s = omega + alpha * q + beta * s
        if s < lower[t]:
            s = lower[t]
        elif s > upper[t]:
            s = upper[t] + log(s / upper[t])
        q = (returns[t] - mu) ** 2
        product *= s * scale
        total += q / s
        if t % PRODUCT == PRODUCT - 1:
            total += log(product)
            product = 1.0
    return 0.5 * (total + log(product) - returns.size * log(scale))


@compiled
def bounded(
    returns: Floats,
    x: Floats,
    backcast: float,
    lower: Floats,
    upper: Floats,
    g: Floats,
    hessian: Floats,
    information: Floats,
) -> float:
    """The same for one series, with the limits of `arch` on each variance: exact where `lanes` met one of them.

    A variance below its lower limit is that limit (its derivatives are 0); one above its upper limit u becomes
    u + log(s / u), as in `arch`. Returns the objective.
    """
    mu, omega, alpha, beta = x
    s, q, e, total = backcast, backcast, 0.0, 0.0
    first, second = np.zeros(4), np.zeros((4, 4))
    before = np.zeros(4)
    g[:], hessian[:], information[:] = 0.0, 0.0, 0.0
    for t in range(returns.size):
        before[:] = first
        first *= beta
        second *= beta
        for k in range(4):
            second[3, k] += before[k]
            second[k, 3] += before[k]
        second[0, 2] -= 2.0 * e
        second[2, 0] -= 2.0 * e
        if t > 0:
            second[0, 0] += 2.0 * alpha
        first[0] -= 2.0 * alpha * e
        first[1] += 1.0
        first[2] += q
        first[3] += s
        s = omega + alpha * q + beta * s
        if s < lower[t]:
            s = lower[t]
            first[:], second[:] = 0.0, 0.0
        elif s > upper[t]:
            for i in range(4):
                for j in range(4):
                    second[i, j] = second[i, j] / s - first[i] * first[j] / (s * s)
            first /= s
            s = upper[t] + log(s / upper[t])
        e = returns[t] - mu
        q = e * e
        total += 0.5 * (log(s) + q / s)
        slope = 0.5 / s * (1.0 - q / s)
        curve = (q / s - 0.5) / (s * s)
        for i in range(4):
            g[i] += slope * first[i]
            hessian[0, i] += e * first[i] / (s * s)
            hessian[i, 0] += e * first[i] / (s * s)
            for j in range(4):
                hessian[i, j] += slope * second[i, j] + curve * first[i] * first[j]
                information[i, j] += 0.5 * first[i] * first[j] / (s * s)
        g[0] -= e / s
        hessian[0, 0] += 1.0 / s
        information[0, 0] += 1.0 / s
    return total


@compiled
def forecast_volatility(returns: Floats, x: Floats, daily_vol: Floats) -> float:
    """Write the conditional volatilities 1 .. h sessions ahead and return their mean.

    As in `arch`, the backcast of the forecast is taken at the fitted mean, that of the fit at the sample mean.
    """
    mu, omega, alpha, beta = x
    q = exponential_mean_square(returns, mu)
    s = q
    for value in returns:
        s = omega + alpha * q + beta * s
        q = (value - mu) ** 2
    s = omega + alpha * q + beta * s
    total = 0.0
    for h in range(daily_vol.size):
        daily_vol[h] = np.sqrt(s)
        total += daily_vol[h]
        s = omega + (alpha + beta) * s
    return total / daily_vol.size
