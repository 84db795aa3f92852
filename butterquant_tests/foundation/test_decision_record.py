"""The record of decisions on both databases: nothing vanishes, nothing that was taken back stands, times are kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from butterquant_assets.foundation.decision_record import GONE, record_month
from butterquant_assets.foundation.decision_trace import trace_decision, trace_text
from butterquant_assets.foundation.errors import WarehouseError
from butterquant_assets.foundation.sql_files import read_query, sql_folder
from butterquant_assets.foundation.warehouse import Warehouse

DAYS = [pd.Timestamp("2018-02-05"), pd.Timestamp("2018-02-06")]
FIRST, SECOND, THIRD = (datetime(2018, 2, 6 + n, 3, 30, 15, 250, tzinfo=UTC) for n in range(3))
SPAN = {"first": pd.Timestamp("2018-01-01"), "last": pd.Timestamp("2018-12-31")}
KEYS = ["session", "ticker"]
NO_REJECTS = pd.DataFrame({"session": pd.Series(dtype="datetime64[us]"), "ticker": [], "reason": []}).astype(
    {"ticker": "str", "reason": "str"}
)


@pytest.fixture
def warehouse(warehouse_url: str) -> Iterator[Warehouse]:
    with Warehouse(warehouse_url) as opened:
        opened.migrate()
        yield opened


def decisions(tickers: str = "AB", *, model: str = "v1", timing: str = "in_time", days: Any = DAYS) -> pd.DataFrame:
    """Decisions of the AI track and the baseline: each takes all, first come first."""
    parameters = read_query(sql_folder(), "upsert_trade_decisions", "sqlite").parameters
    blank: dict[str, object] = dict.fromkeys(name for name in parameters if name != "decided_at")
    rows = [
        blank
        | {"session": day, "ticker": ticker, "track": track, "route": "champion", "rank": place, "selected": 1}
        | {"model_version": model if track == "ai" else None, "reason": f"rank {place}", "timing": timing, "p1": 0.5}
        for day in days
        for place, ticker in enumerate(tickers, 1)
        for track in ("ai", "baseline")
    ]
    frame = pd.DataFrame(rows, columns=[name for name in parameters if name != "decided_at"])
    return frame.astype({"session": "datetime64[us]", "ticker": "str", "model_version": "str"})


def outcomes(tickers: str = "AB") -> pd.DataFrame:
    frame = decisions(tickers)[KEYS].drop_duplicates().reset_index(drop=True)
    return frame.assign(evaluation_session=pd.Timestamp("2018-03-05"), roi_mark=0.1, roi_net=0.05, label=1)


def record(
    warehouse: Warehouse,
    decided: pd.DataFrame,
    at: datetime = FIRST,
    *,
    analysed: pd.DataFrame | None = None,
    rejects: pd.DataFrame = NO_REJECTS,
    known: pd.DataFrame | None = None,
) -> dict[str, int]:
    analysed = decided[KEYS].drop_duplicates() if analysed is None else analysed
    known = outcomes().merge(analysed, on=KEYS) if known is None else known
    return record_month(warehouse, "2018-02", decided, known, analysed=analysed, rejects=rejects, at=at)


def found(warehouse: Warehouse) -> pd.DataFrame:
    return warehouse.fetch("trade_decisions", SPAN)


def selected(warehouse: Warehouse) -> set[tuple[str, str, str]]:
    """Day, ticker and track of what is selected."""
    rows = found(warehouse)
    rows = rows[rows["selected"] == 1]
    return set(zip(rows["session"].dt.strftime("%d"), rows["ticker"], rows["track"], strict=True))


def naive(at: datetime) -> pd.Timestamp:
    return pd.Timestamp(at.astimezone(UTC).replace(tzinfo=None))


def test_what_a_correction_takes_away_is_selected_no_more_and_does_not_vanish(warehouse: Warehouse) -> None:
    record(warehouse, decisions("AB"))
    done = record(warehouse, decisions("B"), SECOND)
    assert done == {"withdrawn": 2, "replays_withdrawn": 0, "decided": 4, "outcomes": 2}
    assert {ticker for _, ticker, _ in selected(warehouse)} == {"B"}
    rows = found(warehouse)
    gone = rows[rows["ticker"] == "A"]
    assert len(gone) == 4
    assert (gone["withdrawn_at"] == naive(SECOND)).all()
    assert set(gone["withdrawn_reason"]) == {GONE}
    assert gone["rank"].isna().all()
    # What was decided at the time, and why, is still there.
    assert (gone["first_selected"] == 1).all()
    assert (gone["decided_at"] == naive(FIRST)).all()
    assert set(gone["reason"]) == {"rank 1"}
    assert rows.loc[rows["ticker"] == "B", ["withdrawn_at", "withdrawn_reason"]].isna().all(axis=None)
    left = warehouse.fetch("decision_outcomes", SPAN | {"known_by": pd.Timestamp("2018-12-31")})
    assert set(left["ticker"]) == {"B"}


def test_the_reason_of_a_reject_is_told(warehouse: Warehouse) -> None:
    record(warehouse, decisions("AB"))
    rejects = pd.DataFrame({"session": DAYS[:1], "ticker": ["A"], "reason": ["zero_volume"]})
    rejects = pd.concat([rejects, rejects], ignore_index=True)
    record(warehouse, decisions("B"), SECOND, rejects=rejects)
    gone = found(warehouse).query("ticker == 'A'").drop_duplicates("session")
    assert gone["withdrawn_reason"].tolist() == ["no analysis any more: zero_volume", GONE]


def test_decisions_of_every_model_on_data_that_was_taken_back_are_withdrawn(warehouse: Warehouse) -> None:
    record(warehouse, decisions("AB", model="v1"))
    record(warehouse, decisions("AB", model="v2", timing="afterwards"), SECOND)
    record(warehouse, decisions("B", model="v2", timing="afterwards"), THIRD)
    gone = found(warehouse).query("ticker == 'A'")
    assert gone["withdrawn_at"].notna().all()
    assert gone["model_version"].isna().sum() == 2
    assert set(gone["model_version"].dropna()) == {"v1", "v2"}


def test_a_month_that_lost_everything_keeps_its_decisions_withdrawn(warehouse: Warehouse) -> None:
    record(warehouse, decisions("AB"))
    nothing = decisions("AB").iloc[:0]
    assert record(warehouse, nothing, SECOND)["withdrawn"] == 4
    assert selected(warehouse) == set()
    assert len(found(warehouse)) == 8
    assert warehouse.fetch("decision_outcomes", SPAN | {"known_by": pd.Timestamp("2018-12-31")}).empty


def test_a_decision_on_what_is_not_analysed_any_more_does_not_come_back(warehouse: Warehouse) -> None:
    record(warehouse, decisions("AB"))
    for at in (SECOND, THIRD):  # the decisions were not made again yet
        record(warehouse, decisions("AB"), at, analysed=decisions("B")[KEYS].drop_duplicates())
        assert {ticker for _, ticker, _ in selected(warehouse)} == {"B"}
    assert set(found(warehouse)["withdrawn_at"].dropna()) == {naive(SECOND)}


def test_another_month_is_left_alone(warehouse: Warehouse) -> None:
    around = decisions("A", days=[pd.Timestamp("2018-01-31"), pd.Timestamp("2018-03-01")])
    warehouse.upsert_frame("upsert_trade_decisions", around.assign(decided_at=FIRST.replace(tzinfo=None)))
    record(warehouse, decisions("B"), SECOND)
    assert {("31", "A", "ai"), ("01", "A", "baseline")} < selected(warehouse)


def test_what_comes_back_stands_again_with_its_first_time_and_says_that_it_was_revised(warehouse: Warehouse) -> None:
    record(warehouse, decisions("AB"))
    record(warehouse, decisions("B"), SECOND)
    record(warehouse, decisions("AB", timing="afterwards"), THIRD)
    rows = found(warehouse)
    assert (rows["selected"] == 1).all()
    assert rows[["withdrawn_at", "withdrawn_reason"]].isna().all(axis=None)
    assert (rows["decided_at"] == naive(FIRST)).all()
    assert set(rows["timing"]) == {"in_time"}
    # B was rank 2, then 1, then 2 again; A was gone in between.
    assert (rows["revised_at"] == naive(THIRD)).all()


def test_writing_the_same_again_later_changes_nothing(warehouse: Warehouse) -> None:
    record(warehouse, decisions("AB"))
    before = found(warehouse)
    assert (before["decided_at"] == naive(FIRST)).all()
    later = decisions("AB", timing="afterwards")
    assert record(warehouse, later, SECOND) == {"withdrawn": 0, "replays_withdrawn": 0, "decided": 8, "outcomes": 4}
    assert_frame_equal(found(warehouse), before, check_exact=True)
    record(warehouse, decisions("B"), SECOND)
    withdrawn = found(warehouse)
    record(warehouse, decisions("B"), THIRD)
    assert_frame_equal(found(warehouse), withdrawn, check_exact=True)


CHANGES: list[tuple[str, object]] = [
    ("selected", 0), ("rank", 9), ("rank", None), ("route", "challenger"), ("p1", 0.5 + 1e-16 * 2), ("p1", None),
    ("p0", 0.1), ("passes_gate", 1), ("threshold_chosen", 0.2), ("total_score", 60.0), ("reason", "another"),
]  # fmt: skip


@pytest.mark.parametrize(("column", "value"), CHANGES)
def test_a_decision_that_a_correction_changed_says_when_and_what_was_first_selected(
    warehouse: Warehouse, column: str, value: object
) -> None:
    record(warehouse, decisions("AB"))
    corrected = decisions("AB", timing="afterwards").astype({column: object})
    corrected.loc[0, column] = value
    record(warehouse, corrected, SECOND)
    rows = found(warehouse)
    mine = (rows["session"] == DAYS[0]) & (rows["ticker"] == "A") & (rows["track"] == "ai")
    assert mine.sum() == 1
    changed = rows[mine].iloc[0]
    assert changed["revised_at"] == naive(SECOND)
    assert (changed["decided_at"], changed["timing"], changed["first_selected"]) == (naive(FIRST), "in_time", 1)
    assert rows.loc[~mine, "revised_at"].isna().all()

    (former,) = revisions(warehouse).to_dict("records")
    assert (former["session"], former["ticker"], former["track"]) == (DAYS[0], "A", "ai")
    assert (former["decided_by"], former["timing"], former["route"]) == ("v1", "in_time", "champion")
    assert (former["said_since"], former["superseded_at"]) == (naive(FIRST), naive(SECOND))
    assert (former["rank"], former["selected"], former["p1"], former["reason"]) == (1, 1, 0.5, "rank 1")


def revisions(warehouse: Warehouse) -> pd.DataFrame:
    return warehouse.fetch("decision_revisions", SPAN)


def test_everything_a_decision_of_the_time_ever_said_is_on_record_and_when(warehouse: Warehouse) -> None:
    said = [0.5, 0.25, 0.125]
    for place, p1 in enumerate(said):
        record(warehouse, decisions("A").assign(p1=p1), FIRST + timedelta(days=place))
    record(warehouse, decisions("B"), FIRST + timedelta(days=3))  # A is withdrawn
    record(warehouse, decisions("AB").assign(p1=0.75), FIRST + timedelta(days=4))
    rows = revisions(warehouse).query("ticker == 'A' and track == 'ai'")
    rows = rows[rows["session"] == DAYS[0]]
    assert rows["p1"].tolist() == said
    starts = [naive(FIRST + timedelta(days=n)) for n in range(4)]
    assert rows["said_since"].tolist() == starts[:3]
    assert rows["superseded_at"].tolist() == starts[1:]
    assert set(rows["selected"]) == {1}  # as it was before it was withdrawn
    standing = found(warehouse).query("ticker == 'A' and track == 'ai'")
    assert set(standing["p1"]) == {0.75}


def standing(warehouse: Warehouse, sql: Path, at: datetime) -> set[tuple[str, str, float]]:
    """Ticker, track and p1 of what was selected at a moment, by the view that the documentation names."""
    (sql / "queries" / "standing.sql").write_text(
        "-- returns: ticker text, track text, p1 double\n"
        "SELECT ticker, track, p1 FROM decision_versions WHERE session = :session AND said_since < :at\n"
        "AND (said_until IS NULL OR said_until >= :at) AND selected = 1"
    )
    with Warehouse(warehouse.url, sql) as looking:
        rows = looking.fetch("standing", {"session": DAYS[0], "at": naive(at)})
    return set(rows.itertuples(index=False, name=None))


def test_what_stood_at_a_moment_is_found_whatever_was_said_before_and_after(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    sql, moment = Path(shutil.copytree(sql_folder(), tmp_path / "sql")), timedelta(hours=1)
    days = DAYS[:1]
    record(warehouse, decisions("AB", days=days, timing="early"))
    record(warehouse, decisions("BC", days=days).assign(p1=0.7), SECOND)
    record(warehouse, decisions("ABC", days=days, timing="afterwards").assign(p1=0.9), THIRD)
    assert standing(warehouse, sql, FIRST - moment) == set()
    at_first = {(ticker, track, 0.5) for ticker in "AB" for track in ("ai", "baseline")}
    assert standing(warehouse, sql, FIRST + moment) == at_first
    later = {(ticker, track, 0.7) for ticker in "BC" for track in ("ai", "baseline")}
    assert standing(warehouse, sql, SECOND + moment) == later
    last = {(ticker, track, 0.9) for ticker in "ABC" for track in ("ai", "baseline")}
    assert standing(warehouse, sql, THIRD + moment) == last


def changing(warehouse: Warehouse, sql: Path, statement: str) -> None:
    name = f"change_{len(list((sql / 'queries').iterdir()))}"  # a query is read once
    (sql / "queries" / f"{name}.sql").write_text(statement)
    with Warehouse(warehouse.url, sql) as careless:
        careless.execute(name)


def test_a_writer_that_forgets_to_say_when_it_changed_a_decision_leaves_it_on_record_all_the_same(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    sql = Path(shutil.copytree(sql_folder(), tmp_path / "sql"))
    record(warehouse, decisions("A", days=DAYS[:1]))
    changing(warehouse, sql, "UPDATE trade_decisions SET p1 = 0.9 WHERE track = 'ai'")
    (former,) = warehouse.fetch("decision_revisions", SPAN).to_dict("records")
    assert (former["track"], former["p1"], former["said_since"]) == ("ai", 0.5, naive(FIRST))
    assert abs(former["superseded_at"] - pd.Timestamp.now("UTC").tz_localize(None)) < pd.Timedelta("1min")
    changing(warehouse, sql, "UPDATE trade_decisions SET bars_content = 'x'")  # that says nothing else
    assert len(warehouse.fetch("decision_revisions", SPAN)) == 1


def test_a_decision_made_at_the_time_cannot_be_deleted_and_a_replay_can(warehouse: Warehouse, tmp_path: Path) -> None:
    sql = Path(shutil.copytree(sql_folder(), tmp_path / "sql"))
    record(warehouse, decisions("A"))
    with pytest.raises(WarehouseError, match="withdrawn, never deleted"):
        changing(warehouse, sql, "DELETE FROM trade_decisions")
    assert len(found(warehouse)) == 4
    record(warehouse, decisions("AB", timing="afterwards"), SECOND)
    changing(warehouse, sql, "DELETE FROM trade_decisions WHERE timing = 'afterwards'")
    assert set(found(warehouse)["ticker"]) == {"A"}


def test_the_baseline_says_the_same_wherever_its_ticker_is_routed(warehouse: Warehouse) -> None:
    record(warehouse, decisions("AB"))
    record(warehouse, decisions("AB").assign(route="challenger"), SECOND)
    rows = found(warehouse)
    assert rows.loc[rows["track"] == "baseline", "revised_at"].isna().all()
    assert (rows.loc[rows["track"] == "ai", "revised_at"] == naive(SECOND)).all()
    assert set(revisions(warehouse)["track"]) == {"ai"}


def test_replays_leave_no_former_figures(warehouse: Warehouse) -> None:
    record(warehouse, decisions("AB", timing="afterwards"))
    record(warehouse, decisions("AB", timing="afterwards").assign(p1=0.25), SECOND)
    record(warehouse, decisions("B", timing="afterwards"), THIRD)
    assert revisions(warehouse).empty


def test_what_cannot_be_written_leaves_no_former_figures_either(warehouse: Warehouse) -> None:
    record(warehouse, decisions("AB"))
    broken = decisions("AB").assign(p1=0.25)
    broken.loc[7, "rank"] = 0
    with pytest.raises(WarehouseError, match="upsert_trade_decisions failed"):
        record(warehouse, broken, SECOND)
    assert revisions(warehouse).empty


def test_a_clock_that_was_set_back_loses_nothing(warehouse: Warehouse) -> None:
    for p1, at in ((0.5, SECOND), (0.25, THIRD), (0.125, FIRST), (0.0625, THIRD), (0.03125, SECOND)):
        record(warehouse, decisions("A").assign(p1=p1), at)
    rows = revisions(warehouse)
    assert sorted(rows["p1"].unique()) == [0.0625, 0.125, 0.25, 0.5]
    assert len(rows) == 16


def test_a_decision_is_traced_with_what_it_said_before_and_what_came(warehouse: Warehouse) -> None:
    record(warehouse, decisions("AB").assign(p0=0.25, p2=0.125, p3=0.125, expected_roi_training=0.031))
    record(warehouse, decisions("BA").assign(p0=0.5, p1=0.25, p2=0.125, p3=0.125, total_score=61.5), SECOND)
    trace = trace_decision(warehouse, DAYS[0].date(), "A")
    assert [each["track"] for each in trace.decisions] == ["ai", "baseline"]
    ai = trace.decisions[0]
    assert (ai["p0"], ai["rank"], ai["revised_at"]) == (0.5, 2, "2018-02-07 03:30:15")
    (former,) = ai["said_before"]
    assert (former["p0"], former["rank"], former["said_since"]) == (0.25, 1, "2018-02-06 03:30:15")
    assert json.loads(json.dumps(trace.to_json()))["decisions"][0]["roi_net"] == 0.05
    text = trace_text(trace)
    assert "outcome on 2018-03-05: ROI +5.0 % net, +10.0 % at mid prices (small)" in text
    assert "ai, decided by v1 (champion) 2018-02-06 03:30:15 UTC, in_time" in text
    assert "baseline, decided by the baseline 2018-02-06" in text
    assert "  selected, rank 2, total score 61.5\n  probabilities: loss 0.500, small 0.250" in text
    assert "  said until 2018-02-07 03:30:15:\n    selected, rank 1, total score none" in text
    assert "    expected ROI +3.1 % over a threshold of none" in text


def test_a_withdrawn_decision_and_one_without_an_outcome_say_so(warehouse: Warehouse) -> None:
    record(warehouse, decisions("AB"))
    record(warehouse, decisions("B"), SECOND)
    text = trace_text(trace_decision(warehouse, DAYS[0].date(), "A"))
    assert "outcome: not known yet, or taken back" in text
    assert f"  withdrawn 2018-02-07 03:30:15: {GONE}" in text
    assert f"  said until 2018-02-07 03:30:15, when it was withdrawn ({GONE}):\n    selected, rank 1" in text
    record(warehouse, decisions("AB"), THIRD)
    back = trace_text(trace_decision(warehouse, DAYS[0].date(), "A"))
    assert "  says so since 2018-02-08 03:30:15\n  said until 2018-02-07 03:30:15, when it was withdrawn" in back


def test_a_butterfly_nobody_decided_on_is_refused_with_those_that_there_are(warehouse: Warehouse) -> None:
    record(warehouse, decisions("AB"))
    with pytest.raises(
        WarehouseError, match="no decision about C on 2018-02-05 is on record; that day there are 2: A, B"
    ):
        trace_decision(warehouse, DAYS[0].date(), "C")
    record(warehouse, decisions("AB").iloc[:0], SECOND)  # all are withdrawn, and on record
    with pytest.raises(WarehouseError, match="that day there are 2: A, B"):
        trace_decision(warehouse, DAYS[0].date(), "C")
    with pytest.raises(WarehouseError, match="none about any other ticker either"):
        trace_decision(warehouse, date(2018, 2, 7), "A")


def test_another_content_under_the_same_decision_is_no_revision(warehouse: Warehouse) -> None:
    record(warehouse, decisions("AB"))
    record(warehouse, decisions("AB").assign(analysis_content="x", bars_content="y"), SECOND)
    rows = found(warehouse)
    assert set(rows["analysis_content"]) == {"x"}
    assert rows["revised_at"].isna().all()


def test_a_replay_is_told_from_decisions_of_the_time(warehouse: Warehouse) -> None:
    record(warehouse, decisions("AB", model="v1"))
    record(warehouse, decisions("AB", model="v2", timing="afterwards"), SECOND)
    models = found(warehouse).query("track == 'ai'").groupby("model_version")
    assert models["timing"].unique().map(list).to_dict() == {"v1": ["in_time"], "v2": ["afterwards"]}
    assert models["decided_at"].max().to_dict() == {"v1": naive(FIRST), "v2": naive(SECOND)}


def routed_away(warehouse: Warehouse, timing: str) -> pd.DataFrame:
    """Decisions of v1 on A after A was routed to v2; A and B are analysed as before."""
    record(warehouse, decisions("AB", model="v1", timing=timing))
    both = decisions("AB", model="v1", timing="afterwards")
    moved = (both["ticker"] == "A") & (both["track"] == "ai")
    both.loc[moved, ["model_version", "route"]] = ["v2", "challenger"]
    record(warehouse, both, SECOND)
    return found(warehouse).query("ticker == 'A' and model_version == 'v1'")


def test_a_replay_its_model_makes_no_more_is_withdrawn(warehouse: Warehouse) -> None:
    rows = routed_away(warehouse, "afterwards")
    assert (rows["withdrawn_at"] == naive(SECOND)).all()
    assert set(rows["withdrawn_reason"]) == {"v1 does not decide on it any more: another model does, or none may"}
    assert (rows["selected"] == 0).all()
    assert len(selected(warehouse)) == 8


@pytest.mark.parametrize("timing", ["in_time", "early"])
def test_what_was_decided_at_the_time_stands_whoever_decides_now(warehouse: Warehouse, timing: str) -> None:
    rows = routed_away(warehouse, timing)
    assert rows["withdrawn_at"].isna().all()
    assert (rows["selected"] == 1).all()


def test_what_the_feedback_ledger_took_stands_whoever_decides_now(warehouse: Warehouse) -> None:
    taken = outcomes("A").iloc[:1][["session", "ticker", "evaluation_session", "roi_net"]]
    taken = taken.assign(
        take=1, taken_at=naive(FIRST), known_until=pd.Timestamp("2018-03-05"), tracks="ai", route="champion",
        model_version="v1", content="c",
    )  # fmt: skip
    warehouse.upsert_frame("insert_feedback", taken)
    rows = routed_away(warehouse, "afterwards")
    assert rows.set_index("session")["withdrawn_at"].isna().to_dict() == {DAYS[0]: True, DAYS[1]: False}


def test_a_replay_of_the_baseline_goes_where_nobody_may_decide_any_more(warehouse: Warehouse) -> None:
    record(warehouse, decisions("AB", timing="afterwards"))
    whole = decisions("AB")[KEYS].drop_duplicates()
    done = record(warehouse, decisions("AB").iloc[:0], SECOND, analysed=whole)
    assert done["replays_withdrawn"] == 4
    assert {track for _, _, track in selected(warehouse)} == {"ai"}  # v1 decides on nothing here: its replay is history


def test_outcomes_that_are_known_no_more_go(warehouse: Warehouse) -> None:
    record(warehouse, decisions("AB"))
    record(warehouse, decisions("AB"), SECOND, known=outcomes("B"))
    left = warehouse.fetch("decision_outcomes", SPAN | {"known_by": pd.Timestamp("2018-12-31")})
    assert set(left["ticker"]) == {"B"}
    assert len(selected(warehouse)) == 8


def test_the_zone_of_the_clock_does_not_matter(warehouse: Warehouse) -> None:
    record(warehouse, decisions("AB"), FIRST.astimezone(timezone(timedelta(hours=-5))))
    assert (found(warehouse)["decided_at"] == naive(FIRST)).all()


def test_a_withdrawn_decision_cannot_be_selected_nor_lack_its_reason(warehouse: Warehouse) -> None:
    record(warehouse, decisions("AB"))
    row = {"session": DAYS[0], "ticker": "A", "withdrawn_at": naive(SECOND), "withdrawn_reason": None}
    with pytest.raises(WarehouseError, match="withdraw_decisions failed"):
        warehouse.execute("withdraw_decisions", row)
    assert len(selected(warehouse)) == 8


def test_decisions_of_an_older_schema_are_kept_without_a_time_and_get_none_later(
    warehouse_url: str, tmp_path: Path
) -> None:
    old = Path(shutil.copytree(sql_folder(), tmp_path / "sql"))
    for path in (old / "migrations").iterdir():
        if path.name >= "0008":
            path.unlink()
    columns = [name for name in decisions().columns if name != "timing"]
    (old / "queries" / "write_old.sql").write_text(
        "-- key: session, ticker, track, model_version\n"
        f"INSERT INTO trade_decisions ({', '.join(columns)}, decided_by) "
        f"VALUES ({', '.join(f':{name}' for name in columns)}, COALESCE(:model_version, 'baseline'));"
    )
    before = decisions("AB")[columns]
    before.loc[0, "selected"] = 0
    before[["p0", "threshold_chosen"]] = 0.25
    with Warehouse(warehouse_url, old) as earlier:
        assert earlier.migrate()[-1] == "0007_signal_recorder"
        earlier.upsert_frame("write_old", before)
    with Warehouse(warehouse_url) as warehouse:
        assert warehouse.migrate()[0] == "0008_decision_times"
        rows = found(warehouse)
        assert len(rows) == 8
        assert rows[["decided_at", "timing", "revised_at", "withdrawn_at"]].isna().all(axis=None)
        assert (rows["first_selected"] == rows["selected"]).all()
        assert rows["first_selected"].sum() == 7
        # Figures of a model that the baseline's row does not name are gone.
        assert (rows["p0"].isna() == (rows["track"] == "baseline")).all()
        assert (rows["threshold_chosen"].isna() == (rows["track"] == "baseline")).all()
        record(warehouse, decisions("B", timing="afterwards"), SECOND)
        rows = found(warehouse)
        assert rows[["decided_at", "timing"]].isna().all(axis=None)
        assert rows["withdrawn_at"].notna().tolist() == (rows["ticker"] == "A").tolist()
        assert rows["first_selected"].sum() == 7
