"""A house to measure in: market data of a temporary home in place, then analyses, features and labels, timed.

`measure` runs in a process of its own (``python -m benchmarks.engine_house``), so that its peak memory is its own, and
goes the product's own way: `orchestration.rebuild` over a lake of Parquet files, contracts, hashes and footers
included. Prices are those of the folder of real market data where there is one, else of the embedded sample.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from butterquant_assets.butterfly.config import SamplingConfig
from butterquant_assets.definitions import Settings, build_house
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.rebuild import QUARANTINED, WAITING, rebuild

ROOT = Path(__file__).resolve().parents[1]
MARKET = ("market/equity_bars", "market/vix", "market/implied_vols")
SAMPLES = "butterfly/vix_samples"
ENGINE = ("butterfly/analyses", "butterfly/features", "butterfly/roi_labels")
FIRST_MONTH = "2013-11"  # the first with 505 bars before its last session
WARM_MONTHS = 2


@dataclass(frozen=True)
class Measured:
    """What one run of the engine took.

    Attributes
    ----------
    samples, analysed
        rows sampled, and of these analysed
    seconds, cpu_seconds
        of the fastest repeat, from bars in the lake to written Parquet
    by_asset
        wall seconds of that repeat by asset
    peak_bytes, growth_bytes
        peak resident memory of the process from its start, and how far the repeats rose above what it held before
    """

    samples: int
    analysed: int
    seconds: float
    cpu_seconds: float
    by_asset: Mapping[str, float]
    peak_bytes: int
    growth_bytes: int


def real_data() -> Path | None:
    """The folder of real market data, if there is one."""
    folder = Path(os.environ.get("BUTTERQUANT_TEST_DATA", ROOT.parent / "shared" / "data"))
    return folder if (folder / "stocks_daily.parquet").is_file() else None


def kind() -> str:
    """``real`` or ``sample``, for the names of results."""
    return "real" if real_data() else "sample"


@contextmanager
def market_home() -> Iterator[Path]:
    """A temporary home whose lake holds the market data; removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="butterquant-bench-") as folder:
        home = Path(folder) / "market"
        house = open_house(home, SamplingConfig())
        for name in MARKET:
            bring_up(house, name)
        yield home


def open_house(home: Path, sampling: SamplingConfig) -> House:
    """The house of a home, new or not, with this sampling."""
    data = real_data()
    where = {"source": "files", "data_dir": data, "start": FIRST_MONTH} if data else {"source": "sample"}
    return build_house(Settings(home=home, sampling=sampling, **where))


def bring_up(house: House, name: str, months: slice = slice(None), *, force: bool = False) -> dict[str, int]:
    """Rebuild an asset; rows made, by output.

    Raises
    ------
    AssertionError
        if a partition was not published: then what was timed is not the work.
    """
    declaration = house.declaration(name)
    keys = (None,) if declaration.axis is None else house.keys(declaration.axis)[months]
    outcomes = rebuild(house, declaration, keys, force=force).outcomes
    for output, done in outcomes.items():
        if bad := [f"{key}: {one.reasons}" for key, one in done.items() if one.action in (QUARANTINED, WAITING)]:
            raise AssertionError(f"{len(bad)} partitions of {output} were not published, the first {bad[0]}")
    return {output: sum(one.rows_recomputed for one in done.values()) for output, done in outcomes.items()}


def measure(market: Path, sampling: SamplingConfig, repeats: int = 1) -> Measured:
    """Measure the engine on a copy of a market home, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="butterquant-bench-") as folder:
        home = Path(folder) / "home"
        shutil.copytree(market, home)
        done = subprocess.run(
            [sys.executable, "-m", __name__, str(home), json.dumps(asdict(sampling)), str(repeats)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def _measure_here(home: Path, sampling: SamplingConfig, repeats: int) -> Measured:
    house = open_house(home, sampling)
    bring_up(house, SAMPLES)
    samples = len(house.lake.read(SAMPLES, None))
    for name in ENGINE:  # compiled kernels loaded, schemas built
        bring_up(house, name, slice(-WARM_MONTHS, None))
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far, that of sampling, is forgotten
    before = _memory("VmRSS")
    runs = [_run(house) for _ in range(repeats)]
    seconds, cpu, by_asset, analysed = min(runs, key=lambda run: run[0])
    growth = _memory("VmHWM") - before
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Measured(samples, analysed, seconds, cpu, by_asset, peak, growth)


def _run(house: House) -> tuple[float, float, dict[str, float], int]:
    by_asset, cpu, analysed = {}, time.process_time(), 0
    for name in ENGINE:
        start = time.perf_counter()
        made = bring_up(house, name, force=True)
        by_asset[name] = time.perf_counter() - start
        analysed = made.get("butterfly/analyses", analysed)
    return sum(by_asset.values()), time.process_time() - cpu, by_asset, analysed


def _memory(field: str) -> int:
    """Bytes of a field of the process's status: ``VmRSS`` held now, ``VmHWM`` at most since it was last forgotten."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def describe(name: str, measured: Measured) -> str:
    """One line for the log."""
    parts = ", ".join(f"{asset.split('/')[1]} {seconds:.1f}" for asset, seconds in measured.by_asset.items())
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{name}: {measured.samples} samples, {measured.analysed} analysed: {measured.seconds:.1f} s ({parts}), "
        f"{measured.cpu_seconds:.1f} s CPU, memory grew by {measured.growth_bytes / 1e6:.0f} MB to a peak of "
        f"{measured.peak_bytes / 1e6:.0f} MB; load of the machine now {load}"
    )


def main(arguments: list[str]) -> int:
    home, sampling, repeats = arguments
    options: dict[str, Any] = json.loads(sampling)
    print(json.dumps(asdict(_measure_here(Path(home), SamplingConfig(**options), int(repeats)))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
