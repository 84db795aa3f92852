"""Where the steps of a run are executed: in the run's own process, beside it, on Celery workers, or as Kubernetes jobs.

What belongs here: the choice of Dagster's executor, the Celery application that its workers run, and the tags by which
a step finds its queue and its resources. What does not: which runs are launched, and what a step does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import dagster as dg

from butterquant_assets.foundation.errors import ButterQuantError, ConfigError
from butterquant_assets.orchestration.pools import TRAINING_POOL, set_limit_once
from butterquant_assets.orchestration.processes import saying

if TYPE_CHECKING:
    from celery import Celery  # type: ignore[import-untyped]

ExecutorName = Literal["in_process", "multiprocess", "celery", "k8s"]

DEFINITIONS = "butterquant_assets.definitions"
DEFAULT_QUEUE = "dagster"
QUEUE_TAG, KUBERNETES_TAG = "dagster-celery/queue", "dagster-k8s/config"
LEASE_SECONDS = 7200
"""After this time without an acknowledgement Redis hands a step to another worker; longer than the longest step."""
MAX_DELIVERIES = 3

RESOURCES: dict[str, dict[str, dict[str, str]]] = {
    "training": {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "8Gi"}},
    "partitions": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "4Gi"}},
    "table": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "4Gi"}},
}
"""What a Kubernetes pod asks for, by kind of asset: trained models, tables by month or day, single tables."""


class StepLostError(ButterQuantError):
    """A step was given to several workers, and each of them died at it."""


def executor_of(
    name: ExecutorName, broker_url: str | None = None, *, steps_at_once: int = 2, lease_seconds: int = LEASE_SECONDS
) -> dg.ExecutorDefinition:
    """The executor of all jobs.

    Before its first step it sees to the limit of the pool ``training``, and says in the run's event log which process
    executes the run.

    Parameters
    ----------
    name
        ``in_process``: 30 ms a step; ``multiprocess``: a forked process a step; ``celery``: a task a step, on any
        worker of the broker; ``k8s``: a Kubernetes job a step
    broker_url
        Redis, for ``celery``: the queue, and where the results wait. May hold a password; never log it.
    steps_at_once
        for ``multiprocess``
    lease_seconds
        for ``celery``, see `LEASE_SECONDS`

    Raises
    ------
    ConfigError
        for an unknown name, a missing broker, or a package of the ``scale-out`` extra that is not installed.
    """
    return _prepared(_dagsters(name, broker_url, steps_at_once, lease_seconds))


def _prepared(executor: dg.ExecutorDefinition) -> dg.ExecutorDefinition:
    """The same executor with what is done before the first step of every run."""
    create = executor.executor_creation_fn
    if create is None:
        raise TypeError(f"executor {executor.name} is not one that can be run")

    def create_after_limits(context: dg.InitExecutorContext) -> dg.Executor:
        set_limit_once(context.instance)
        return saying(create(context))

    return dg.ExecutorDefinition(
        name=executor.name,
        config_schema=cast(Any, executor.config_schema),  # Dagster takes it, and says otherwise
        requirements=executor.get_requirements,
        executor_creation_fn=create_after_limits,
        description=executor.description,
    )


def _dagsters(
    name: ExecutorName, broker_url: str | None, steps_at_once: int, lease_seconds: int
) -> dg.ExecutorDefinition:
    if name == "in_process":
        return dg.in_process_executor
    if name == "multiprocess":
        start = {"forkserver": {"preload_modules": [DEFINITIONS]}}
        return dg.multiprocess_executor.configured({"max_concurrent": steps_at_once, "start_method": start})
    if name == "celery":
        url = _required_broker(broker_url)
        definition = _imported("dagster_celery", "celery_executor")
        config = {"broker": url, "backend": url, "config_source": celery_settings(lease_seconds)}
        configured: dg.ExecutorDefinition = definition.configured(config)
        return configured
    if name == "k8s":
        in_pods: dg.ExecutorDefinition = _imported("dagster_k8s", "k8s_job_executor")
        return in_pods
    raise ConfigError(
        f"executor {name!r} is unknown; BUTTERQUANT_EXECUTOR is one of {', '.join(get_args(ExecutorName))}"
    )


def backfill_policy_of(most_per_run: int | None) -> dg.BackfillPolicy:
    """How Dagster cuts a backfill into runs: one run (None), or runs of at most so many months or days side by side.

    Raises
    ------
    ConfigError
        for less than one.
    """
    if most_per_run is None:
        return dg.BackfillPolicy.single_run()
    if most_per_run < 1:
        raise ConfigError(
            f"a run of a backfill cannot hold {most_per_run} partitions: give 1 or more, or leave "
            "BUTTERQUANT_MONTHS_PER_RUN (BUTTERQUANT_DAYS_PER_RUN) out"
        )
    return dg.BackfillPolicy.multi_run(max_partitions_per_run=most_per_run)


def step_tags(pool: str | None, *, partitioned: bool) -> dict[str, Any]:
    """Tags of an asset's step: its Celery queue, and what its Kubernetes pod asks for.

    Parameters
    ----------
    pool
        Dagster pool of the asset; the pool ``training`` has a queue of its own
    partitioned
        whether the asset is partitioned
    """
    kind = TRAINING_POOL if pool == TRAINING_POOL else "partitions" if partitioned else "table"
    tags: dict[str, Any] = {KUBERNETES_TAG: {"container_config": {"resources": RESOURCES[kind]}}}
    return tags | ({QUEUE_TAG: TRAINING_POOL} if kind == TRAINING_POOL else {})


def celery_settings(lease_seconds: int = LEASE_SECONDS) -> dict[str, Any]:
    """Celery's settings, the same for the executor that sends and the workers that take.

    A step is acknowledged when it is done. When a worker's child dies (out of memory, for instance), the step goes back
    to the queue at once; when the whole worker or its machine dies, after `lease_seconds`.
    """
    return {
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        # A forked child lives for one step: its memory is returned, and it sees the home as it is now.
        "worker_max_tasks_per_child": 1,
        "worker_hijack_root_logger": False,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {"visibility_timeout": lease_seconds},
        "result_backend_transport_options": {"visibility_timeout": lease_seconds},
        "result_expires": 7 * 86_400,
        "task_default_queue": DEFAULT_QUEUE,
        "task_default_priority": 5,
    }


def celery_app(broker_url: str | None, *, lease_seconds: int = LEASE_SECONDS) -> Celery:
    """The application that a worker runs: Dagster's own task, bounded to `MAX_DELIVERIES`.

    Raises
    ------
    ConfigError
        for a missing broker or package.
    """
    url = _required_broker(broker_url)
    make_app = _imported("dagster_celery.make_app", "make_app")
    create_task = _imported("dagster_celery.tasks", "create_task")
    settings = celery_settings(lease_seconds)
    app: Celery = make_app({"broker": url, "backend": url, "include": [DEFINITIONS]})
    app.conf.update(settings)
    task = create_task(app)

    def before_start(_task_id: str, _arguments: Sequence[Any], options: dict[str, Any]) -> None:
        _refuse_a_lost_step(options["execute_step_args_packed"])

    task.before_start = before_start
    return app


def worker_arguments(queues: Sequence[str], *, concurrency: int = 1, name: str | None = None) -> list[str]:
    """Arguments for `Celery.worker_main`, which runs the worker in the calling process.

    ``dagster-celery worker start`` starts a child, which a SIGTERM to the wrapper leaves behind; a supervisor must hold
    the worker itself.

    Raises
    ------
    ConfigError
        without a queue, or with less than one step at once.
    """
    if not queues:
        raise ConfigError(f"a worker needs a queue: {DEFAULT_QUEUE}, {TRAINING_POOL} or both")
    if concurrency < 1:
        raise ConfigError(f"concurrency {concurrency} lets the worker do nothing: give 1 or more")
    arguments = ["worker", "--loglevel", "INFO", "--queues", ",".join(queues), "--concurrency", str(concurrency)]
    return [*arguments, "--without-mingle", *(["--hostname", f"{name}@%h"] if name else [])]


def _refuse_a_lost_step(packed: dict[str, Any]) -> None:
    """Do not start a step whose run has ended, nor one that has taken `MAX_DELIVERIES` workers with it."""
    from dagster._grpc.types import ExecuteStepArgs
    from dagster._serdes import unpack_value

    arguments = unpack_value(packed, as_type=ExecuteStepArgs)
    if arguments.instance_ref is None:
        raise StepLostError("a step came without the instance that sent it: send it from an instance with storage")
    with dg.DagsterInstance.from_ref(arguments.instance_ref) as instance:
        run = instance.get_run_by_id(arguments.run_id)
        if run is None or run.is_finished:
            raise _imported("celery.exceptions", "Ignore")
        for step in arguments.step_keys_to_execute or ():
            if (times := _deliveries(instance, arguments.run_id, step)) >= MAX_DELIVERIES:
                raise StepLostError(
                    f"step {step} was given to {times} workers and each of them died at it: look for what killed them "
                    "(memory, most likely), give the workers of its queue more, and run again"
                )


def _deliveries(instance: dg.DagsterInstance, run_id: str, step: str) -> int:
    """How often a worker has begun with a step of a run."""
    events = instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    messages = [entry.dagster_event.message or "" for entry in events if entry.dagster_event and entry.step_key == step]
    return sum("in celery worker" in message for message in messages)


def _required_broker(url: str | None) -> str:
    if not url:
        raise ConfigError(
            "the celery executor needs a broker: set BUTTERQUANT_BROKER_URL, for instance redis://localhost:6379/0"
        )
    if not url.startswith(("redis://", "rediss://")):
        raise ConfigError(
            f"BUTTERQUANT_BROKER_URL begins with {url.partition(':')[0]!r}; Redis is supported: redis:// or rediss://"
        )
    return url


def _imported(module: str, attribute: str) -> Any:
    from importlib import import_module

    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{module} is not installed ({error}): pip install 'butterquant-assets[scale-out]', or choose "
            "BUTTERQUANT_EXECUTOR=in_process"
        ) from error
