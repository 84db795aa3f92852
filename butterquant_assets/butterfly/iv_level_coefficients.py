"""Coefficients of the fitted level (`iv_level`), with their provenance: what `iv_fit.fit` returned, to the last digit.

They are literals of a module so that the code version of every asset that uses the level counts them in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Coefficients:
    """ln level = ln VIX + intercept + sum of weight x term; the names are those of `iv_level`."""

    intercept: float
    weights: Mapping[str, float]


LEVEL = Coefficients(
    0.2066420706829188,
    {
        "realised_20": 0.012485220165807833,
        "realised_60": 0.07439409901447028,
        "realised_120": 0.26769011531936737,
        "realised_250": 0.13880102014135745,
        "realised_480": -0.03008002058471187,
        "absolute_480": 0.21334433696923705,
        "clipped_40": 0.1622522383523761,
        "vix_trend": -0.2590818099863866,
        "vix_correlation_480": 0.3890535585719107,
        "drawdown_60": -0.21187180570432002,
        "rise_180": 0.3037208913217023,
    },
)
"""At-the-money volatility as of the last date of a window of 505 bars."""

RANK = Coefficients(
    0.07002284984345282,
    {
        "realised_20": 0.06256990438382638,
        "realised_60": 0.2171545452263867,
        "realised_120": 0.2448660596749616,
        "realised_250": 0.38846591266879504,
        "vix_trend_250": -0.4086146251472544,
    },
)
"""The level whose rank is `iv_percentile`: what can be had 252 sessions ago from the same window."""

PROVENANCE: Mapping[str, str | int] = {
    "target": "published three-month at-the-money implied volatility over the VIX close, logarithm",
    "published": "AAPL AMD BAC CVX GE JNJ JPM KO MSFT XOM, sessions of 2010-01-01 .. 2014-12-31",
    "closes": "djia30_daily from 2006 on; of AMD and BAC, which it lacks, the publisher's own closes from 2010 on",
    "vix": "vix_daily, closes",
    "rows": 11570,
    "method": "iv_fit.fit: ridge regression on standardised terms (0.01 per row), intercept by the median residual",
    "chosen": "inside 2010-2014: to realised volatilities of five horizons the term was added that lowered the mean "
    "validation error (iv_fit.validation_errors, with least squares) most, until the best one gained under 0.1 points",
    "looks": "2015-2019 was judged twice: first with eight terms chosen by the next year alone (8.0 %, other stocks "
    "8.3 %), then with these, chosen by other years and other stocks of 2010-2014 as well",
}
"""Where the coefficients come from."""
