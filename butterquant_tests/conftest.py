"""Fixtures several test modules share: databases that belong to one test run and leave nothing behind."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest
import sqlalchemy as sa

# The same examples every time, and no deadline: a test that fails does so for a change, not for the machine's load or
# the day's draw. HYPOTHESIS_PROFILE=explore looks for new examples.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

ADMIN_URLS = (
    "postgresql://postgres@127.0.0.1:5432/postgres",
    "postgresql://root@127.0.0.1:5432/postgres",
)

# The files whose slow tests take minutes, longest first. Two workers that take one file after the other are done
# together only if no long one is left to the end.
LONGEST = (
    *("faults/test_living_graph.py", "test_spine.py", "deploy/test_scale_out.py", "test_kill.py", "test_cli.py"),
    *("faults/test_crash_points.py", "faults/test_daemon_kill.py", "butterfly/test_feedback_assets.py"),
    *("signals/test_real_line.py", "market/collector/test_faults.py", "signals/test_planted_line.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; xdist keeps this order with ``--no-loadscope-reorder``."""
    folder = Path(__file__).parent
    places = {folder / name: place for place, name in enumerate(LONGEST)}
    assert all(path.is_file() for path in places), "LONGEST names a file that is gone"
    items.sort(key=lambda item: places.get(item.path, len(places)))


def unavailable(service: str, reason: str) -> None:
    """Skip the calling test, or fail it where services are required (BUTTERQUANT_REQUIRE_SERVICES=1)."""
    if os.environ.get("BUTTERQUANT_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{service} is required and not available: {reason}")
    pytest.skip(f"{service} is not available: {reason}")


def _admin_engine(url: str) -> sa.Engine:
    driver = sa.make_url(url).set(drivername="postgresql+psycopg2")
    return sa.create_engine(
        driver, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool, connect_args={"connect_timeout": 3}
    )


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """URL of a PostgreSQL server on which the tests may create databases."""
    given = os.environ.get("BUTTERQUANT_TEST_POSTGRES_URL")
    failures = []
    for url in (given,) if given else ADMIN_URLS:
        try:
            with _admin_engine(url).connect():
                return url
        except sa.exc.OperationalError as error:
            failures.append(str(error.orig).strip().splitlines()[0])
    unavailable("PostgreSQL", "; ".join(failures) + " (set BUTTERQUANT_TEST_POSTGRES_URL)")
    raise AssertionError("unreachable")


@contextmanager
def _database(server: str) -> Iterator[str]:
    """A new, empty database on the server; dropped at the end even where a test left connections open."""
    name = f"butterquant_test_{secrets.token_hex(6)}"
    admin = _admin_engine(server)
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"))
    try:
        yield sa.make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def postgres_url(postgres_server: str) -> Iterator[str]:
    """One PostgreSQL database for the whole test run; tests that write to it must not disturb each other."""
    with _database(postgres_server) as url:
        yield url


@pytest.fixture
def new_postgres_url(postgres_server: str) -> Iterator[str]:
    """An empty PostgreSQL database for one test."""
    with _database(postgres_server) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def warehouse_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database, once for each dialect."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'warehouse' / 'warehouse.sqlite'}"
    lend: Callable[[str], str] = request.getfixturevalue
    return lend("new_postgres_url")
