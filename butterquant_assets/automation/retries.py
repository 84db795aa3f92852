"""When what failed is tried again: a bounded number of times, ever later. Pure; the time is handed in.

What belongs here: the policy and its bookkeeping. What does not: runs, sensors and cursors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Step = Literal["go", "wait", "exhausted"]
REMEMBERED = 20


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and after which waits.

    Parameters
    ----------
    attempts
        the first one included
    base_seconds, factor
        wait after the first failure, and how many times longer each further one is
    """

    attempts: int = 5
    base_seconds: float = 60.0
    factor: float = 4.0

    def wait(self, made: int) -> float:
        """Seconds to wait after that many attempts, at least one."""
        return float(self.base_seconds * self.factor ** (made - 1))


@dataclass(frozen=True)
class Attempts:
    """Attempts at one piece of work.

    Parameters
    ----------
    fingerprint
        which work; other work starts a fresh count
    made
        attempts so far
    due
        seconds since 1970 before which there is no further attempt; None until the failure of the last one was seen
    """

    fingerprint: str
    made: int
    due: float | None = None


def next_step(
    tried: Sequence[Attempts], fingerprint: str, now: float, policy: RetryPolicy
) -> tuple[tuple[Attempts, ...], Step]:
    """What to do about work that is not done, and is not being done.

    Parameters
    ----------
    tried
        what was tried since everything was last done, oldest first. Not only the latest: two pieces of work that each
        undo the other would otherwise take turns for ever, every time as something new.
    fingerprint
        the work that is to be done now
    now
        seconds since 1970
    policy
        bounds

    Returns
    -------
    what was tried with this decision taken in, its work last, and ``go`` (an attempt is made now), ``wait`` or
    ``exhausted``
    """
    others = tuple(attempts for attempts in tried if attempts.fingerprint != fingerprint)[-REMEMBERED:]
    so_far = next((attempts for attempts in tried if attempts.fingerprint == fingerprint), None)
    if so_far is None:
        return (*others, Attempts(fingerprint, 1)), "go"
    if so_far.made >= policy.attempts:
        return (*others, so_far), "exhausted"
    latest = now + policy.wait(so_far.made)
    # A clock that was set back must not stretch the wait.
    due = latest if so_far.due is None else min(so_far.due, latest)
    if now < due:
        return (*others, replace(so_far, due=due)), "wait"
    return (*others, Attempts(fingerprint, so_far.made + 1)), "go"
