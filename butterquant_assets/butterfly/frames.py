"""Tables of this line: their stored shape, and the books kept while rows are worked on and rejected.

What belongs here: bookkeeping on columns. What does not: anything about their meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

KEYS = ("session", "ticker")


def arranged(frame: pd.DataFrame, types: Mapping[str, str]) -> pd.DataFrame:
    """The columns of `types` in their order and type, rows sorted by key, a plain RangeIndex.

    Raises
    ------
    KeyError
        if a column is missing (a programming error, not a data error).
    """
    typed = frame[list(types)].astype(dict(types))
    return typed.sort_values(list(KEYS), kind="stable").reset_index(drop=True)


def empty(types: Mapping[str, str]) -> pd.DataFrame:
    """No rows, with the columns and types of `types`."""
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in types.items()})


@dataclass
class Rows:
    """dict[str, npt.NDArray[Any]] of the rows still standing, and the reasons of those that are not."""

    columns: dict[str, npt.NDArray[Any]]
    rejected: list[pd.DataFrame] = field(default_factory=list)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """One column."""
        return self.columns[name]

    def add(self, **columns: npt.NDArray[Any]) -> None:
        """Add or replace columns."""
        self.columns.update(columns)

    def reject(self, reasons: npt.NDArray[np.object_] | str, details: npt.NDArray[np.object_]) -> None:
        """Drop the rows with a detail, filing them under their reason."""
        bad = details != ""
        reason = reasons if isinstance(reasons, str) else reasons[bad]
        self.rejected.append(
            pd.DataFrame(
                {
                    "session": self["session"][bad],
                    "ticker": self["ticker"][bad],
                    "reason": reason,
                    "detail": details[bad],
                }
            )
        )
        self.columns = {name: values[~bad] for name, values in self.columns.items()}


def details_of(bad: npt.NDArray[np.bool_], sentence: Callable[[int], str]) -> npt.NDArray[np.object_]:
    """A sentence for each bad row, empty strings for the others."""
    details = np.full(bad.shape, "", dtype=object)
    for row in np.flatnonzero(bad):
        details[row] = sentence(int(row))
    return details
