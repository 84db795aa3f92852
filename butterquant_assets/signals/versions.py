"""Names for what judged a signal: content versions, and which table was in force at an hour.

What belongs here: hashing of plain values and small tables, the rule that nothing is judged by a table made later, and
what every step does with its frames. What does not: where versions are stored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from butterquant_assets.foundation.errors import DataError

HOUR = pd.Timedelta(hours=1)


def content_version(facts: Mapping[str, Any], *tables: pd.DataFrame) -> str:
    """First 16 hexadecimal digits of a SHA-256 over facts and tables: equal only for equal content.

    Parameters
    ----------
    facts
        plain values by name; timestamps and None allowed
    tables
        small tables; floats enter with all their digits, NaN as missing

    Returns
    -------
    str of 16 digits
    """
    columns = [
        [(str(name), [_plain(value) for value in table[name].tolist()]) for name in table.columns] for table in tables
    ]
    plain = {name: _plain(value) for name, value in facts.items()}
    text = json.dumps([plain, columns], sort_keys=True, default=str, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def require_columns(frame: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    """Raise a DataError that names the missing columns, if any."""
    missing = [name for name in columns if name not in frame]
    if missing:
        raise DataError(f"{what} lack the columns {', '.join(missing)}; they have {', '.join(map(str, frame.columns))}")


def picked(frame: pd.DataFrame, columns: Sequence[str], what: str) -> pd.DataFrame:
    """Only these columns: the fewer there are, the less it costs to choose rows. A DataError names the missing ones."""
    require_columns(frame, columns, what)
    return frame[list(columns)]


def typed(frame: pd.DataFrame, types: Mapping[str, Any]) -> pd.DataFrame:
    """The frame with these types by column. Only what has another type is converted: `astype` rebuilds all columns."""
    wrong = {name: frame[name].astype(kind) for name, kind in types.items() if frame[name].dtype != kind}
    return frame.assign(**wrong) if wrong else frame


def require_known(known_at: pd.Series, as_of: pd.Timestamp, what: str) -> None:
    """Raise a DataError if something was not known yet at `as_of`; missing stamps are not known."""
    late = ~(known_at <= as_of)
    if late.any():
        raise DataError(
            f"{late.sum()} {what} were not known at {as_of}, the last at {known_at.max()}; give what was known by then"
        )


def require_made_before(as_of: pd.Timestamp | None, first_hour: pd.Timestamp, what: str) -> None:
    """Raise a DataError if a table was made after the first bar it shall judge had closed; None is no table's time."""
    if as_of is not None and as_of > first_hour + HOUR:
        raise DataError(
            f"the {what} was made at {as_of}, after the first bar it shall judge closed ({first_hour + HOUR}); use the "
            "version in force then"
        )


def _plain(value: Any) -> Any:
    return None if value is None or value is pd.NaT or value != value else value
