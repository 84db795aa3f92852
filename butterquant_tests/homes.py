"""Small homes for tests: a folder of files in vendor format, and a home directory built from it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from butterquant_assets.foundation.calendar import month_range
from butterquant_assets.market.sources.base import open_source
from butterquant_tests import forks

START, END = "2016-03", "2016-08"
TICKERS = 10
# Small, but enough rows for two retrainings: 15 days x 8 tickers.
SAMPLING = {"LOW_DAYS": "5", "NORMAL_DAYS": "9", "HIGH_DAYS": "2", "TICKERS_PER_DAY": "8"}
SETTINGS = {f"BUTTERQUANT_SAMPLING__{name}": value for name, value in SAMPLING.items()} | {
    "BUTTERQUANT_TRAINING__MINIMUM_ROWS": "20",
    "BUTTERQUANT_TRAINING__MINIMUM_EPISODES": "2",
    "BUTTERQUANT_TRAINING__STEP_ROWS": "30",
    "BUTTERQUANT_TRAINING__STUDENT_EPOCHS": "3",
    "BUTTERQUANT_TRAINING": '{"members": ["mlp", "logistic"]}',
    "BUTTERQUANT_TRAINING__SETTINGS__MLP__MAX_EPOCHS": "3",
    "BUTTERQUANT_SCAN__MONTHS": "2",
    "BUTTERQUANT_SHORT_TERM__MINIMUM_TRAIN_ROWS": "40",
    "BUTTERQUANT_SHORT_TERM__MINIMUM_TRAIN_EPISODES": "2",
    "BUTTERQUANT_SHORT_TERM__STEP_ROWS": "40",
    "BUTTERQUANT_SHORT_TERM__LIGHTGBM__ROUNDS": "5",
    "BUTTERQUANT_SHORT_TERM__MLP__MAX_EPOCHS": "3",
    "BUTTERQUANT_MONITORING__HTML": "false",  # the page of evidently takes longer than all models together
    "BUTTERQUANT_CRYPTO__SOURCE": "none",  # the crypto house has homes of its own
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


def write_vendor_files(folder: Path, *, tickers: int = TICKERS, last: str = "2016-10") -> None:
    """Simulated bars, index, VIX in the files source's own format (quoted prices, so no split table is needed)."""
    source = open_source("sample", seed=3, tickers=tickers)
    months = month_range("2014-01", last)
    folder.mkdir(parents=True, exist_ok=True)
    bars = source.fetch("equity_bars", months).rows
    plain = bars.groupby("ticker")["split_ratio"].transform("max") == 1.0  # tickers without a split in the span
    vendor(bars[plain].drop(columns=["split_ratio", "quoted"])).to_parquet(folder / "stocks_daily.parquet")
    pd.DataFrame(
        {
            "timestamp": pd.Series(dtype="datetime64[ms, UTC]"),
            "symbol": pd.Series(dtype="str"),
            "split_ratio": pd.Series(dtype="float64"),
        }
    ).to_parquet(folder / "stock_splits.parquet")
    vix = source.fetch("vix", months).rows
    closes = dict.fromkeys(("open", "high", "low"), vix["close"])
    vendor(vix.assign(ticker="VIX", **closes)).to_parquet(folder / "vix_daily.parquet")


def vendor(frame: pd.DataFrame) -> pd.DataFrame:
    """Contract columns renamed as in the vendor's files."""
    renamed = frame.rename(columns={"session": "timestamp", "ticker": "symbol", "dividend_usd": "dividend"})
    return renamed.assign(timestamp=renamed["timestamp"].dt.tz_localize("UTC").dt.as_unit("ms"))


def butterquant(
    *arguments: str,
    home: Path,
    package_root: Path | None = None,
    check: bool = True,
    forked: bool = True,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, with the small settings.

    Parameters
    ----------
    package_root
        folder of another package than this one; its process is started from nothing
    check
        whether anything but exit status 0 is an error
    forked
        whether the process may be forked from one that has imported everything, and thus shares its hash seed
    environment
        more settings
    """
    variables = forks.own_environment()
    variables |= SETTINGS | {"BUTTERQUANT_HOME": str(home)} | environment
    if package_root is not None:
        variables["PYTHONPATH"] = str(package_root)
    if forked and package_root is None:
        done = forks.butterquant(arguments, folder=home.parent, environment=variables)
    else:
        done = subprocess.run(
            [sys.executable, "-m", "butterquant_assets.cli", *arguments],
            env=variables,
            cwd=package_root or home.parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(arguments)} exited {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


def killed_run(home: Path, after: float) -> bool:
    """`butterquant run`, killed after some seconds; whether it was still at it."""
    variables = forks.own_environment()
    variables |= SETTINGS | {"BUTTERQUANT_HOME": str(home)}
    return forks.killed(["run"], folder=home.parent, environment=variables, after=after)


def run(home: Path, **options: Any) -> dict[str, Any]:
    """`butterquant run --json` on a bound home; returns its report."""
    return json.loads(butterquant("run", "--json", home=home, **options).stdout)


def build(home: Path, data: Path) -> dict[str, Any]:
    """The first run of a home over a folder of files, in a process with a hash seed of its own."""
    source = ("--source", "files", "--data", str(data), "--start", START, "--end", END)
    return json.loads(butterquant("run", "--json", *source, home=home, forked=False).stdout)


def shared(factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """A home, its data folder and the report of its first run, made once for all modules and workers.

    It is to be read or copied: whoever changes it changes it for all.
    """
    data = shared_data(factory)
    with _made_once(factory, "home") as folder:
        report = folder / "report.json"
        if not report.exists():
            report.write_text(json.dumps(build(folder / "home", data)))
        return folder / "home", data, json.loads(report.read_text())


def shared_data(factory: pytest.TempPathFactory) -> Path:
    """The data folder of the shared home, without the home."""
    with _made_once(factory, "vendor") as folder:
        if not (folder / "data").exists():
            write_vendor_files(folder / "making")
            (folder / "making").rename(folder / "data")
        return folder / "data"


@contextmanager
def _made_once(factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A folder of the whole test run, for one worker at a time."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"shared_{name}"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released with the file
        yield folder


def copy_of(home: Path, data: Path, target: Path) -> tuple[Path, Path]:
    """Copies of a home and its data folder, the copy bound to the copied data."""
    shutil.copytree(home, target / "home")
    shutil.copytree(data, target / "data")
    binding = target / "home" / "home.json"
    binding.write_text(binding.read_text().replace(str(data), str(target / "data")))
    return target / "home", target / "data"


def rebuilt(report: dict[str, Any]) -> dict[str, int]:
    """Partitions rebuilt per asset, without the assets that were left alone."""
    return {entry["asset"]: entry["rebuilt"] for entry in report["assets"] if entry["rebuilt"]}


def tree(home: Path) -> dict[str, bytes]:
    """Every file of lake and models by relative path."""
    folders = (home / "lake", home / "models", home / "plots")
    return {str(p.relative_to(home)): p.read_bytes() for f in folders for p in sorted(f.rglob("*")) if p.is_file()}
