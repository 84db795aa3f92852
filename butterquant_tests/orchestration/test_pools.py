from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.event_log.schema import ConcurrencyLimitsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from butterquant_assets.orchestration.executors import executor_of
from butterquant_assets.orchestration.pools import TRAINING_POOL, set_limit_once
from butterquant_tests.deploy.fleet import wait_until

POOLS = {"pools": {"default_limit": 1, "granularity": "op"}}


@dg.asset(pool=TRAINING_POOL)
def trained() -> int:
    return 1


@pytest.fixture
def on_postgres(new_postgres_url: str, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance as it is shipped: PostgreSQL, and a default for pools."""
    with dg.DagsterInstance.from_ref(_ref(tmp_path, new_postgres_url, default_limit=1)) as instance:
        yield instance


def _ref(folder: Path, url: str, *, default_limit: int) -> InstanceRef:
    storage = {"postgres": {"postgres_url": _driven(url)}}
    pools = {"pools": {"default_limit": default_limit, "granularity": "op"}}
    return InstanceRef.from_dir(str(folder), overrides={"storage": storage, "concurrency": pools})


def limits(instance: dg.DagsterInstance) -> list[tuple[str, int, bool]]:
    return [(pool.name, pool.limit, pool.from_default) for pool in instance.event_log_storage.get_pool_limits()]


def slots(instance: dg.DagsterInstance) -> int:
    return instance.event_log_storage.get_concurrency_info(TRAINING_POOL).slot_count


def test_a_run_gives_the_pool_its_own_limit_and_trains(tmp_path: Path) -> None:
    job = dg.Definitions(
        assets=[trained], jobs=[dg.define_asset_job("all")], executor=executor_of("in_process")
    ).resolve_job_def("all")
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides={"concurrency": POOLS}) as instance:
        assert job.execute_in_process(instance=instance).success
        with dg.execute_job(dg.reconstructable(_job), instance) as result:
            assert result.success
        assert limits(instance) == [(TRAINING_POOL, 1, False)]


def _job() -> dg.JobDefinition:
    definitions = dg.Definitions(
        assets=[trained], jobs=[dg.define_asset_job("all")], executor=executor_of("in_process")
    )
    return definitions.resolve_job_def("all")


def test_a_limit_that_an_operator_set_stays(on_postgres: dg.DagsterInstance) -> None:
    on_postgres.event_log_storage.set_concurrency_slots(TRAINING_POOL, 3)
    set_limit_once(on_postgres)
    assert limits(on_postgres) == [(TRAINING_POOL, 3, False)]
    assert slots(on_postgres) == 3


def test_a_limit_from_the_default_becomes_the_pools_own_and_a_changed_default_breaks_no_claim(
    on_postgres: dg.DagsterInstance, new_postgres_url: str, tmp_path: Path
) -> None:
    on_postgres.event_log_storage.initialize_concurrency_limit_to_default(TRAINING_POOL)
    assert limits(on_postgres) == [(TRAINING_POOL, 1, True)]
    with dg.DagsterInstance.from_ref(_ref(tmp_path, new_postgres_url, default_limit=2)) as changed:
        set_limit_once(changed)
        assert limits(changed) == [(TRAINING_POOL, 2, False)]
        with dg.execute_job(dg.reconstructable(_job), changed) as result:
            assert result.success


def test_of_two_processes_at_once_one_sets_the_limit_and_the_other_goes_on(
    on_postgres: dg.DagsterInstance, new_postgres_url: str, tmp_path: Path
) -> None:
    storage = on_postgres.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)
    other = dg.DagsterInstance.from_ref(_ref(tmp_path, new_postgres_url, default_limit=1))
    with ThreadPoolExecutor(1) as pool, storage.index_transaction() as connection:
        row = {"concurrency_key": TRAINING_POOL, "limit": 1, "using_default_limit": False}
        connection.execute(ConcurrencyLimitsTable.insert().values(**row))
        done = pool.submit(set_limit_once, other)
        # The other has looked, found nothing, and waits for this row.
        wait_until(lambda: _waits(new_postgres_url), 20, "the other process does not wait")
    done.result(20)
    other.dispose()
    assert limits(on_postgres) == [(TRAINING_POOL, 1, False)]


def _waits(url: str) -> bool:
    engine = sa.create_engine(_driven(url), poolclass=sa.pool.NullPool)
    query = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    with engine.connect() as connection:
        return bool(connection.execute(sa.text(query)).scalar())


def _driven(url: str) -> str:
    return sa.make_url(url).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)
