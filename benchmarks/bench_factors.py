"""Signal factors of 50 coins over three years of hours, and of one new hour, against the plain pandas version.

The plain version computes one coin over part of the span and is taken to be as fast for the rest. Memory is measured in
a process of its own, from which the panel it was given (100 MB) is not taken off. The panel is simulated from a seed;
funding repeats itself for hours as it does on exchanges, which is the case that needs the mean deviation.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.harness import Result, compare, median_seconds
from butterquant_assets.signals.factors import FACTORS, TAIL_HOURS, FactorPanels, compute_factors
from butterquant_assets.signals.panel import HourlyPanel
from butterquant_tests.signals.factor_cases import random_panel
from butterquant_tests.signals.plain_factors import plain_factors

HOURS, SEED = 3 * 8_760, 7
COINS = ("BTC", "ETH", *(f"C{number:02d}" for number in range(48)))
PLAIN_HOURS = 4_000
TARGET_SECONDS, TARGET_HOUR_SECONDS, TARGET_GIB, PLAIN_TARGET = 3.0, 2.0, 1.5, 50.0
ROOT = Path(__file__).parents[1]
PEAK = """
import resource
from benchmarks.bench_factors import panel
from butterquant_assets.signals.factors import compute_factors
compute_factors(panel())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def panel() -> HourlyPanel:
    return random_panel(HOURS, COINS, SEED)


def benchmarks() -> list[Result]:
    """Seconds for all hours and for one new hour, values per second against the plain version, and peak memory."""
    whole = panel()
    part = whole.rows(slice(0, PLAIN_HOURS))
    start = time.perf_counter()
    plain = plain_factors(part, "C00")
    plain_rate = PLAIN_HOURS / (time.perf_counter() - start)
    _check(compute_factors(part), plain)
    seconds = median_seconds(lambda: compute_factors(whole), repeats=5)
    tail = whole.rows(slice(-TAIL_HOURS, None))
    hour = median_seconds(lambda: compute_factors(tail).last(1).frame(), repeats=5)
    peak = subprocess.run([sys.executable, "-c", PEAK], cwd=ROOT, capture_output=True, text=True, check=True)
    gib = int(peak.stdout) / 1024**2
    name = "factors.50_coins_3_years"
    rate = HOURS * len(COINS) / seconds
    return [
        compare(f"{name}.against_target", seconds, TARGET_SECONDS, "s", target=1.0, better="lower"),
        compare(f"{name}.against_plain", rate, plain_rate, "coin-hours/s", target=PLAIN_TARGET, better="higher"),
        compare(f"{name}.peak_memory", gib, TARGET_GIB, "GiB", target=1.0, better="lower"),
        compare("factors.one_new_hour", hour, TARGET_HOUR_SECONDS, "s", target=1.0, better="lower"),
    ]


def _check(found: FactorPanels, plain: dict[str, np.ndarray]) -> None:
    for name in FACTORS:
        np.testing.assert_allclose(found.values[name][:, COINS.index("C00")], plain[name], rtol=1e-9, atol=1e-7)
