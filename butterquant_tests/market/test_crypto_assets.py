"""The crypto market tables made end to end in a small home."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from butterquant_assets.definitions import Settings
from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.foundation.freshness import plan
from butterquant_assets.market import crypto_assets
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.crypto_schemas import CRYPTO_REJECTS, DELIVERED
from butterquant_assets.market.crypto_sources.base import CryptoSource, open_crypto_source
from butterquant_assets.market.crypto_sources.store import CryptoStore
from butterquant_assets.orchestration.axes import DayAxis
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.rebuild import Rebuilt, rebuild
from butterquant_tests.market.crypto_cases import LATER, priced, raw_bars, store_bars

CONTRACTS = {contract.table: contract for contract in (*DELIVERED.values(), CRYPTO_REJECTS)}


def house_of(home: Path, config: CryptoConfig) -> House:
    """A house with the market tables alone, over all days of the source."""
    source: CryptoSource = open_crypto_source(config, home)
    first, last = source.span()
    settings = Settings(home=home, crypto=config)
    axis = DayAxis({"start": first, "end": last})
    return House(settings, axis, crypto_assets.ASSETS, lambda: source, clock=lambda: LATER)


def make(house: House) -> dict[str, Rebuilt]:
    """Bring every table up to date."""
    return {d.names[0]: rebuild(house, d, house.keys("days")) for d in house.declarations}


def remade(made: dict[str, Rebuilt]) -> dict[str, list[str]]:
    """Days made again, by table."""
    found = {
        name: [str(day) for day, done in outcome.items() if done.action == "rebuilt"]
        for rebuilt in made.values()
        for name, outcome in rebuilt.outcomes.items()
    }
    return {name: days for name, days in found.items() if days}


def test_simulated_days_fill_every_table_once(tmp_path: Path) -> None:
    house = house_of(tmp_path, CryptoConfig(coins=3, days=3))
    made = make(house)
    assert set(remade(made)) == {contract.table for d in crypto_assets.ASSETS for contract in d.contracts}
    assert all(len(days) == 3 for days in remade(made).values())
    for name in remade(made):
        rows = house.lake.read(name, list(house.keys("days")))
        assert CONTRACTS[name].validate(rows).passed
    assert set(made["market/crypto_bars"].plots) == {"coverage"}
    assert set(made["market/funding_rates"].plots) == {"funding"}
    footer = house.lake.footer("market/crypto_bars", "2023-01-02")
    assert footer is not None
    assert footer.facts["complete"] is True
    assert (footer.facts["expected rows"], footer.facts["received rows"]) == (72, 72)
    assert plan(house.freshness()).nothing_to_do
    assert remade(make(house_of(tmp_path, CryptoConfig(coins=3, days=3)))) == {}


def test_a_day_made_alone_has_the_same_content_as_in_a_batch(tmp_path: Path) -> None:
    whole, single = (house_of(tmp_path / name, CryptoConfig(coins=2, days=2)) for name in ("whole", "single"))
    make(whole)
    for declaration in single.declarations:
        for day in reversed(single.keys("days")):
            rebuild(single, declaration, [day])
    for contract in (c for d in whole.declarations for c in d.contracts):
        for day in whole.keys("days"):
            one, other = (house.lake.footer(contract.table, day) for house in (whole, single))
            assert one is not None
            assert other is not None
            assert one.content == other.content
            assert one.facts == other.facts


@pytest.fixture
def collected(tmp_path: Path) -> tuple[Path, CryptoStore]:
    """A home whose collector has three days of one coin."""
    store = CryptoStore(tmp_path / "collected" / "crypto")
    store_bars(store, raw_bars())
    store_bars(store, priced(raw_bars()), "mark_prices")
    return tmp_path, store


def test_a_gap_warns_and_is_repaired_by_the_next_run_alone(collected: tuple[Path, CryptoStore]) -> None:
    home, store = collected
    store_bars(store, raw_bars().drop(30))
    house = house_of(home, CryptoConfig(source="okx"))
    make(house)
    footer = house.lake.footer("market/crypto_bars", "2024-01-02")
    assert footer is not None
    assert footer.facts["missing"] == {"BTC": ["2024-01-02T06:00"]}
    assert "1 of 24 rows did not come (BTC 2024-01-02T06:00)" in footer.facts["warnings"]["complete"]
    store_bars(store, raw_bars())
    again = house_of(home, CryptoConfig(source="okx"))
    # The day after is judged with this one before its eyes.
    assert remade(make(again)) == {
        "market/crypto_bars": ["2024-01-02", "2024-01-03"],
        "market/crypto_rejects": ["2024-01-02", "2024-01-03"],
    }
    footer = again.lake.footer("market/crypto_bars", "2024-01-02")
    assert footer is not None
    assert footer.facts["complete"] is True
    assert footer.facts["warnings"] == {}


def test_a_day_of_which_too_much_is_refused_is_quarantined_and_the_others_published(
    collected: tuple[Path, CryptoStore],
) -> None:
    home, store = collected
    broken = raw_bars()
    broken.loc[24:30, "low"] = 0.0
    store_bars(store, broken)
    house = house_of(home, CryptoConfig(source="okx"))
    outcomes = make(house)["market/crypto_bars"].outcomes["market/crypto_bars"]
    assert [done.action for done in outcomes.values()] == ["rebuilt", "quarantined", "rebuilt"]
    assert "reject_share" in " ".join(outcomes["2024-01-02"].reasons)
    rejects = house.lake.read("market/crypto_rejects", ["2024-01-02"])
    assert rejects["reason"].value_counts().to_dict() == {"non_positive_price": 7}


def test_a_suspect_bar_is_kept_flagged_and_explained(collected: tuple[Path, CryptoStore]) -> None:
    home, store = collected
    wrong = raw_bars()
    wrong.loc[30, ["close", "high"]] *= 1.2
    store_bars(store, wrong)
    house = house_of(home, CryptoConfig(source="okx"))
    make(house)
    bars = house.lake.read("market/crypto_bars", ["2024-01-02"])
    assert bars.loc[bars["suspect"], "hour"].tolist() == [pd.Timestamp("2024-01-02 06:00")]
    rejects = house.lake.read("market/crypto_rejects", ["2024-01-02"])
    assert rejects[["reason", "action"]].to_numpy().tolist() == [["off_mark", "noted"]]
    footer = house.lake.footer("market/crypto_bars", "2024-01-02")
    assert footer is not None
    assert footer.facts["suspect bars"] == 1


def test_an_empty_store_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="collect-crypto"):
        house_of(tmp_path, CryptoConfig(source="okx"))
