from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.signals.calibration_ladder import CalibrationTable
from butterquant_assets.signals.costs import CostTable
from butterquant_assets.signals.gates import GATES, Thresholds, gate_values, judge, passes
from butterquant_assets.signals.schemas import SCORED_SIGNALS
from butterquant_assets.signals.scored import score_signals, weighted_score
from butterquant_assets.signals.weights import WEIGHTS
from butterquant_tests.signals.signal_cases import (
    HOUR,
    START,
    one_signal,
    random_bars,
    random_factors,
    scored,
    states_of,
)

TABLES = {"calibration": CalibrationTable(), "costs": CostTable(), "thresholds": Thresholds()}


def half() -> CalibrationTable:
    """A calibration by which every second signal reaches its target and one in ten times out at +50 bps."""
    rows = pd.DataFrame({"lower": [0.0], "upper": [100.0], "trades": [400], "hits": [200.0], "p_target": [0.5]})
    return CalibrationTable("ten", rows.assign(level="high"), 0.1, 50.0, 0.3, 400, 0)


def factors(**values: float) -> pd.DataFrame:
    return pd.DataFrame([dict.fromkeys(WEIGHTS, math.nan) | values])


def test_the_score_is_the_weighted_sum_of_the_document() -> None:
    found = weighted_score(factors(T=10, C=20, V=30, O=40, M=50, B=-60)).iloc[0]
    expected = 0.50 * (0.7 * 10 + 0.3 * 20) + 0.35 * (0.5 * 30 + 0.3 * 40 + 0.2 * 50) + 0.15 * -60
    assert found["score"] == pytest.approx(expected, rel=1e-14)
    assert (found["weight_present"], found["missing"]) == (pytest.approx(1.0), "")


def test_a_missing_factor_gives_its_weight_to_the_others_and_is_named() -> None:
    found = weighted_score(factors(T=10, C=20)).iloc[0]
    assert found["score"] == pytest.approx((0.35 * 10 + 0.15 * 20) / 0.5)
    assert found["weight_present"] == pytest.approx(0.5)
    assert found["missing"] == "V,O,M,B"
    nothing = weighted_score(factors()).iloc[0]
    assert math.isnan(nothing["score"])
    assert nothing["weight_present"] == 0


def test_a_score_of_zero_or_of_nothing_gives_no_signal() -> None:
    bars = random_bars(1, 3, 0)
    rows = random_factors(bars, 0, missing=0.0)
    rows.loc[0, list(WEIGHTS)] = 0.0
    rows.loc[1, list(WEIGHTS)] = np.nan
    assert score_signals(rows, states_of(bars), **TABLES)["hour"].tolist() == [START + 2 * HOUR]


def test_a_signal_worked_by_hand_has_these_numbers() -> None:
    signal = one_signal().assign(funding_8h=2e-4)
    # Score 80 by every factor; stop 2 % by 2.5 ATR; not calibrated, so P is 1/3 and EV is minus the costs.
    row = signal.iloc[0]
    assert (row["signal_id"], row["side"], row["confidence"]) == ("SIMA@20240101T00", "long", pytest.approx(80.0))
    assert (row["stop_bps"], row["target_bps"]) == (pytest.approx(200), pytest.approx(400))
    assert (row["p_target"], row["p_timeout"], row["calibrated"]) == (pytest.approx(1 / 3), 0.0, False)
    assert row["funding_bps"] == pytest.approx(1e4 * 1e-4 * 24 / 8)
    assert row["ev_bps"] == pytest.approx(-14 - 3)
    assert (row["verdict"], row["reason"]) == ("rejected", "EV -17.0 bps <= 0, not calibrated: paper only")


def test_the_expected_value_weighs_target_stop_timeout_cost_and_funding() -> None:
    bars = random_bars(2, 50, 1)
    signals = scored(bars, calibration=half(), costs=CostTable({"SIM0": 20.0}, holding_hours=16.0))
    stop = signals["stop_bps"]
    sign = np.where(signals["side"] == "long", 1, -1)
    cost = np.where(signals["coin"] == "SIM0", 20.0, 14.0)
    expected = 0.5 * 2 * stop - 0.4 * stop + 0.1 * 50 - cost - sign * 1.0 * 2
    np.testing.assert_allclose(signals["ev_bps"], expected)
    assert signals["calibrated"].all()


def test_shorts_mirror_longs() -> None:
    bars = random_bars(1, 40, 2)
    rows = random_factors(bars, 2, missing=0.0)
    signed = [name for name in rows if name in (*WEIGHTS, "F", "market_regime")]
    mirrored = rows.assign(**{name: -rows[name] for name in signed})
    state = states_of(bars, funding=0.0)
    one, other = (score_signals(frame, state, **TABLES) for frame in (rows, mirrored))
    assert (one["side"] != other["side"]).all()
    for name in ("confidence", "f_directional", "ev_bps", *(f"gate_{gate}" for gate in GATES)):
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize(
    ("changes", "gate", "passed", "words"),
    [
        ({"closed_bars": 335}, "data", False, "335 closed bars, 336 are needed"),
        ({"closed_bars": 336}, "data", True, "336 closed bars without defect"),
        ({"defect": True}, "data", False, "a data defect in the window"),
        ({"weight_present": 0.49}, "data", False, "only 0.49 of the score's weight"),
        ({"stop_bps": math.nan}, "data", False, "no ATR"),
        ({"f_directional": -15.0}, "fund", True, "F_directional -15.0 >= -15"),
        ({"f_directional": -15.1}, "fund", False, "F_directional -15.1 < -15"),
        ({"f_directional": math.nan}, "fund", False, "F is missing"),
        ({"I": 29.0, "market_regime": -31.0}, "market", False, "I 29.0 < 30 and the market leans 31.0 against it"),
        ({"I": 29.0, "market_regime": -30.0}, "market", True, "not adverse"),
        ({"I": 29.0, "market_regime": -31.0, "side": "short"}, "market", True, "not adverse"),
        ({"I": 29.0, "market_regime": 31.0, "side": "short"}, "market", False, "leans 31.0 against"),
        ({"I": 30.0, "market_regime": -90.0}, "market", True, "I 30.0 >= 30"),
        ({"I": math.nan, "market_regime": 0.0}, "market", True, "not adverse"),
        ({"I": math.nan, "market_regime": -50.0}, "market", False, "I is missing and the market leans 50.0"),
        ({"I": 29.0, "market_regime": math.nan}, "market", False, "the market is not known"),
        ({"I": 31.0, "market_regime": math.nan}, "market", True, "I 31.0 >= 30"),
        ({"ev_bps": 0.0}, "ev", False, "EV 0.0 bps <= 0"),
        ({"ev_bps": 0.1, "calibrated": True}, "ev", True, "EV 0.1 bps > 0"),
        ({"ev_bps": math.nan}, "ev", False, "EV is missing"),
    ],
)
def test_each_gate_judges_at_its_threshold_and_says_why(
    changes: dict[str, object], gate: str, passed: bool, words: str
) -> None:
    judged = judge(one_signal().assign(**changes), Thresholds()).iloc[0]
    assert judged[f"gate_{gate}"] == passed
    assert words in judged[f"gate_{gate}_reason"]


def test_gate_values_and_verdicts_agree() -> None:
    """What the threshold search scans is what the gates do."""
    signals = scored(random_bars(3, 200, 7), 7, calibration=half())
    thresholds = Thresholds(ev_bps=141.0, f_directional=5.0, independence=60.0)
    judged, values = judge(signals, thresholds), gate_values(signals, thresholds.regime)
    for gate in ("fund", "market", "ev"):
        np.testing.assert_array_equal(passes(gate, values[gate], thresholds.value(gate)), judged[f"gate_{gate}"])
        assert 0 < judged[f"gate_{gate}"].mean() < 1


def test_signals_keep_their_contract_and_the_verdict_is_that_of_all_gates() -> None:
    signals = scored(random_bars(3, 300, 4), 4, calibration=half())
    assert SCORED_SIGNALS.validate(signals).reasons() == []
    assert 0 < (signals["verdict"] == "accepted").mean() < 1
    assert signals["flags"].str.contains("missing_V").any()
    assert signals["flags"].str.contains("C_proxy").any()


def test_a_signal_depends_on_its_own_row_alone() -> None:
    """Cutting history, other coins or the order of rows changes nothing, bit for bit."""
    bars = random_bars(3, 120, 8)
    rows, state = random_factors(bars, 8), states_of(bars)
    whole = score_signals(rows, state, **TABLES)
    last = START + 60 * HOUR
    cut = score_signals(rows[rows["hour"] < last], state[state["hour"] < last], **TABLES)
    pd.testing.assert_frame_equal(whole[whole["hour"] < last].reset_index(drop=True), cut, check_exact=True)
    own = score_signals(rows[rows["coin"] == "SIM1"], state, **TABLES)
    pd.testing.assert_frame_equal(whole[whole["coin"] == "SIM1"].reset_index(drop=True), own, check_exact=True)
    shuffled = score_signals(rows.sample(frac=1, random_state=0), state.sample(frac=1, random_state=1), **TABLES)
    pd.testing.assert_frame_equal(whole, shuffled, check_exact=True)


def test_tables_made_later_may_not_judge() -> None:
    bars = random_bars(1, 5, 0)
    rows, state = random_factors(bars, 0), states_of(bars)
    fine, late = START + HOUR, START + HOUR + pd.Timedelta(minutes=1)
    score_signals(rows, state, **TABLES | {"thresholds": Thresholds(as_of=fine)})
    for name, table in (
        ("calibration", CalibrationTable(as_of=late)),
        ("costs", CostTable(as_of=late)),
        ("thresholds", Thresholds(as_of=late)),
    ):
        with pytest.raises(DataError, match="use the version in force then"):
            score_signals(rows, state, **TABLES | {name: table})


def test_bad_input_is_refused_with_its_name() -> None:
    bars = random_bars(2, 5, 0)
    rows, state = random_factors(bars, 0), states_of(bars)
    with pytest.raises(DataError, match="factors lack the columns flags"):
        score_signals(rows.drop(columns="flags"), state, **TABLES)
    with pytest.raises(DataError, match="states are repeated"):
        score_signals(rows, pd.concat([state, state]), **TABLES)
    with pytest.raises(DataError, match="2 factor rows have no state, first SIM1"):
        score_signals(rows, state.iloc[:-2], **TABLES)
    with pytest.raises(ConfigError, match="no gate"):
        Thresholds().value("mood")


def test_no_rows_give_no_signals() -> None:
    bars = random_bars(1, 2, 0)
    signals = score_signals(random_factors(bars, 0).iloc[:0], states_of(bars), **TABLES)
    assert SCORED_SIGNALS.validate(signals).reasons() == []


def test_versions_change_with_content_only() -> None:
    assert Thresholds().version() == Thresholds().version()
    assert Thresholds().version() != Thresholds().changed("fund", -10).version()
    assert CostTable({"A": 1.0, "B": 2.0}).version == CostTable({"B": 2.0, "A": 1.0}).version
