"""Calibrators in the form in which they are served: no rounding of a score can move an answer by more than rounding.

Isotonic and Venn-Abers curves have steps. Two programs that compute the same score, one rounding it down and one up,
would answer differently beside a step, and no tolerance could tell this from a defect. So the curve is averaged over a
window of scores, far narrower than what its data can resolve, which makes it continuous with bounded slope.

What belongs here: that averaging. What does not: fitting and choosing a method (`learning.calibration`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from butterquant_assets.learning.calibration import Calibrator

Floats = npt.NDArray[np.float64]

WINDOW = 1 / 64
"""Width of the window. A curve that rises from 0 to 1 at once then has slope 64: errors of 1e-7 become 6e-6."""
CELLS = 512
"""Cells of the grid on which the averaged curve is kept; it is linear between."""


def served_calibrator(calibrator: Calibrator) -> Calibrator:
    """The calibrator with its curves averaged over windows of scores.

    Parameters
    ----------
    calibrator
        as fitted

    Returns
    -------
    Calibrator
        the same where the method has no steps (none, temperature, sigmoid). Else one of method ``isotonic`` whose knots
        are j / 512 and whose values are the mean of the curve over [knot - 1/128, knot + 1/128], the curve going on
        flat beyond its ends. Monotone curves stay monotone.
    """
    if calibrator.method == "isotonic":
        curves = [
            _average_line(x, v) for x, v in zip(calibrator.tables["knots"], calibrator.tables["values"], strict=True)
        ]
    elif calibrator.method == "venn_abers":
        tables = calibrator.tables
        curves = [_average_steps(x, v) for x, v in zip(tables["thresholds"], tables["values"], strict=True)]
    else:
        return calibrator
    values = np.stack(curves)
    return Calibrator("isotonic", {"knots": np.tile(_grid(), (len(values), 1)), "values": values})


def _grid() -> Floats:
    return np.arange(CELLS + 1) / CELLS


def _average_steps(thresholds: Floats, values: Floats) -> Floats:
    """Means over the windows of the step function that takes values[j] from thresholds[j - 1] on."""
    ends = np.concatenate([[-WINDOW], np.clip(thresholds, -WINDOW, 1 + WINDOW), [1 + WINDOW]])
    area = np.concatenate([[0.0], np.cumsum(values * np.diff(ends))])
    return _window_means(lambda x: np.interp(x, ends, area))


def _average_line(knots: Floats, values: Floats) -> Floats:
    """Means over the windows of the line through the knots, flat outside."""
    x = np.concatenate([[-WINDOW], knots, [1 + WINDOW]])
    v = np.concatenate([[values[0]], values, [values[-1]]])
    width = np.diff(x)
    area = np.concatenate([[0.0], np.cumsum(width * (v[:-1] + v[1:]) / 2)])
    slope = np.divide(np.diff(v), width, out=np.zeros_like(width), where=width > 0)

    def integral(at: Floats) -> Floats:
        piece = np.clip(np.searchsorted(x, at, side="right") - 1, 0, width.size - 1)
        along = at - x[piece]
        total: Floats = area[piece] + along * (v[piece] + slope[piece] * along / 2)
        return total

    return _window_means(integral)


def _window_means(integral: Callable[[Floats], Floats]) -> Floats:
    grid = _grid()
    means: Floats = (integral(grid + WINDOW / 2) - integral(grid - WINDOW / 2)) / WINDOW
    return means
