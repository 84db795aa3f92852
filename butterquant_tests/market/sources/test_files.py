from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.calendar import month_range
from butterquant_assets.foundation.errors import ConfigError, SourceError
from butterquant_assets.market.schemas import BAR_REJECTS, CONTRACTS, EQUITY_BARS
from butterquant_assets.market.sources.base import DATASETS, open_source
from butterquant_assets.market.sources.files import FilesSource
from butterquant_tests.market.raw_bars import split_table, vendor_bars, vendor_vix, write_folder
from butterquant_tests.shared_data import data_dir

MONTHS = ["2016-01", "2016-02", "2016-03"]
ALL = month_range("1985-01", "2022-12")


def files(folder, bars_dataset="stocks_daily"):
    return open_source("files", data_dir=folder, bars_dataset=bars_dataset)


def csv_folder(folder, text):
    (folder / "stocks_daily.csv").write_text(text)
    vendor_vix().to_csv(folder / "vix_daily.csv", index=False)
    return folder


HEADER = "timestamp,symbol,open,high,low,close,volume\n"


def test_parquet_csv_and_folders_of_either_give_the_same_rows(tmp_path):
    bars = pd.concat([vendor_bars(60, "AAA"), vendor_bars(60, "BBB")], ignore_index=True)
    plain = write_folder(tmp_path / "plain", bars)
    (tmp_path / "csv").mkdir()
    csv = csv_folder(tmp_path / "csv", bars.to_csv(index=False))
    parts = write_folder(tmp_path / "parts", bars)
    (parts / "stocks_daily.parquet").unlink()
    (parts / "stocks_daily").mkdir()
    bars[:50].to_parquet(parts / "stocks_daily" / "a.parquet")
    bars[50:].to_csv(parts / "stocks_daily" / "b.csv", index=False)
    expected = files(plain).fetch("equity_bars", MONTHS).rows
    assert len(expected) == 120
    for folder in (csv, parts):
        pd.testing.assert_frame_equal(files(folder).fetch("equity_bars", MONTHS).rows, expected)
    assert files(csv).fingerprints("equity_bars", MONTHS) == files(plain).fingerprints("equity_bars", MONTHS)


def test_a_truncated_parquet_file_is_refused_by_name(tmp_path):
    folder = write_folder(tmp_path, vendor_bars())
    path = folder / "stocks_daily.parquet"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(SourceError, match=r"stocks_daily.parquet is not a readable Parquet file .* again"):
        files(folder).fetch("equity_bars", MONTHS)


def test_a_damaged_page_inside_a_parquet_file_is_refused_too(tmp_path):
    folder = write_folder(tmp_path, vendor_bars())
    path = folder / "stocks_daily.parquet"
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(bytes(content))
    with pytest.raises(SourceError, match=r"stocks_daily.parquet is not a readable Parquet file"):
        files(folder).fetch("equity_bars", MONTHS)


def test_a_csv_without_a_column_is_refused_and_the_column_named(tmp_path):
    folder = csv_folder(tmp_path, "timestamp,symbol,open,high,low,volume\n2016-01-04,AAA,1,2,1,100\n")
    with pytest.raises(SourceError, match=r"stocks_daily.csv lacks column close; it has timestamp, symbol"):
        files(folder).fetch("equity_bars", MONTHS)


def test_a_text_where_a_number_belongs_is_refused_with_line_and_value(tmp_path):
    folder = csv_folder(tmp_path, HEADER + "2016-01-04,AAA,1,2,1,1.5,100\n2016-01-05,AAA,1,2,1,1.5x,100\n")
    with pytest.raises(SourceError, match=r"stocks_daily.csv line 3: close is '1.5x', expected a number"):
        files(folder).fetch("equity_bars", MONTHS)


@pytest.mark.parametrize("timestamp", ["2016-01-05 14:30:00", "05/01/2016", "tomorrow", ""])
def test_a_timestamp_that_is_no_date_is_refused_with_its_line(tmp_path, timestamp):
    folder = csv_folder(tmp_path, HEADER + f"2016-01-04,AAA,1,2,1,1.5,100\n{timestamp},AAA,1,2,1,1.5,100\n")
    with pytest.raises(SourceError, match=r"stocks_daily.csv line 3: timestamp is .* expected the date"):
        files(folder).fetch("equity_bars", MONTHS)


def test_numeric_timestamps_are_refused(tmp_path):
    folder = write_folder(tmp_path, vendor_bars().assign(timestamp=range(60)))
    with pytest.raises(SourceError, match="timestamp holds numbers"):
        files(folder).fetch("equity_bars", MONTHS)


def test_a_line_with_too_many_fields_is_refused(tmp_path):
    folder = csv_folder(tmp_path, HEADER + "2016-01-04,AAA,1,2,1,1.5,100\n2016-01-05,AAA,1,2,1,1.5,100,9,9\n")
    with pytest.raises(SourceError, match=r"stocks_daily.csv is not a readable CSV .* line 3"):
        files(folder).fetch("equity_bars", MONTHS)


def test_a_bar_without_a_symbol_is_refused(tmp_path):
    folder = csv_folder(tmp_path, HEADER + "2016-01-04,,1,2,1,1.5,100\n")
    with pytest.raises(SourceError, match=r"line 2: symbol is missing"):
        files(folder).fetch("equity_bars", MONTHS)


def test_missing_values_in_a_csv_reject_the_row_and_keep_the_others(tmp_path):
    folder = csv_folder(tmp_path, HEADER + "2016-01-04,AAA,1,2,1,,100\n\n2016-01-05,AAA,1,2,1,1.5,NaN\n" + tail())
    delivery = files(folder).fetch("equity_bars", MONTHS)
    assert delivery.rejects[["row", "reason"]].to_numpy().tolist() == [
        ["stocks_daily.csv line 2", "missing_price"],
        ["stocks_daily.csv line 4", "missing_volume"],
    ]
    assert len(delivery.rows) == 1


def tail() -> str:
    return "2016-01-06,AAA,1,2,1,1.5,100\n"


@pytest.mark.parametrize("missing", ["stocks_daily", "vix_daily"])
def test_a_folder_without_a_needed_file_is_refused(tmp_path, missing):
    folder = write_folder(tmp_path, vendor_bars())
    (folder / f"{missing}.parquet").unlink()
    with pytest.raises(SourceError, match=rf"has no {missing}.parquet, {missing}.csv"):
        files(folder)


def test_a_dataset_in_two_forms_is_refused(tmp_path):
    folder = write_folder(tmp_path, vendor_bars())
    vendor_bars().to_csv(folder / "stocks_daily.csv")
    with pytest.raises(SourceError, match="exists more than once"):
        files(folder)


def test_an_unknown_source_dataset_or_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="unknown source 'yahoo'"):
        open_source("yahoo")
    with pytest.raises(ConfigError, match="needs a folder"):
        open_source("files")
    with pytest.raises(SourceError, match="does not exist"):
        files(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="unknown dataset 'bars'"):
        files(write_folder(tmp_path, vendor_bars())).fetch("bars", MONTHS)


def test_two_files_that_disagree_about_a_split_are_refused(tmp_path):
    bars = vendor_bars().assign(split_ratio=0.0)
    bars.loc[20, "split_ratio"] = 2.0
    folder = write_folder(tmp_path, bars, splits=split_table((str(bars["timestamp"][20].date()), "AAA", 3.0)))
    with pytest.raises(SourceError, match=r"different splits of AAA on .* \(3 and 2\)"):
        files(folder).fetch("equity_bars", MONTHS)


def test_a_split_of_zero_in_the_table_is_refused(tmp_path):
    folder = write_folder(tmp_path, vendor_bars(), splits=split_table(("2016-02-01", "AAA", 0.0)))
    with pytest.raises(SourceError, match=r"stock_splits.parquet row 1: split_ratio is 0.0"):
        files(folder).fetch("equity_bars", MONTHS)


def test_prices_without_a_split_table_are_kept_and_flagged(tmp_path):
    source = files(write_folder(tmp_path, vendor_bars()))
    rows = source.fetch("equity_bars", MONTHS).rows
    assert len(rows) == 60
    assert not rows["quoted"].any()
    assert "quoted = False" in source.describe()["prices"]


def test_splits_in_the_bars_alone_are_undone_but_still_flagged(tmp_path):
    bars = vendor_bars().assign(split_ratio=0.0)
    bars.loc[20, "split_ratio"] = 2.0
    rows = files(write_folder(tmp_path, bars)).fetch("equity_bars", MONTHS).rows
    assert rows["close"][19] == pytest.approx(2 * bars["close"][19])
    assert rows["close"][20] == bars["close"][20]
    assert not rows["quoted"].any()


def test_bars_that_say_they_are_quoted_stay_where_no_split_is_large_enough_to_tell(tmp_path):
    bars = vendor_bars()
    splits = split_table(("2016-02-01", "AAA", 1.28), ("2020-01-02", "AAA", 4.0))
    rows = (
        files(write_folder(tmp_path / "said", bars.assign(quoted=1.0), splits=splits)).fetch("equity_bars", MONTHS).rows
    )
    assert rows["close"].tolist() == bars["close"].tolist()
    assert rows.set_index("session")["split_ratio"]["2016-02-01"] == 1.28
    for folder, given in (("silent", bars), ("denied", bars.assign(quoted=0.0))):
        rows = files(write_folder(tmp_path / folder, given, splits=splits)).fetch("equity_bars", MONTHS).rows
        assert rows["close"][59] == pytest.approx(4 * bars["close"][59])


@pytest.mark.parametrize("said", [[1.0] * 59 + [0.0], [1.0] * 30 + [np.nan] * 30, [2.0] * 60])
def test_bars_that_say_both_are_refused(tmp_path, said):
    with pytest.raises(SourceError, match=r"quoted is .*expected 1 .as quoted on the day. or 0"):
        files(write_folder(tmp_path, vendor_bars().assign(quoted=said))).fetch("equity_bars", MONTHS)


def test_a_vendors_re_adjustment_changes_no_fingerprint(tmp_path):
    bars = vendor_bars(price=300.0)
    bars["volume"] = bars["volume"] * 100
    before = files(write_folder(tmp_path / "a", bars, splits=split_table(("2012-01-03", "AAA", 2.0))))
    prices = ["open", "high", "low", "close"]
    again = bars.assign(volume=np.round(bars["volume"] * 1.061))
    again[prices] = (bars[prices] / 1.061).astype("float32")
    known = split_table(("2012-01-03", "AAA", 2.0), ("2017-05-01", "AAA", 1.061))
    after = files(write_folder(tmp_path / "b", again, splits=known))
    assert after.fingerprints("equity_bars", MONTHS) == before.fingerprints("equity_bars", MONTHS)


def test_a_months_rows_do_not_depend_on_which_months_are_asked(tmp_path):
    source = files(write_folder(tmp_path, pd.concat([vendor_bars(60, "A"), vendor_bars(60, "B")])))
    together = source.fetch("equity_bars", MONTHS).rows
    apart = [files(source.folder).fetch("equity_bars", [month]).rows for month in MONTHS]
    pd.testing.assert_frame_equal(pd.concat(apart, ignore_index=True), together)


def test_one_changed_bar_changes_the_fingerprint_of_its_month_only(tmp_path):
    bars = vendor_bars()
    source = files(write_folder(tmp_path, bars))
    before = source.fingerprints("equity_bars", MONTHS)
    bars.loc[25, "volume"] += 1
    write_folder(tmp_path, bars)
    os.utime(tmp_path / "stocks_daily.parquet", ns=(1, 1))
    after = source.fingerprints("equity_bars", MONTHS)
    assert [month for month in MONTHS if before[month] != after[month]] == ["2016-02"]
    assert before == files(write_folder(tmp_path / "again", vendor_bars())).fingerprints("equity_bars", MONTHS)


def test_a_reject_shows_in_its_months_fingerprint_wherever_its_row_stands(tmp_path):
    bars = vendor_bars()
    clean = files(write_folder(tmp_path / "clean", bars)).fingerprints("equity_bars", MONTHS)
    bars.loc[25, "close"] = -1.0
    first = files(write_folder(tmp_path / "first", bars)).fingerprints("equity_bars", MONTHS)
    moved = files(write_folder(tmp_path / "moved", bars[::-1])).fingerprints("equity_bars", MONTHS)
    assert first != clean
    assert moved == first


def test_a_month_without_vix_is_empty_and_leaves_the_others_alone(tmp_path):
    vix = vendor_vix()
    source = files(write_folder(tmp_path, vendor_bars(), vix[vix["timestamp"].dt.month != 2]))
    assert source.fetch("vix", ["2016-02"]).rows.empty
    assert CONTRACTS["vix"].validate(source.fetch("vix", ["2016-02"]).rows).passed
    whole = files(write_folder(tmp_path / "whole", vendor_bars()))
    pd.testing.assert_frame_equal(source.fetch("vix", ["2016-03"]).rows, whole.fetch("vix", ["2016-03"]).rows)
    assert source.span() == ("2016-01", "2016-03")


def test_three_who_ask_for_a_changed_file_at_once_have_it_parsed_once(tmp_path, monkeypatch):
    source = files(write_folder(tmp_path, vendor_bars()))
    before = source.fetch("equity_bars", MONTHS)
    write_folder(tmp_path, vendor_bars(50))
    parsed, all_ask, read = [], threading.Barrier(3), FilesSource._read

    def slowly(self, dataset, *rest):
        parsed.append(dataset)
        time.sleep(0.2)  # long enough for the others to come to the same place
        return read(self, dataset, *rest)

    def ask(dataset):
        all_ask.wait(timeout=10)
        return source.fetch(dataset, MONTHS)

    monkeypatch.setattr(FilesSource, "_read", slowly)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(ask, ["equity_bars"] * 3))
    assert parsed == ["equity_bars"]
    assert len(found[0].rows) < len(before.rows)
    for one in found:
        pd.testing.assert_frame_equal(one.rows, found[0].rows)


def test_a_file_that_could_not_be_parsed_is_tried_again(tmp_path):
    source = files(write_folder(tmp_path, vendor_bars()))
    good = (tmp_path / "stocks_daily.parquet").read_bytes()
    (tmp_path / "stocks_daily.parquet").write_bytes(good[:-200])
    for _ in range(2):
        with pytest.raises(SourceError, match="not a readable Parquet file"):
            source.fetch("equity_bars", MONTHS)
    (tmp_path / "stocks_daily.parquet").write_bytes(good)
    assert len(source.fetch("equity_bars", MONTHS).rows) > 0


def test_no_month_with_both_bars_and_vix_is_refused(tmp_path):
    source = files(write_folder(tmp_path, vendor_bars(), vendor_vix(start="2018-01-02")))
    with pytest.raises(SourceError, match="no month has both"):
        source.span()


def test_vix_rows_of_another_index_are_refused(tmp_path):
    source = files(write_folder(tmp_path, vendor_bars(), vendor_vix().assign(symbol="VXN")))
    with pytest.raises(SourceError, match="symbols VXN, expected only VIX"):
        source.span()


def test_a_ticker_with_thirty_bars_is_delivered_like_any_other(tmp_path):
    rows = files(write_folder(tmp_path, vendor_bars(30, "NEW"))).fetch("equity_bars", MONTHS)
    assert len(rows.rows) == 30
    assert rows.rejects.empty


def test_optional_datasets_are_empty_where_the_folder_has_none(tmp_path):
    source = files(write_folder(tmp_path, vendor_bars()))
    for dataset in ("index_bars", "implied_vols"):
        delivery = source.fetch(dataset, MONTHS)
        assert CONTRACTS[dataset].validate(delivery.rows).passed
        assert delivery.rows.empty


@pytest.fixture(scope="module")
def real():
    return files(data_dir())


# Closes on the last session before the split, as printed in the press on the day.
@pytest.mark.parametrize(
    ("ticker", "session", "close"),
    [
        ("AAPL", "2014-06-06", 645.57),
        ("AAPL", "2020-08-28", 499.23),
        ("TSLA", "2020-08-28", 2213.40),
        ("NVDA", "2021-07-19", 751.19),
        ("GE", "2021-07-30", 12.95),
        ("GOOGL", "2022-07-15", 2235.55),
    ],
)
def test_real_prices_come_back_to_what_was_quoted(real, ticker, session, close):
    rows = real.fetch("equity_bars", [session[:7]]).rows
    mine = rows[(rows["ticker"] == ticker) & (rows["session"] == session)]
    assert mine["close"].tolist() == [close]
    assert mine["quoted"].all()


def test_every_real_quote_is_a_whole_cent_and_no_row_is_lost(real):
    delivery = real.fetch("equity_bars", ALL)
    assert len(delivery.rows) == 183_879
    assert delivery.rejects.empty
    assert EQUITY_BARS.validate(delivery.rows).passed
    prices = delivery.rows[["open", "high", "low", "close"]].to_numpy()
    assert (np.round(prices, 2) == prices).all()
    apple = delivery.rows[delivery.rows["ticker"] == "AAPL"].set_index("session")
    assert apple.loc[["2014-06-09", "2020-08-31"], "split_ratio"].tolist() == [7.0, 4.0]
    assert apple.loc["2014-05-08", "dividend_usd"] == 3.29  # declared 2014-04-23


def test_real_vix_rows_on_closed_days_are_rejected_and_impossible_opens_blanked(real):
    delivery = real.fetch("vix", ALL)
    counts = delivery.rejects.groupby(["reason", "action"]).size().to_dict()
    assert counts == {("not_a_session", "rejected"): 6, ("ohlc_violation", "blanked"): 47}
    assert len(delivery.rows) == 8317 - 6
    assert CONTRACTS["vix"].validate(delivery.rows).passed
    since = delivery.rows[delivery.rows["session"].between("2006-01-01", "2018-12-31")]["close"]
    assert [(since < 15).sum(), since.between(15, 25).sum(), (since > 25).sum()] == [1343, 1395, 533]


def test_real_index_bars_lose_nothing_to_float32_rounding(real):
    delivery = real.fetch("index_bars", ALL)
    assert (len(delivery.rows), len(delivery.rejects)) == (22_920, 0)
    assert CONTRACTS["index_bars"].validate(delivery.rows).passed


@pytest.mark.parametrize(
    ("dataset", "given", "expected"),
    [
        ("djia30_daily", 93_612, {"missing_price": 25, "non_positive_price": 1, "ohlc_violation": 151}),
        (
            "defective_stocks_daily",
            52_166,
            {
                "absurd_jump": 1285,
                "gap": 365,
                "missing_price": 47,
                "not_a_session": 1,
                "ohlc_violation": 26,
                "stale": 6171,
                "unexplained_jump": 706,
            },
        ),
    ],
)
def test_defective_real_bars_are_sorted_into_counted_reasons(dataset, given, expected):
    delivery = files(data_dir(), dataset).fetch("equity_bars", ALL)
    assert delivery.rejects["reason"].value_counts().sort_index().to_dict() == expected
    assert len(delivery.rows) + (delivery.rejects["action"] == "rejected").sum() == given
    assert EQUITY_BARS.validate(delivery.rows).passed
    assert BAR_REJECTS.validate(delivery.rejects).passed


def test_hourly_bars_are_refused_as_daily_ones():
    with pytest.raises(
        SourceError, match=r"crypto_perp_1h.parquet row \d+: timestamp is .* expected the date of a daily"
    ):
        files(data_dir(), "crypto_perp_1h").fetch("equity_bars", ALL)


def test_every_dataset_is_one_a_contract_describes():
    yardsticks = {"published_vols", "option_chains"}
    assert set(DATASETS) == {"equity_bars", "index_bars", "vix", "implied_vols"} | yardsticks
