"""Table contracts: the single truth about a table's columns, units, ranges and keys.

A contract wraps one pandera schema. From it come the verdict stored with every lake file, the asset checks, the table
schema shown in the UI, and the documentation. A contract judges; it never repairs and never drops a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd
import pandera.pandas as pa

EXAMPLES = 5
_STORED = {"datetime64[ns]": "datetime64[us]", "string[pyarrow]": "str"}
"""What pandera calls types that are stored as others."""


@dataclass(frozen=True)
class Outcome:
    """What one check found: whether it passed, how many rows failed, and a few of them in words."""

    passed: bool
    failed_rows: int = 0
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """Outcomes of all checks of a contract on one frame, by check name."""

    checks: dict[str, Outcome]

    @property
    def passed(self) -> bool:
        """True when every check passed."""
        return all(outcome.passed for outcome in self.checks.values())

    def reasons(self) -> list[str]:
        """One line per failed check, with counts and examples."""
        return [
            f"{name}: {outcome.failed_rows} rows, for instance {'; '.join(outcome.examples)}"
            for name, outcome in self.checks.items()
            if not outcome.passed
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for a Parquet footer."""
        return {name: asdict(outcome) | {"examples": list(outcome.examples)} for name, outcome in self.checks.items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Verdict:
        """Inverse of `to_json`."""
        return cls(
            {
                name: Outcome(bool(entry["passed"]), int(entry["failed_rows"]), tuple(entry["examples"]))
                for name, entry in data.items()
            }
        )


@dataclass(frozen=True)
class Rule:
    """A row rule that spans columns.

    `holds` takes the frame and returns a boolean Series aligned with it: True where the row keeps the rule.
    """

    name: str
    description: str
    holds: Callable[[pd.DataFrame], pd.Series]


@dataclass(frozen=True)
class Contract:
    """A table's contract.

    Parameters
    ----------
    table
        ``line/name``, the asset key.
    schema
        pandera schema; each column carries ``description`` and may carry ``metadata={"unit": ...}``.
    keys
        columns that identify a row; rows are stored sorted by them.
    time
        the column whose month decides the partition, or None for an unpartitioned table.
    rules
        row rules that span columns.
    """

    table: str
    schema: pa.DataFrameSchema
    keys: tuple[str, ...]
    time: str | None = "session"
    rules: tuple[Rule, ...] = field(default=())

    @property
    def columns(self) -> list[str]:
        """Column names in stored order."""
        return list(self.schema.columns)

    def stored_types(self) -> dict[str, str]:
        """Type of each column as it is stored: dates and times ``datetime64[us]``, text ``str``."""
        kinds = {name: str(column.dtype) for name, column in self.schema.columns.items()}
        return {name: _STORED.get(kind, kind) for name, kind in kinds.items()}

    def check_names(self) -> dict[str, str]:
        """Name and description of every check the contract makes."""
        names = {
            "schema": "columns, types, missing values and ranges are those of the contract",
            "unique_keys": f"no two rows share {', '.join(self.keys)}",
            "sorted": f"rows ascend by {', '.join(self.keys)}",
        }
        return names | {rule.name: rule.description for rule in self.rules}

    def fingerprint(self) -> str:
        """Text that changes when the contract judges differently: columns, checks, keys, and the code of its rules."""
        columns = [
            (name, str(column.dtype), column.nullable, column.unique, [str(check) for check in column.checks])
            for name, column in self.schema.columns.items()
        ]
        rules = [(rule.name, _code_text(rule.holds)) for rule in self.rules]
        return repr((self.table, self.keys, self.time, bool(self.schema.strict), columns, rules))

    def arrange(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The same rows in stored order: contract columns first to last, sorted by key, plain index.

        Raises
        ------
        KeyError
            if a column of the contract is missing (a programming error, not a data error).
        """
        return frame[self.columns].sort_values(list(self.keys), kind="stable").reset_index(drop=True)

    def validate(self, frame: pd.DataFrame) -> Verdict:
        """Judge a frame. Never raises for bad data and never changes it."""
        return self._judge(frame, self._check_schema(frame))

    def validate_all(self, frames: Sequence[pd.DataFrame]) -> list[Verdict]:
        """Judge several frames, each for itself.

        Every check of a contract's schema is about single rows or the absence of repeats, so what holds for all frames
        together holds for each: pandera, slow to start, looks once where nothing is wrong.
        """
        if len(frames) > 1 and all(frame.dtypes.equals(frames[0].dtypes) for frame in frames[1:]):
            together = self._check_schema(pd.concat(frames, ignore_index=True))
            if together.passed:
                return [self._judge(frame, together) for frame in frames]
        return [self.validate(frame) for frame in frames]

    def _judge(self, frame: pd.DataFrame, schema: Outcome) -> Verdict:
        """All checks, that of the schema having been made."""
        checks = {"schema": schema}
        if all(key in frame for key in self.keys):
            keys = frame[list(self.keys)]
            checks["unique_keys"] = _outcome(frame, ~keys.duplicated(keep=False), self.keys)
            order = keys.sort_values(list(self.keys), kind="stable").index
            misplaced = pd.Series(order == keys.index, index=keys.index)
            checks["sorted"] = _outcome(frame, misplaced, self.keys)
        if schema.passed:
            for rule in self.rules:
                checks[rule.name] = _outcome(frame, rule.holds(frame), self.keys)
        return Verdict(checks)

    def _check_schema(self, frame: pd.DataFrame) -> Outcome:
        try:
            self.schema.validate(frame, lazy=True)
        except pa.errors.SchemaErrors as errors:
            cases = errors.failure_cases
            examples = tuple(
                f"{case['column']}: {case['check']} fails for {case['failure_case']!r}"
                + (f" in {_row_name(frame, case['index'], self.keys)}" if pd.notna(case["index"]) else "")
                for case in cases.head(EXAMPLES).to_dict("records")
            )
            return Outcome(False, max(1, int(cases["index"].nunique())), examples)
        return Outcome(True)


def _code_text(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    if code is None:
        return repr(function)
    constants = [
        constant for constant in code.co_consts if isinstance(constant, str | int | float | tuple | type(None))
    ]
    return repr((code.co_code.hex(), code.co_names, constants))


def _row_name(frame: pd.DataFrame, index: Any, keys: tuple[str, ...]) -> str:
    if index not in frame.index or not all(key in frame for key in keys):
        return f"row {index}"
    return "row " + ", ".join(f"{key}={_plain(frame.loc[index, key])}" for key in keys)


def _plain(value: Any) -> str:
    return str(value.date()) if isinstance(value, pd.Timestamp) else str(value)


def _outcome(frame: pd.DataFrame, good: pd.Series, keys: tuple[str, ...]) -> Outcome:
    bad = frame.index[~good.to_numpy(dtype=bool)]
    examples = tuple(_row_name(frame, index, keys) for index in bad[:EXAMPLES])
    return Outcome(len(bad) == 0, len(bad), examples)
