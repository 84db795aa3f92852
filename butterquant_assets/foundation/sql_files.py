"""The SQL files of the project: where they lie, how they are read, what their header comments say.

All SQL lies in ``sql/`` (see its README); this module reads it and knows nothing of databases. What does not belong
here: connections, transactions, and SQL itself.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast, get_args

from butterquant_assets.foundation.errors import WarehouseError

Dialect = Literal["sqlite", "postgresql"]
ColumnType = Literal["text", "double", "integer", "timestamp"]

_PACKAGE = Path(__file__).resolve().parents[1]
_COMMENT_OR_TEXT = re.compile(r"('(?:[^']|'')*'|\"[^\"]*\")|--[^\n]*|/\*.*?\*/", re.DOTALL)
_TEXT = r"'[^']*'|\"[^\"]*\""
_STATEMENT = re.compile(
    # A trigger of SQLite holds statements of its own, up to its END.
    rf"\s*CREATE\s+(?:TEMP(?:ORARY)?\s+)?TRIGGER\b(?:{_TEXT}|[^;'\"])*?\bBEGIN\b"
    rf"(?:{_TEXT}|[^'\"])*?;\s*END(?=\s*(?:;|\Z))"
    rf"|(?:{_TEXT}|[^;'\"])+",
    re.DOTALL | re.IGNORECASE,
)
_MIGRATION_NAME = re.compile(r"(?P<name>(?P<number>\d{4})_[a-z0-9_]+)(?:\.(?P<dialect>sqlite|postgresql))?\.sql")
_QUERY_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PARAMETER = re.compile(r"'[^']*'|(?<![:\w]):([a-z_][a-z0-9_]*)")


@dataclass(frozen=True)
class Query:
    """One file of SQL.

    Parameters
    ----------
    name
        file name without folder and ending
    statements
        its statements in order, without comments
    parameters
        names of the ``:name`` parameters, in order of first use
    returns
        column name -> type of the result; empty when the file does not say
    key
        columns that identify a row; empty when the file does not say
    """

    name: str
    statements: tuple[str, ...]
    parameters: tuple[str, ...]
    returns: dict[str, ColumnType]
    key: tuple[str, ...]


@dataclass(frozen=True)
class Migration:
    """One numbered step of the schema; `checksum` is the sha256 of the file with Unix line ends."""

    number: int
    name: str
    statements: tuple[str, ...]
    checksum: str


def sql_folder() -> Path:
    """Folder of the SQL files: inside an installed package, else at the top of the source checkout.

    Raises
    ------
    WarehouseError
        if there is neither.
    """
    candidates = (_PACKAGE / "_sql", _PACKAGE.parent / "sql")
    for folder in candidates:
        if (folder / "migrations").is_dir():
            return folder
    raise WarehouseError(f"no SQL files at {candidates[0]} or {candidates[1]}; install the package again")


def split_statements(text: str) -> tuple[str, ...]:
    """Statements of an SQL text, in order, without comments and empty ones.

    Semicolons and comment marks inside quotes are left alone, and semicolons between BEGIN and END of a trigger. Dollar
    quoting is not known.

    Raises
    ------
    WarehouseError
        if a quote is not closed.
    """
    bare = _COMMENT_OR_TEXT.sub(lambda found: found.group(1) or " ", text)
    outside = re.sub(_TEXT, "", bare)
    if "'" in outside or '"' in outside:
        raise WarehouseError(f"a quote is not closed in the SQL that starts {text[:60]!r}; close it")
    return tuple(statement.strip() for statement in _STATEMENT.findall(bare) if statement.strip())


def parameters_of(statement: str) -> tuple[str, ...]:
    """Names of the ``:name`` parameters of a statement without comments, each once, in order of first use."""
    names = [found.group(1) for found in _PARAMETER.finditer(statement) if found.group(1)]
    return tuple(dict.fromkeys(names))


@lru_cache(maxsize=256)
def read_query(folder: Path, name: str, dialect: Dialect) -> Query:
    """One named query; ``queries/name.<dialect>.sql`` overrides ``queries/name.sql``.

    Raises
    ------
    WarehouseError
        if there is no such query, or its header comments cannot be read.
    """
    queries = folder / "queries"
    if _QUERY_NAME.fullmatch(name):
        for path in (queries / f"{name}.{dialect}.sql", queries / f"{name}.sql"):
            if path.is_file():
                return _parse(path.read_text(encoding="utf-8"), name)
    known = sorted({path.name.split(".")[0] for path in queries.glob("*.sql")})
    raise WarehouseError(f"no query is named {name!r} in {queries}; known: {', '.join(known)}")


@lru_cache(maxsize=64)
def read_dialect_file(folder: Path, name: str, dialect: Dialect) -> Query:
    """What only one dialect needs: ``<dialect>/<name>.sql``."""
    return _parse((folder / dialect / f"{name}.sql").read_text(encoding="utf-8"), name)


def read_migrations(folder: Path, dialect: Dialect) -> list[Migration]:
    """All migrations of a dialect, numbered 1, 2, 3 ... without a gap.

    Raises
    ------
    WarehouseError
        if a file is not named as a migration, a number is missing or given twice.
    """
    migrations: dict[int, Migration] = {}
    for path in sorted((folder / "migrations").glob("*.sql")):
        found = _MIGRATION_NAME.fullmatch(path.name)
        if found is None:
            raise WarehouseError(
                f"{path} is not named like a migration; expected 0001_name.sql or 0001_name.sqlite.sql"
            )
        if found["dialect"] not in (None, dialect):
            continue
        number = int(found["number"])
        if number in migrations:
            raise WarehouseError(f"migration number {number} is given twice for {dialect}: {path.name} and another")
        text = path.read_text(encoding="utf-8")
        checksum = hashlib.sha256(text.encode()).hexdigest()
        migrations[number] = Migration(number, found["name"], split_statements(text), checksum)
    missing = sorted(set(range(1, len(migrations) + 1)) - set(migrations))
    if missing:
        raise WarehouseError(f"migration {missing[0]:04d} is missing for {dialect} in {folder / 'migrations'}")
    return [migrations[number] for number in sorted(migrations)]


def _parse(text: str, name: str) -> Query:
    statements = split_statements(text)
    parameters = tuple(dict.fromkeys(name for statement in statements for name in parameters_of(statement)))
    returns: dict[str, ColumnType] = {}
    for entry in _header(text, "returns"):
        column, _, kind = entry.partition(" ")
        if kind not in get_args(ColumnType):
            raise WarehouseError(
                f"query {name}: {entry!r} in its 'returns' comment is no column and type; "
                f"expected 'name type' with one of {', '.join(get_args(ColumnType))}"
            )
        returns[column] = cast(ColumnType, kind)
    return Query(name, statements, parameters, returns, tuple(_header(text, "key")))


def _header(text: str, word: str) -> list[str]:
    lines = re.findall(rf"^-- {word}: (.+)$", text, re.MULTILINE)
    return [entry.strip() for line in lines for entry in line.split(",")]
