from __future__ import annotations

from butterquant_assets.automation.retries import Attempts, RetryPolicy, next_step

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
