"""Runs that fail alike: told when it begins, now and then while it goes on, and once when it is over. Pure.

What belongs here: which failures are the same one, and when each is told. What does not: asking Dagster for runs
(`automation/failed_runs`), conditions of the lake (`alerts`).

The same failure is: the same job, the same failed steps, the same error but for ids, numbers and times. What a run was
to cure says nothing about it, because a bug that meets every input alike would be news with every hour of data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from butterquant_assets.monitoring.alerts import Alert, Kind, Level, Phase, age, fingerprint_of, run_link

SILENT = "it ended without an error message; its log says more"
FIRST_WAIT = timedelta(hours=1)  # after a recovery was told; doubled with every relapse, up to the usual repeat
QUIET_REPEATS = 7  # repeats without a failure after which the next one is a new story
DIFFERENT = 3  # errors of the same steps told apart within a repeat; further ones are told as one
REMEMBERED = 30
LENGTH = 600  # of an error that is kept
Months = tuple[str, str] | None
_WORD = re.compile(r"\w+")
_DIGIT = re.compile(r"\d")


@dataclass(frozen=True)
class FailedRun:
    """A run that failed.

    Parameters
    ----------
    run_id, job
        of Dagster
    message
        the innermost error
    steps
        that failed; none where the run failed outside of any step
    place
        in the event log
    months
        first and last month (day) it was to make; None where it had none
    """

    run_id: str
    job: str
    message: str
    steps: tuple[str, ...] = ()
    place: int = 0
    months: Months = None


@dataclass(frozen=True)
class SucceededRun:
    """A run that succeeded: which, its steps, its place in the event log, and its first and last month (day)."""

    run_id: str
    job: str
    steps: frozenset[str]
    place: int
    months: Months = None


@dataclass(frozen=True)
class Failing:
    """Runs that fail alike.

    Parameters
    ----------
    job, steps
        what fails
    text, run_id, place, months
        error, run, place in the event log, and first and last month (day) of the newest failure
    since, last
        when the first failure since a success, and the newest one, were seen; UTC
    told
        when it was last told that it fails; None before
    count, untold
        failures since `since`, and those that no message counted
    announced
        whether it was told since it last succeeded
    over
        a later run has done these steps
    relapses
        how often it failed again after that
    """

    job: str
    steps: tuple[str, ...]
    text: str
    run_id: str
    place: int
    since: datetime
    last: datetime
    told: datetime | None = None
    count: int = 1
    untold: int = 1
    announced: bool = False
    over: bool = False
    relapses: int = 0
    months: Months = None

    def cured_by(self, run: SucceededRun) -> bool:
        """Whether a run came later and did what failed, for some of its months at least.

        Not for all: what the failed run had published before it failed, the next one leaves out of its range.
        """
        did = set(self.steps) <= run.steps if self.steps else run.job == self.job
        return did and run.place > self.place and _meet(self.months, run.months)

    def wait(self, repeat: timedelta) -> timedelta:
        """Time between two messages: the usual repeat; after a relapse that was not told yet sooner, at first."""
        return repeat if self.announced else min(repeat, FIRST_WAIT * 2 ** min(self.relapses, 10))


def _meet(one: Months, other: Months) -> bool:
    """Whether two ranges have a month (day) in common; a run without a range was about everything."""
    return one is None or other is None or (one[0] <= other[1] and other[0] <= one[1])


def alike(message: str) -> str:
    """An error without what differs from run to run: ids, numbers, times."""
    bare = _WORD.sub(lambda word: "#" if _DIGIT.search(word[0]) else word[0], message[:LENGTH])
    return " ".join(bare.split())


def failure_identity(job: str, steps: Iterable[str], message: str) -> str:
    """The same for runs that fail alike."""
    return fingerprint_of(Kind.RUN_FAILED, job, *sorted(steps), alike(message))


def after_runs(
    failing: Mapping[str, Failing],
    failed: Iterable[FailedRun],
    succeeded: Sequence[SucceededRun],
    *,
    now: datetime,
    repeat: timedelta,
    ui_url: str | None,
) -> tuple[dict[str, Failing], list[Alert]]:
    """What fails after a look, and what is to be told about it.

    Parameters
    ----------
    failing
        what failed before, by identity
    failed
        runs that failed since the last look, oldest first
    succeeded
        runs that succeeded of late
    now
        UTC; no time in `failing` lies beyond it
    repeat
        what goes on failing is told again after this long, with how often it did
    ui_url
        address of the UI, for links
    """
    known = dict(failing)
    for run in failed:
        at = _place_of(run, known, now - repeat)
        known[at] = _failed_again(known.get(at), run, now, repeat)
    alerts = []
    for at, entry in known.items():
        cures = [run for run in succeeded if not entry.over and entry.cured_by(run)]
        due = not entry.over and entry.untold and (entry.told is None or now - entry.told >= entry.wait(repeat))
        if due and not (cures and entry.announced):  # its end says how often it failed
            alerts.append(_alert(at, entry, now, ui_url))
            entry = replace(entry, told=now, untold=0, announced=True)
        if cures and entry.announced:
            alerts.append(_end(at, entry, cures[0], now, ui_url))
        known[at] = replace(entry, over=True, untold=0, announced=False) if cures else entry
    newest = sorted(known.items(), key=lambda item: (not item[1].over, item[1].last), reverse=True)[:REMEMBERED]
    return dict(sorted(newest)), alerts


def _place_of(run: FailedRun, known: Mapping[str, Failing], since: datetime) -> str:
    """Under which identity a failure is kept."""
    at = failure_identity(run.job, run.steps, run.message)
    if at in known:
        return at
    beside = [e for e in known.values() if (e.job, e.steps) == (run.job, run.steps) and e.last > since]
    # An error that reads otherwise with every run would else be told with every run.
    return at if len(beside) < DIFFERENT else fingerprint_of(Kind.RUN_FAILED, run.job, *run.steps, "others")


def _failed_again(known: Failing | None, run: FailedRun, now: datetime, repeat: timedelta) -> Failing:
    made = Failing(
        run.job, run.steps, run.message[:LENGTH] or SILENT, run.run_id, run.place, now, now, months=run.months
    )
    if known is None or now - known.last >= QUIET_REPEATS * repeat:
        return made
    if known.over:
        return replace(made, told=known.told, relapses=known.relapses + 1)
    return replace(
        known,
        text=made.text,
        run_id=made.run_id,
        place=made.place,
        months=made.months,
        last=now,
        count=known.count + 1,
        untold=known.untold + 1,
    )


def _alert(at: str, entry: Failing, now: datetime, ui_url: str | None) -> Alert:
    text, phase = entry.text, Phase.EVENT
    if entry.announced:
        more = f"{entry.untold} more {'run has' if entry.untold == 1 else 'runs have'} failed alike"
        text, phase = f"{text}; {more}, {entry.count} in {age(entry.since, now)}", Phase.AGAIN
    elif entry.relapses:
        text = f"{text}; it had recovered before"
    link = run_link(ui_url, entry.run_id)
    return _event(at, phase, f"{entry.job} {entry.run_id[:8]}", text, link, Level.ERROR, now)


def _end(at: str, entry: Failing, cure: SucceededRun, now: datetime, ui_url: str | None) -> Alert:
    done = f"the steps that failed ({', '.join(entry.steps)})" if entry.steps else "the job"
    failed = f"{entry.count} {'run' if entry.count == 1 else 'runs'} failed alike"
    text = f"over after {age(entry.since, now)}: run {cure.run_id[:8]} did {done}; {failed}"
    return _event(at, Phase.RESOLVED, entry.job, text, run_link(ui_url, cure.run_id), Level.INFO, now)


def _event(at: str, phase: Phase, subject: str, text: str, link: str | None, level: Level, now: datetime) -> Alert:
    identity = fingerprint_of(at, phase, now.isoformat())
    return Alert(Kind.RUN_FAILED, subject, text, link, level, identity, lasting=False, phase=phase)
