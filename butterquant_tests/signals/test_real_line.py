"""The line on real swaps, end to end through the files source and the lake."""

from __future__ import annotations

from pathlib import Path

import pytest

from butterquant_assets.definitions import Settings, build_crypto_house
from butterquant_assets.foundation.signal_recorder import SignalRecorder
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.orchestration.rebuild import REBUILT, rebuild
from butterquant_tests.shared_data import data_dir

pytestmark = pytest.mark.slow


def test_a_month_of_thirty_nine_okx_swaps_runs_end_to_end(tmp_path: Path) -> None:
    crypto = CryptoConfig(source="files", data_dir=data_dir(), recording="okx")
    house = build_crypto_house(Settings(home=tmp_path, source="sample", crypto=crypto))
    assert house is not None
    for declaration in house.declarations:
        keys = (None,) if declaration.axis is None else house.keys("days")
        done = rebuild(house, declaration, keys)
        for name in declaration.names:
            assert {one.action for one in done.outcomes[name].values()} == {REBUILT}, name
    signals = house.lake.read("signals/scored_signals", house.keys("days"))
    assert signals["coin"].nunique() == 39
    assert len(signals) > 15_000
    # This recording has no open interest, so F is not known, and its gate says so instead of guessing.
    assert signals["F"].isna().all()
    assert set(signals["gate_fund_reason"]) == {"F is missing"}
    assert not signals["gate_fund"].any()
    trades = house.lake.read("signals/paper_trades", house.keys("days"))
    assert trades["status"].isin(["closed", "open"]).mean() > 0.99
    assert trades.loc[trades["status"] == "closed", "funding_known"].mean() > 0.95
    with SignalRecorder(house.settings.warehouse_location) as recorder:
        first, last = signals["hour"].min(), signals["hour"].max()
        assert len(recorder.signals(first, last)) == len(signals)
