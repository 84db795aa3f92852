from __future__ import annotations

import pandas as pd
import pytest

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.signals.gates import Thresholds
from butterquant_assets.signals.paper import Execution
from butterquant_assets.signals.refresh import Cadence, Rules

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
