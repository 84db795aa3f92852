"""Measure a callable, compare it with a reference, report.

A benchmark module is a file ``bench_<topic>.py`` beside this one with a function ``benchmarks() -> list[Result]``. Data
it needs is made with a fixed seed, and it checks that ours and the reference agree before it times them: a fast wrong
answer is worth nothing.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Result:
    """One line of the report.

    Attributes
    ----------
    name
        what was measured, for instance ``black_scholes.price_and_greeks``
    ours, reference
        measured values in `unit`
    ratio
        how many times better ours is than the reference; above 1 we win, whichever direction is better
    unit
        for instance ``options/s``
    target
        smallest ratio that satisfies
    met
        whether the ratio reaches the target
    """

    name: str
    ours: float
    reference: float
    ratio: float
    unit: str
    target: float
    met: bool


def compare(name: str, ours: float, reference: float, unit: str, target: float, better: Better) -> Result:
    """Make a `Result` of two measured values.

    Parameters
    ----------
    better
        ``higher`` for rates, ``lower`` for times and errors

    Raises
    ------
    ValueError
        if a value is not positive: then something other than the code was measured.
    """
    if not (ours > 0 and reference > 0):
        raise ValueError(f"{name}: measured {ours} and {reference} {unit}; both must be positive")
    ratio = ours / reference if better == "higher" else reference / ours
    return Result(name, ours, reference, ratio, unit, target, ratio >= target)


def median_seconds(
    call: Callable[[], object],
    *,
    repeats: int = 5,
    warm_up: int = 1,
    minimum_seconds: float = 0.02,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Median time of one call.

    Parameters
    ----------
    call
        what to measure; takes nothing
    repeats
        measurements of which the median is taken
    warm_up
        calls before them that do not count (caches, compilation, first imports)
    minimum_seconds
        calls are repeated within one measurement until it takes this long, so that the clock's grain does not show
    clock
        seconds, rising

    Returns
    -------
    seconds
    """
    for _ in range(warm_up):
        call()
    return statistics.median(_measure(call, minimum_seconds, clock) for _ in range(repeats))


def _measure(call: Callable[[], object], minimum_seconds: float, clock: Callable[[], float]) -> float:
    calls = 0
    start = clock()
    while True:
        call()
        calls += 1
        elapsed = clock() - start
        if elapsed >= minimum_seconds:
            return elapsed / calls


def table(results: Sequence[Result]) -> str:
    """The report as text, columns aligned."""
    head = ("name", "ours", "reference", "unit", "ratio", "target", "met")
    rows = [
        (
            r.name,
            f"{r.ours:.4g}",
            f"{r.reference:.4g}",
            r.unit,
            f"{r.ratio:.2f}",
            f"{r.target:g}",
            "yes" if r.met else "NO",
        )
        for r in results
    ]
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]
    return "\n".join(line.rstrip() for line in lines)


def write_json(results: Sequence[Result], path: Path) -> None:
    """Write the report as a JSON list of {name, ours, reference, ratio, unit, target, met}."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps([asdict(result) for result in results], indent=2, allow_nan=False) + "\n")
    temporary.replace(path)
