"""Limits of Dagster's pools: set once, before two processes can be at it.

What belongs here: that a pool has a limit of its own. What does not: which assets ask for it.
"""

from __future__ import annotations

import dagster as dg
from sqlalchemy.exc import IntegrityError

TRAINING_POOL = "training"
TRAINED_AT_ONCE = 1


def set_limit_once(instance: dg.DagsterInstance) -> None:
    """Give the pool `TRAINING_POOL` its limit; one that somebody set stays.

    A pool without a limit gets the default of ``dagster.yaml`` from the first step that claims it. On PostgreSQL two
    that do so at once break one of the runs (Dagster 1.13 goes on in a transaction that the other's row has aborted),
    and so does every claim after the default was changed. A limit of the pool's own takes neither path.
    """
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
