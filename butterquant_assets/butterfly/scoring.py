"""The source document's hand-made score of a butterfly and the word that goes with it.

An *output* for people and a baseline to beat; never a feature (it would be the answer in the question).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[np.object_]


def fit_score(trend: Texts, position: Texts, period_strength: Floats) -> Floats:
    """F: how well the butterfly's type fits trend and cycle, 0 .. 100, shape (n,).

    100 for UP in a TROUGH (call) and DOWN at a PEAK (put), 80 for FLAT (iron), 50 for the call that everything else
    gets by default; 10 % more, at most 100, where the dominant cycle holds more than 10 % of the power.
    """
    fits = ((trend == "UP") & (position == "TROUGH")) | ((trend == "DOWN") & (position == "PEAK"))
    base = np.where(fits, 100.0, np.where(trend == "FLAT", 80.0, 50.0))
    return np.minimum(np.where(period_strength > 10.0, 1.1 * base, base), 100.0)


def total_score(
    forecast_price: Floats,
    center: Floats,
    vol_mispricing: Floats,
    band_pct: Floats,
    fit: Floats,
    delta: Floats,
) -> Floats:
    """The document's total score, shape (n,); between -10 and 100.

    .35 max(0, 100 - 500 |mf - K| / mf) + .30 clip(500 vol_mispricing + 50, 0, 100) + .20 max(0, 100 - 5 band_pct)
    + .15 F - min(10, 50 |delta|)
    """
    aim = np.maximum(0.0, 100.0 - 500.0 * np.abs(forecast_price - center) / forecast_price)
    cheapness = np.clip(500.0 * vol_mispricing + 50.0, 0.0, 100.0)
    stability = np.maximum(0.0, 100.0 - 5.0 * band_pct)
    penalty = np.minimum(10.0, 50.0 * np.abs(delta))
    return np.asarray(0.35 * aim + 0.30 * cheapness + 0.20 * stability + 0.15 * fit - penalty)


def recommendation(score: Floats, profit_ratio: Floats) -> Texts:
    """``STRONG_BUY`` (score >= 75, max_profit/max_loss > 2), ``BUY`` (>= 60, > 1.5), ``NEUTRAL`` (>= 45), ``AVOID``."""
    strong = (score >= 75.0) & (profit_ratio > 2.0)
    buy = (score >= 60.0) & (profit_ratio > 1.5)
    words = np.where(strong, "STRONG_BUY", np.where(buy, "BUY", np.where(score >= 45.0, "NEUTRAL", "AVOID")))
    return words.astype(object)
