from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import butterquant_assets
from butterquant_assets.foundation.errors import WarehouseError
from butterquant_assets.foundation.sql_files import (
    Dialect,
    parameters_of,
    read_migrations,
    read_query,
    split_statements,
    sql_folder,
)

PACKAGE = Path(butterquant_assets.__file__).parent
SQL_IN_PYTHON = re.compile(
    r"\b(SELECT|INSERT|UPDATE|DELETE|PRAGMA|BEGIN|COMMIT|ROLLBACK|TRUNCATE)\s"
    r"|(?i:\b(select\s.+\sfrom\s|insert\s+into\s|delete\s+from\s|update\s+\w+\s+set\s|pragma\s+\w"
    r"|(create|alter|drop)\s+(table|index|view|extension|schema)\s))",
    re.DOTALL,
)


def literals(source: str) -> list[str]:
    """String literals of a module, f-strings included, docstrings not."""
    tree = ast.parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]


def test_python_holds_no_sql() -> None:
    modules = sorted(PACKAGE.rglob("*.py"))
    found = [
        f"{path.relative_to(PACKAGE)}: {text[:60]!r}"
        for path in modules
        for text in literals(path.read_text(encoding="utf-8"))
        if SQL_IN_PYTHON.search(text)
    ]
    assert len(modules) > 10
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "x = 'SELECT 1'",
        "run(f'insert into {table} values (1)')",
        "x = '''\n  select a\n  from b where c'''",
        "def f():\n    'Doc.'\n    return 'PRAGMA journal_mode = WAL'",
    ],
)
def test_the_search_for_sql_in_python_finds_it(source: str) -> None:
    assert any(SQL_IN_PYTHON.search(text) for text in literals(source))


def test_the_search_for_sql_in_python_leaves_docstrings_and_plain_words_alone() -> None:
    source = (
        "'''SELECT x'''\ndef f():\n    '''INSERT INTO y'''\n    return 'select the month, then update the settings'"
    )
    assert not any(SQL_IN_PYTHON.search(text) for text in literals(source))


def test_statements_are_split_outside_quotes_and_comments_only() -> None:
    text = """
    -- a comment; with a semicolon and a 'quote
    INSERT INTO a VALUES ('x; -- no comment', "odd;name"); /* another ; one */
    DELETE FROM b WHERE c = 'it''s';
    ;
    """
    assert split_statements(text) == (
        "INSERT INTO a VALUES ('x; -- no comment', \"odd;name\")",
        "DELETE FROM b WHERE c = 'it''s'",
    )


def test_a_trigger_with_its_own_statements_is_one_statement() -> None:
    trigger = """create temp trigger t before update on a when old.x is not ';' -- why; because
    begin
        insert into b values (old.x, 'x; END; ''y', case when old.x then ";" end); delete from c;
    end"""
    found = split_statements(f"SELECT 1; {trigger}; SELECT 2")
    assert (found[0], found[2:]) == ("SELECT 1", ("SELECT 2",))
    assert found[1].startswith("create temp trigger t")
    assert found[1].endswith("delete from c;\n    end")
    assert split_statements(trigger) == (found[1],)
    elsewhere = "CREATE TRIGGER t BEFORE UPDATE ON a EXECUTE FUNCTION f()"
    assert split_statements(f"{elsewhere}; SELECT 'BEGIN'; SELECT 3; END") == (
        elsewhere, "SELECT 'BEGIN'", "SELECT 3", "END",
    )  # fmt: skip


def test_an_open_quote_is_refused() -> None:
    with pytest.raises(WarehouseError, match="a quote is not closed"):
        split_statements("SELECT 'abc; SELECT 2")


def test_parameters_are_named_once_and_casts_and_quoted_colons_are_none() -> None:
    assert parameters_of("SELECT :b, :a, a::text, '12:30', ':c' WHERE x = :a") == ("b", "a")


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_every_query_of_the_project_can_be_read(dialect: Dialect) -> None:
    names = {path.name.split(".")[0] for path in (sql_folder() / "queries").glob("*.sql")}
    queries = {name: read_query(sql_folder(), name, dialect) for name in names}
    assert len(queries) >= 10
    assert all(query.statements for query in queries.values())
    assert all(set(query.key) <= set(query.parameters) for query in queries.values())


def sql_of_both_dialects() -> list[tuple[Path, str]]:
    """Every file, with each dialect it is read for."""
    pairs = []
    for path in sorted(sql_folder().rglob("*.sql")):
        own = [name for name in ("sqlite", "postgresql") if path.parent.name == name or f".{name}." in path.name]
        pairs += [(path, dialect) for dialect in own or ("sqlite", "postgresql")]
    return pairs


@pytest.mark.parametrize(("path", "dialect"), sql_of_both_dialects(), ids=lambda value: getattr(value, "name", value))
def test_a_parser_of_its_dialect_understands_every_file(
    path: Path, dialect: str, caplog: pytest.LogCaptureFixture
) -> None:
    sqlglot = pytest.importorskip("sqlglot", reason="sqlglot is not installed")
    # The parser knows neither dotted option names nor views without data; PostgreSQL itself is asked elsewhere.
    text = path.read_text(encoding="utf-8").replace("timescaledb.", "timescaledb_").replace("\nWITH NO DATA", "")
    # Nor triggers; test_decision_record has both databases run them.
    statements = split_statements(text)
    known = [each for each in statements if not re.match(r"CREATE (TRIGGER|FUNCTION)\b", each)]
    parsed = [sqlglot.parse(each, read="postgres" if dialect == "postgresql" else dialect) for each in known]
    assert [len(each) for each in parsed] == [1] * len(known)
    assert statements
    assert "unsupported syntax" not in caplog.text  # taken as an unread command


def test_a_query_of_one_dialect_overrides_the_common_one(tmp_path: Path) -> None:
    (tmp_path / "queries").mkdir()
    (tmp_path / "queries" / "now.sql").write_text("SELECT 1")
    (tmp_path / "queries" / "now.postgresql.sql").write_text("SELECT 2")
    assert read_query(tmp_path, "now", "sqlite").statements == ("SELECT 1",)
    assert read_query(tmp_path, "now", "postgresql").statements == ("SELECT 2",)


def test_an_unknown_type_in_a_returns_comment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "queries").mkdir()
    (tmp_path / "queries" / "odd.sql").write_text("-- returns: a float\nSELECT 1 AS a")
    with pytest.raises(WarehouseError, match=r"'a float' .* expected 'name type' with one of text, double"):
        read_query(tmp_path, "odd", "sqlite")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["0001_a.sql", "0003_c.sql"], "migration 0002 is missing"),
        (["0001_a.sql", "0001_b.sql"], "number 1 is given twice"),
        (["0001_a.sql", "0002_b.mysql.sql"], "not named like a migration"),
        (["0001_a.sql", "0002_b.postgresql.sql", "0003_c.sql"], "migration 0002 is missing for sqlite"),
    ],
)
def test_migrations_with_gaps_doubles_or_odd_names_are_refused(tmp_path: Path, files: list[str], message: str) -> None:
    (tmp_path / "migrations").mkdir()
    for name in files:
        (tmp_path / "migrations" / name).write_text("CREATE TABLE a (x INTEGER);")
    with pytest.raises(WarehouseError, match=message):
        read_migrations(tmp_path, "sqlite")


def test_the_checksum_of_a_migration_does_not_depend_on_line_ends(tmp_path: Path) -> None:
    sums = []
    for name, ends in (("unix", b"\n"), ("dos", b"\r\n")):
        folder = tmp_path / name / "migrations"
        folder.mkdir(parents=True)
        (folder / "0001_a.sql").write_bytes(b"CREATE TABLE a (" + ends + b"x INTEGER);" + ends)
        sums.append(read_migrations(tmp_path / name, "sqlite")[0].checksum)
    assert sums[0] == sums[1]
