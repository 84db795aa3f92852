"""Random SIGKILLs, hundreds of them: ``python -m butterquant_tests.faults.soak --kills 200 --seed 1 --folder DIR``.

Two homes read one folder of prices, which a correction changes in every round. One is brought up to date undisturbed.
In the other each run is killed at a random moment, up to eight times a round, and then taken up. After each round lake,
models and plots must be the same byte for byte, and the warehouses row for row. The folder holds everything, progress
included: the same command goes on where it was stopped, and after a failure the homes can be looked at there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from butterquant_assets.foundation.files import write_atomically
from butterquant_tests import homes
from butterquant_tests.faults import state

A_ROUND = 8
TICKERS = 6
PROGRESS = "progress.json"


@dataclass(frozen=True)
class Progress:
    """Rounds that are over, kills in them, runs that ended before theirs, seconds that undisturbed runs took."""

    seed: int
    rounds: int = 0
    kills: int = 0
    escaped: int = 0
    seconds: float = 0.0


def soak(folder: Path, kills: int, seed: int) -> Progress:
    """Rounds until there were so many kills; what was done by then.

    Raises
    ------
    AssertionError
        if the homes differ; the message names the files and tables.
    """
    progress = _begun(folder, seed)
    while progress.kills < kills:
        rng = np.random.default_rng([seed, progress.rounds])
        said = _correct(folder / "data", progress.rounds, rng)
        began = time.monotonic()
        homes.run(folder / "undisturbed")
        whole = time.monotonic() - began
        wanted = min(A_ROUND, kills - progress.kills)
        moments = rng.uniform(0.05, 0.35, size=wanted) * whole
        # Once a run came to its end there is nothing left to be killed at.
        killed = sum(
            1 for _ in itertools.takewhile(lambda at: homes.killed_run(folder / "killed", at), map(float, moments))
        )
        report = homes.run(folder / "killed")
        _compare(folder, f"round {progress.rounds} ({said}), {killed} kills, ended {report['status']}")
        progress = Progress(
            seed,
            progress.rounds + 1,
            progress.kills + killed,
            progress.escaped + (killed < wanted),
            progress.seconds + whole,
        )
        _keep(folder, progress)
        print(f"round {progress.rounds}: {said}; {progress.kills} of {kills} kills, all equal", flush=True)
    return progress


def _begun(folder: Path, seed: int) -> Progress:
    if (folder / PROGRESS).exists():
        progress = Progress(**json.loads((folder / PROGRESS).read_text()))
        if progress.seed != seed:
            raise SystemExit(f"{folder} was begun with seed {progress.seed}: go on with that, or take another folder")
        return progress
    folder.mkdir(parents=True, exist_ok=True)
    homes.write_vendor_files(folder / "data", tickers=TICKERS)
    for name in ("undisturbed", "killed"):
        homes.build(folder / name, folder / "data")
    _compare(folder, "before the first kill")
    progress = Progress(seed)
    _keep(folder, progress)
    return progress


def _keep(folder: Path, progress: Progress) -> None:
    write_atomically(folder / PROGRESS, json.dumps(asdict(progress)).encode())


def _correct(data: Path, number: int, rng: np.random.Generator) -> str:
    """Other prices of one ticker in one month. Made again after an interruption they must be the same."""
    original, path = data / "stocks_daily.original", data / "stocks_daily.parquet"
    if not original.exists():
        write_atomically(original, path.read_bytes())
    bars = pd.read_parquet(original)
    months = bars["timestamp"].dt.strftime("%Y-%m")
    ticker = str(rng.choice(np.sort(bars["symbol"].unique())))
    month = str(rng.choice(np.sort(months[months >= "2016-01"].unique())))
    concerned = (bars["symbol"] == ticker) & (months == month)
    bars.loc[concerned, ["open", "high", "low", "close"]] *= 1.0 + 0.001 * (number + 1)
    temporary = data / ".stocks_daily.tmp"
    bars.to_parquet(temporary)
    temporary.replace(path)
    return f"{ticker} {month}"


def _compare(folder: Path, when: str) -> None:
    quiet, killed = folder / "undisturbed", folder / "killed"
    files = homes.tree(quiet), homes.tree(killed)
    differ = sorted(p for p in files[0].keys() | files[1].keys() if files[0].get(p) != files[1].get(p))
    rows = state.warehouse_rows(state.sqlite_url(quiet)), state.warehouse_rows(state.sqlite_url(killed))
    tables = sorted(name for name in rows[0].keys() | rows[1].keys() if rows[0].get(name) != rows[1].get(name))
    leftovers = [str(path) for path in killed.rglob("*.tmp")]
    if differ or tables or leftovers:
        raise AssertionError(f"{when}: files {differ}, tables {tables}, left over {leftovers}")
    state.run_states(killed / "dagster")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; 1 where the homes differ."""
    parser = argparse.ArgumentParser(prog="python -m butterquant_tests.faults.soak")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("build/soak"), help="everything, progress included")
    options = parser.parse_args(arguments)
    try:
        done = soak(options.folder.resolve(), options.kills, options.seed)
    except AssertionError as error:
        print(f"FAILED: {error}\nseed {options.seed}; the homes are in {options.folder}", file=sys.stderr)
        return 1
    print(
        f"{done.kills} kills in {done.rounds} rounds, seed {done.seed}: lake, models, plots and warehouse as without; "
        f"{done.escaped} runs ended before they could be killed; an undisturbed run took "
        f"{done.seconds / max(1, done.rounds):.1f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
