"""Limits of Dagster's pools: set once, before two processes can be at it.

What belongs here: that a pool has a limit of its own. What does not: which assets ask for it.
"""

from __future__ import annotations

from typing import Any, cast

import dagster as dg
from sqlalchemy.exc import IntegrityError

TRAINING_POOL = "training"
TRAINED_AT_ONCE = 1


def limited(executor: dg.ExecutorDefinition) -> dg.ExecutorDefinition:
    """The same executor, which first sees to the limit of the pool `TRAINING_POOL`.

    A pool without a limit gets the default of ``dagster.yaml`` from the first step that claims it. On PostgreSQL two
    that do so at once break one of the runs (Dagster 1.13 goes on in a transaction that the other's row has aborted),
    and so does every claim after the default was changed. A limit of the pool's own takes neither path.
    """
    create = executor.executor_creation_fn
    if create is None:
        raise TypeError(f"executor {executor.name} is not one that can be run")

    def create_after_limits(context: dg.InitExecutorContext) -> dg.Executor:
        set_limit_once(context.instance)
        return create(context)

    return dg.ExecutorDefinition(
        name=executor.name,
        config_schema=cast(Any, executor.config_schema),  # Dagster takes it, and says otherwise
        requirements=executor.get_requirements,
        executor_creation_fn=create_after_limits,
        description=executor.description,
    )


def set_limit_once(instance: dg.DagsterInstance) -> None:
    """Give the pool `TRAINING_POOL` its limit; one that somebody set stays."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    if any(pool.name == TRAINING_POOL and not pool.from_default for pool in storage.get_pool_limits()):
        return
    default = instance.global_op_concurrency_default_limit
    try:
        storage.set_concurrency_slots(TRAINING_POOL, TRAINED_AT_ONCE if default is None else default)
    except IntegrityError:
        return  # another process set it in the meantime, to the same
