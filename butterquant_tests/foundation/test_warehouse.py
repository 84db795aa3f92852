"""One suite for both databases: what holds for SQLite holds for PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from butterquant_assets.foundation.errors import WarehouseError
from butterquant_assets.foundation.sql_files import sql_folder
from butterquant_assets.foundation.warehouse import Warehouse
from butterquant_tests.foundation.warehouse_rows import DAILY_METRICS, daily_metrics, export, model


@pytest.fixture
def warehouse(warehouse_url: str) -> Iterator[Warehouse]:
    with Warehouse(warehouse_url) as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    """A copy of the project's SQL that a test may change."""
    return Path(shutil.copytree(sql_folder(), tmp_path / "sql"))


def test_daily_metrics_has_the_columns_of_the_document(warehouse: Warehouse) -> None:
    assert export(warehouse).columns.tolist() == DAILY_METRICS


def test_a_frame_comes_back_as_it_was_written(warehouse: Warehouse) -> None:
    frame = daily_metrics(57)
    assert warehouse.upsert_frame("upsert_daily_metrics", frame, chunk=10) == 57
    assert_frame_equal(export(warehouse), frame, check_exact=True)


def test_types_do_not_depend_on_the_rows_found(warehouse: Warehouse) -> None:
    types = daily_metrics(1).dtypes
    assert export(warehouse).dtypes.equals(types)
    frame = daily_metrics(3)
    frame["expected_roi"] = np.nan
    frame["model_version"] = pd.Series([None] * 3, dtype="str")
    warehouse.upsert_frame("upsert_daily_metrics", frame)
    found = export(warehouse)
    assert found.dtypes.equals(types)
    assert found["expected_roi"].isna().all()
    assert found["model_version"].isna().all()


def test_writing_a_frame_again_changes_nothing_and_corrections_replace(warehouse: Warehouse) -> None:
    frame = daily_metrics(20)
    warehouse.upsert_frame("upsert_daily_metrics", frame)
    warehouse.upsert_frame("upsert_daily_metrics", frame)
    assert_frame_equal(export(warehouse), frame, check_exact=True)
    frame.loc[3, ["trend_slope", "theta"]] = [9.5, np.nan]
    warehouse.upsert_frame("upsert_daily_metrics", frame.iloc[[3]])
    assert_frame_equal(export(warehouse), frame, check_exact=True)


def test_the_export_keeps_scores_above_the_minimum_only(warehouse: Warehouse) -> None:
    frame = daily_metrics(4)
    frame["total_score"] = [49.9, 50.0, 50.1, np.nan]
    warehouse.upsert_frame("upsert_daily_metrics", frame)
    assert export(warehouse, minimum_score=50)["total_score"].tolist() == [50.1]


def test_an_empty_frame_writes_nothing(warehouse: Warehouse) -> None:
    assert warehouse.upsert_frame("upsert_daily_metrics", daily_metrics(3).iloc[:0]) == 0
    assert export(warehouse).empty


def test_a_row_the_database_refuses_takes_the_whole_frame_with_it(warehouse: Warehouse) -> None:
    frame = daily_metrics(25)
    frame["ticker"] = frame["ticker"].where(frame.index != 23, None)
    with pytest.raises(WarehouseError, match=r"upsert_daily_metrics failed on .*(NOT NULL|null value)"):
        warehouse.upsert_frame("upsert_daily_metrics", frame, chunk=5)
    assert export(warehouse).empty


def test_a_repeated_key_is_refused_not_overwritten(warehouse: Warehouse) -> None:
    frame = pd.concat([daily_metrics(3), daily_metrics(1)], ignore_index=True)
    with pytest.raises(WarehouseError, match=r"1 rows repeat a key .* time=2018-01-02 00:00:00, ticker=SIM00"):
        warehouse.upsert_frame("upsert_daily_metrics", frame)


def test_columns_that_are_not_the_parameters_are_named(warehouse: Warehouse) -> None:
    frame = daily_metrics(1).rename(columns={"theta": "tehta"})
    with pytest.raises(WarehouseError, match="missing: theta; not known to it: tehta"):
        warehouse.upsert_frame("upsert_daily_metrics", frame)
    with pytest.raises(WarehouseError, match="missing: model"):
        warehouse.fetch("champion")


def test_timestamps_with_a_time_zone_are_refused(warehouse: Warehouse) -> None:
    frame = daily_metrics(2)
    frame["time"] = frame["time"].dt.tz_localize("UTC")
    with pytest.raises(WarehouseError, match="has a time zone"):
        warehouse.upsert_frame("upsert_daily_metrics", frame)
    with pytest.raises(WarehouseError, match="has a time zone"):
        warehouse.execute("upsert_model", model("v1", published_at=datetime(2026, 1, 1, tzinfo=UTC)))


def test_numpy_values_are_written_as_what_they_are(warehouse: Warehouse) -> None:
    row: dict[str, object] = dict.fromkeys(DAILY_METRICS)
    row |= {"time": np.datetime64("2018-01-02T00:00:00.000000000"), "ticker": np.str_("SIM01")}
    row |= {"delta": np.float32(0.5), "theta": np.float64("nan"), "total_score": np.int64(60)}
    assert warehouse.execute("upsert_daily_metrics", row) == 1
    found = export(warehouse).iloc[0]
    assert (found["time"], found["ticker"]) == (pd.Timestamp("2018-01-02"), "SIM01")
    assert (found["delta"], found["total_score"]) == (0.5, 60.0)
    assert np.isnan(found["theta"])


def test_a_list_of_parameters_is_written_in_one_transaction(warehouse: Warehouse) -> None:
    warehouse.execute("upsert_model", [model("v1"), model("v2")])
    with pytest.raises(WarehouseError):
        warehouse.execute("upsert_model", [model("v3"), model("v4", role="king")])
    found = warehouse.fetch("models", {"model": "success"})
    assert found["version"].tolist() == ["v1", "v2"]
    assert warehouse.execute("upsert_model", []) == 0


def test_a_model_version_has_a_time_of_publication_only_when_given_one(warehouse: Warehouse) -> None:
    at = datetime(2026, 3, 1, 12, 30, 0, 250_000)
    warehouse.execute("upsert_model", [model("v1"), model("v2", published_at=at)])
    found = warehouse.fetch("models", {"model": "success"}).set_index("version")["published_at"]
    assert found["v1"] is pd.NaT
    assert found["v2"] == pd.Timestamp(at)


def test_the_database_itself_refuses_a_second_champion_and_unknown_roles(warehouse: Warehouse) -> None:
    warehouse.execute("upsert_model", model("v1", role="champion"))
    for row in (model("v2", role="champion"), model("v3", role="king")):
        with pytest.raises(WarehouseError, match="upsert_model failed"):
            warehouse.execute("upsert_model", row)


def test_publishing_a_version_again_refreshes_its_evidence_and_keeps_its_role(warehouse: Warehouse) -> None:
    warehouse.execute("upsert_model", model("v1", role="champion", published_at=datetime(2026, 1, 1)))
    warehouse.execute("upsert_model", model("v1", metrics="{}"))
    found = warehouse.fetch("champion", {"model": "success"}).iloc[0]
    assert (found["metrics"], found["published_at"]) == ("{}", pd.Timestamp("2026-01-01"))


def test_values_are_parameters_not_sql(warehouse: Warehouse) -> None:
    nasty = "x'); DROP TABLE model_registry; -- 100 % :model"
    warehouse.execute("upsert_model", model(nasty))
    assert warehouse.fetch("models", {"model": "success"})["version"].tolist() == [nasty]


def test_an_unknown_query_is_named_with_those_there_are(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError, match=r"no query is named 'champoin' .* known: .*champion, "):
        warehouse.fetch("champoin")
    with pytest.raises(WarehouseError, match="no query is named"):
        warehouse.fetch("../migrations/0001_model_registry")


def test_a_database_without_the_schema_says_what_is_missing(warehouse_url: str) -> None:
    with Warehouse(warehouse_url) as empty, pytest.raises(WarehouseError, match=r"champion failed on .*model_registry"):
        empty.fetch("champion", {"model": "success"})


def test_a_query_whose_comment_does_not_match_its_result_is_refused(warehouse_url: str, sql: Path) -> None:
    (sql / "queries" / "odd.sql").write_text("-- returns: a integer\nSELECT 1 AS b")
    (sql / "queries" / "mute.sql").write_text("SELECT 1 AS b")
    with Warehouse(warehouse_url, sql) as warehouse:
        with pytest.raises(WarehouseError, match=r"returns .*'b'.*, its comment says .*'a'"):
            warehouse.fetch("odd")
        with pytest.raises(WarehouseError, match="needs one statement and a '-- returns:' comment"):
            warehouse.fetch("mute")


def test_a_stream_gives_in_pieces_what_a_fetch_gives_at_once(warehouse: Warehouse) -> None:
    frame = daily_metrics(57)
    warehouse.upsert_frame("upsert_daily_metrics", frame)
    params = {"first": date(2000, 1, 1), "last": date(2100, 1, 1), "minimum_score": -1e9}
    pieces = list(warehouse.stream("export_daily_metrics", params, chunk=10))
    assert [len(piece) for piece in pieces] == [10, 10, 10, 10, 10, 7]
    assert_frame_equal(pd.concat(pieces, ignore_index=True), export(warehouse), check_exact=True)


def test_a_stream_of_nothing_gives_one_empty_piece_with_its_types(warehouse: Warehouse) -> None:
    params = {"first": date(2000, 1, 1), "last": date(2000, 1, 1), "minimum_score": 0.0}
    (piece,) = warehouse.stream("export_daily_metrics", params)
    assert piece.empty
    assert piece.dtypes.equals(daily_metrics(1).dtypes)


def test_a_stream_shows_the_database_as_it_was_when_it_began(warehouse: Warehouse) -> None:
    warehouse.upsert_frame("upsert_daily_metrics", daily_metrics(30).assign(delta=1.0))
    params = {"first": date(2000, 1, 1), "last": date(2100, 1, 1), "minimum_score": -1e9}
    stream = warehouse.stream("export_daily_metrics", params, chunk=10)
    seen = [next(stream)]
    warehouse.upsert_frame("upsert_daily_metrics", daily_metrics(30).assign(delta=2.0))
    seen += list(stream)
    assert set(pd.concat(seen)["delta"]) == {1.0}


def test_a_stream_that_is_given_up_gives_its_connection_back(warehouse: Warehouse) -> None:
    warehouse.upsert_frame("upsert_daily_metrics", daily_metrics(30))
    params = {"first": date(2000, 1, 1), "last": date(2100, 1, 1), "minimum_score": -1e9}
    for _ in range(30):  # more than any pool holds
        stream = warehouse.stream("export_daily_metrics", params, chunk=5)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
    assert len(export(warehouse)) == 30


def test_replacing_takes_away_what_is_not_written_again_and_nothing_beyond_its_span(warehouse: Warehouse) -> None:
    frame = daily_metrics(40)
    warehouse.upsert_frame("upsert_daily_metrics", frame)
    span = {"first": date(2018, 1, 3), "last": date(2018, 1, 4)}
    inside = frame[frame["time"].between("2018-01-03", "2018-01-04")].drop(index=[12])
    warehouse.replace_frame("upsert_daily_metrics", inside, clear="clear_daily_metrics", params=span)
    assert_frame_equal(export(warehouse), frame.drop(index=[12]).reset_index(drop=True), check_exact=True)


def test_a_replacement_the_database_refuses_leaves_the_former_rows(warehouse: Warehouse) -> None:
    frame = daily_metrics(20)
    warehouse.upsert_frame("upsert_daily_metrics", frame)
    bad = frame.assign(ticker=frame["ticker"].where(frame.index != 15, None))
    span = {"first": date(2018, 1, 1), "last": date(2018, 12, 31)}
    with pytest.raises(WarehouseError, match=r"(NOT NULL|null value)"):
        warehouse.replace_frame("upsert_daily_metrics", bad, clear="clear_daily_metrics", params=span, chunk=4)
    assert_frame_equal(export(warehouse), frame, check_exact=True)
