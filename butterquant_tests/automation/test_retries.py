from __future__ import annotations

from collections.abc import Callable

import pytest

from butterquant_assets.automation.retries import Attempts, Brake, RetryPolicy, Trouble, next_step

POLICY = RetryPolicy(attempts=4, base_seconds=10.0, factor=3.0)


def attempts_at(times: list[float], fingerprint: str = "a") -> list[float]:
    """Times, of those looked at, at which an attempt is made."""
    tried, made = (), []
    for now in times:
        tried, step = next_step(tried, fingerprint, now, POLICY)
        made += [now] if step == "go" else []
    return made


def test_attempts_come_ever_later_and_end() -> None:
    # A failure seen at 1 s is tried again 10 s later, the next one, seen at 12 s, 30 s later, the last 90 s after 43 s.
    assert attempts_at([float(second) for second in range(1000)]) == [0.0, 11.0, 42.0, 133.0]


def test_other_work_starts_afresh_and_at_once() -> None:
    tried, step = next_step([Attempts("a", 4)], "a", 1e9, POLICY)
    assert step == "exhausted"
    assert next_step(tried, "b", 0.0, POLICY) == ((Attempts("a", 4), Attempts("b", 1)), "go")


def test_two_pieces_of_work_that_undo_each_other_do_not_take_turns_for_ever() -> None:
    tried, made = (), 0
    for turn in range(10_000):
        tried, step = next_step(tried, "ab"[turn % 2], float(turn), POLICY)
        made += step == "go"
    assert made == 2 * POLICY.attempts


def test_a_wait_survives_in_its_bookkeeping_alone() -> None:
    tried, step = next_step([Attempts("a", 1)], "a", 100.0, POLICY)
    assert (step, tried) == ("wait", (Attempts("a", 1, 110.0),))
    assert next_step(tried, "a", 109.0, POLICY)[1] == "wait"
    assert next_step(tried, "a", 110.0, POLICY) == ((Attempts("a", 2),), "go")


def test_a_clock_that_was_set_back_does_not_stretch_the_wait() -> None:
    tried, step = next_step([Attempts("a", 1, 1_000_000.0)], "a", 100.0, POLICY)
    assert (step, tried[0].due) == ("wait", 110.0)


# -- runs that fail whatever their inputs

DAY = 86_400.0


def failures_by_day(errors: Callable[[int], str], days: int, arrives_every: float) -> list[int]:
    """Failed runs a day where every run fails, and something new arrives so often; a look every half minute."""
    policy, brake, tried, made = RetryPolicy(), Brake(), (), [0] * days
    runs = 0
    for now in (30.0 * look for look in range(int(days * DAY / 30))):
        outcome = (f"r{runs}", errors(runs)) if runs else None
        brake = brake.after(outcome, "code", now)
        fingerprint = str(now // arrives_every)
        attempted, step = next_step(tried, fingerprint, now, policy)
        new = fingerprint not in {attempts.fingerprint for attempts in tried}
        if step == "go" and now < brake.due(policy, new=new):
            continue
        tried = attempted
        if step == "go":
            runs += 1
            made[int(now // DAY)] += 1
    return made


@pytest.mark.parametrize("arrives_every", [60.0, 600.0, 3600.0, DAY])
def test_an_error_that_meets_every_input_alike_fails_a_bounded_number_of_runs_a_day(arrives_every: float) -> None:
    first, *later = failures_by_day(lambda run: "the same", 4, arrives_every)
    assert first <= 35
    assert max(later) <= 24


def test_errors_that_differ_from_run_to_run_are_bounded_too() -> None:
    first, *later = failures_by_day(lambda run: f"error {run}", 4, 60.0)
    assert 24 < first <= 47
    assert max(later) <= 24


def test_what_was_new_less_than_a_few_times_is_tried_at_once() -> None:
    policy, brake = RetryPolicy(), Brake()
    for run in range(policy.attempts):
        assert brake.due(policy, new=True) <= 100.0
        brake = brake.after((f"r{run}", "the same"), "code", 100.0)
    assert brake.after(("r9", "the same"), "code", 100.0).due(policy, new=True) == 100.0 + policy.step_seconds
    assert RetryPolicy().pause(10**6, new=True) == RetryPolicy().pause(10**6, new=False) == 3600.0


def test_a_success_or_other_code_begins_afresh_and_one_run_counts_once() -> None:
    brake = Brake("r3", "code", 50.0, (Trouble("same", 30),), 30)
    assert brake.after(("r3", "same"), "code", 60.0) == brake
    assert brake.after(None, "code", 60.0) == brake
    assert brake.after(("r4", None), "code", 60.0).failed == 0
    assert brake.after(("r3", "same"), "other code", 60.0).failed == 0
    assert brake.after(("r4", "same"), "code", 60.0) == Brake("r4", "code", 60.0, (Trouble("same", 31),), 31)


def test_a_clock_that_was_ahead_when_a_run_failed_holds_nobody_back() -> None:
    ahead = Brake("r3", "code", 1e9, (Trouble("same", 30),), 30)
    policy = RetryPolicy()
    first = ahead.after(None, "code", 100.0)
    assert first.due(policy, new=True) == 3700.0
    assert first.after(None, "code", 3700.0).due(policy, new=True) == 3700.0


def test_what_is_remembered_survives_a_version_that_says_more() -> None:
    assert Attempts.of({"fingerprint": "a", "made": 2, "due": None, "first": 5}) == Attempts("a", 2)
    assert Brake.of({"troubles": [{"identity": "x", "failed": 3, "since": 1}], "more": 1}).failed == 3
    assert Brake.of({}) == Brake()
