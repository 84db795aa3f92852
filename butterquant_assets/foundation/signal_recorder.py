"""The signal recorder: what was signalled, how it was executed, what came of it, in the warehouse.

Three tables, written by idempotent upserts: the same rows written twice are the same rows. And three that keep every
version of the tables that judged a signal, to which rows are only added. An edge: it does I/O and knows no Dagster.
What does not belong here: how signals, trades and tables are made (the signal line).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Literal, Self

import pandas as pd

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.foundation.sql_values import records
from butterquant_assets.foundation.warehouse import Warehouse

Mode = Literal["paper", "live"]

VERSIONS = {"calibration": "calibration_versions", "cost": "cost_versions", "threshold": "threshold_versions"}
"""Tables of versions, by what a signal calls them: its columns are calibration_version, cost_version and so on."""
SNAPSHOTS, EXECUTIONS, RESULTS = "signal_snapshots", "execution_records", "trade_results"
HOUR = pd.Timedelta(hours=1)
# Rows of one statement.
CHUNK = 5_000

_FLAGS = ("defect", "calibrated", "gate_data", "gate_fund", "gate_market", "gate_ev")
# Column of the table -> column of the frame, where they differ.
_SIGNAL_NAMES = {
    **{f"factor_{letter.lower()}": letter for letter in "TMCVOBFI"},
    "price": "close",
    "expected_cost_bps": "cost_bps",
    "expected_funding_bps": "funding_bps",
}
_SIGNAL_COLUMNS = (
    "signal_id",
    "hour",
    "coin",
    "side",
    "score",
    "confidence",
    "market_regime",
    "flags",
    "atr14",
    "funding_8h",
    "closed_bars",
    "p_target",
    "p_stop",
    "p_timeout",
    "target_bps",
    "stop_bps",
    "ev_bps",
    *_FLAGS,
    "verdict",
    "reason",
    "calibration_version",
    "cost_version",
    "threshold_version",
)
_EXECUTION_COLUMNS = (
    "signal_id",
    "track",
    "entry_at",
    "entry_price",
    "entry_fill",
    "spread_bps",
    "spread_known",
    "slippage_bps",
    "fee_bps",
    "paid_cost_bps",
)
_RESULT_COLUMNS = (
    "signal_id",
    "known_at",
    "status",
    "outcome",
    "exit_reason",
    "exit_at",
    "exit_price",
    "exit_fill",
    "held_hours",
    "gross_bps",
    "gap_bps",
    "paid_funding_bps",
    "settlements",
    "funding_known",
    "pnl_bps",
    "pnl_usd",
)


class SignalRecorder:
    """Signals, executions and results.

    Parameters
    ----------
    warehouse_url
        as for `Warehouse`

    Notes
    -----
    Use it as a context manager, or call `close`. Every method may raise `WarehouseError`.
    """

    def __init__(self, warehouse_url: str) -> None:
        self._warehouse = Warehouse(warehouse_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give back all connections."""
        self._warehouse.close()

    def migrate(self) -> None:
        """Bring the schema to what this version needs; call it once before the first write or read."""
        self._warehouse.migrate()

    def record_signals(self, signals: pd.DataFrame) -> int:
        """Write signals with their factors, predictions and verdicts; all of them or none.

        One that was traded live stays as it was recorded: that is what was decided on.

        Parameters
        ----------
        signals
            columns of the contract ``signals/scored_signals``

        Returns
        -------
        rows given

        Raises
        ------
        DataError
            if columns are missing or a signal is repeated.
        """
        rows = _picked(signals, _SIGNAL_COLUMNS, _SIGNAL_NAMES, "signals")
        return self._write(SNAPSHOTS, rows.assign(known_at=signals["hour"] + HOUR))

    def record_trades(self, trades: pd.DataFrame, mode: Mode = "paper") -> int:
        """Write how signals were executed and what came of them; signals that were not filled are left out.

        Parameters
        ----------
        trades
            columns of the contract ``signals/paper_trades``; their signals have been recorded
        mode
            paper, or live at an exchange; a signal may have one of each

        Returns
        -------
        trades written

        Raises
        ------
        DataError
            if columns are missing or a signal is repeated.
        """
        executions = _picked(trades, _EXECUTION_COLUMNS, {}, "trades")
        results = _picked(trades, _RESULT_COLUMNS, {}, "trades")
        filled = trades["status"].isin(["closed", "open"])
        self._write(EXECUTIONS, executions[filled].assign(mode=mode))
        return self._write(RESULTS, results[filled].assign(mode=mode))

    def record_day(self, day: pd.Timestamp, signals: pd.DataFrame, trades: pd.DataFrame) -> dict[str, int]:
        """Make the record of one UTC day what these frames say: write their rows, remove what they no longer hold.

        A signal that was traded live stays, with that trade, whatever became of it here.

        Parameters
        ----------
        day
            midnight it begins with, naive UTC
        signals, trades
            all of that day, as for `record_signals` and `record_trades`

        Returns
        -------
        signals and trades written, signals_removed and trades_removed

        Raises
        ------
        DataError
            if columns are missing, a signal is repeated, or one belongs to another day.
        """
        strays = signals.loc[signals["hour"].dt.floor("D") != day, "signal_id"]
        if len(strays):
            raise DataError(f"{len(strays)} signals do not belong to {day:%Y-%m-%d}, first {strays.iloc[0]}; leave out")
        span = {"first": day, "last": day + pd.Timedelta(hours=23)}
        filled = trades.loc[trades["status"].isin(["closed", "open"]), "signal_id"]
        gone = self._warehouse.execute("forget_paper_trades", span | {"keep": json.dumps(filled.tolist())})
        lost = self._warehouse.execute("forget_signals", span | {"keep": json.dumps(signals["signal_id"].tolist())})
        return {
            "signals": self.record_signals(signals),
            "trades": self.record_trades(trades),
            "signals_removed": lost,
            "trades_removed": gone,
        }

    def keep_versions(self, tables: Mapping[str, pd.DataFrame]) -> None:
        """Add versions of the tables that judge signals; those that are there already stay as they are.

        Parameters
        ----------
        tables
            by the names of `VERSIONS`, columns of the warehouse's tables
        """
        for name, table in VERSIONS.items():
            self._warehouse.upsert_frame(f"insert_{table}", tables[name])

    def kept_versions(self, versions: Mapping[str, str]) -> dict[str, pd.DataFrame]:
        """The tables of some versions, by the names of `VERSIONS`, whatever has been learned since.

        Parameters
        ----------
        versions
            by the same names, as a recorded signal names them

        Raises
        ------
        DataError
            if no such version judged a recorded signal.
        """
        found = {}
        for name, version in versions.items():
            found[name] = self._warehouse.fetch(VERSIONS[name], {"version": version})
            if found[name].empty:
                raise DataError(f"no {name} version {version} is kept: none of that name judged a recorded signal")
        return found

    def signals(self, first: pd.Timestamp, last: pd.Timestamp) -> pd.DataFrame:
        """Signals of the hours first .. last, both included, with the columns of the table ``signal_snapshots``."""
        return self._warehouse.fetch(SNAPSHOTS, {"first": first, "last": last})

    def executions(self, first: pd.Timestamp, last: pd.Timestamp) -> pd.DataFrame:
        """Executions entered within first .. last, both included; columns of ``execution_records``."""
        return self._warehouse.fetch(EXECUTIONS, {"first": first, "last": last})

    def results(self, first: pd.Timestamp, last: pd.Timestamp) -> pd.DataFrame:
        """Results that became known within first .. last, both included; columns of ``trade_results``."""
        return self._warehouse.fetch(RESULTS, {"first": first, "last": last})

    def new_results(self, since: pd.Timestamp) -> int:
        """How many trades ended after a time."""
        return int(self._warehouse.fetch("new_trade_results", {"since": since})["results"].iloc[0])

    def _write(self, table: str, rows: pd.DataFrame) -> int:
        """Upsert all rows in one transaction; repeats would leave it to the database which one counts."""
        repeated = rows["signal_id"].duplicated()
        if repeated.any():
            first = rows["signal_id"][repeated].iloc[0]
            raise DataError(f"{repeated.sum()} signals are repeated, for instance {first}; give each once")
        if self._warehouse.dialect == "postgresql":
            chunks = (rows.iloc[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
            self._warehouse.execute(f"upsert_{table}", [{"rows": _json(chunk)} for chunk in chunks])
            return len(rows)
        return self._warehouse.upsert_frame(f"upsert_{table}", rows)


def _json(rows: pd.DataFrame) -> str:
    """Rows as a JSON array of objects; times as ISO text, truth values as 1 and 0, missing values as null."""
    numbers = rows.astype(dict.fromkeys(rows.select_dtypes("bool").columns, "int64"))
    return json.dumps(records(numbers), default=str, allow_nan=False)


def _picked(frame: pd.DataFrame, columns: tuple[str, ...], renamed: Mapping[str, str], what: str) -> pd.DataFrame:
    """The columns a query takes, by its names."""
    sources = dict(zip(columns, columns, strict=True)) | dict(renamed)
    missing = [name for name in sources.values() if name not in frame]
    if missing:
        raise DataError(f"{what} lack the columns {', '.join(missing)}; give a frame that keeps its contract")
    return pd.DataFrame({name: frame[source] for name, source in sources.items()}, index=frame.index)
