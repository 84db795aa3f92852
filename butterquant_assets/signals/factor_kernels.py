"""Compiled raw values of the factors, one coin at a time.

What belongs here: sums, averages and regressions over trailing windows of hours. What does not: the scaling of what
they give (`scaling`), the weights and the words (`factors`). Imports numba at module level, so it is imported only
inside the functions that need it.

Every value comes from its own window, summed anew in a fixed order, never from a running total: rounding does not
travel, a missing hour spoils only the windows that contain it, and cutting the history changes no bit. Loops run over
neighbouring hours inside and over the window outside, so that the processor works on several hours at once.
"""

from __future__ import annotations

from math import isnan, log, nan

import numpy as np

from butterquant_assets.signals.scaling_kernel import Floats, compiled

# Rows of the inputs and of the raw values.
HIGH, LOW, CLOSE, VOLUME, TAKER_BUY, OPEN_INTEREST, MARK, INDEX, FUNDING = range(9)
INPUTS = 9
T, M, C, C_PROXY, V, O, BASIS, CROWDING, FLOW, FLOW_PROXY, OI_CHANGE, RETURN = range(12)  # noqa: E741
RAW_VALUES = 12

DAY, SHORT, WEEK = 24, 6, 168
FAST, SLOW, ATR = 12, 26, 14
# Hours an exponential average looks back, itself included: its value 6 hours ago then lies within the same week.
AVERAGE_HOURS = WEEK - SHORT
# Hours worked on together: their averages stay in the processor's first cache.
_BLOCK = 1024
# Variances below this part of the mean square are rounding: such a series does not move.
_FLAT = 1e-12


@compiled
def trailing_sum(values: Floats, hours: int, step: int, total: Floats) -> None:
    """Sum of the `hours` values that lie `step` apart and end at each hour, oldest first; NaN where one is missing."""
    reach = (hours - 1) * step
    total[: min(reach, total.size)] = nan
    ends = total[reach:]
    for t in range(ends.size):
        ends[t] = values[t]
    for i in range(1, hours):
        part = values[i * step :]
        for t in range(ends.size):
            ends[t] += part[t]


@compiled
def week_sum(values: Floats, day: Floats, total: Floats) -> None:
    """Sum over 168 hours as seven sums over 24; `day` is room to work in."""
    trailing_sum(values, DAY, 1, day)
    trailing_sum(day, WEEK // DAY, DAY, total)


@compiled
def windowed_average(values: Floats, seed: int, weight: float, hours: int, average: Floats) -> None:
    """Exponential average of the last `hours` values, begun with the mean of the first `seed` of them.

    This is what TA-Lib gives for those values alone: as there, the recursion starts from a simple mean.
    """
    average[: min(hours - 1, average.size)] = nan
    for start in range(hours - 1, average.size, _BLOCK):
        block = average[start : start + _BLOCK]
        oldest = values[start - hours + 1 :]
        for t in range(block.size):
            block[t] = oldest[t]
        for i in range(1, seed):
            part = oldest[i:]
            for t in range(block.size):
                block[t] += part[t]
        for t in range(block.size):
            block[t] /= seed
        for i in range(seed, hours):
            part = oldest[i:]
            for t in range(block.size):
                block[t] += weight * (part[t] - block[t])


@compiled
def true_range(high: Floats, low: Floats, close: Floats, ranges: Floats) -> None:
    """Largest of high - low and the distances of both from the close before; NaN where one of the four is missing."""
    ranges[0] = nan
    for t in range(1, close.size):
        span, before = high[t] - low[t], close[t - 1]
        up, down = abs(high[t] - before), abs(low[t] - before)
        # A comparison with NaN is false, so a missing value is carried by the sum instead.
        ranges[t] = max(span, up, down) if not isnan(span + up + close[t]) else nan


@compiled
def trend(close: Floats, logs: Floats, atr: Floats, raw: Floats) -> None:
    """Slope of the log close over 24 hours in units of ATR / close, times R squared; 0 where nothing moved."""
    centre = (DAY - 1) / 2.0
    weights = DAY * (DAY * DAY - 1) / 12.0
    raw[: min(DAY - 1, raw.size)] = nan
    for t in range(DAY - 1, close.size):
        # Deviations from the last value: those of a price that stands still are exactly zero.
        product, total, square = 0.0, 0.0, 0.0
        for i in range(DAY):
            deviation = logs[t - DAY + 1 + i] - logs[t]
            product += (i - centre) * deviation
            total += deviation
            square += deviation * deviation
        variation = square - total * total / DAY
        if isnan(variation) or isnan(atr[t]):
            raw[t] = nan
        elif atr[t] == 0.0 or not variation > _FLAT * square:
            raw[t] = 0.0
        else:
            slope = product / weights
            explained = min(product * product / (weights * variation), 1.0)
            raw[t] = slope * close[t] / atr[t] * explained


@compiled
def momentum(fast: Floats, slow: Floats, atr: Floats, lead: Floats, raw: Floats) -> None:
    """Mean of (fast - slow) / ATR and its change over 6 hours; `lead` takes the former; 0 for it where ATR is 0."""
    for t in range(raw.size):
        lead[t] = (fast[t] - slow[t]) / atr[t] if atr[t] != 0.0 else 0.0 * fast[t]
    raw[: min(SHORT, raw.size)] = nan
    for t in range(SHORT, raw.size):
        raw[t] = (lead[t] + (lead[t] - lead[t - SHORT])) / 2.0


@compiled
def shares(parts: Floats, wholes: Floats, raw: Floats) -> None:
    """Quotients, NaN where the whole is zero."""
    for t in range(raw.size):
        raw[t] = parts[t] / wholes[t] if wholes[t] > 0.0 else nan


@compiled
def changes(values: Floats, hours: int, raw: Floats) -> None:
    """Relative change over some hours."""
    raw[: min(hours, raw.size)] = nan
    for t in range(hours, raw.size):
        raw[t] = values[t] / values[t - hours] - 1.0


@compiled
def times_sign(values: Floats, signs: Floats) -> None:
    """Multiply by the sign of another series, in place; NaN where either is missing."""
    for t in range(values.size):
        if isnan(signs[t]):
            values[t] = nan
        elif signs[t] < 0.0:
            values[t] = -values[t]
        elif signs[t] == 0.0:
            values[t] *= 0.0


@compiled
def signed_volumes(inputs: Floats, taker: Floats, proxy: Floats) -> None:
    """Bought less sold volume of each hour, from taker volume and from where the close lies between low and high."""
    for t in range(taker.size):
        volume, high, low = inputs[VOLUME, t], inputs[HIGH, t], inputs[LOW, t]
        taker[t] = 2.0 * inputs[TAKER_BUY, t] - volume
        span = high - low
        location = ((inputs[CLOSE, t] - low) - (high - inputs[CLOSE, t])) / span if span != 0.0 else 0.0
        proxy[t] = location * volume


@compiled
def relative_volume(volume: Floats, short: Floats, work: Floats, raw: Floats) -> None:
    """Logarithm of the mean volume of 6 hours over that of 168; `short` holds the sums over 6."""
    week_sum(volume, work, raw)
    for t in range(raw.size):
        usable = short[t] > 0.0 and raw[t] > 0.0
        raw[t] = log((short[t] / SHORT) / (raw[t] / WEEK)) if usable else nan


@compiled
def raw_values(inputs: Floats, raw: Floats, atr: Floats) -> None:
    """Write the twelve raw values and the ATR of a coin.

    Parameters
    ----------
    inputs
        the nine input rows of a coin, NaN = missing, shape (9, hours)
    raw
        filled, shape (12, hours); NaN where a value it comes from is missing
    atr
        filled with ATR14 in units of the price, shape (hours,)
    """
    hours = inputs.shape[1]
    close, volume, interest = inputs[CLOSE], inputs[VOLUME], inputs[OPEN_INTEREST]
    work = np.empty((5, hours))
    logs, one, two, three, four = work[0], work[1], work[2], work[3], work[4]
    for t in range(hours):
        logs[t] = log(close[t])
        raw[BASIS, t] = inputs[MARK, t] / inputs[INDEX, t] - 1.0
        raw[CROWDING, t] = inputs[FUNDING, t]
    true_range(inputs[HIGH], inputs[LOW], close, one)
    # Its window has one hour less: the first true range needs the close before.
    windowed_average(one, ATR, 1.0 / ATR, AVERAGE_HOURS - 1, atr)
    trend(close, logs, atr, raw[T])
    windowed_average(close, FAST, 2.0 / (FAST + 1.0), AVERAGE_HOURS, one)
    windowed_average(close, SLOW, 2.0 / (SLOW + 1.0), AVERAGE_HOURS, two)
    momentum(one, two, atr, three, raw[M])

    signed_volumes(inputs, one, two)
    trailing_sum(volume, DAY, 1, three)
    trailing_sum(one, DAY, 1, four)
    shares(four, three, raw[C])
    trailing_sum(two, DAY, 1, four)
    shares(four, three, raw[C_PROXY])
    trailing_sum(one, SHORT, 1, four)
    shares(four, three, raw[FLOW])
    trailing_sum(two, SHORT, 1, four)
    shares(four, three, raw[FLOW_PROXY])

    trailing_sum(volume, SHORT, 1, one)
    relative_volume(volume, one, two, raw[V])
    changes(close, SHORT, raw[RETURN])
    times_sign(raw[V], raw[RETURN])
    changes(close, DAY, one)
    changes(interest, DAY, raw[O])
    times_sign(raw[O], one)
    changes(interest, SHORT, raw[OI_CHANGE])


@compiled
def hourly_returns(close: Floats, returns: Floats) -> None:
    """Relative change from hour to hour, NaN first."""
    changes(close, 1, returns)


@compiled
def independence(close: Floats, leader: Floats, scores: Floats) -> None:
    """Write 100 (1 - R squared) of the hourly returns on the leader's, over 168 hours, within 0 .. 100.

    NaN where a return of either is missing, or where one of them did not move at all.
    """
    hours = close.size
    work = np.empty((8, hours))
    y, day, product, xx, yy, xy, sx, sy = work[0], work[1], work[2], work[3], work[4], work[5], work[6], work[7]
    hourly_returns(close, y)
    week_sum(leader, day, sx)
    week_sum(y, day, sy)
    for t in range(hours):
        product[t] = leader[t] * leader[t]
    week_sum(product, day, xx)
    for t in range(hours):
        product[t] = y[t] * y[t]
    week_sum(product, day, yy)
    for t in range(hours):
        product[t] = leader[t] * y[t]
    week_sum(product, day, xy)
    for t in range(hours):
        of_x = xx[t] - sx[t] * sx[t] / WEEK
        of_y = yy[t] - sy[t] * sy[t] / WEEK
        of_both = xy[t] - sx[t] * sy[t] / WEEK
        if of_x > _FLAT * xx[t] and of_y > _FLAT * yy[t]:
            # In this form it is exactly one for the leader itself.
            explained = of_both * of_both / (of_x * of_y)
            scores[t] = 100.0 * max(1.0 - explained, 0.0)
        else:
            scores[t] = nan
