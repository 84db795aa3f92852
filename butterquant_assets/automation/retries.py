"""When what failed is tried again: a bounded number of times, ever later. Pure; the time is handed in.

Two bounds hold at once. The same work (the same partitions from the same inputs) is tried a few times in all:
`Attempts`. And runs that fail one after the other come ever later, whatever their inputs: `Brake`. Without the second,
an error that meets every input alike would start a fresh count with every hour of new data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

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
    step_seconds, longest_seconds
        once that many have failed one after the other, new inputs wait too: so much longer after each further failure,
        up to the longest wait

    Notes
    -----
    What fails alike with whatever arrives is tried 5 times at once where something new has arrived, then 12 times after
    5, 10, ... 60 minutes, and from then on once an hour: at most 35 failed runs in the first 24 hours and 24 in any
    later ones, while a correction waits for an hour at most. Errors that differ count half, which makes it 47 and 24.
    """

    attempts: int = 5
    base_seconds: float = 60.0
    factor: float = 4.0
    step_seconds: float = 300.0
    longest_seconds: float = 3600.0

    def wait(self, made: int) -> float:
        """Seconds to wait after that many attempts, at least one."""
        return float(self.base_seconds * self.factor ** (made - 1))

    def pause(self, failed: int, *, new: bool) -> float:
        """Seconds between a failure that was one of so many, and the next run; whether that has new inputs."""
        if not failed:
            return 0.0
        later = max(0, failed - self.attempts) * self.step_seconds if new else self.wait(min(failed, REMEMBERED))
        return min(later, self.longest_seconds)


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

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Attempts:
        """From JSON, also of a version that says more."""
        due = entry.get("due")
        return cls(str(entry["fingerprint"]), int(entry["made"]), None if due is None else float(due))


@dataclass(frozen=True)
class Trouble:
    """Runs that failed alike: what they have in common, and how many."""

    identity: str
    failed: int


@dataclass(frozen=True)
class Brake:
    """Runs that failed since one succeeded, whatever their inputs were.

    Parameters
    ----------
    run
        the newest one that was counted, by its id
    versions
        of code and configuration; with others everything begins afresh
    at
        when the newest failure was seen, in seconds since 1970
    troubles
        failures that are alike, the newest last. Not only the newest: two that take turns would else never slow down.
    total
        failures of every kind
    """

    run: str = ""
    versions: str = ""
    at: float = 0.0
    troubles: tuple[Trouble, ...] = ()
    total: int = 0

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Brake:
        """From JSON, also of a version that says more or less."""
        troubles = tuple(Trouble(str(each["identity"]), int(each["failed"])) for each in entry.get("troubles", ()))
        run, versions = str(entry.get("run", "")), str(entry.get("versions", ""))
        return cls(run, versions, float(entry.get("at", 0.0)), troubles, int(entry.get("total", 0)))

    @property
    def failed(self) -> int:
        """Failures that count for the next wait: those like the newest one, or half of all."""
        return max(self.troubles[-1].failed, self.total // 2) if self.troubles else 0

    def after(self, outcome: tuple[str, str | None] | None, versions: str, now: float) -> Brake:
        """The brake once the newest run is known.

        Parameters
        ----------
        outcome
            its id, and the identity of its failure or None for a success; None where there is no run
        versions
            of code and configuration now
        now
            seconds since 1970; a failure that was seen later than that was seen by a clock that was ahead
        """
        known = replace(self, at=min(self.at, now)) if versions == self.versions else Brake(self.run, versions)
        if outcome is None or outcome[0] == self.run:
            return known
        run, identity = outcome
        if identity is None:
            return Brake(run, versions)
        before = next((t.failed for t in known.troubles if t.identity == identity), 0)
        others = tuple(t for t in known.troubles if t.identity != identity)
        return Brake(run, versions, now, (*others, Trouble(identity, before + 1))[-REMEMBERED:], known.total + 1)

    def due(self, policy: RetryPolicy, *, new: bool) -> float:
        """Seconds since 1970 before which there is no further run; whether that has new inputs."""
        return self.at + policy.pause(self.failed, new=new)


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
