"""An exchange over recorded data serves what was recorded and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from butterquant_assets.foundation.errors import ConfigError, SourceError
from butterquant_assets.market.exchange.app import ExchangeApp
from butterquant_assets.market.exchange.clock import SteppedClock
from butterquant_assets.market.exchange.folder_venue import FolderVenue
from butterquant_tests.market.exchange.asking import HOUR_MS, ask, rows
from butterquant_tests.shared_data import data_dir

START = 1_700_006_400_000
SWAP = "AAA-USDT-SWAP"


def write(folder: Path, name: str, stamps: list[int], symbol: str, **columns: list[float]) -> None:
    table = {"timestamp": pa.array(stamps, pa.timestamp("ms", tz="UTC")), "symbol": [symbol] * len(stamps)} | columns
    pq.write_table(pa.table(table), folder / f"{name}.parquet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    stamps = [START + hour * HOUR_MS for hour in range(10) if hour != 6][::-1]
    close = [100.25 + (stamp - START) / HOUR_MS for stamp in stamps]
    write(
        tmp_path,
        "crypto_perp_1h",
        stamps,
        "AAAUSDT",
        open=[value - 1 for value in close],
        high=[value + 0.5 for value in close],
        low=[value - 1.5 for value in close],
        close=close,
        volume=[10.0] * len(stamps),
    )
    write(tmp_path, "crypto_funding", [START, START + 8 * HOUR_MS], "AAAUSDT", funding_rate=[1e-4, -2e-5])
    write(tmp_path, "crypto_open_interest_1h", [START, START + HOUR_MS], "AAAUSDT", open_interest=[5.0, 7.0])
    return tmp_path


def served(folder: Path, now: int) -> ExchangeApp:
    return ExchangeApp(FolderVenue(folder), SteppedClock(now))


def test_closed_bars_are_served_with_their_gap_and_the_open_one_is_not(folder: Path) -> None:
    found = rows(served(folder, START + 9 * HOUR_MS + 5), "market/history-candles", instId=SWAP, bar="1H")
    assert [(int(row[0]) - START) // HOUR_MS for row in found] == [8, 7, 5, 4, 3, 2, 1, 0]
    assert found[-1] == [str(START), "99.25", "100.75", "98.75", "100.25", "10", "10", "997.5", "1"]


def test_larger_bars_are_made_of_the_recorded_ones(folder: Path) -> None:
    found = rows(served(folder, START + 10 * HOUR_MS), "market/history-candles", instId=SWAP, bar="2H", limit=2)
    assert found[0][1:6] == ["107.25", "109.75", "106.75", "109.25", "20"]


def test_funding_and_interest_are_served_and_what_was_not_recorded_is_empty(folder: Path) -> None:
    app = served(folder, START + 9 * HOUR_MS)
    settled = rows(app, "public/funding-rate-history", instId=SWAP)
    assert [(row["fundingTime"], row["realizedRate"]) for row in settled] == [
        (str(START + 8 * HOUR_MS), "-0.00002"),
        (str(START), "0.0001"),
    ]
    early = served(folder, START + 2 * HOUR_MS)
    assert rows(early, "public/open-interest", instType="SWAP", instId=SWAP)[0]["oi"] == "7"
    for path in ("market/books", "market/trades", "public/funding-rate", "market/history-mark-price-candles"):
        assert rows(app, path, instId=SWAP, bar="1H") == []
    assert rows(app, "public/open-interest", instType="SWAP") == [], "the last value is too old"


def test_bars_finer_than_the_recording_and_unknown_coins_are_refused(folder: Path) -> None:
    app = served(folder, START + 9 * HOUR_MS)
    assert ask(app, "market/candles", instId=SWAP, bar="1m").json()["code"] == "51000"
    assert ask(app, "market/candles", instId="BBB-USDT-SWAP", bar="1H").json()["code"] == "51001"


def test_a_folder_without_a_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"okx_swap_30m\.parquet or crypto_perp_1h\.parquet"):
        FolderVenue(tmp_path)
    with pytest.raises(ConfigError, match="no recording is called 'tape'"):
        FolderVenue(tmp_path, "tape")
    (tmp_path / "crypto_perp_1h.parquet").write_bytes(b"PAR1 but not for long")
    with pytest.raises(SourceError, match="cannot be read"):
        FolderVenue(tmp_path)


def test_recorded_okx_swaps_are_served_as_they_were_recorded() -> None:
    venue = FolderVenue(data_dir(), "okx")
    app = ExchangeApp(venue, SteppedClock(venue.last_moment))
    assert len(rows(app, "public/instruments", instType="SWAP")) == 39
    found = rows(app, "market/history-candles", instId="AAVE-USDT-SWAP", bar="30m", limit=300)
    assert np.diff([int(row[0]) for row in found]).tolist() == [-HOUR_MS // 2] * 299
    marks = rows(app, "market/history-mark-price-candles", instId="AAVE-USDT-SWAP", bar="1H")
    assert len(marks) == 100
    assert len(rows(app, "public/mark-price", instType="SWAP")) == 39
