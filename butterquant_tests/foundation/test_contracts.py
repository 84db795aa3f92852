from __future__ import annotations

import pandas as pd
import pandera.pandas as pa

from butterquant_assets.foundation.contracts import Contract, Outcome, Rule, Verdict

CONTRACT = Contract(
    "line/table",
    pa.DataFrameSchema(
        {
            "session": pa.Column("datetime64[us]"),
            "ticker": pa.Column("str"),
            "low": pa.Column(float, pa.Check.gt(0)),
            "high": pa.Column(float, pa.Check.gt(0), nullable=True),
        },
        strict=True,
    ),
    keys=("session", "ticker"),
    rules=(Rule("bracket", "high is at least low", lambda f: ~(f["high"] < f["low"])),),
)


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "session": pd.to_datetime(["2018-01-02", "2018-01-02", "2018-01-03"]).astype("datetime64[us]"),
            "ticker": pd.Series(["A", "B", "A"], dtype="str"),
            "low": [1.0, 2.0, 3.0],
            "high": [1.5, None, 3.0],
        }
    )


def test_a_good_frame_passes_every_check() -> None:
    verdict = CONTRACT.validate(frame())
    assert verdict.passed
    assert set(verdict.checks) == set(CONTRACT.check_names())


def test_a_frame_without_rows_passes() -> None:
    assert CONTRACT.validate(frame().iloc[:0]).passed


def test_a_value_out_of_range_names_column_value_and_row() -> None:
    verdict = CONTRACT.validate(frame().assign(low=[1.0, -2.0, 3.0]))
    assert not verdict.checks["schema"].passed
    assert "low: greater_than(0) fails for -2.0 in row session=2018-01-02, ticker=B" in verdict.reasons()[0]


def test_a_missing_or_unknown_column_fails() -> None:
    assert not CONTRACT.validate(frame().drop(columns="low")).passed
    assert not CONTRACT.validate(frame().assign(extra=1)).passed


def test_duplicate_keys_disorder_and_rules_are_told_apart() -> None:
    twice = pd.concat([frame(), frame().iloc[:1]], ignore_index=True)
    assert CONTRACT.validate(twice).checks["unique_keys"].failed_rows == 2
    assert not CONTRACT.validate(frame().iloc[::-1].reset_index(drop=True)).checks["sorted"].passed
    crossed = CONTRACT.validate(frame().assign(high=[0.5, None, 3.0]))
    assert crossed.checks["bracket"] == Outcome(False, 1, ("row session=2018-01-02, ticker=A",))
    assert crossed.checks["schema"].passed


def test_several_frames_are_judged_each_for_itself_as_if_alone() -> None:
    bad, other = frame().assign(low=[1.0, -2.0, 3.0]), frame().assign(low=[1, 2, 3])
    for frames in ([frame(), frame()], [frame(), bad, frame().iloc[:0]], [frame(), other], [frame()], []):
        assert CONTRACT.validate_all(frames) == [CONTRACT.validate(one) for one in frames]


def test_validation_changes_nothing() -> None:
    subject = frame()
    CONTRACT.validate(subject)
    pd.testing.assert_frame_equal(subject, frame())


def test_a_verdict_survives_a_footer() -> None:
    verdict = CONTRACT.validate(frame().assign(low=[1.0, -2.0, 3.0]))
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_arranging_sorts_by_key_and_orders_columns() -> None:
    shuffled = frame().iloc[[2, 0, 1]][["high", "low", "ticker", "session"]]
    pd.testing.assert_frame_equal(CONTRACT.arrange(shuffled), frame())
