"""Which refused challengers go on deciding their share."""

from __future__ import annotations

from typing import Any

import pytest

from butterquant_assets.butterfly.challenge import evidence_row, stays_on_trial

REFUSED: dict[str, Any] = {
    "challenger": "new",
    "champion": "old",
    "promoted": False,
    "rows": 900,
    "episodes": 12,
    "difference": 0.001,
    "low": -0.004,
    "high": 0.006,
    "ece_champion": 0.03,
    "ece_challenger": 0.02,
    "ece_limit": 0.03,
    "reason": "old stays",
}


@pytest.mark.parametrize(
    ("found", "on_trial"),
    [
        ({}, True),  # refused for want of evidence
        ({"low": None, "high": None}, True),  # a single episode shows nothing
        ({"low": -0.03, "high": -0.01}, False),  # shown to be worse
        ({"ece_challenger": 0.05}, False),  # its calibration is worse
        ({"rows": 0, "low": None, "high": None, "ece_challenger": None, "ece_limit": None}, False),  # by hand
    ],
)
def test_a_challenger_stays_on_trial_unless_it_is_shown_to_be_worse_or_was_refused_by_hand(
    found: dict[str, Any], on_trial: bool
) -> None:
    judgement = evidence_row(REFUSED | found, "old")
    assert stays_on_trial(judgement, "new") is on_trial
    assert stays_on_trial(judgement, "newer still")
