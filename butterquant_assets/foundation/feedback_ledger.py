"""The feedback ledger: trades that were taken and whose outcome came to be known, each once, for ever.

The training set makes a model, the model decides, the decisions have outcomes, and these enter the next training set.
An asset graph may not have such a cycle, so it is cut here: the ledger lies in the warehouse, grows only by an explicit
act, and to the graph it is a source like any other. An edge: it does I/O and knows no Dagster. What does not belong
here: which trades are taken, and what becomes of them (the lines).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import pandas as pd

from butterquant_assets.foundation.errors import DataError, WarehouseError
from butterquant_assets.foundation.lake import content_hash
from butterquant_assets.foundation.warehouse import Warehouse
from butterquant_assets.foundation.warehouse_url import sqlite_file

Clock = Callable[[], datetime]

COLUMNS = ("session", "ticker", "evaluation_session", "tracks", "route", "model_version", "roi_net")


class FeedbackLedger:
    """Takes and their trades, append-only.

    Parameters
    ----------
    warehouse_url
        as for `Warehouse`
    clock
        when a take happens, with a time zone

    Notes
    -----
    Use it as a context manager, or call `close`. Every method may raise `WarehouseError`.
    """

    def __init__(self, warehouse_url: str, *, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self._warehouse = Warehouse(warehouse_url)
        self._file = sqlite_file(warehouse_url)
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give back all connections."""
        self._warehouse.close()

    def takes(self) -> pd.DataFrame:
        """Every take, oldest first.

        Returns
        -------
        DataFrame
            take (1, 2, ...), taken_at (naive UTC), known_until (outcomes up to this session were looked at), trades,
            first_session, last_session (of the decisions), mean_roi_net (ratio), content (hash of its trades)

        Raises
        ------
        WarehouseError
            if a take disagrees with itself: somebody edited the ledger.
        """
        found = self._fetch("feedback_takes")
        edited = found[found["first_content"] != found["last_content"]]
        if len(edited):
            raise WarehouseError(_edited(self._warehouse.url, int(edited["take"].iloc[0])))
        found = found.drop(columns="last_content").rename(columns={"first_content": "content"})
        return found.astype({"take": "int64", "trades": "int64"})

    def trades(self) -> pd.DataFrame:
        """All trades, by session and ticker, with the number of their take.

        Returns
        -------
        DataFrame
            columns of `COLUMNS`, and take

        Raises
        ------
        WarehouseError
            if the trades of a take are not those that were taken: somebody edited the ledger.
        """
        takes = self.takes()
        rows = self._fetch("feedback_ledger").astype({"take": "int64"})
        for take, content in zip(takes["take"], takes["content"], strict=True):
            if _content(rows[rows["take"] == take]) != content:
                raise WarehouseError(_edited(self._warehouse.url, int(take)))
        return rows[[*COLUMNS, "take"]]

    def append(self, trades: pd.DataFrame, known_until: pd.Timestamp) -> int | None:
        """Write the trades of one take: all of them or none.

        Parameters
        ----------
        trades
            columns of `COLUMNS`
        known_until
            outcomes up to this session were looked at

        Returns
        -------
        number of the take, or None where there was no trade to write

        Raises
        ------
        DataError
            if an outcome was evaluated after `known_until`.
        WarehouseError
            if a trade is in the ledger already, or the database refuses; nothing is written then.
        """
        if trades.empty:
            return None
        late = int((trades["evaluation_session"] > known_until).sum())
        if late:
            raise DataError(
                f"{late} trades were evaluated after {known_until:%Y-%m-%d}, which is as far as the take goes"
            )
        self._warehouse.migrate()
        before = self.takes()["take"]
        number = int(before.max()) + 1 if len(before) else 1
        rows = trades[list(COLUMNS)].sort_values(["session", "ticker"], kind="stable").reset_index(drop=True)
        self._warehouse.upsert_frame(
            "insert_feedback",
            rows.assign(
                take=number,
                taken_at=self._clock().astimezone(UTC).replace(tzinfo=None),
                known_until=known_until,
                content=_content(rows),
            ),
        )
        return number

    def contents(self) -> dict[str, str]:
        """What a reader's freshness rests on: the content hash of each take, by its number.

        Costs one query, whatever the size of the ledger, and creates no database where there is none.
        """
        if self._file is not None and not self._file.exists():
            return {}
        takes = self.takes()
        parts = zip(takes["take"], takes["content"], takes["trades"], strict=True)
        return {f"{take:06d}": f"{content} of {trades}" for take, content, trades in parts}

    def _fetch(self, query: str) -> pd.DataFrame:
        try:
            return self._warehouse.fetch(query)
        except WarehouseError:
            # A warehouse of an earlier version has no ledger yet. Migrating first would lock it at every look.
            self._warehouse.migrate()
        return self._warehouse.fetch(query)


def _content(trades: pd.DataFrame) -> str:
    rows = trades[list(COLUMNS)].reset_index(drop=True)
    stamps = dict.fromkeys(("session", "evaluation_session"), "datetime64[us]")
    texts = dict.fromkeys(("ticker", "tracks", "route", "model_version"), "str")
    return content_hash(rows.astype(stamps | texts | {"roi_net": "float64"}))


def _edited(url: str, take: int) -> str:
    return (
        f"the trades of take {take} in the feedback ledger of {url} are not those that were taken: somebody edited "
        "them; restore the table from a backup"
    )
