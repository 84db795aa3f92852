from __future__ import annotations

import pandas as pd
import pytest

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.signals.gates import Thresholds
from butterquant_assets.signals.paper import Execution
from butterquant_assets.signals.refresh import Cadence, Rules, learn
from butterquant_assets.signals.rounds import JUDGING, in_force, stacked, taken_out
from butterquant_tests.signals.signal_cases import paper_trades

NOW = pd.Timestamp("2024-03-08")


def test_a_round_is_due_after_a_week_or_enough_results() -> None:
    cadence = Cadence()
    assert cadence.reason(NOW - pd.Timedelta(days=7), NOW, 0) == "week"
    assert cadence.reason(NOW - pd.Timedelta(days=6), NOW, 299) == ""
    assert cadence.reason(NOW - pd.Timedelta(days=1), NOW, 300) == "results"


def test_a_cadence_that_would_never_rest_is_refused() -> None:
    with pytest.raises(ConfigError, match="1 or more"):
        Cadence(days=0)


def test_one_time_out_holds_for_execution_and_learning() -> None:
    with pytest.raises(ConfigError, match="different time-outs"):
        Rules(execution=Execution(timeout_hours=24))


def test_the_first_thresholds_come_from_no_data() -> None:
    with pytest.raises(ConfigError, match="no data"):
        Rules(thresholds=Thresholds(as_of=NOW))


def test_the_document_constant_can_be_chosen_and_holds_where_a_round_has_no_execution_to_learn_from() -> None:
    ours, rules = Rules(), Rules(cost_constant="document")
    coin = pd.Series(["SIMA"])
    assert (ours.first_tables.costs.of(coin)[0], rules.first_tables.costs.of(coin)[0]) == (14.0, 6.0)
    assert ours.first_tables.costs.version != rules.first_tables.costs.version
    nothing = paper_trades(1, 5).iloc[:0]
    held = learn(nothing, rules.first_tables, as_of=NOW, seed=1, rules=rules)
    stored = stacked([held])
    again = taken_out(stored, [NOW], rules.fallback_bps)[0]
    judging = in_force({name: stored[name] for name in JUDGING}, NOW, rules.first_tables)
    for tables in (held.tables, again.tables, judging):
        assert tables.costs.of(coin)[0] == 6.0
        assert tables.costs.version == held.tables.costs.version
    few = paper_trades(1, 60)
    learned = learn(few, rules.first_tables, as_of=few["known_at"].max(), seed=1, rules=rules)
    assert (learned.frames["cost_table"]["fallback_bps"] == 6.0).all()
    with pytest.raises(ConfigError, match="use one of fees, document"):
        Rules(cost_constant="none")  # type: ignore[arg-type]
