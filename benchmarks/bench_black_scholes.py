"""Black-Scholes values with five greeks: ours on arrays, QuantLib in a loop."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.harness import Result, compare, median_seconds
from butterquant_assets.quant import black_scholes

OPTIONS = 1_000_000
REFERENCE_OPTIONS = 5_000
RATE = 0.04
TARGET = 2e7

Floats = npt.NDArray[np.float64]


def benchmarks() -> list[Result]:
    """Options valued per second, with all greeks."""
    spot, strike, years, vol = _options(OPTIONS)
    few = (spot[:REFERENCE_OPTIONS], strike[:REFERENCE_OPTIONS], years[:REFERENCE_OPTIONS], vol[:REFERENCE_OPTIONS])
    np.testing.assert_allclose(_ours(*few), _quantlib(*few), rtol=1e-11, atol=1e-11)
    ours = OPTIONS / median_seconds(lambda: black_scholes.value_and_greeks(spot, strike, years, RATE, vol))
    reference = REFERENCE_OPTIONS / median_seconds(lambda: _quantlib(*few), repeats=3)
    return [
        compare("black_scholes.against_target", ours, TARGET, "options/s", target=1.0, better="higher"),
        compare("black_scholes.value_and_greeks", ours, reference, "options/s", target=50.0, better="higher"),
    ]


def _options(count: int) -> tuple[Floats, Floats, Floats, Floats]:
    rng = np.random.default_rng(11)
    spot = rng.uniform(20.0, 500.0, count)
    return (
        spot,
        spot * rng.uniform(0.8, 1.2, count),
        rng.uniform(5.0, 90.0, count) / 365.0,
        rng.uniform(0.1, 0.8, count),
    )


def _ours(spot: Floats, strike: Floats, years: Floats, vol: Floats) -> Floats:
    value, greeks = black_scholes.value_and_greeks(spot, strike, years, RATE, vol)
    return np.stack([value, greeks.delta, greeks.gamma, greeks.vega, greeks.theta, greeks.rho])


def _quantlib(spot: Floats, strike: Floats, years: Floats, vol: Floats) -> Floats:
    """QuantLib's closed formula without the overhead of its instruments and engines: its fastest way from Python."""
    import QuantLib as ql  # noqa: N813 - its users' name for it

    results = np.empty((6, len(spot)))
    rows = zip(spot.tolist(), strike.tolist(), years.tolist(), vol.tolist(), strict=True)
    for place, (s, k, t, v) in enumerate(rows):
        discount = np.exp(-RATE * t)
        formula = ql.BlackCalculator(ql.PlainVanillaPayoff(ql.Option.Call, k), s / discount, v * np.sqrt(t), discount)
        results[:, place] = (
            formula.value(),
            formula.delta(s),
            formula.gamma(s),
            formula.vega(t) / 100.0,
            formula.theta(s, t) / 365.0,
            formula.rho(t) / 100.0,
        )
    return results
