"""The signal line on real markets: eleven perpetuals 2023-24, and thirty-nine OKX swaps of May and June 2026.

Nothing here is a target: the figures say what the line found, and are reported as they are. The recordings are test
data (`BUTTERQUANT_TEST_DATA`); without them the benchmark says so and measures nothing.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pandas as pd

from benchmarks.harness import Result
from benchmarks.signal_line import Line, run_line
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.signals.calibration_report import judge_calibration
from butterquant_assets.signals.gate_report import gate_report
from butterquant_assets.signals.learned_facts import chosen_afterwards, universe_sentence

SEED = 7
RUNS = {
    "perp_2023_2024": {"recording": "perp", "start": "2023-01-01", "end": "2024-12-30"},
    "okx_2026": {"recording": "okx"},
}


def benchmarks() -> list[Result]:
    """Seconds of each run; what it found goes to standard error."""
    folder = Path(os.environ.get("BUTTERQUANT_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        print(f"real markets are not run: {folder} is not there; set BUTTERQUANT_TEST_DATA", file=sys.stderr)
        return []
    results = []
    for name, chosen in RUNS.items():
        start = time.perf_counter()
        line = run_line(CryptoConfig(source="files", data_dir=folder, **chosen))  # type: ignore[arg-type]
        seconds = time.perf_counter() - start
        print(f"\n{name}: {report(line)}", file=sys.stderr)
        results.append(Result(f"signal_real.{name}", seconds, seconds, 1.0, "s", 1.0, True))
    return results


def report(line: Line) -> str:
    """What a run found, in plain text."""
    trades, rounds = line.trades, line.replayed.rounds
    judged = judge_calibration(trades, as_of=line.as_of, seed=SEED)
    changes = [
        f"{one.as_of:%Y-%m-%d} {row.gate}: {row.reason}"
        for one in rounds
        for row in one.frames["gate_thresholds"].itertuples()
        if row.changed
    ]
    parts = [
        f"{trades['coin'].nunique()} coins, {len(trades):,} signals",
        f"{len(rounds)} rounds, the last {line.replayed.records.iloc[-1].to_dict() if rounds else 'none'}",
        judged.sentence,
        f"thresholds changed: {'; '.join(changes) or 'never'}",
        _shown(gate_report(trades, seed=SEED)),
    ]
    if judged.value("trades"):
        parts.append(_shown(judged.curve[judged.curve["trades"] > 0]))
    if rounds:
        share = chosen_afterwards(line.replayed.records.iloc[-1])
        if share > 0:
            parts.append(universe_sentence(share))
        shown = ["month", "track", "trades", "win_rate", "predicted_win_rate", "brier", "cost_error_bps", "bad_share"]
        shown += ["mean_pnl_bps", "sharpe", "sharpe_low", "sharpe_high"]
        parts.append(_shown(rounds[-1].frames["signal_performance"][shown]))
        parts.append(_shown(rounds[-1].frames["funding_cost_report"], 2))
    return "\n".join(parts)


def _shown(frame: pd.DataFrame, places: int = 3) -> str:
    """A frame as text, its numbers rounded; times have no places to round to."""
    return frame.round(dict.fromkeys(frame.select_dtypes("number").columns, places)).to_string()
