"""What an answer of an outside service changes in what is landed: screening, merging, splits.

A service is asked again and again for days it has answered before, so its answers repeat, correct and sometimes forget
what they said. The rules: a session that has not closed is not accepted; of identical rows one is kept, of
contradicting ones none; a new row is added; a changed row replaces the old one and the change is recorded; a row that
is no longer delivered stays.

What belongs here: pure functions on rows. What does not: dates and progress (`market/collect_progress.py`), services
and files (`market/sources/`), and whether a row can be true (`market/cleaning.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import SourceError

PRICES = ("open", "high", "low", "close")
BAR_VALUES = (*PRICES, "volume", "dividend")
VIX_VALUES = PRICES
SPLIT_VALUES = ("split_ratio",)

REBASE_ROWS = 3
"""So many landed closes that all change by one factor are a split the answer did not tell of, not corrections."""

REBASE_LOG_RATIO = 1e-4

MOVED_DAYS = 10
"""A split with the same ratio so near is the same one at a corrected date."""

Days = npt.NDArray[np.datetime64]


@dataclass(frozen=True)
class Screened:
    """An answer after screening.

    Parameters
    ----------
    rows
        columns session, ticker and the values; sorted, one row a session, none after the last closed session
    refused
        sessions (datetime64[D]) whose rows were refused, ascending
    problems
        sentences about them
    """

    rows: pd.DataFrame
    refused: Days
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Revision:
    """One landed row that the service now gives differently: the values that changed, before and after (none: gone)."""

    ticker: str
    session: str
    old: dict[str, float]
    new: dict[str, float]


@dataclass(frozen=True)
class Merged:
    """Landed rows after an answer.

    Parameters
    ----------
    rows
        held and fresh rows together, sorted by session
    added
        number of rows that are new
    revisions
        what changed in rows that were held
    unanswered
        held sessions of the span asked for that the answer lacks; they stay
    """

    rows: pd.DataFrame
    added: int
    revisions: tuple[Revision, ...]
    unanswered: Days


def screen(rows: pd.DataFrame, values: Sequence[str], closed: np.datetime64, today: np.datetime64) -> Screened:
    """Sort an answer and leave out what cannot be accepted.

    Parameters
    ----------
    rows
        columns session (datetime64, midnight), ticker and `values`, of one ticker, any order, shape (n,)
    values
        columns that must hold finite numbers: prices above 0, others of 0 or more
    closed
        last closed session
    today
        date at the exchange: rows of the session that is open are left out without a word, later ones with one

    Returns
    -------
    Screened
    """
    name = str(rows["ticker"].iloc[0]) if len(rows) else ""
    dates = rows["session"].to_numpy().astype("datetime64[D]")
    problems: list[str] = []
    future = dates > today
    if future.any():
        problems.append(
            f"{name}: {int(future.sum())} rows are dated {dates[future].min()} or later, expected none after today "
            f"({today}): not landed"
        )
    left = rows[dates <= closed].drop_duplicates(["session", *values])
    numbers = left[list(values)].to_numpy(dtype=float)
    prices = np.array([value in PRICES for value in values])
    # NaN compares false, which is what refuses it.
    good = (np.isfinite(numbers) & np.where(prices, numbers > 0, numbers >= 0)).all(axis=1)
    twice = left["session"].where(good).duplicated(keep=False).to_numpy() & good
    for bad, what, expected in (
        (~good, "hold no number, or one below what is possible, in a row", "finite prices above 0"),
        (twice, "came more than once with different values", "one row a session"),
    ):
        if bad.any():
            found = left[bad].iloc[0]
            shown = ", ".join(f"{value}={found[value]:.10g}" for value in values)
            problems.append(
                f"{name}: {left['session'][bad].nunique()} sessions {what}, expected {expected}; first "
                f"{found['session']:%Y-%m-%d} ({shown}): not landed, asked again at the next poll"
            )
    kept = left[good & ~twice].sort_values("session", ignore_index=True)
    refused = np.unique(left["session"][~good | twice].to_numpy().astype("datetime64[D]"))
    return Screened(kept, np.setdiff1d(refused, kept["session"].to_numpy().astype("datetime64[D]")), tuple(problems))


def merge(held: pd.DataFrame, fresh: pd.DataFrame, values: Sequence[str], first: np.datetime64) -> Merged:
    """Lay an answer over what is held.

    Parameters
    ----------
    held, fresh
        columns session, ticker and `values` of one ticker, one row a session, shapes (m,) and (n,)
    first
        first date that was asked for: a held session before it cannot be missing in the answer
    """
    before, after = held.set_index("session"), fresh.set_index("session")
    shared = before.index.intersection(after.index).sort_values()
    old, new = (part.loc[shared, list(values)].to_numpy(dtype=float) for part in (before, after))
    differs = ~((old == new) | (np.isnan(old) & np.isnan(new)))
    revisions = []
    for row in np.flatnonzero(differs.any(axis=1)).tolist():
        names = [(name, place) for place, name in enumerate(values) if differs[row, place]]
        revisions.append(
            Revision(
                str(held["ticker"].iloc[0]),
                f"{shared[row]:%Y-%m-%d}",
                {name: float(old[row, place]) for name, place in names},
                {name: float(new[row, place]) for name, place in names},
            )
        )
    stay = held[~held["session"].isin(fresh["session"])]
    lost = stay["session"].to_numpy().astype("datetime64[D]")
    rows = pd.concat([part for part in (stay, fresh) if len(part)] or [held], ignore_index=True)
    return Merged(
        rows.sort_values("session", ignore_index=True),
        len(fresh) - len(shared),
        tuple(revisions),
        np.sort(lost[lost >= first]),
    )


def merge_splits(held: pd.DataFrame, fresh: pd.DataFrame, first: np.datetime64, *, accept: bool) -> Merged:
    """Splits of one ticker after an answer.

    A split that the answer lacks stays, like a row, and is `unanswered`; but one that comes with the same ratio at most
    `MOVED_DAYS` away was moved, and would count twice: the old date goes, as a revision to nothing.

    Parameters
    ----------
    held, fresh
        columns session, ticker, split_ratio; one row a session
    first
        first date that was asked for
    accept
        take the answer as the whole truth: what it lacks goes, likewise recorded
    """
    merged = merge(held, fresh, SPLIT_VALUES, first)
    rows, gone, stays = merged.rows, [], []
    for day in merged.unanswered:
        old = rows[rows["session"] == pd.Timestamp(day)].iloc[0]
        near = (fresh["session"] - old["session"]).abs() <= pd.Timedelta(days=MOVED_DAYS)
        moved = bool((near & np.isclose(fresh["split_ratio"], old["split_ratio"], rtol=1e-6)).any())
        if moved or accept:
            gone.append(Revision(str(old["ticker"]), str(day), {"split_ratio": float(old["split_ratio"])}, {}))
        else:
            stays.append(day)
    kept = rows[~rows["session"].isin([pd.Timestamp(each.session) for each in gone])].reset_index(drop=True)
    return Merged(kept, merged.added, (*merged.revisions, *gone), np.array(stays, dtype="datetime64[D]"))


def rebasing_factor(held: pd.DataFrame, fresh: pd.DataFrame) -> float | None:
    """The one factor by which landed closes would change, or None when they do not change that way.

    Closes are landed as quoted on the day, which no later event changes. Where several change by the same factor the
    service adjusted for a split its answer does not tell of, or told of one it did not adjust for.

    Parameters
    ----------
    held, fresh
        columns session and close (USD, above 0) of one ticker, one row a session
    """
    both = held[["session", "close"]].merge(fresh[["session", "close"]], on="session", suffixes=("_old", "_new"))
    ratio = np.log(both["close_new"].to_numpy(dtype=float) / both["close_old"].to_numpy(dtype=float))
    moved = ratio[np.abs(ratio) > REBASE_LOG_RATIO]
    if len(moved) < REBASE_ROWS:
        return None
    middle = float(np.median(moved))
    same = np.abs(moved - middle) <= max(REBASE_LOG_RATIO, 0.02 * abs(middle))
    return float(np.exp(middle)) if same.sum() >= max(REBASE_ROWS, 0.8 * len(moved)) else None


def empty_rows(values: Sequence[str]) -> pd.DataFrame:
    """A frame without rows: session, ticker and `values`."""
    kinds: dict[str, Any] = {"session": "datetime64[us]", "ticker": "str"} | dict.fromkeys(values, "float64")
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})


def one_per_session(rows: pd.DataFrame, values: Sequence[str], what: str) -> pd.DataFrame:
    """Rows without exact repetitions, sorted; contradicting ones are refused.

    Raises
    ------
    SourceError
        if a session has different values.
    """
    kept = rows.drop_duplicates(["session", *values]).sort_values("session", ignore_index=True)
    twice = kept[kept["session"].duplicated(keep=False)]
    if len(twice):
        raise SourceError(
            f"{twice['ticker'].iloc[0]}: {what} of {twice['session'].iloc[0]:%Y-%m-%d} came as "
            f"{' and '.join(f'{value:g}' for value in twice[values[0]].iloc[:2])}, expected one value: nothing of the "
            "ticker was landed; poll again later"
        )
    return kept
