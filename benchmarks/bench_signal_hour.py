"""One new hour for fifty coins: from the hour's rows in the lake to scored signals, reading and writing included.

A lake of forty-two days is made first. Then the newest day gains an hour, and what the graph makes of it is timed:
factors of that day from 38 days of tables, the learned tables (nothing is due, so nothing is learned), its signals.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks.harness import Result, compare
from butterquant_assets.orchestration.rebuild import rebuild
from butterquant_tests.signals.line_house import START, bring_up_to_date, house_of, market, until

COINS = ("BTC", "ETH", *(f"C{number:02d}" for number in range(48)))
DAYS, HOURS = 42, 6
TARGET_SECONDS = 2.0


def benchmarks() -> list[Result]:
    """Seconds from a new hour to its scored signals, the median of a few hours."""
    tables = market(DAYS, 5, COINS)
    day = pd.Timestamp(START) + pd.Timedelta(days=DAYS - 1)
    spent = []
    with tempfile.TemporaryDirectory() as folder:
        bring_up_to_date(house_of(Path(folder), until(tables, day)))
        for hour in range(HOURS):
            house = house_of(Path(folder), until(tables, day + pd.Timedelta(hours=1 + hour)))
            newest = (f"{day:%Y-%m-%d}",)
            for declaration in house.declarations:
                name = declaration.names[0]
                start = time.perf_counter()
                rebuild(house, declaration, (None,) if declaration.axis is None else newest)
                if name == "signals/factors":
                    spent.append(0.0)
                if name.startswith("signals/") and name not in ("signals/paper_trades", "signals/recorded"):
                    spent[-1] += time.perf_counter() - start
    seconds = sorted(spent)[len(spent) // 2]
    return [compare("signals.one_new_hour_50_coins", seconds, TARGET_SECONDS, "s", target=1.0, better="lower")]
