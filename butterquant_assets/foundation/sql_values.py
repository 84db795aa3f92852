"""Values on their way between frames and SQL drivers.

Here stands what a missing value and a timestamp are on either side: NULL is NaN, NaT or missing; timestamps are naive
UTC with microseconds. Pure; what does not belong here: connections and SQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, cast

import numpy as np
import pandas as pd
import sqlalchemy as sa

from butterquant_assets.foundation.errors import WarehouseError
from butterquant_assets.foundation.sql_files import ColumnType, parameters_of

SQL_TYPES: dict[ColumnType, sa.types.TypeEngine[Any]] = {
    "text": sa.Text(),
    "double": sa.Double(),
    "integer": sa.BigInteger(),
    "timestamp": sa.DateTime(),
}
FRAME_TYPES: dict[ColumnType, str] = {
    "text": "str",
    "double": "float64",
    "integer": "Int64",
    "timestamp": "datetime64[us]",
}


def plain(value: Any) -> Any:
    """One value as the drivers understand it.

    numpy scalars and pandas timestamps become Python's own, a date the midnight it names, missing values None.

    Raises
    ------
    WarehouseError
        if a timestamp has a time zone.
    """
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, np.datetime64):
        return plain(pd.Timestamp(value))
    if isinstance(value, pd.Timestamp):
        value = value.to_pydatetime(warn=False)
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    elif hasattr(value, "item"):
        return plain(value.item())
    if isinstance(value, datetime) and value.tzinfo is not None:
        raise WarehouseError(f"{value} has a time zone; the warehouse stores naive UTC: convert it and drop the zone")
    return value


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a frame as parameters, shape (n, m) in, n dictionaries of m values out.

    Raises
    ------
    WarehouseError
        if a column has a time zone.
    """
    columns = {str(name): [plain(value) for value in frame[name].astype(object)] for name in frame.columns}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def bound(statement: str, rows: Sequence[Mapping[str, Any]]) -> sa.TextClause:
    """The statement with its timestamps declared, since SQLite has no such type and stores them as ISO text."""
    stamps = {name for row in rows for name, value in row.items() if isinstance(value, datetime)}
    names = [name for name in parameters_of(statement) if name in stamps]
    return sa.text(statement).bindparams(*(sa.bindparam(name, type_=sa.DateTime()) for name in names))


def to_frame(rows: Sequence[Sequence[Any]], columns: Mapping[str, ColumnType]) -> pd.DataFrame:
    """Rows of a result as a frame whose types follow `columns`, not the values that happen to be there."""
    return pd.DataFrame(
        {
            name: pd.Series([row[place] for row in rows], dtype=cast(Any, FRAME_TYPES[kind]))
            for place, (name, kind) in enumerate(columns.items())
        }
    )
