"""Contracts of the short-term tables refuse what cannot be."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from butterquant_assets.butterfly import short_term
from butterquant_assets.butterfly.features import build_features
from butterquant_assets.butterfly.short_term_schemas import SHORT_TERM, SHORT_TERM_SET
from butterquant_assets.butterfly.short_term_training import join_short_term_set
from butterquant_tests.butterfly.cases import analysed, made_up_bars


def _found() -> pd.DataFrame:
    return short_term.short_term_rows(analysed().analyses, made_up_bars(), "2016-09-30")


BREAKS: dict[str, tuple[str, Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "a target session of six sessions": (
        "seven_sessions_ahead",
        lambda f: f.assign(target_session=f["target_session"] - pd.Timedelta(days=1)),
    ),
    "a target beside a reason": ("target_or_reason", lambda f: f.assign(missing_reason="missing_bar")),
    "a gap without a reason": ("target_or_reason", lambda f: f.assign(return_7=float("nan"))),
    "the wrong direction": ("classes_agree_with_return", lambda f: f.assign(direction_7=2.0 - f["direction_7"])),
    "a loud quiet": ("classes_agree_with_return", lambda f: f.assign(quiet_7=1.0 - f["quiet_7"])),
    "a return longer than its path": ("return_within_path", lambda f: f.assign(return_7=9.0, direction_7=2.0)),
    "a volatility in percent squared below 0": ("schema", lambda f: f.assign(rv_5=-1.0)),
    "an infinite forecast": ("schema", lambda f: f.assign(garch_vol_7=float("inf"))),
    "a missing reference": ("schema", lambda f: f.assign(rv_22=float("nan"))),
    "an unknown reason": ("schema", lambda f: f.assign(missing_reason="lazy")),
    "a third kind of quiet": ("schema", lambda f: f.assign(quiet_7=2.0)),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_row_is_refused_by_the_rule_that_is_meant(name: str) -> None:
    rule, broken = BREAKS[name]
    assert SHORT_TERM.validate(_found()).passed
    assert not SHORT_TERM.validate(broken(_found())).checks[rule].passed


def test_joined_rows_keep_the_contract_of_the_training_rows() -> None:
    analyses = analysed().analyses
    joined = join_short_term_set(analyses, build_features(analyses), _found())
    assert SHORT_TERM_SET.validate(joined.rows).reasons() == []
    assert len(joined.rows) == len(analyses) == joined.facts["analysed"]
    cut = short_term.short_term_rows(analyses, made_up_bars(), "2016-04-04")
    fewer = join_short_term_set(analyses, build_features(analyses), cut)
    assert fewer.facts["without targets"] == {"after_data_end": int((cut["missing_reason"] != "").sum())}
    assert SHORT_TERM_SET.validate(fewer.rows).reasons() == []
