"""Lakes on every kind of storage, an object store of this process, a registry on either database."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from butterquant_assets.foundation.lake import Lake
from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.foundation.registry import Registry
from butterquant_assets.foundation.warehouse import Warehouse
from butterquant_tests.foundation.registry_team import NAME, A, B, C, D, publish, ticking


@pytest.fixture(params=["local", "memory", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "local":
        return Lake(tmp_path / "lake")
    if request.param == "s3":
        lend: Callable[[str], str] = request.getfixturevalue
        return Lake(lend("s3_url"))
    fsspec.filesystem("memory").rm("/", recursive=True) if fsspec.filesystem("memory").ls("/") else None
    return Lake("memory://lake")


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """An object store in this process."""
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed").ThreadedMotoServer(
        "127.0.0.1", port=0, verbose=False
    )
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_url(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket's prefix, with the environment that leads there."""
    # A file system that an earlier server's tests left in the cache would ask at the wrong port.
    pytest.importorskip("s3fs", reason="s3fs is not installed").S3FileSystem.clear_instance_cache()
    name = f"bucket-{secrets.token_hex(4)}"
    variables = {"ENDPOINT_URL": s3_server, "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "REGION": "us-east-1"}
    for variable, value in variables.items():
        monkeypatch.setenv(f"AWS_{variable}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir(name)
    return f"s3://{name}/lake"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "database" in metafunc.fixturenames:
        metafunc.parametrize("database", getattr(metafunc.function, "databases", ("sqlite",)))


@pytest.fixture
def database_url(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database; a PostgreSQL one takes half a second to make."""
    if database == "sqlite":
        return f"sqlite:///{tmp_path / 'warehouse' / 'warehouse.sqlite'}"
    lend: Callable[[str], str] = request.getfixturevalue
    return lend("new_postgres_url")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """Four published versions."""
    made = ModelStore(tmp_path / "models")
    for version in (A, B, C, D):
        publish(made, version)
    return made


@pytest.fixture
def registry(database_url: str, store: ModelStore) -> Iterator[Registry]:
    with Registry(database_url, store, clock=ticking()) as opened:
        for version in (A, B, C):
            opened.register(store.load_card(NAME, version))
        yield opened


@pytest.fixture
def warehouse(database_url: str) -> Iterator[Warehouse]:
    with Warehouse(database_url) as opened:
        opened.migrate()
        yield opened
