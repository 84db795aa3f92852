"""Spectrum of 7,000 windows: transform and reconstruction, all rows at once against a numpy loop over them.

The windows are random walks with random volumes, of 505 sessions as in an analysis; the transform takes the last 480.
Ours and the loop take turns. Both figures are the fastest of several rounds: what else the machine does only adds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from benchmarks.harness import Result, compare
from butterquant_assets.quant import spectrum
from butterquant_tests.butterfly.plain_analysis import plain_spectrum

WINDOWS, SESSIONS, SEED = 7_000, 505, 3
ROUNDS, OURS_PER_ROUND = 5, 8
TARGET_SECONDS, LOOP_TARGET = 0.080, 10.0

Floats = npt.NDArray[np.float64]


def benchmarks() -> list[Result]:
    """Seconds for all windows: on two threads against the target and the loop, and on one against two."""
    closes, volumes = _windows()
    _check(closes[:200], volumes[:200])
    two, one, loop, cpu = [], [], [], []
    for _ in range(ROUNDS):
        loop.append(_seconds(lambda: _loop(closes, volumes)))
        for _ in range(OURS_PER_ROUND):
            cpu.append(_seconds(lambda: spectrum.decompose(closes, volumes, threads=1), time.process_time))
            one.append(_seconds(lambda: spectrum.decompose(closes, volumes, threads=1)))
            two.append(_seconds(lambda: spectrum.decompose(closes, volumes)))
    print(f"spectrum: fastest of {len(two)}: one thread {min(one):.4f} s ({min(cpu):.4f} s CPU), two {min(two):.4f} s")
    name = "spectrum.windows_7000"
    return [
        compare(f"{name}.against_target", min(two), TARGET_SECONDS, "s", target=1.0, better="lower"),
        compare(f"{name}.against_loop", min(two), min(loop), "s", target=LOOP_TARGET, better="lower"),
        compare(f"{name}.two_threads", min(two), min(one), "s", target=1.5, better="lower"),
    ]


def _windows() -> tuple[Floats, Floats]:
    random = np.random.default_rng(SEED)
    closes = 80.0 * np.exp(np.cumsum(random.normal(0.0003, 0.015, (WINDOWS, SESSIONS)), axis=1))
    return closes, random.lognormal(15.0, 0.6, closes.shape)


def _loop(closes: Floats, volumes: Floats) -> list[tuple[float, float, Floats, Floats]]:
    return [plain_spectrum(*window) for window in zip(closes, volumes, strict=True)]


def _check(closes: Floats, volumes: Floats) -> None:
    found = spectrum.decompose(closes, volumes)
    for row, (period, strength, trend, cycle) in enumerate(_loop(closes, volumes)):
        assert found.dominant_period[row] == period
        np.testing.assert_allclose(found.period_strength[row], strength, atol=1e-10)
        np.testing.assert_allclose(found.trend[row], trend, atol=1e-10)
        np.testing.assert_allclose(found.cycle[row], cycle, atol=1e-10)


def _seconds(call: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    start = clock()
    call()
    return clock() - start
