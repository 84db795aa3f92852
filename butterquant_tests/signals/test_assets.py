"""The signal line as assets, over a small market in memory: what depends on what, and nothing on the future."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.cli import _signals_text
from butterquant_assets.foundation.signal_recorder import VERSIONS, SignalRecorder
from butterquant_assets.monitoring.summary import signal_findings
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.rebuild import rebuild
from butterquant_assets.signals import assets
from butterquant_assets.signals.replay import Inputs, Replay
from butterquant_assets.signals.rounds import restored_tables, stacked
from butterquant_assets.signals.schemas import PAPER_TRADES, SIGNAL_CARRIED
from butterquant_tests.signals.factor_cases import random_panel
from butterquant_tests.signals.line_house import (
    CONFIG,
    DATASETS,
    DAYS,
    LineSettings,
    bring_up_to_date,
    everything,
    house_of,
    market,
    rebuilt_days,
    stale,
    tables_of,
    until,
)

DAY = pd.Timedelta(days=1)
START = pd.Timestamp("2024-01-01")
EARLY = START + 19 * DAY
DAILY = ("factors", "book_costs", "scored_signals", "paper_trades", "recorded")


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return market()


@pytest.fixture(scope="module")
def whole(tables: dict[str, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> House:
    house = house_of(tmp_path_factory.mktemp("whole"), dict(tables))
    bring_up_to_date(house)
    return house


@pytest.fixture(scope="module")
def early(tables: dict[str, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> House:
    """The same market, as it was some days before."""
    house = house_of(tmp_path_factory.mktemp("early"), until(tables, EARLY))
    bring_up_to_date(house)
    return house


def copied(house: House, tables: Mapping[str, pd.DataFrame], home: Path) -> House:
    """A copy of a house, with a market of its own."""
    shutil.copytree(house.settings.home, home, dirs_exist_ok=True)
    return house_of(home, dict(tables))


def read(house: House, name: str) -> pd.DataFrame:
    declared = house.declaration(f"signals/{name}")
    return house.lake.read(f"signals/{name}", None if declared.axis is None else house.keys("days"))


def test_every_table_is_made_and_keeps_its_contract_and_nothing_is_left_to_do(whole: House) -> None:
    assert stale(whole) == []
    for declaration in assets.ASSETS:
        for contract in declaration.contracts:
            frame = read(whole, contract.table.split("/")[1])
            assert contract.validate(contract.arrange(frame)).reasons() == []
            assert len(frame) > 0, contract.table
    signals = read(whole, "scored_signals")
    assert signals["calibrated"].any()
    assert not signals["calibrated"].all()
    assert set(read(whole, "paper_trades")["track"]) == {"accepted", "busy", "rejected"}


def test_the_days_together_are_what_a_replay_in_memory_gives(whole: House, tables: dict[str, pd.DataFrame]) -> None:
    bars, funding = tables["crypto_bars"], tables["funding_rates"].rename(columns={"funding_rate": "rate"})
    costs, universe = read(whole, "book_costs"), tables["crypto_universe"]
    everything_known = Inputs(read(whole, "factors"), bars, funding, costs, universe)
    run = Replay(lambda _, last: everything_known.before(last), START, START + DAYS * DAY, CONFIG.seed, CONFIG.rules())
    replayed = run.run()
    for name, frame in stacked(replayed.rounds).items():
        pd.testing.assert_frame_equal(frame, read(whole, name), check_exact=True)
    pd.testing.assert_frame_equal(run.trades(), read(whole, "paper_trades"), check_exact=True)
    assert set(PAPER_TRADES.columns) > set(SIGNAL_CARRIED)


def test_day_by_day_gives_the_same_bytes_as_all_at_once_and_touches_only_what_is_new(
    whole: House, early: House, tables: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    house = copied(early, until(tables, EARLY), tmp_path)
    for end in (EARLY + pd.Timedelta(hours=13), EARLY + DAY, EARLY + 4 * DAY):
        house = house_of(tmp_path, until(tables, end))
        done = bring_up_to_date(house)
        if end <= EARLY + DAY:
            newest = f"{end - pd.Timedelta(hours=1):%Y-%m-%d}"
            assert rebuilt_days(done, "signals/factors") == [newest]
            assert rebuilt_days(done, "signals/scored_signals") == [newest]
            # Trades of up to four days before were still open, or could have been; a fifth learns that they ended.
            assert len(rebuilt_days(done, "signals/paper_trades")) <= 6
    assert stale(house) == []
    assert everything(house) == everything(whole)


def test_nothing_of_the_past_knows_what_came_later(whole: House, early: House) -> None:
    before, after = everything(early), everything(whole)
    days = [f"{START + number * DAY:%Y-%m-%d}" for number in range(19)]
    for name in ("factors", "book_costs", "scored_signals"):
        for day in days:
            assert before[f"signals/{name}"][day] == after[f"signals/{name}"][day], (name, day)
    for name in stacked([]):
        held, found = read(early, name), read(whole, name)
        assert len(held) > 0
        known = found[found["as_of"].isin(held["as_of"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(held, known, check_exact=True)
    # An ended trade stays as it was.
    ended = read(early, "paper_trades")
    ended = ended[ended["status"] == "closed"].reset_index(drop=True)
    later = read(whole, "paper_trades").set_index("signal_id").loc[ended["signal_id"]].reset_index()
    pd.testing.assert_frame_equal(ended, later[ended.columns], check_exact=True)


@pytest.mark.slow
def test_a_correction_reaches_what_depends_on_it_and_no_more(
    whole: House, tables: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    corrected = dict(tables)
    day = START + 18 * DAY
    bars = corrected["crypto_bars"].copy()
    wrong = (bars["coin"] == "AAA") & (bars["hour"] == day + pd.Timedelta(hours=7))
    bars.loc[wrong, "close"] = bars.loc[wrong, "low"]
    corrected["crypto_bars"] = bars
    house = copied(whole, corrected, tmp_path)
    before = everything(house)
    done = bring_up_to_date(house)
    assert stale(house) == []
    later = [key for key in house.keys("days") if key >= f"{day:%Y-%m-%d}"]
    assert rebuilt_days(done, "signals/factors") == later
    changed = {
        name: {key for key, content in keys.items() if before[name].get(key) != content}
        for name, keys in everything(house).items()
    }
    assert changed["signals/factors"] <= set(later)
    assert changed["signals/scored_signals"] <= set(later)
    # A trade entered up to four days before may have run into the corrected bar.
    first = f"{day - 4 * DAY:%Y-%m-%d}"
    assert changed["signals/paper_trades"] <= {key for key in house.keys("days") if key >= first}
    # Rounds held before it are taken as they are; the one after it is held again.
    rounds, former = read(house, "learning_rounds"), read(whole, "learning_rounds")
    kept = former["as_of"] <= day
    pd.testing.assert_frame_equal(rounds[kept.to_numpy()], former[kept], check_exact=True)
    assert (rounds["inputs"] != former["inputs"]).sum() == (~kept).sum() == 1
    footer = house.lake.footer("signals/learning_rounds")
    assert footer is not None
    assert footer.facts["rounds held now"] == 1
    # What judged signals before the correction is found by its versions all the same.
    assert judged_by(house, read(whole, "scored_signals")) > 2
    assert judged_by(house, read(house, "scored_signals")) > 2
    # What was learned is what a house that never knew the wrong bar learns.
    fresh = house_of(tmp_path / "fresh", corrected)
    shutil.copytree(tmp_path / "lake" / "signals" / "factors", tmp_path / "fresh" / "lake" / "signals" / "factors")
    bring_up_to_date(fresh)
    assert everything(fresh)["signals/paper_trades"] == everything(house)["signals/paper_trades"]
    assert everything(fresh)["signals/calibration_table"] == everything(house)["signals/calibration_table"]


@pytest.mark.slow
def test_other_coins_and_their_order_change_nothing_about_a_coin(tmp_path: Path) -> None:
    panel = random_panel(24 * 16, ("BTC", "ETH", "AAA", "BBB"), 5)
    rows = {}
    for number, coins in enumerate((("BTC", "ETH", "AAA", "BBB"), ("AAA", "ETH", "BTC"))):
        house = house_of(tmp_path / str(number), tables_of(panel.select(coins)))
        for declaration in house.declarations:
            if declaration.names[0] == "signals/book_costs":
                break
            rebuild(house, declaration, house.keys("days"))
        found = read(house, "factors")
        rows[number] = found[found["coin"].isin(["BTC", "ETH", "AAA"])].reset_index(drop=True)
    assert rows[0]["T"].notna().any()
    pd.testing.assert_frame_equal(rows[0], rows[1], check_exact=True)


@pytest.mark.slow
def test_missing_inputs_leave_flagged_factors_and_a_renormalised_score(
    tables: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    absent = ("taker_volume", "index_prices")
    poor = {name: frame.iloc[:0] if name in absent else frame for name, frame in tables.items()}
    poor["open_interest"] = poor["open_interest"][poor["open_interest"]["coin"] != "AAA"]
    bars = poor["crypto_bars"]
    doubted = (bars["coin"] == "ETH") & (bars["hour"] == START + 16 * DAY)
    poor["crypto_bars"] = bars.assign(suspect=doubted.to_numpy(dtype=bool))
    house = house_of(tmp_path, until(poor, START + 18 * DAY))
    bring_up_to_date(house)
    signals = read(house, "scored_signals")
    late = signals[signals["hour"] >= START + 17 * DAY]
    flags = late.groupby("coin")["flags"].unique()
    assert flags["AAA"].tolist() == ["proxy_C,funding_only_B,missing_O"]
    assert flags["BTC"].tolist() == ["proxy_C,proxy_F,funding_only_B"]
    np.testing.assert_allclose(late.loc[late["coin"] == "AAA", "weight_present"], 0.895)
    # A suspect bar is not believed: the coin's window has a defect, and its data gate says so.
    assert late.loc[late["coin"] == "ETH", "defect"].all()
    assert not late.loc[late["coin"] == "ETH", "gate_data"].any()
    trades = read(house, "paper_trades")
    refused = trades[(trades["coin"] == "ETH") & (trades["hour"] == START + 16 * DAY - pd.Timedelta(hours=1))]
    assert refused["status"].tolist() in (["not_filled"], [])


def test_the_warehouse_holds_what_the_lake_does(whole: House) -> None:
    signals, trades = read(whole, "scored_signals"), read(whole, "paper_trades")
    with SignalRecorder(whole.settings.warehouse_location) as recorder:
        found = recorder.signals(START, START + DAYS * DAY).set_index("signal_id")
        results = recorder.results(START, START + (DAYS + 1) * DAY).set_index("signal_id")
    assert set(found.index) == set(signals["signal_id"])
    given = signals.set_index("signal_id").loc[found.index]
    for theirs, ours in {"score": "score", "factor_t": "T", "ev_bps": "ev_bps", "p_target": "p_target"}.items():
        np.testing.assert_array_equal(found[theirs], given[ours])
    for name in ("calibration_version", "cost_version", "threshold_version", "reason", "verdict"):
        assert found[name].tolist() == given[name].tolist()
    filled = trades[trades["status"].isin(["closed", "open"])].set_index("signal_id")
    assert set(results.index) == set(filled.index)
    np.testing.assert_array_equal(results["pnl_bps"], filled.loc[results.index, "pnl_bps"])


def test_a_signal_names_the_tables_that_judged_it_and_they_can_be_found(whole: House) -> None:
    signals = read(whole, "scored_signals")
    records = read(whole, "learning_rounds")
    for name, table in (("calibration_version", "calibration_table"), ("cost_version", "cost_table")):
        stored = set(read(whole, table)["version"])
        named = set(signals.loc[signals["hour"] >= records["as_of"].iloc[1], name])
        assert named
        assert named <= stored
        assert set(records[name]) <= stored | set(signals[name])
    assert judged_by(whole, signals) > 2


def judged_by(house: House, signals: pd.DataFrame) -> int:
    """How many sets of tables judged some signals; each is found in the warehouse and is what its versions name."""
    sets = signals[[f"{name}_version" for name in VERSIONS]].drop_duplicates()
    with SignalRecorder(house.settings.warehouse_location) as recorder:
        for versions in sets.itertuples(index=False):
            kept = recorder.kept_versions(dict(zip(VERSIONS, versions, strict=True)))
            assert restored_tables(kept).versions == tuple(versions)
    return len(sets)


def test_the_universe_of_a_day_stands_beside_its_signals_and_a_reader_is_told_who_was_chosen_afterwards(
    tables: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    short = until(tables, START + 15 * DAY)
    told, entry = START + 10 * DAY, START + 12 * DAY
    listed = short["crypto_universe"]
    later = listed[(listed["coin"] != "AAA") | (listed["day"] >= entry)]
    short["crypto_universe"] = later.assign(as_of_known=(later["day"] >= told).to_numpy())
    house = house_of(tmp_path, short)
    bring_up_to_date(house)
    signals, record = read(house, "scored_signals"), read(house, "learning_rounds").iloc[-1]
    own, known = signals["coin"] == "AAA", signals["hour"] >= told
    assert (signals["member"] == (known & (~own | (signals["hour"] >= entry)))).all()
    assert (signals["evidence"] == (~own | (signals["hour"] >= entry))).all()
    trades = read(house, "paper_trades")
    taught = trades[trades["evidence"] & (trades["hour"] < record["as_of"] - pd.Timedelta(hours=1))]
    assert record["trades"] == taught["status"].isin(["closed", "open"]).sum()
    assert 0 < record["chosen_afterwards"] == (~taught["member"] & taught["status"].isin(["closed", "open"])).sum()
    footer = house.lake.footer("signals/calibration_table")
    assert footer is not None
    assert "of coins chosen afterwards" in footer.facts["warnings"]["universe"]
    found = signal_findings(house)
    assert found["chosen_afterwards"] == record["chosen_afterwards"] / record["trades"]
    share = f"{100 * found['chosen_afterwards']:.0f} %"
    assert any(share in line and "chosen afterwards" in line for line in _signals_text(found))
    assert not any("chosen afterwards" in line for line in _signals_text(found | {"chosen_afterwards": 0.0}))


def test_another_setting_changes_the_result_and_makes_all_of_it_stale(whole: House) -> None:
    settings = LineSettings(home=whole.settings.home, signals=type(CONFIG)(seed=8))
    house = house_of(whole.settings.home, market(), settings)
    names = {name for name, _ in stale(house)}
    assert "signals/calibration_table" in names
    assert "signals/factors" not in names


def test_leaders_of_a_simulated_exchange_are_found_by_their_names(tmp_path: Path) -> None:
    house = house_of(tmp_path, tables_of(random_panel(24 * 16, ("SIMBTC", "SIMETH", "SIMAAA"), 5)))
    for declaration in house.declarations:
        if declaration.names[0] == "signals/book_costs":
            break
        rebuild(house, declaration, house.keys("days"))
    found = read(house, "factors")
    assert found["market_regime"].notna().any()
    assert found.loc[found["coin"] == "SIMAAA", "I"].notna().any()


def test_after_a_hole_in_the_whole_market_no_trade_stays_open_and_a_day_alone_is_what_it_is_with_others(
    tables: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    stopped, again = START + 16 * DAY + pd.Timedelta(hours=6), START + 22 * DAY
    holed = {}
    for name, frame in tables.items():
        stamps = frame[DATASETS[name].time]
        holed[name] = frame[(stamps < stopped) | (stamps >= again)]
    house = house_of(tmp_path, holed)
    bring_up_to_date(house)
    trades = read(house, "paper_trades")
    before = trades[trades["hour"] < stopped]
    assert (before["exit_at"] == stopped).any()
    assert not (before["status"] == "open").any()
    day = f"{stopped:%Y-%m-%d}"
    held = everything(house)["signals/paper_trades"][day]
    Path(house.lake.path("signals/paper_trades", day)).unlink()
    assert rebuilt_days(bring_up_to_date(house), "signals/paper_trades") == [day]
    assert everything(house)["signals/paper_trades"][day] == held


def test_a_trade_whose_coin_has_a_hole_ends_though_the_whole_market_stopped_meanwhile(
    tables: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    """The last day that can decide it breaks off; what comes later lies in days it does not read."""
    hole, stopped, again = START + 18 * DAY, START + 20 * DAY + pd.Timedelta(hours=6), START + 22 * DAY
    holed = {}
    for name, frame in tables.items():
        stamps = frame[DATASETS[name].time]
        gone = (stamps >= stopped) & (stamps < again) | (frame["coin"] == "AAA") & (stamps >= hole) & (stamps < again)
        holed[name] = frame[~gone]
    house = house_of(tmp_path / "grown", until(holed, stopped))
    bring_up_to_date(house)
    trades = read(house, "paper_trades")
    waiting = trades[(trades["coin"] == "AAA") & (trades["status"] == "open") & (trades["hour"] < START + 17 * DAY)]
    assert len(waiting) > 0
    house = house_of(tmp_path / "grown", holed)
    bring_up_to_date(house)
    assert stale(house) == []
    trades = read(house, "paper_trades").set_index("signal_id").loc[waiting["signal_id"]]
    assert set(trades["exit_reason"]) == {"timeout"}
    assert set(trades["exit_at"]) == {hole}
    shutil.copytree(tmp_path / "grown" / "lake", tmp_path / "whole" / "lake")
    shutil.rmtree(tmp_path / "whole" / "lake" / "signals" / "paper_trades")
    whole = house_of(tmp_path / "whole", holed)
    bring_up_to_date(whole)
    assert everything(whole)["signals/paper_trades"] == everything(house)["signals/paper_trades"]
