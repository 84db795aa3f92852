"""Dagster's daemon, which kills itself at a chosen point of a sensor's tick.

``python -m butterquant_tests.faults.dying_daemon POINT run -w WORKSPACE``
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, Literal, get_args

Point = Literal["before_the_run_is_made", "before_it_is_queued", "before_the_tick_is_remembered"]
POINTS: tuple[Point, ...] = get_args(Point)


def die_at(point: Point) -> None:
    """Have this process kill itself there."""
    import dagster as dg
    from dagster._daemon import sensor

    submit = dg.DagsterInstance.submit_run

    def die(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def submit_and_die(*arguments: Any, **options: Any) -> None:
        submit(*arguments, **options)
        die()

    if point == "before_the_run_is_made":
        vars(sensor)["_submit_run_request"] = die
    elif point == "before_it_is_queued":
        setattr(dg.DagsterInstance, "submit_run", die)  # noqa: B010 - mypy refuses the plain assignment
    else:
        setattr(dg.DagsterInstance, "submit_run", submit_and_die)  # noqa: B010 - as above


if __name__ == "__main__":
    from dagster._daemon.cli import main

    chosen = sys.argv.pop(1)
    assert chosen in POINTS, f"{chosen} is none of {POINTS}"
    die_at(chosen)
    main()
