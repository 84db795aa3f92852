"""Train, validation and test parts by time, purged by holding period and embargoed.

A label is known only when its holding period ends, so two rows whose periods overlap share future prices. A random
split, or one that cuts by entry alone, leaks that future into training. What belongs here: deciding which rows go
where, and saying how much independent evidence each part holds. What does not: what the rows mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError, DataError

PARTS = ("train", "validation", "test")

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TimeSplit:
    """Which rows belong to which part; every row is in exactly one of the four masks.

    Parameters
    ----------
    train, validation, test, purged
        boolean masks, shape (n,). A purged row would belong to an earlier part, but its holding period reaches the
        next one.
    validation_start, test_start
        first entry session of the validation and of the test part
    embargo_days
        calendar days kept free before each of these two boundaries
    """

    train: Mask
    validation: Mask
    test: Mask
    purged: Mask
    validation_start: np.datetime64
    test_start: np.datetime64
    embargo_days: int

    def parts(self) -> dict[str, Mask]:
        """Masks of the three parts by name, in time order, without the purged rows."""
        return {name: getattr(self, name) for name in PARTS}


def purged_time_split(
    entry: npt.ArrayLike,
    exit: npt.ArrayLike,
    *,
    validation_share: float,
    test_share: float,
    embargo_days: int,
    minimum_train_rows: int = 1,
    minimum_part_rows: int = 1,
) -> TimeSplit:
    """Cut rows by time into train, validation and test, so that no two parts share a day of holding period.

    The distinct entry sessions, in order, are cut by the shares (rounded to whole sessions, at least one each). A
    training row stays only if its holding period ends before the validation start minus the embargo, a validation row
    only if it ends before the test start minus the embargo; the others are purged, never moved to another part.

    Parameters
    ----------
    entry, exit
        first and last day of each row's holding period (dates), both included, shape (n,)
    validation_share, test_share
        shares of the distinct entry sessions, each above 0, together below 1
    embargo_days
        calendar days left free before each boundary, on top of the purge
    minimum_train_rows, minimum_part_rows
        fewer rows than this in training, or in validation or test, are refused

    Returns
    -------
    TimeSplit

    Raises
    ------
    ConfigError
        if the shares or the embargo make no sense.
    DataError
        if a date is missing, an exit precedes its entry, or a part ends up smaller than its minimum.

    Notes
    -----
    Source: M. Lopez de Prado, *Advances in Financial Machine Learning* (2018), section 7.4 (purging and embargo).
    """
    _check_shares(validation_share, test_share, embargo_days)
    entered, left = _dates(entry, "entry"), _dates(exit, "exit")
    if entered.shape != left.shape:
        raise ValueError(f"entry has shape {entered.shape}, exit {left.shape}; they must be equal")
    backwards = np.flatnonzero(left < entered)
    if backwards.size:
        row = int(backwards[0])
        raise DataError(
            f"{backwards.size} rows leave before they enter, first row {row}: {entered[row]} .. {left[row]}; "
            "check the evaluation sessions"
        )
    validation_start, test_start = _boundaries(np.unique(entered), validation_share, test_share)
    embargo = np.timedelta64(embargo_days, "D")
    before_validation, before_test = entered < validation_start, entered < test_start
    train = before_validation & (left < validation_start - embargo)
    validation = ~before_validation & before_test & (left < test_start - embargo)
    test = ~before_test
    split = TimeSplit(
        train, validation, test, ~(train | validation | test), validation_start, test_start, int(embargo_days)
    )
    for name, mask in split.parts().items():
        minimum = minimum_train_rows if name == "train" else minimum_part_rows
        if mask.sum() < minimum:
            raise DataError(
                f"the {name} part has {mask.sum()} rows, at least {minimum} are needed ({entered.size} rows in all, "
                f"{split.purged.sum()} purged, validation from {validation_start}, test from {test_start}); "
                "sample more days or a longer span, or change the shares"
            )
    return split


def episodes_per_part(split: TimeSplit, episode: npt.ArrayLike) -> dict[str, int]:
    """Number of distinct episodes in each part: what counts as independent evidence, unlike rows.

    Parameters
    ----------
    split
        the masks
    episode
        identifier of each row's episode, shape (n,), no missing values

    Returns
    -------
    dict of part name to count
    """
    codes = _episode_codes(episode)
    return {name: int(np.unique(codes[mask]).size) for name, mask in split.parts().items()}


def split_summary(
    split: TimeSplit, entry: npt.ArrayLike, exit: npt.ArrayLike, episode: npt.ArrayLike
) -> dict[str, dict[str, Any]]:
    """Dates, rows, sessions and episodes of each part, as plain values for a model card.

    ``episodes_seen_before`` counts the episodes of a part that also occur in an earlier part: they are the weaker part
    of the evidence, since the market they show was partly seen.

    Parameters
    ----------
    split
        the masks
    entry, exit
        as given to `purged_time_split`, shape (n,)
    episode
        identifier of each row's episode, shape (n,)

    Returns
    -------
    dict of part name to a dict with ``rows``, ``sessions``, ``episodes``, ``episodes_seen_before``, ``first_entry``,
    ``last_entry`` and ``last_exit`` (ISO dates); under ``purged`` only the number of rows.
    """
    entered, left, codes = _dates(entry, "entry"), _dates(exit, "exit"), _episode_codes(episode)
    summary: dict[str, dict[str, Any]] = {}
    seen: set[int] = set()
    for name, mask in split.parts().items():
        episodes = set(np.unique(codes[mask]).tolist())
        summary[name] = {
            "rows": int(mask.sum()),
            "sessions": int(np.unique(entered[mask]).size),
            "episodes": len(episodes),
            "episodes_seen_before": len(episodes & seen),
            "first_entry": str(entered[mask].min()),
            "last_entry": str(entered[mask].max()),
            "last_exit": str(left[mask].max()),
        }
        seen |= episodes
    summary["purged"] = {"rows": int(split.purged.sum())}
    return summary


def _check_shares(validation_share: float, test_share: float, embargo_days: int) -> None:
    if not (validation_share > 0 and test_share > 0 and validation_share + test_share < 1):
        raise ConfigError(
            f"validation_share {validation_share} and test_share {test_share} must be above 0 and sum to less than 1"
        )
    if embargo_days < 0:
        raise ConfigError(f"embargo_days is {embargo_days}; it must be 0 or more")


def _dates(values: npt.ArrayLike, name: str) -> npt.NDArray[np.datetime64]:
    dates = np.asarray(values, dtype="datetime64[D]")
    missing = int(np.isnat(dates).sum())
    if missing:
        raise DataError(f"{missing} of {dates.size} {name} dates are missing; drop rows without a label first")
    return dates


def _boundaries(
    sessions: npt.NDArray[np.datetime64], validation_share: float, test_share: float
) -> tuple[np.datetime64, np.datetime64]:
    in_test = max(1, round(test_share * sessions.size))
    in_validation = max(1, round(validation_share * sessions.size))
    if sessions.size <= in_test + in_validation:
        raise DataError(
            f"{sessions.size} distinct sessions cannot give a train, a validation and a test part; sample more days"
        )
    return sessions[-in_test - in_validation], sessions[-in_test]


def _episode_codes(episode: npt.ArrayLike) -> npt.NDArray[np.int64]:
    codes, _ = pd.factorize(np.asarray(episode))
    if (codes < 0).any():
        raise DataError(f"{(codes < 0).sum()} rows have no episode; every sampled day belongs to one")
    return codes.astype(np.int64)
