"""Rounds as tables, and back: every version of what was learned is kept, and found by its time or its version.

What belongs here: stacking the frames of rounds, and taking one out again. What does not: making them (`refresh`,
`replay`), and where the tables lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.signals.calibration_ladder import CalibrationTable
from butterquant_assets.signals.costs import CostTable
from butterquant_assets.signals.refresh import CONTRACTS, Round, Tables
from butterquant_assets.signals.thresholds import thresholds_of

JUDGING = ("calibration_table", "cost_table", "gate_thresholds")
"""The tables signals are judged by."""


def stacked(rounds: Sequence[Round]) -> dict[str, pd.DataFrame]:
    """Every table and report of all rounds, by name, as their contracts want them."""
    return {
        name: contract.arrange(pd.concat([one.frames[name] for one in rounds], ignore_index=True))
        if rounds
        else no_rows(contract)
        for name, contract in CONTRACTS.items()
    }


def taken_out(frames: Mapping[str, pd.DataFrame], times: Sequence[pd.Timestamp]) -> list[Round]:
    """Rounds of some times from stacked frames.

    Raises
    ------
    DataError
        if a table is missing or was changed since it was made.
    """
    parts = {
        name: {made: part.reset_index(drop=True) for made, part in frame.groupby("as_of", sort=False)}
        for name, frame in frames.items()
    }
    rounds = []
    for as_of in times:
        own = {name: by_time.get(as_of, no_rows(CONTRACTS[name])) for name, by_time in parts.items()}
        rounds.append(Round(as_of, tables_of(own), own))
    return rounds


def tables_of(frames: Mapping[str, pd.DataFrame]) -> Tables:
    """The tables of one round from its frames.

    Raises
    ------
    DataError
        as for `taken_out`.
    """
    costs = CostTable.from_frame(frames["cost_table"])
    stored = set(frames["cost_table"]["version"])
    if stored - {costs.version}:
        raise DataError(f"cost table {', '.join(sorted(stored))} was changed since it was made; make it again")
    return Tables(
        CalibrationTable.from_frame(frames["calibration_table"]), costs, thresholds_of(frames["gate_thresholds"])
    )


def in_force(frames: Mapping[str, pd.DataFrame], day: pd.Timestamp, first: Tables) -> Tables:
    """Tables that judge the signals of a UTC day, from the stacked tables named in `JUDGING`.

    Those of the last round held by the midnight the day begins with; before the first round `first`.

    Raises
    ------
    DataError
        as for `taken_out`.
    """
    held = frames["calibration_table"]["as_of"]
    made = held[held <= day].max()
    if pd.isna(made):
        return first
    return tables_of({name: frames[name][frames[name]["as_of"] == made] for name in JUDGING})


def no_rows(contract: Contract) -> pd.DataFrame:
    """A table without rows, columns and types as its contract wants them."""
    types = contract.schema.dtypes
    return pd.DataFrame({column: pd.Series(dtype=str(kind)) for column, kind in types.items()})
