from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.code_pointer import FileCodePointer
from dagster._core.events import EngineEventData
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._grpc.types import ExecuteStepArgs
from dagster._serdes import pack_value, serialize_value

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.orchestration import executors
from butterquant_assets.orchestration.executors import (
    KUBERNETES_TAG,
    MAX_DELIVERIES,
    QUEUE_TAG,
    StepLostError,
    backfill_policy_of,
    celery_app,
    celery_settings,
    executor_of,
    step_tags,
    worker_arguments,
)

BROKER = "redis://:hunter2@127.0.0.1:1/0"


@dg.asset
def one() -> int:
    return 1


@pytest.mark.parametrize(
    ("name", "dagsters"),
    [("in_process", "in_process"), ("multiprocess", "multiprocess"), ("celery", "celery"), ("k8s", "k8s")],
)
def test_each_name_gives_dagsters_executor_of_that_name_and_definitions_accept_it(name: Any, dagsters: str) -> None:
    executor = executor_of(name, BROKER)
    assert executor.name == dagsters
    definitions = dg.Definitions(assets=[one], jobs=[dg.define_asset_job("all")], executor=executor)
    assert definitions.resolve_job_def("all").executor_def.name == dagsters


def test_the_brokers_password_is_not_in_what_the_executor_shows() -> None:
    definitions = dg.Definitions(
        assets=[one], jobs=[dg.define_asset_job("all")], executor=executor_of("celery", BROKER)
    )
    shown = serialize_value(RepositorySnap.from_def(definitions.get_repository_def()))
    shown += serialize_value(definitions.resolve_job_def("all").get_job_snapshot())
    assert "all" in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize(
    ("name", "broker", "message"),
    [
        ("celery", None, "set BUTTERQUANT_BROKER_URL"),
        ("celery", "", "set BUTTERQUANT_BROKER_URL"),
        ("celery", "amqp://guest:hunter2@rabbit", "begins with 'amqp'"),
        ("dask", BROKER, "one of in_process, multiprocess, celery, k8s"),
    ],
)
def test_what_cannot_work_is_refused_with_what_to_do_and_without_the_password(
    name: Any, broker: str | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as refusal:
        executor_of(name, broker)
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(("name", "module"), [("celery", "dagster_celery"), ("k8s", "dagster_k8s")])
def test_a_missing_package_names_the_extra_that_brings_it(
    name: Any, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"butterquant-assets\[scale-out\]"):
        executor_of(name, BROKER)


def test_the_choice_imports_celery_and_kubernetes_only_when_they_are_chosen() -> None:
    script = (
        "import sys; from butterquant_assets.orchestration import executors\n"
        "executors.executor_of('in_process'); executors.executor_of('multiprocess')\n"
        "assert not {'celery', 'dagster_celery', 'kubernetes', 'dagster_k8s'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(("months", "limit"), [(None, None), (1, 1), (12, 12)])
def test_a_backfill_is_one_run_or_runs_of_so_many_months(months: int | None, limit: int | None) -> None:
    assert backfill_policy_of(months).max_partitions_per_run == limit


@pytest.mark.parametrize("months", [0, -3])
def test_runs_of_no_month_are_refused(months: int) -> None:
    with pytest.raises(ConfigError, match="BUTTERQUANT_MONTHS_PER_RUN"):
        backfill_policy_of(months)


def test_training_has_a_queue_of_its_own_and_the_largest_pod() -> None:
    training = step_tags("training", partitioned=False)
    months, table = step_tags(None, partitioned=True), step_tags(None, partitioned=False)
    assert training[QUEUE_TAG] == "training"
    assert QUEUE_TAG not in months
    assert QUEUE_TAG not in table
    memory = [
        tags[KUBERNETES_TAG]["container_config"]["resources"]["requests"]["memory"]
        for tags in (training, months, table)
    ]
    assert memory == ["4Gi", "2Gi", "1Gi"]


def test_kubernetes_accepts_the_resources() -> None:
    from dagster_k8s.job import UserDefinedDagsterK8sConfig

    config = UserDefinedDagsterK8sConfig.from_dict(step_tags("training", partitioned=False)[KUBERNETES_TAG])
    assert config.container_config["resources"]["limits"] == {"memory": "8Gi"}


def test_a_step_is_acknowledged_when_it_is_done_and_handed_on_when_its_worker_is_lost() -> None:
    settings = celery_settings(lease_seconds=77)
    assert settings["task_acks_late"]
    assert settings["task_reject_on_worker_lost"]
    assert settings["worker_prefetch_multiplier"] == 1
    assert settings["broker_transport_options"]["visibility_timeout"] == 77
    app = celery_app(BROKER, lease_seconds=77)
    for name in ("task_acks_late", "task_reject_on_worker_lost", "worker_max_tasks_per_child"):
        assert getattr(app.conf, name) == settings[name]
    assert app.conf.broker_transport_options["visibility_timeout"] == 77
    assert "execute_plan" in app.tasks


def test_a_worker_takes_its_queues_under_its_name() -> None:
    arguments = worker_arguments(["dagster", "training"], concurrency=3, name="night")
    assert arguments[0] == "worker"
    assert arguments[arguments.index("--queues") + 1] == "dagster,training"
    assert arguments[arguments.index("--concurrency") + 1] == "3"
    assert arguments[arguments.index("--hostname") + 1] == "night@%h"


def test_a_worker_without_a_queue_or_without_a_hand_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs a queue"):
        worker_arguments([])
    with pytest.raises(ConfigError, match="concurrency 0"):
        worker_arguments(["dagster"], concurrency=0)


def delivered(folder: Path, times: int, *, ended: bool = False) -> dict[str, Any]:
    """What the task is given: a run with one step that workers have begun so often, and another begun once."""
    instance = dg.DagsterInstance.local_temp(str(folder))
    job = dg.Definitions(assets=[one], jobs=[dg.define_asset_job("all")]).resolve_job_def("all")
    run = instance.create_run_for_job(job)
    for step in ["one"] * times + ["two"]:
        instance.report_engine_event(
            f"Executing steps {step} in celery worker", run, EngineEventData({}), step_key=step
        )
    if ended:
        instance.report_run_failed(run)
    origin = JobPythonOrigin("all", RepositoryPythonOrigin(sys.executable, FileCodePointer("x.py", "x")))
    packed: dict[str, Any] = pack_value(
        ExecuteStepArgs(
            job_origin=origin,
            run_id=run.run_id,
            step_keys_to_execute=["one"],
            instance_ref=instance.get_ref(),
            print_serialized_events=True,
        )
    )
    return packed


def test_a_step_that_has_taken_some_workers_with_it_may_start_once_more(tmp_path: Path) -> None:
    executors._refuse_a_lost_step(delivered(tmp_path, MAX_DELIVERIES - 1))


def test_a_step_that_has_taken_too_many_workers_with_it_fails_its_run(tmp_path: Path) -> None:
    with pytest.raises(StepLostError, match=rf"step one was given to {MAX_DELIVERIES} workers"):
        executors._refuse_a_lost_step(delivered(tmp_path, MAX_DELIVERIES))


def test_a_step_of_a_run_that_has_ended_is_let_go(tmp_path: Path) -> None:
    from celery.exceptions import Ignore

    with pytest.raises(Ignore):
        executors._refuse_a_lost_step(delivered(tmp_path, 0, ended=True))
