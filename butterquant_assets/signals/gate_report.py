"""What each gate rejected, and what the rejected ones would have done.

What belongs here: rejected signals, paper-executed too, beside the accepted ones. What does not: other thresholds
(`thresholds`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.signals.gates import ACCEPTED, GATES
from butterquant_assets.signals.versions import picked, typed
from butterquant_assets.signals.weekly import weekly_interval

ANY, NONE = "any", "accepted"
BAD_SHARE_TARGET = 0.70
"""The document's aim: of the rejected signals more than this share would have lost."""

REPORT_TYPES = {
    "gate": "str",
    "signals": "int64",
    "share": "float64",
    "rejected_alone": "int64",
    "executed": "int64",
    "open": "int64",
    "bad_share": "float64",
    "mean_pnl_bps": "float64",
    "low_bps": "float64",
    "high_bps": "float64",
    "target_share": "float64",
    "alone_mean_pnl_bps": "float64",
}


def gate_report(trades: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """What became of the signals each gate rejected, and of the accepted ones.

    Parameters
    ----------
    trades
        columns of `schemas.PAPER_TRADES`, all tracks, as of one time
    seed
        of the bootstrap over weeks

    Returns
    -------
    DataFrame
        columns of `REPORT_TYPES`, one row a gate, one for signals rejected by ``any`` and one for ``accepted``:
        signals it rejected and their share of all, those that no other gate rejected, how many were executed on paper
        (open ones, at their mark, among them), bad_share (of the executed, those with pnl_bps <= 0), their mean result
        with its 95 % interval over weeks, the share that reached the target, and the mean of those rejected by it
        alone; NaN where nothing was executed

    Notes
    -----
    A gate that rejects at random has the bad share and the mean of all signals: compare its row with ``accepted`` and
    ``any``, not with 0.
    """
    verdicts = [f"gate_{gate}" for gate in GATES]
    columns = ("status", "entry_at", "pnl_bps", "exit_reason", "verdict", *verdicts)
    trades = picked(trades, columns, "trades")
    rejections = (~trades[verdicts]).sum(axis=1)
    accepted = trades["verdict"] == ACCEPTED
    parts = {gate: ~trades[f"gate_{gate}"] for gate in GATES} | {ANY: ~accepted, NONE: accepted}
    rows = []
    for place, (gate, part) in enumerate(parts.items()):
        alone = part & (rejections == 1)
        row = {"gate": gate} | _figures(trades[part], len(trades), seed + place)
        pnl = trades.loc[alone & trades["pnl_bps"].notna(), "pnl_bps"]
        rows.append(row | {"rejected_alone": int(alone.sum()), "alone_mean_pnl_bps": float(pnl.mean())})
    return typed(pd.DataFrame(rows)[list(REPORT_TYPES)], REPORT_TYPES)


def bad_share_among_rejected(trades: pd.DataFrame) -> float:
    """Share of rejected, executed signals with pnl_bps <= 0; NaN without any."""
    rejected = trades[(trades["verdict"] != ACCEPTED) & trades["pnl_bps"].notna()]
    return float((rejected["pnl_bps"] <= 0).mean()) if len(rejected) else float("nan")


def _figures(rows: pd.DataFrame, everything: int, seed: int) -> dict[str, Any]:
    executed = rows[rows["status"].isin(["closed", "open"])]
    pnl = executed["pnl_bps"].to_numpy(dtype=np.float64)
    mean, low, high = weekly_interval(pnl, executed["entry_at"], seed=seed)
    return {
        "signals": len(rows),
        "share": len(rows) / everything if everything else float("nan"),
        "executed": len(executed),
        "open": int((executed["status"] == "open").sum()),
        "bad_share": float((pnl <= 0).mean()) if pnl.size else float("nan"),
        "mean_pnl_bps": mean,
        "low_bps": low if np.isfinite(low) else float("nan"),
        "high_bps": high if np.isfinite(high) else float("nan"),
        "target_share": float((executed["exit_reason"] == "target").mean()),
    }
