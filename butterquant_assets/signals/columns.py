"""How the line's contracts describe a column.

What belongs here: the makers of pandera columns with their units and checks. What does not: the tables (`schemas`,
`report_schemas`).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import pandera.pandas as pa

DATE, TEXT, FLOAT, INT, BOOL = "datetime64[us]", "str", "float64", "int64", "bool"


def column(
    dtype: str,
    description: str,
    unit: str | None = None,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    one_of: Iterable[str] | None = None,
    nullable: bool = False,
) -> pa.Column:
    """One column; floats are finite, and missing only where `nullable`."""
    checks = []
    if low is not None:
        checks.append(pa.Check.ge(low))
    if above is not None:
        checks.append(pa.Check.gt(above))
    if high is not None:
        checks.append(pa.Check.le(high))
    if one_of is not None:
        checks.append(pa.Check.isin(list(one_of)))
    if dtype == FLOAT:
        checks.append(pa.Check(_finite, name="finite", error="finite"))
    metadata = {"unit": unit} if unit else None
    return pa.Column(dtype, checks, nullable=nullable, description=description, metadata=metadata)


def number(description: str, unit: str, **bounds: float) -> pa.Column:
    """A float that may be missing."""
    return column(FLOAT, description, unit, nullable=True, **bounds)  # type: ignore[arg-type]


def count(description: str, unit: str = "rows") -> pa.Column:
    """A whole number from 0 on."""
    return column(INT, description, unit, low=0)


def table(columns: dict[str, pa.Column]) -> pa.DataFrameSchema:
    """Exactly these columns in this order."""
    return pa.DataFrameSchema(columns, strict=True, ordered=True)


def _finite(values: pd.Series) -> pd.Series:
    return ~pd.Series(np.isinf(values.to_numpy(dtype=np.float64)), index=values.index)
