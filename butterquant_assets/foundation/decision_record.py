"""The record of decisions: what was decided, when, and what was taken back since.

A decision is never removed. One whose analysis a correction took away is withdrawn with the reason, whichever model
made it; so is a replay that its model, or the baseline, does not make any more. Decisions made in time, those whose
time is not known, and those the feedback ledger took stand for as long as their analysis does. An edge: it does I/O and
knows no Dagster. What does not belong here: deciding, and what counts as in time (the lines).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd

from butterquant_assets.foundation.sql_values import records
from butterquant_assets.foundation.warehouse import Warehouse

BASELINE = "baseline"
ANALYSIS = ["session", "ticker"]
GONE = "no analysis any more: a correction took away what it rested on"


def record_month(
    warehouse: Warehouse,
    month: str,
    decided: pd.DataFrame,
    outcomes: pd.DataFrame,
    *,
    analysed: pd.DataFrame,
    rejects: pd.DataFrame,
    at: datetime,
) -> dict[str, int]:
    """Make the record of one month say what these frames say, and withdraw what they no longer hold.

    Repeated with the same frames it changes nothing; after a failure it may be repeated.

    Parameters
    ----------
    warehouse
        migrated
    month
        ``YYYY-MM``
    decided
        all decisions of that month: parameters of the query ``upsert_trade_decisions`` but decided_at; those on what is
        not in `analysed` (any more) are left out
    outcomes
        all outcomes of that month that are known: parameters of ``upsert_decision_outcomes``
    analysed
        session, ticker of every analysis of that month, decided on or not
    rejects
        session, ticker, reason of what could not be analysed
    at
        the time, with its zone

    Returns
    -------
    rows ``decided`` and ``outcomes`` written; ``withdrawn`` decisions by analysis, and ``replays_withdrawn``

    Raises
    ------
    WarehouseError
        if the database refuses.
    """
    first = pd.Timestamp(month)
    span = {"first": first, "last": first + pd.offsets.MonthEnd(1)}
    now = at.astimezone(UTC).replace(tzinfo=None)
    decided = decided[pd.MultiIndex.from_frame(decided[ANALYSIS]).isin(pd.MultiIndex.from_frame(analysed[ANALYSIS]))]
    # What is withdrawn and what is written never share a row, so a reader between the two sees no contradiction.
    gone = _unanalysed(warehouse.fetch("decided_analyses", span), analysed, rejects)
    warehouse.execute("withdraw_decisions", _stamped(gone, now))
    replays = _not_made_any_more(warehouse, span, decided)
    warehouse.execute("withdraw_replayed_decision", _stamped(replays, now))
    return {
        "withdrawn": len(gone),
        "replays_withdrawn": len(replays),
        "decided": warehouse.upsert_frame("upsert_trade_decisions", decided.assign(decided_at=now)),
        "outcomes": warehouse.replace_frame(
            "upsert_decision_outcomes", outcomes, clear="clear_decision_outcomes", params=span
        ),
    }


def _unanalysed(held: pd.DataFrame, analysed: pd.DataFrame, rejects: pd.DataFrame) -> pd.DataFrame:
    """Analyses of the record that are no more, with the reason."""
    gone = _without(held, analysed)
    why = rejects[[*ANALYSIS, "reason"]].drop_duplicates(ANALYSIS)
    found = gone.merge(why, on=ANALYSIS, how="left", validate="one_to_one")
    reason = ("no analysis any more: " + found["reason"].astype("str")).where(found["reason"].notna(), GONE)
    return gone.assign(withdrawn_reason=reason)


def _not_made_any_more(warehouse: Warehouse, span: dict[str, pd.Timestamp], decided: pd.DataFrame) -> pd.DataFrame:
    """Replays on record by those who decide now that are not among their decisions, with the reason."""
    parts = []
    deciders = decided["model_version"].fillna(BASELINE)
    for name in sorted({BASELINE, *deciders}):  # the baseline decides wherever some model does
        held = warehouse.fetch("replayed_decisions", span | {"decided_by": name})
        reason = f"{name} does not decide on it any more: another model does, or none may"
        parts.append(_without(held, decided[deciders == name]).assign(decided_by=name, withdrawn_reason=reason))
    return pd.concat(parts, ignore_index=True)


def _without(held: pd.DataFrame, still: pd.DataFrame) -> pd.DataFrame:
    """Rows of `held` whose key, all its columns, is not in `still`."""
    keys = list(held.columns)
    if still.empty:
        return held
    kept = pd.MultiIndex.from_frame(held).isin(pd.MultiIndex.from_frame(still[keys]))
    return held[~kept].reset_index(drop=True)


def _stamped(rows: pd.DataFrame, now: datetime) -> list[dict[str, Any]]:
    return records(rows.assign(withdrawn_at=now))
