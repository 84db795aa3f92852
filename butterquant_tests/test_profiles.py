"""The production and the embedded instance, and the workspace, as Dagster's own loaders read them."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from dagster import DagsterInstance
from dagster._core.instance.config import PoolGranularity
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin
from dagster._core.workspace.load import location_origins_from_yaml_paths

from butterquant_assets.orchestration.instance import PROFILE
from butterquant_tests.shared_data import ROOT


def load(profile: Path, home: Path) -> DagsterInstance:
    home.mkdir()
    shutil.copy(profile, home / "dagster.yaml")
    return DagsterInstance.from_config(str(home))


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[DagsterInstance]:
    with load(PROFILE, tmp_path / "home") as instance:
        yield instance


@pytest.fixture
def production(new_postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DagsterInstance]:
    url = sa.make_url(new_postgres_url)
    environment = {"HOST": url.host, "PORT": url.port or 5432, "USER": url.username, "DATABASE": url.database}
    for name, value in (environment | {"PASSWORD": url.password or ""}).items():
        monkeypatch.setenv(f"BUTTERQUANT_PG_{name}", str(value))
    with load(ROOT / "dagster.yaml", tmp_path / "home") as instance:
        yield instance


def storage_classes(instance: DagsterInstance) -> list[str]:
    storages = (instance.run_storage, instance.event_log_storage, instance.schedule_storage)
    return [type(storage).__name__ for storage in storages]


def test_the_embedded_profile_stores_in_sqlite_under_its_home(embedded: DagsterInstance, tmp_path: Path) -> None:
    assert storage_classes(embedded) == ["SqliteRunStorage", "SqliteEventLogStorage", "SqliteScheduleStorage"]
    assert list((tmp_path / "home").rglob("*.db"))


def test_the_production_profile_stores_in_postgresql_and_nowhere_else(
    production: DagsterInstance, tmp_path: Path
) -> None:
    assert storage_classes(production) == ["PostgresRunStorage", "PostgresEventLogStorage", "PostgresScheduleStorage"]
    assert production.get_runs() == []
    assert not list((tmp_path / "home").rglob("*.db"))


def test_the_production_profile_uses_the_driver_that_is_installed(
    production: DagsterInstance, new_postgres_url: str
) -> None:
    driver = sa.make_url(new_postgres_url).set(drivername="postgresql+psycopg2")
    tables = set(sa.inspect(sa.create_engine(driver, poolclass=sa.NullPool)).get_table_names())
    assert {"runs", "event_logs", "job_ticks"} <= tables


def test_the_production_profile_without_its_environment_names_the_missing_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOST", "PORT", "USER", "PASSWORD", "DATABASE"):
        monkeypatch.delenv(f"BUTTERQUANT_PG_{name}", raising=False)
    with pytest.raises(Exception, match="BUTTERQUANT_PG_HOST"):
        load(ROOT / "dagster.yaml", tmp_path / "home")


@pytest.mark.parametrize(("profile", "runs"), [("embedded", 1), ("production", 2)])
def test_profiles_bound_runs_and_trainings(profile: str, runs: int, request: pytest.FixtureRequest) -> None:
    instance: DagsterInstance = request.getfixturevalue(profile)
    concurrency = instance.get_concurrency_config()
    assert concurrency.run_queue_config is not None
    assert concurrency.run_queue_config.max_concurrent_runs == runs
    assert concurrency.pool_config.default_pool_limit == 1
    assert concurrency.pool_config.pool_granularity is PoolGranularity.OP
    instance.event_log_storage.initialize_concurrency_limit_to_default("training")
    assert instance.event_log_storage.get_concurrency_info("training").slot_count == 1


@pytest.mark.parametrize("profile", ["embedded", "production"])
def test_profiles_send_no_telemetry_watch_their_runs_and_forget_old_ticks(
    profile: str, request: pytest.FixtureRequest
) -> None:
    from dagster._core.definitions.run_request import InstigatorType

    instance: DagsterInstance = request.getfixturevalue(profile)
    assert not instance.telemetry_enabled
    assert not instance.nux_enabled
    assert instance.run_monitoring_enabled
    assert type(instance.run_launcher).__name__ == "DefaultRunLauncher"
    assert type(instance.run_coordinator).__name__ == "QueuedRunCoordinator"
    for kind in (InstigatorType.SCHEDULE, InstigatorType.SENSOR, InstigatorType.AUTO_MATERIALIZE):
        days = instance.get_tick_retention_settings(kind)
        assert days
        assert all(number > 0 for number in days.values())


def test_the_workspace_loads_the_front_door_under_the_name_of_the_project() -> None:
    origins = location_origins_from_yaml_paths([str(ROOT / "workspace.yaml")])
    assert [origin.location_name for origin in origins] == ["butterquant_assets"]
    assert isinstance(origins[0], ManagedGrpcPythonEnvCodeLocationOrigin)
    assert origins[0].loadable_target_origin.module_name == "butterquant_assets.definitions"


def test_the_workspace_and_dg_agree_on_the_name_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    location = location_origins_from_yaml_paths([str(ROOT / "workspace.yaml")])[0]
    assert project["code_location_name"] == location.location_name
