"""Published volatilities and option chains: what proxies are judged by."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.schemas import BAR_REJECTS, OPTION_CHAINS, PUBLISHED_VOLS
from butterquant_assets.market.sources.base import open_source
from butterquant_tests.market.raw_bars import vendor_bars, write_folder
from butterquant_tests.shared_data import data_dir

MONTH = ["2016-01"]


def vols(**changed: object) -> pd.DataFrame:
    days = pd.to_datetime(["2016-01-04", "2016-01-05", "2016-01-06"], utc=True)
    return pd.DataFrame({"timestamp": days, "symbol": "A", "iv_3m_atm": [0.2, 0.3, 0.25], "close_adj": 50.0} | changed)


def chain(**changed: object) -> pd.DataFrame:
    given = {
        "timestamp": pd.to_datetime(["2016-01-05 17:30:00"] * 4, utc=True),
        "underlying": "A",
        "underlying_price": 50.0,
        "expiration": ["2016-02-05"] * 4,
        "strike": [45.0, 50.0, 50.0, 55.0],
        "right": ["P", "P", "C", "C"],
        "bid": 1.0,
        "ask": 1.1,
    }
    return pd.DataFrame(given | changed)


def fetched(folder, dataset, **tables):
    write_folder(folder, vendor_bars(60, "AAA"))
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet")
    return open_source("files", data_dir=folder).fetch(dataset, MONTH)


@pytest.mark.parametrize(
    ("dataset", "contract"), [("published_vols", PUBLISHED_VOLS), ("option_chains", OPTION_CHAINS)]
)
def test_a_folder_without_yardsticks_has_none(tmp_path, dataset, contract):
    found = fetched(tmp_path, dataset)
    assert found.rows.empty
    assert contract.validate(found.rows).passed
    assert open_source("files", data_dir=tmp_path).keys_held(dataset) == ()
    assert open_source("sample").fetch(dataset, MONTH).rows.empty
    assert open_source("sample").keys_held(dataset) == ()


def test_published_volatilities_are_three_month_ones(tmp_path):
    found = fetched(tmp_path, "published_vols", implied_vol_3m=vols())
    assert PUBLISHED_VOLS.validate(found.rows).passed
    assert found.rows["days"].tolist() == [91] * 3
    assert found.rows["iv"].tolist() == [0.2, 0.3, 0.25]
    assert found.rejects.empty


def test_an_impossible_volatility_is_refused_and_an_impossible_close_blanked(tmp_path):
    table = vols(iv_3m_atm=[0.0, np.nan, 0.25], close_adj=[50.0, 50.0, -1.0])
    found = fetched(tmp_path, "published_vols", implied_vol_3m=table)
    assert found.rows["iv"].tolist() == [0.25]
    assert found.rows["close"].isna().all()
    assert found.rejects[["reason", "action"]].to_numpy().tolist() == [
        ["invalid_iv", "rejected"],
        ["invalid_iv", "rejected"],
        ["non_positive_price", "blanked"],
    ]
    assert BAR_REJECTS.validate(found.rejects).passed


def test_quotes_keep_their_time_and_belong_to_their_session(tmp_path):
    found = fetched(tmp_path, "option_chains", option_chains=chain())
    assert OPTION_CHAINS.validate(found.rows).passed
    assert len(found.rows) == 4
    assert set(found.rows["session"]) == {pd.Timestamp("2016-01-05")}
    assert set(found.rows["quoted_at"]) == {pd.Timestamp("2016-01-05 17:30:00")}


def test_a_quote_after_midnight_utc_belongs_to_the_day_before_in_new_york(tmp_path):
    late = chain(timestamp=pd.to_datetime(["2016-01-06 00:30:00"] * 4, utc=True))
    assert set(fetched(tmp_path, "option_chains", option_chains=late).rows["session"]) == {pd.Timestamp("2016-01-05")}


def test_midnight_is_a_date(tmp_path):
    daily = chain(timestamp=pd.to_datetime(["2016-01-05"] * 4, utc=True))
    assert set(fetched(tmp_path, "option_chains", option_chains=daily).rows["session"]) == {pd.Timestamp("2016-01-05")}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"bid": [0.0, 1.0, 1.0, 1.0]}, "one_sided_quote"),
        ({"ask": [np.nan, 1.1, 1.1, 1.1]}, "one_sided_quote"),
        ({"bid": [1.2, 1.0, 1.0, 1.0]}, "crossed_quote"),
        ({"strike": [-1.0, 50.0, 50.0, 55.0]}, "invalid_contract"),
        ({"right": ["X", "P", "C", "C"]}, "invalid_contract"),
        ({"expiration": ["2016-01-04", "2016-02-05", "2016-02-05", "2016-02-05"]}, "invalid_contract"),
        ({"expiration": [None, "2016-02-05", "2016-02-05", "2016-02-05"]}, "invalid_contract"),
    ],
)
def test_a_defective_quote_is_refused_with_its_reason(tmp_path, changed, reason):
    found = fetched(tmp_path, "option_chains", option_chains=chain(**changed))
    assert len(found.rows) == 3
    assert found.rejects["reason"].tolist() == [reason]
    assert BAR_REJECTS.validate(found.rejects).passed


def test_of_two_quotes_of_one_option_that_differ_none_is_trusted(tmp_path):
    twice = pd.concat([chain(), chain()[:1].assign(bid=0.9)])
    found = fetched(tmp_path, "option_chains", option_chains=twice)
    assert len(found.rows) == 3
    assert found.rejects["reason"].tolist() == ["duplicate", "duplicate"]


def test_a_chain_without_a_needed_column_is_refused_by_its_name(tmp_path):
    with pytest.raises(SourceError, match="lacks column expiration"):
        fetched(tmp_path, "option_chains", option_chains=chain().drop(columns="expiration"))


def test_a_timestamp_that_is_no_time_is_refused(tmp_path):
    with pytest.raises(SourceError, match="expected a date or a UTC time"):
        fetched(tmp_path, "option_chains", option_chains=chain(timestamp=["soon"] * 4))


def test_the_real_chains_lose_one_sided_and_crossed_quotes_alone():
    source = open_source("files", data_dir=data_dir())
    months = source.keys_held("option_chains")
    assert (months[0], months[-1]) == ("2016-12", "2026-02")
    found = source.fetch("option_chains", months)
    assert len(found.rows) + len(found.rejects) == 65_536
    assert set(found.rejects["reason"]) == {"one_sided_quote", "crossed_quote"}
    assert (found.rejects["reason"] == "crossed_quote").sum() == 32
    assert OPTION_CHAINS.validate(found.rows).passed


def test_the_real_published_volatilities_are_all_usable():
    source = open_source("files", data_dir=data_dir())
    found = source.fetch("published_vols", source.keys_held("published_vols"))
    assert len(found.rows) == 25_160
    assert found.rejects.empty
    assert PUBLISHED_VOLS.validate(found.rows).passed
