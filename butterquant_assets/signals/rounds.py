"""Rounds as tables, and back: every version of what was learned is kept, and found by its time or its version.

What belongs here: stacking the frames of rounds, and taking one out again; what is kept of the tables that judged a
signal, and the tables again. What does not: making them (`refresh`, `replay`), and where the tables lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields

import pandas as pd

from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.signals.calibration_ladder import TABLE_TYPES, CalibrationTable
from butterquant_assets.signals.costs import FALLBACK_BPS, CostTable
from butterquant_assets.signals.gates import Thresholds
from butterquant_assets.signals.refresh import CONTRACTS, Round, Tables
from butterquant_assets.signals.thresholds import thresholds_of
from butterquant_assets.signals.versions import typed

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


def taken_out(
    frames: Mapping[str, pd.DataFrame], times: Sequence[pd.Timestamp], fallback_bps: float = FALLBACK_BPS
) -> list[Round]:
    """Rounds of some times from stacked frames; `fallback_bps` as for `tables_of`.

    Raises
    ------
    DataError
        if a table is missing or was changed since it was made.
    """
    parts = {
        name: {made: part.reset_index(drop=True) for made, part in frame.groupby("as_of", sort=False)}
        for name, frame in frames.items()
    }
    empty = {name: no_rows(CONTRACTS[name]) for name in parts}
    rounds = []
    for as_of in times:
        own = {name: by_time[as_of] if as_of in by_time else empty[name].copy() for name, by_time in parts.items()}
        rounds.append(Round(as_of, tables_of(own, fallback_bps), own))
    return rounds


def tables_of(frames: Mapping[str, pd.DataFrame], fallback_bps: float = FALLBACK_BPS) -> Tables:
    """The tables of one round from its frames; `fallback_bps` where a cost table has no row.

    Raises
    ------
    DataError
        as for `taken_out`.
    """
    costs = CostTable.from_frame(frames["cost_table"], fallback_bps)
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
    own = {name: frames[name][frames[name]["as_of"] == made] for name in JUDGING}
    return tables_of(own, first.costs.fallback_bps)


EVERY_OTHER = "*"
"""Stands for the coins a cost table has no row of."""


def kept_tables(tables: Tables) -> dict[str, pd.DataFrame]:
    """Everything by which some tables judge a signal: frames ``calibration``, ``cost`` and ``threshold``."""
    costs, asked = tables.costs, tables.thresholds
    used = {**costs.coins, EVERY_OTHER: costs.fallback_bps}
    cost = pd.DataFrame({"coin": pd.Series(list(used), dtype="str"), "used_bps": list(used.values())})
    cost = cost.assign(version=costs.version, holding_hours=costs.holding_hours, as_of=_stamp(costs.as_of))
    threshold = pd.DataFrame([asdict(asked)]).assign(version=asked.version(), as_of=_stamp(asked.as_of))
    return {"calibration": tables.calibration.to_frame(), "cost": cost, "threshold": threshold}


def restored_tables(kept: Mapping[str, pd.DataFrame]) -> Tables:
    """Inverse of `kept_tables`, of one version each.

    Raises
    ------
    DataError
        if what was kept is not what its version names.
    """
    cost, row = kept["cost"], kept["threshold"].iloc[0]
    used = dict(zip(cost["coin"].tolist(), cost["used_bps"].tolist(), strict=True))
    fallback, head = used.pop(EVERY_OTHER), cost.iloc[0]
    costs = CostTable(used, float(head["holding_hours"]), fallback, _time(head["as_of"]))
    numbers = {one.name: float(row[one.name]) for one in fields(Thresholds) if one.name != "as_of"}
    thresholds = Thresholds(**numbers, as_of=_time(row["as_of"]))
    for found, said, what in (
        (costs.version, head["version"], "cost table"),
        (thresholds.version(), row["version"], "set of thresholds"),
    ):
        if found != said:
            raise DataError(f"the {what} kept as version {said} was changed since; it is version {found} now")
    return Tables(CalibrationTable.from_frame(typed(kept["calibration"], TABLE_TYPES)), costs, thresholds)


def _stamp(time: pd.Timestamp | None) -> pd.Timestamp:
    return pd.Timestamp("NaT") if time is None else pd.Timestamp(time).as_unit("us")


def _time(stamp: pd.Timestamp) -> pd.Timestamp | None:
    return None if pd.isna(stamp) else stamp


def no_rows(contract: Contract) -> pd.DataFrame:
    """A table without rows, columns and types as its contract wants them."""
    types = contract.schema.dtypes
    return pd.DataFrame({column: pd.Series(dtype=str(kind)) for column, kind in types.items()})
