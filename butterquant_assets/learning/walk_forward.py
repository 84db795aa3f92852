"""Walk-forward folds: which rows a desk could have learned from at each retraining, and which it then met.

Boundaries are month starts, chosen greedily from the beginning of the data, so that later rows only add folds and never
move an earlier one: a vintage stays the vintage it was. What belongs here: deciding which rows go where, and saying how
much independent evidence each fold holds. What does not: what the rows mean, and training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning.evidence import episode_codes

Mask = npt.NDArray[np.bool_]
Dates = npt.NDArray[np.datetime64]


@dataclass(frozen=True, eq=False)
class Fold:
    """One retraining: rows to learn from and rows met until the next one.

    Parameters
    ----------
    boundary
        month start of the retraining; the test rows enter from here on
    train
        rows whose holding period ends before the boundary minus the embargo, shape (n,)
    test
        rows that enter in [boundary, next boundary), or to the end of the data in the last fold, shape (n,)
    purged
        rows that entered before the boundary, but whose outcome was not known by then, shape (n,)
    """

    boundary: np.datetime64
    train: Mask
    test: Mask
    purged: Mask


def walk_forward(
    entry: npt.ArrayLike,
    leave: npt.ArrayLike,
    *,
    minimum_train_rows: int,
    minimum_train_episodes: int,
    step_rows: int,
    embargo_days: int,
    episode: npt.ArrayLike,
) -> list[Fold]:
    """Folds in time order; each row is a test row at most once.

    The first boundary is the first month start by which at least `minimum_train_rows` rows of at least
    `minimum_train_episodes` episodes had left, with the embargo to spare. The next boundary is the first month start
    before which at least `step_rows` rows entered since the last one. A month start after the last entry is no
    boundary, since nothing could be tested there; the last test part runs to the end of the data and may be smaller.

    Parameters
    ----------
    entry, leave
        first and last day of each row's holding period (dates), both included, shape (n,), in any order
    minimum_train_rows, minimum_train_episodes
        what the first fold needs to learn from, each at least 1
    step_rows
        test rows of every fold but the last, at least 1
    embargo_days
        calendar days left free before each boundary, on top of the purge
    episode
        identifier of each row's episode, shape (n,), no missing values

    Returns
    -------
    list of Fold, at least one

    Raises
    ------
    ConfigError
        if a minimum, the step or the embargo makes no sense.
    DataError
        if a date or an episode is missing, a row leaves before it enters, or the data cannot give a single fold.

    Notes
    -----
    Rows that enter on or after the last entry known so far never change a boundary. When rows arrive as their outcomes
    do, this holds as long as holding periods differ in length by less than the shortest month (28 days).
    Purging and embargo: M. Lopez de Prado, *Advances in Financial Machine Learning* (2018), section 7.4.
    """
    for name, value in (
        ("minimum_train_rows", minimum_train_rows),
        ("minimum_train_episodes", minimum_train_episodes),
        ("step_rows", step_rows),
    ):
        if value < 1:
            raise ConfigError(f"{name} is {value}; it must be 1 or more")
    entered, left = _periods(entry, leave)
    embargo = _embargo(embargo_days)
    codes = episode_codes(episode, entered.size)
    if not entered.size:
        raise DataError("there are no rows to fold; build the training set first")
    months = _month_starts(entered)
    first = _first_boundary(months, left, codes, embargo, minimum_train_rows, minimum_train_episodes)
    boundaries = _boundaries(months[first:], np.sort(entered), step_rows)
    ends: list[np.datetime64 | None] = [*boundaries[1:], None]
    return [_fold(entered, left, embargo, start, end) for start, end in zip(boundaries, ends, strict=True)]


def final_fold(entry: npt.ArrayLike, leave: npt.ArrayLike, *, embargo_days: int) -> Fold:
    """The fold that learns from every row and tests none: the model for the time after the data.

    Parameters
    ----------
    entry, leave
        as for `walk_forward`, at least one row
    embargo_days
        calendar days left free before the boundary

    Returns
    -------
    Fold
        its boundary is the first month start by which every row had left, with the embargo to spare

    Raises
    ------
    ConfigError
        if the embargo is negative.
    DataError
        if there are no rows, a date is missing, or a row leaves before it enters.
    """
    entered, left = _periods(entry, leave)
    embargo = _embargo(embargo_days)
    if not entered.size:
        raise DataError("there are no rows to learn from; build the training set first")
    boundary = np.datetime64((left.max() + embargo).astype("datetime64[M]") + 1, "D")
    nothing = np.zeros(entered.size, dtype=np.bool_)
    return Fold(boundary, np.ones(entered.size, dtype=np.bool_), nothing, nothing.copy())


def inner_split(
    entry: npt.ArrayLike, leave: npt.ArrayLike, mask: npt.ArrayLike, validation_share: float, embargo_days: int
) -> tuple[Mask, Mask]:
    """Training rows of a fold cut by time into rows to fit and later rows to stop by.

    The distinct entry sessions of the masked rows are cut by the share (rounded to whole sessions, at least one). A fit
    row must leave before the first validation session minus the embargo; the others are in neither part.

    Parameters
    ----------
    entry, leave
        as for `walk_forward`
    mask
        rows to divide, shape (n,), usually ``fold.train``
    validation_share
        share of the distinct entry sessions, above 0 and below 1
    embargo_days
        calendar days left free between the parts

    Returns
    -------
    fit, validation
        boolean masks, shape (n,), within `mask`, neither empty

    Raises
    ------
    ConfigError
        if the share or the embargo makes no sense.
    DataError
        if a date is missing, a row leaves before it enters, or one of the parts would be empty.
    """
    if not 0 < validation_share < 1:
        raise ConfigError(f"validation_share is {validation_share}; it must be above 0 and below 1")
    entered, left = _periods(entry, leave)
    embargo = _embargo(embargo_days)
    inside = np.asarray(mask, dtype=np.bool_)
    if inside.shape != entered.shape:
        raise ValueError(f"mask has shape {inside.shape}, entry {entered.shape}; they must be equal")
    sessions = np.unique(entered[inside])
    held_out = max(1, round(validation_share * sessions.size))
    if sessions.size <= held_out:
        raise DataError(
            f"{sessions.size} distinct sessions cannot give rows to fit and rows to validate; train on a longer span"
        )
    start = sessions[-held_out]
    fit, validation = inside & (left < start - embargo), inside & (entered >= start)
    if not fit.any():
        raise DataError(
            f"no training row leaves {embargo_days} days before {start}, where validation starts (first exit "
            f"{left[inside].min()}); train on a longer span, or lower the validation share or the embargo"
        )
    return fit, validation


def out_of_fold_before(folds: Sequence[Fold], index: int) -> Mask:
    """Test rows of the folds before `index` whose outcome was known at its boundary, shape (n,).

    What vintage `index` may fit its ensemble weights and its calibration on: rows predicted by models that had not
    seen them, and old enough that their outcome was known, with the embargo to spare. Empty for the first fold.
    """
    known: Mask = np.zeros_like(folds[index].train)
    for fold in folds[:index]:
        known |= fold.test
    known &= folds[index].train
    return known


def fold_summary(
    folds: Sequence[Fold], entry: npt.ArrayLike, leave: npt.ArrayLike, episode: npt.ArrayLike
) -> list[dict[str, Any]]:
    """Dates, rows, sessions and episodes of each fold, as plain values for a model card.

    Parameters
    ----------
    folds
        from `walk_forward`, or `final_fold`
    entry, leave, episode
        as given to `walk_forward`

    Returns
    -------
    list of dict
        ``fold`` (from 0), ``boundary`` (ISO date), ``purged_rows``; for ``train`` and ``test`` each ``*_rows``,
        ``*_sessions``, ``*_episodes``, ``*_first_entry``, ``*_last_entry``, ``*_last_exit`` (ISO dates, None for an
        empty part); and ``test_episodes_partly_seen``: episodes of the test part that also occur in training, the
        weaker part of the evidence, since the market they show was partly seen.
    """
    entered, left = _periods(entry, leave)
    codes = episode_codes(episode, entered.size)
    summary: list[dict[str, Any]] = []
    for number, fold in enumerate(folds):
        facts: dict[str, Any] = {"fold": number, "boundary": str(fold.boundary), "purged_rows": int(fold.purged.sum())}
        for name, mask in (("train", fold.train), ("test", fold.test)):
            facts |= {
                f"{name}_rows": int(mask.sum()),
                f"{name}_sessions": int(np.unique(entered[mask]).size),
                f"{name}_episodes": int(np.unique(codes[mask]).size),
                f"{name}_first_entry": str(entered[mask].min()) if mask.any() else None,
                f"{name}_last_entry": str(entered[mask].max()) if mask.any() else None,
                f"{name}_last_exit": str(left[mask].max()) if mask.any() else None,
            }
        facts["test_episodes_partly_seen"] = int(np.intersect1d(codes[fold.train], codes[fold.test]).size)
        summary.append(facts)
    return summary


def _fold(
    entered: Dates, left: Dates, embargo: np.timedelta64, start: np.datetime64, end: np.datetime64 | None
) -> Fold:
    before = entered < start
    train = left < start - embargo
    test = ~before if end is None else ~before & (entered < end)
    return Fold(start, train, test, before & ~train)


def _month_starts(entered: Dates) -> Dates:
    """Month starts after the first entry and not after the last one."""
    first, last = (value.astype("datetime64[M]") for value in (entered.min(), entered.max()))
    return np.arange(first + 1, last + 1).astype("datetime64[D]")


def _first_boundary(
    months: Dates, left: Dates, codes: npt.NDArray[np.int64], embargo: np.timedelta64, rows: int, episodes: int
) -> int:
    first_exit = np.full(codes.max() + 1, np.datetime64("9999-12-31"))
    np.minimum.at(first_exit, codes, left)
    known_rows = np.searchsorted(np.sort(left), months - embargo)
    known_episodes = np.searchsorted(np.sort(first_exit), months - embargo)
    enough = np.flatnonzero((known_rows >= rows) & (known_episodes >= episodes))
    if enough.size:
        return int(enough[0])
    if not months.size:
        raise DataError(
            f"all {left.size} rows enter within one month, so no month start cuts them; sample a longer span"
        )
    raise DataError(
        f"no fold is possible: by {months[-1]}, the last month start with rows to test, {known_rows[-1]} rows from "
        f"{known_episodes[-1]} episodes had left {embargo.astype(int)} days before; at least {rows} rows from "
        f"{episodes} episodes are needed ({left.size} rows in all); sample more days, a longer span, or ask for less"
    )


def _boundaries(months: Dates, entered: Dates, step_rows: int) -> list[np.datetime64]:
    """The first of `months`, then greedily each that lies `step_rows` entries behind the one before."""
    before = np.searchsorted(entered, months)
    chosen = [0]
    while True:
        following = int(np.searchsorted(before, before[chosen[-1]] + step_rows))
        if following == months.size:
            return list(months[chosen])
        chosen.append(following)


def _periods(entry: npt.ArrayLike, leave: npt.ArrayLike) -> tuple[Dates, Dates]:
    entered, left = (np.asarray(values, dtype="datetime64[D]") for values in (entry, leave))
    if entered.shape != left.shape:
        raise ValueError(f"entry has shape {entered.shape}, leave {left.shape}; they must be equal")
    for name, dates in (("entry", entered), ("leave", left)):
        missing = int(np.isnat(dates).sum())
        if missing:
            raise DataError(f"{missing} of {dates.size} {name} dates are missing; drop rows without a label first")
    backwards = np.flatnonzero(left < entered)
    if backwards.size:
        row = int(backwards[0])
        raise DataError(
            f"{backwards.size} rows leave before they enter, first row {row}: {entered[row]} .. {left[row]}; "
            "check the evaluation sessions"
        )
    return entered, left


def _embargo(days: int) -> np.timedelta64:
    if days < 0:
        raise ConfigError(f"embargo_days is {days}; it must be 0 or more")
    return np.timedelta64(days, "D")
