"""Made trades whose results depend on F beyond a planted threshold, or on nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd

from butterquant_assets.signals.gates import judge
from butterquant_assets.signals.thresholds import Search, Thresholds
from butterquant_tests.signals.signal_cases import HOUR, START

AS_OF = START + pd.Timedelta(days=224)
SEARCH = Search()


def gate_trades(seed: int, *, planted: float | None = None, loss_bps: float = 120.0, n: int = 4000) -> pd.DataFrame:
    """Trades over 224 days, results of a driftless price with costs; weeks share a little luck.

    With `planted`, trades whose F in their direction lies below it lose `loss_bps` more on average.
    """
    random = np.random.default_rng(seed)
    entry = START + HOUR + pd.to_timedelta(np.sort(random.integers(0, 220 * 24, n)), unit="h")
    target = random.random(n) < 1 / 3
    week = ((entry - START).days // 7).to_numpy()
    pnl = np.where(target, 400.0, -200.0) - 14.0 + 30.0 * random.standard_normal(40)[week]
    f = random.uniform(-60, 60, n)
    if planted is not None:
        pnl -= np.where(f < planted, loss_bps, 0.0)
    trades = pd.DataFrame(
        {
            "hour": entry - HOUR,
            "entry_at": entry,
            "exit_at": entry + 5 * HOUR,
            "known_at": entry + 5 * HOUR,
            "status": "closed",
            "exit_reason": np.where(target, "target", "stop"),
            "side": np.where(random.random(n) < 0.5, "long", "short"),
            "closed_bars": random.integers(300, 2000, n),
            "defect": False,
            "weight_present": 1.0,
            "stop_bps": 200.0,
            "f_directional": f,
            "I": random.uniform(0, 100, n),
            "market_regime": random.uniform(-90, 90, n),
            "ev_bps": random.uniform(-20, 60, n),
            "calibrated": True,
            "pnl_bps": pnl,
        }
    )
    return trades.join(judge(trades, Thresholds()))
