"""A cheap weekly update of the success model: new rows continue its trees and refit its calibrator. Pure.

Between two full trainings a desk learns the outcomes of what it scanned. Each Monday (and whenever a newer vintage
takes over) the vintage of the time is continued by a few boosting rounds on the scanned rows whose outcome is known and
that it had not learnt from, and its calibrator is refitted on predictions made out of sample. It always starts from the
vintage itself, so that each new row counts once and the model of a late week has no more trees than that of an early
one. Networks, regressions, weights, the method of calibration, class values and threshold stay those of the vintage:
the full training decides on them.

What belongs here: walking through the weeks, each on what was known by then, and what the updated and the unchanged
model predicted next. What does not: the version made of it (`update_version`), and judging it (`challenge`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.butterfly.geometry import N_CLASSES
from butterquant_assets.butterfly.replay import TimedModel, era
from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning.calibration import Calibrator, fit_calibrator
from butterquant_assets.learning.ensemble import Ensemble
from butterquant_assets.learning.members import TREES, MemberSettings, TrainedMember, predict_member, warm_start
from butterquant_assets.learning.walk_forward import inner_split

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Dates = npt.NDArray[np.datetime64]

KEYS = ["session", "ticker"]
BLOCK = 512
NEVER = np.datetime64("9999-12-31", "D")
WEEK = np.timedelta64(7, "D")


@dataclass(frozen=True)
class UpdateConfig:
    """How the model in service is updated each week.

    Parameters
    ----------
    enabled
        False: the model in service stays as its full training left it
    rounds
        boosting rounds added to each tree member at most; fewer where later rows say so
    minimum_rows, minimum_episodes
        an update rests on at least so many new rows, besides the later ones it stops by, and episodes
    validation_share
        share of the new rows' sessions, the latest, by which boosting stops
    embargo_days
        calendar days an outcome must have been known before a week begins
    seed
        of the row and column samples of trees
    """

    enabled: bool = True
    rounds: int = 30
    minimum_rows: int = 500
    minimum_episodes: int = 3
    validation_share: float = 0.2
    embargo_days: int = 5
    seed: int = 7

    def __post_init__(self) -> None:
        for name, least in (("rounds", 1), ("minimum_rows", 1), ("minimum_episodes", 1), ("embargo_days", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"update.{name} is {getattr(self, name)}; it must be {least} or more")
        if not 0 < self.validation_share < 1:
            raise ConfigError(f"update.validation_share is {self.validation_share}; it must be above 0 and below 1")


@dataclass(frozen=True, eq=False)
class Week:
    """The model of one week.

    Parameters
    ----------
    first
        day from which it decides, until the next week begins
    vintage
        the vintage of the time, which it starts from
    ensemble
        updated, or that of the vintage
    updated
        whether anything differs from the vintage
    reason
        what was done, or why nothing, in words
    new_rows, new_episodes
        known by then, beyond what the vintage had learnt from
    rounds
        boosting rounds added, by member
    calibration_rows
        out-of-sample predictions the calibrator was refitted on; 0: it was not
    """

    first: np.datetime64
    vintage: TimedModel
    ensemble: Ensemble
    updated: bool
    reason: str
    new_rows: int
    new_episodes: int
    rounds: dict[str, int] = field(default_factory=dict)
    calibration_rows: int = 0

    @property
    def month(self) -> str:
        """Month of the vintage, ``YYYY-MM``."""
        return str(self.vintage.first.astype("datetime64[M]"))


@dataclass(frozen=True, eq=False)
class UpdateWalk:
    """All weeks, and what their models predicted out of sample.

    Parameters
    ----------
    rows
        as given, sorted by session and ticker
    weeks
        in time order; the last one, `served`, begins after all rows and meets none
    probabilities, unchanged
        of the week's model and of its vintage, shape (n, 4); NaN for rows before the first vintage
    updated
        rows that an updated model met, shape (n,)
    """

    rows: pd.DataFrame
    weeks: list[Week]
    probabilities: Floats
    unchanged: Floats
    updated: Mask

    @property
    def served(self) -> Week:
        """The week after the rows: the model to put into service."""
        return self.weeks[-1]

    @property
    def judged(self) -> Mask:
        """Rows that an updated model met and whose outcome is known, shape (n,)."""
        known: Mask = self.updated & self.rows["evaluation_session"].notna().to_numpy()
        return known

    def refusal(self) -> str | None:
        """Why there is no update to judge, in words; None where there is one."""
        if not self.served.updated:
            return f"no update: {self.served.reason}"
        if not self.judged.any():
            return "no update: no row that an updated model met has a known outcome yet, so nothing can be judged"
        return None


def update_rows(scan: pd.DataFrame, features: pd.DataFrame, outcomes: pd.DataFrame, label: str) -> pd.DataFrame:
    """Scanned rows with their features and, where it is known, their outcome.

    Parameters
    ----------
    scan
        columns session, ticker, episode
    features
        session, ticker and the 23 features of the same rows
    outcomes
        session, ticker, evaluation_session, missing_reason and the label
    label
        label column

    Returns
    -------
    DataFrame
        session, ticker, episode, evaluation_session (NaT where the outcome is missing), the label (NaN likewise), the
        features; sorted by session and ticker
    """
    known = outcomes.loc[outcomes["missing_reason"] == "", [*KEYS, "evaluation_session", label]]
    rows = scan[[*KEYS, "episode"]].merge(known, on=KEYS, how="left", validate="one_to_one")
    rows = rows.merge(features[[*KEYS, *FEATURES]], on=KEYS, validate="one_to_one")
    return rows.sort_values(KEYS, kind="stable").reset_index(drop=True)


def walk_weeks(
    rows: pd.DataFrame,
    sample: pd.DataFrame,
    parent: Sequence[TimedModel],
    config: UpdateConfig,
    settings: MemberSettings,
    *,
    label: str,
    feedback: pd.DataFrame | None = None,
) -> UpdateWalk:
    """Update week by week; each model predicts the rows of its own week, which it has not seen.

    Parameters
    ----------
    rows
        scanned rows as `update_rows` gives them, at least one
    sample
        the training set: session, ticker, evaluation_session, the label, the features. The vintages have learnt from
        it; calibrators rest on what the vintages predicted of it out of sample, too
    parent
        vintages of a full training in time order
    config
        minimums, rounds
    settings
        of the added trees
    label
        label column
    feedback
        session and ticker of feedback rows that the vintages have learnt from besides the sample

    Returns
    -------
    UpdateWalk
        Rows that enter after a week began, and outcomes known later, change nothing in its model, bit for bit.

    Raises
    ------
    DataError
        if there is no row.
    """
    if rows.empty:
        raise DataError("no row was scanned, so there is nothing to update on; scan at least one month")
    data = _arrays(rows, sample, label, feedback)
    taught = _sample_predictions(data, sample, parent, label)
    firsts = np.array([model.first for model in parent], dtype="datetime64[D]")
    shape = (len(rows), N_CLASSES)
    pool, probabilities, unchanged = (np.full(shape, np.nan) for _ in range(3))
    updated, weeks = np.zeros(len(rows), dtype=np.bool_), []
    for first, end in _cuts(data.entry, firsts):
        number = int(era(parent, np.array([first]))[0])
        if number < 0:
            continue
        week = _week(first, parent[number], data, _Met(pool, taught), config, settings)
        weeks.append(week)
        met = (data.entry >= first) & (data.entry < end)
        if met.any():
            pool[met] = _pool(week.ensemble, data.X[met])
            probabilities[met] = week.ensemble.served.apply(pool[met])
            before = week.vintage.ensemble
            unchanged[met] = before.served.apply(_pool(before, data.X[met])) if week.updated else probabilities[met]
            updated |= met & week.updated
    return UpdateWalk(rows, weeks, probabilities, unchanged, updated)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Scanned rows as arrays; `leave` is far away where no outcome is known, `sampled` where the row was sampled."""

    X: Floats
    y: npt.NDArray[np.int64]
    entry: Dates
    leave: Dates
    episode: npt.NDArray[np.object_]
    sampled: Mask


@dataclass(frozen=True, eq=False)
class _Sample:
    """Sampled rows that a vintage met: uncalibrated out-of-sample predictions, outcomes, and when they were known."""

    pool: Floats
    y: npt.NDArray[np.int64]
    leave: Dates


@dataclass(frozen=True, eq=False)
class _Met:
    """What a calibrator may be refitted on: uncalibrated predictions of scanned rows so far, and of sampled ones."""

    pool: Floats
    sample: _Sample


def _arrays(rows: pd.DataFrame, sample: pd.DataFrame, label: str, feedback: pd.DataFrame | None) -> _Rows:
    known = rows["evaluation_session"].notna().to_numpy()
    leave = rows["evaluation_session"].to_numpy().astype("datetime64[D]")
    sampled = pd.MultiIndex.from_frame(rows[KEYS]).isin(pd.MultiIndex.from_frame(sample[KEYS]))
    if feedback is not None:
        sampled |= pd.MultiIndex.from_frame(rows[KEYS]).isin(pd.MultiIndex.from_frame(feedback[KEYS]))
    return _Rows(
        X=rows[list(FEATURES)].to_numpy(dtype=np.float64),
        y=rows[label].where(known, 0.0).to_numpy(dtype=np.float64).astype(np.int64),
        entry=rows["session"].to_numpy().astype("datetime64[D]"),
        leave=np.where(known, leave, NEVER),
        episode=rows["episode"].to_numpy(dtype=object),
        sampled=sampled,
    )


def _sample_predictions(data: _Rows, sample: pd.DataFrame, parent: Sequence[TimedModel], label: str) -> _Sample:
    """Sampled rows by the vintage of their time; those that were scanned too are left to the scan."""
    inside = sample["session"].isin(np.unique(data.entry).astype("datetime64[us]")).to_numpy()
    rows = sample[~inside].sort_values(KEYS, kind="stable")
    X, entry = rows[list(FEATURES)].to_numpy(dtype=np.float64), rows["session"].to_numpy().astype("datetime64[D]")
    eras, pool = era(parent, entry), np.full((len(rows), N_CLASSES), np.nan)
    for number in np.unique(eras[eras >= 0]):
        pool[eras == number] = _pool(parent[number].ensemble, X[eras == number])
    met = eras >= 0
    leave = rows["evaluation_session"].to_numpy().astype("datetime64[D]")
    return _Sample(pool[met], rows[label].to_numpy(dtype=np.float64).astype(np.int64)[met], leave[met])


def _cuts(entry: Dates, boundaries: Dates) -> Iterator[tuple[np.datetime64, np.datetime64]]:
    """First day of each week and of the next: Mondays and, between them, boundaries; the last one follows all rows."""
    first, last = _monday(entry.min()), entry.max()
    mondays = np.arange(first, last + 1, WEEK)
    inside = boundaries[(boundaries > first) & (boundaries <= last)]
    after = max(boundaries.max(), _monday(last) + WEEK)
    days = np.unique(np.concatenate([mondays, inside, [after]])).astype("datetime64[D]")
    yield from zip(days, [*days[1:], NEVER], strict=True)


def _monday(day: np.datetime64) -> np.datetime64:
    """The Monday of its week; 1970-01-01 was a Thursday."""
    number = int(day.astype("datetime64[D]").astype(np.int64))
    return np.datetime64(number - (number + 3) % 7, "D")


def _week(
    first: np.datetime64, vintage: TimedModel, data: _Rows, met: _Met, config: UpdateConfig, settings: MemberSettings
) -> Week:
    """The vintage updated on what is known when the week begins, or as it is, with the reason."""
    horizon = first - np.timedelta64(config.embargo_days, "D")
    new = (data.leave < horizon) & ~(data.sampled & (data.leave < vintage.first))
    episodes = len(set(data.episode[new]))
    before = vintage.ensemble
    kept = Week(first, vintage, before, False, "", int(new.sum()), episodes)
    parts = _fit_and_check(data, new, config)
    fitted = int(parts[0].sum()) if parts else 0
    if episodes < config.minimum_episodes or parts is None or fitted < config.minimum_rows:
        why = (
            f"{kept.new_rows} new rows of {episodes} {'episode' if episodes == 1 else 'episodes'} are known, of which "
            f"{fitted} could be learnt from once the latest are set aside to stop by; at least {config.minimum_rows} "
            f"rows of {config.minimum_episodes} episodes are needed"
        )
        return replace(kept, reason=why)
    grown = _grow(before, data, *parts, config, settings)
    calibrator, calibrated_on = _recalibrate(before.calibrator, data, met, horizon)
    rounds = {name: int(member.record["rounds"][-1]) for name, member in grown.items()}
    if not grown and not calibrated_on:
        return replace(kept, reason="no added round lowers the log-loss of the later rows, and nothing is calibrated")
    added = ", ".join(f"{number} rounds to {name}" for name, number in sorted(rounds.items())) or "no rounds"
    again = f"the calibrator refitted on {calibrated_on} predictions" if calibrated_on else "nothing is calibrated"
    return replace(
        kept,
        ensemble=Ensemble(before.base, before.members | grown, before.weights, calibrator),
        updated=True,
        reason=f"{added}; {again}",
        rounds=rounds,
        calibration_rows=calibrated_on,
    )


def _fit_and_check(data: _Rows, new: Mask, config: UpdateConfig) -> tuple[Mask, Mask] | None:
    """New rows to learn from and later ones to stop by; None where they span too short a time for both."""
    try:
        return inner_split(data.entry, data.leave, new, config.validation_share, config.embargo_days)
    except DataError:
        return None


def _grow(
    ensemble: Ensemble, data: _Rows, fit: Mask, check: Mask, config: UpdateConfig, settings: MemberSettings
) -> dict[str, TrainedMember]:
    """Tree members that have weight and to which a round was added."""
    grown = {}
    base = None if ensemble.base is None else [predict_member(ensemble.base, data.X[part]) for part in (fit, check)]
    for name, member in sorted(ensemble.members.items()):
        if member.kind not in TREES or not ensemble.weights.get(name):
            continue
        given = base if member.with_base and base is not None else (None, None)
        longer = warm_start(
            member,
            data.X[fit],
            data.y[fit],
            data.X[check],
            data.y[check],
            settings=settings,
            rounds=config.rounds,
            base=given[0],
            base_validation=given[1],
            seed=config.seed,
        )
        if longer.record["rounds"][-1]:
            grown[name] = longer
    return grown


def _recalibrate(old: Calibrator, data: _Rows, met: _Met, horizon: np.datetime64) -> tuple[Calibrator, int]:
    """The method of `old` fitted on all out-of-sample predictions whose outcome is known, and how many they are."""
    scanned = np.isfinite(met.pool).all(axis=1) & (data.leave < horizon)
    sampled = met.sample.leave < horizon
    count = int(scanned.sum() + sampled.sum())
    if old.method == "none" or not count:
        return old, 0
    predicted = np.concatenate([met.sample.pool[sampled], met.pool[scanned]])
    return fit_calibrator(old.method, predicted, np.concatenate([met.sample.y[sampled], data.y[scanned]])), count


def _pool(ensemble: Ensemble, X: Floats) -> Floats:
    """The uncalibrated blend, computed in blocks of one shape, shape (n, 4).

    A network's last digit depends on how many rows it is given at once; which rows come later must not move it.
    """
    whole = np.concatenate([X, np.repeat(X[-1:], -len(X) % BLOCK, axis=0)])
    parts = [ensemble.blend(ensemble.predict_parts(block)) for block in np.split(whole, len(whole) // BLOCK)]
    blended: Floats = np.concatenate(parts)[: len(X)]
    return blended
