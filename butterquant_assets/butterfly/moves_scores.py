"""How good probabilities of moves are, beside what volatility alone says: baselines, scores, and one sentence.

What belongs here: class probabilities that need no learner, and the comparison. What does not: training. Whether a
stock stays within 2 % is mostly a matter of its volatility, as the class of a butterfly is of its geometry; so edge
means beating probabilities made from the GARCH forecast alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr

from butterquant_assets.butterfly.iv_proxy import SESSIONS_PER_YEAR
from butterquant_assets.butterfly.short_term import HORIZON, MOVE
from butterquant_assets.butterfly.short_term_training import SPREAD_OVER_EPISODES, evaluation_rows
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.learning import baselines, metrics
from butterquant_assets.learning.cards import plain_values
from butterquant_assets.learning.evidence import Interval, metric_intervals, paired_difference

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

GARCH_NORMAL, GARCH_HISTORICAL = "garch_normal", "garch_historical"
CLASS_PRIOR, MAJORITY = "class_prior", "majority_class"
BASELINES = (GARCH_NORMAL, GARCH_HISTORICAL, CLASS_PRIOR, MAJORITY)
ALL_ROWS, ALL_PARTS = "all_rows", "all"
# All k episodes may favour the model by luck with probability 2^-k: below 2.5 % only from 6 on.
MINIMUM_EPISODES = 6


@dataclass(frozen=True)
class Task:
    """A question about the next seven sessions: its label column, and its classes in words."""

    name: str
    label: str
    class_names: tuple[str, ...]

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def labels(self, rows: pd.DataFrame) -> Labels:
        """Classes of the rows, shape (n,)."""
        return rows[self.label].to_numpy().astype(np.int64)


DIRECTION = Task("direction", "direction_7", ("below -2 %", "-2 .. 2 %", "above 2 %"))
QUIET = Task("quiet", "quiet_7", ("moves 2 % or more", "stays within 2 %"))
TASKS: dict[str, Task] = {task.name: task for task in (DIRECTION, QUIET)}


@dataclass(frozen=True)
class MovesVerdict:
    """Whether a learner says more about moves than the GARCH forecast and the class frequencies do.

    Parameters
    ----------
    predictor
        the learner judged
    gain, low, high
        log-loss of the GARCH-normal baseline minus the learner's, nats a row, with the 95 % interval over episodes
    rows, episodes
        behind it
    beats_garch_normal
        True only if the interval lies above 0 and there are at least six episodes
    beats_baselines
        the same against every baseline
    edge_claimed
        True only if it beats every baseline on rows whose choice does not depend on the future
    sentence
        the same in words
    """

    predictor: str
    gain: float
    low: float
    high: float
    rows: int
    episodes: int
    beats_garch_normal: bool
    beats_baselines: bool
    edge_claimed: bool
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Plain values for a model card; bounds that do not exist (one episode) are None."""
        values: dict[str, Any] = plain_values(asdict(self))
        return values


def task_of(name: str) -> Task:
    """The task of a name.

    Raises
    ------
    ConfigError
        if there is none.
    """
    if name not in TASKS:
        raise ConfigError(f"{name!r} is no task; use one of {', '.join(TASKS)}")
    return TASKS[name]


def garch_normal_probabilities(rows: pd.DataFrame, task: Task) -> Floats:
    """Class probabilities if the return were normal with mean 0 and the GARCH forecast's variance, shape (n, k).

    Parameters
    ----------
    rows
        column garch_vol_7 (per year)
    task
        its classes decide k
    """
    return normal_probabilities(_seven_session_vol(rows), task)


def normal_probabilities(volatility: Floats, task: Task) -> Floats:
    """Class probabilities if the return were normal with mean 0 and this volatility of seven sessions, shape (n, k)."""
    tail = ndtr(-MOVE / volatility)
    return of_tails(tail, tail, task)


def garch_historical_probabilities(train: pd.DataFrame, rows: pd.DataFrame, task: Task) -> Floats:
    """Class probabilities if the return over its GARCH forecast fell like those of the training rows, shape (n, k).

    Frequencies are smoothed, (count + 1) / (n + 3) of the three ways to move. Unlike the normal, they know of fat
    tails, of the bias of the forecast and of the drift of the training years.

    Notes
    -----
    Filtered historical simulation: G. Barone-Adesi, K. Giannopoulos, L. Vosper, *VaR without Correlations for
    Portfolios of Derivative Securities*, Journal of Futures Markets 19 (1999).
    """
    ratios = np.sort(train["return_7"].to_numpy(dtype=np.float64) / _seven_session_vol(train))
    bound = MOVE / _seven_session_vol(rows)
    below = np.searchsorted(ratios, -bound, side="left")
    above = ratios.size - np.searchsorted(ratios, bound, side="right")
    smoothed: list[Floats] = [
        np.asarray((count + 1.0) / (ratios.size + 3.0), dtype=np.float64) for count in (below, above)
    ]
    return of_tails(smoothed[0], smoothed[1], task)


def of_tails(below: Floats, above: Floats, task: Task) -> Floats:
    """Probabilities of the task's classes from those of falling and of rising by more than 2 %, shape (n, k)."""
    within = 1.0 - below - above
    if task is DIRECTION:
        return np.column_stack([below, within, above])
    return np.column_stack([below + above, within])


def baseline_probabilities(train: pd.DataFrame, rows: pd.DataFrame, task: Task) -> dict[str, Floats]:
    """Every one of `BASELINES` for `rows`, from what `train` holds."""
    known = task.labels(train)
    return {
        GARCH_NORMAL: garch_normal_probabilities(rows, task),
        GARCH_HISTORICAL: garch_historical_probabilities(train, rows, task),
        CLASS_PRIOR: baselines.class_prior(known, len(rows), task.n_classes),
        MAJORITY: baselines.majority_class(known, len(rows), task.n_classes),
    }


def evaluate(
    rows: pd.DataFrame,
    fold: npt.NDArray[np.int64],
    boundaries: tuple[str, ...],
    probabilities: Mapping[str, Floats],
    task: Task,
    *,
    seed: int,
) -> pd.DataFrame:
    """Scores of every predictor by fold and over all tested rows.

    Parameters
    ----------
    rows
        columns session, episode and the task's label
    fold
        number of the fold that tests each row, -1 for rows to leave out, shape (n,)
    boundaries
        of the folds, in time order
    probabilities
        by predictor, shape (n, k)
    task
        what is predicted
    seed
        of the bootstrap

    Returns
    -------
    DataFrame
        columns predictor, part (``all`` or the boundary of a fold), metric, value: those of `learning.metrics` without
        the confusion matrix; for ``all`` also their 95 % intervals over episodes (``*_low``, ``*_high``) and
        ``gain`` with its interval, the log-loss of the GARCH-normal baseline minus the predictor's, nats a row. Under
        ``all_rows``: ``rows``, ``sessions``, ``episodes`` and ``share_k`` of each class.
    """
    truth, tested = task.labels(rows), fold >= 0
    records: dict[tuple[str, str], dict[str, float]] = {}
    parts = {boundary: fold == k for k, boundary in enumerate(boundaries)} | {ALL_PARTS: tested}
    for part, mask in parts.items():
        records[ALL_ROWS, part] = _evidence(rows[mask], truth[mask], task)
        for name, p in probabilities.items():
            scores = metrics.evaluate(p[mask], truth[mask], task.n_classes)
            records[name, part] = {metric: float(scores[metric]) for metric in metrics.SCALARS}
    for name, p in probabilities.items():
        records[name, ALL_PARTS] |= _intervals(rows[tested], p[tested], truth[tested], task, seed)
        gain = gain_over(probabilities, name, GARCH_NORMAL, rows, tested, task, seed)
        records[name, ALL_PARTS] |= {"gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high}
    return evaluation_rows(records)


def gain_over(
    probabilities: Mapping[str, Floats],
    predictor: str,
    baseline: str,
    rows: pd.DataFrame,
    tested: npt.NDArray[np.bool_],
    task: Task,
    seed: int,
) -> Interval:
    """Log-loss of a baseline minus a predictor's over the tested rows, nats a row, with its interval over episodes."""
    truth = task.labels(rows)[tested]
    losses = [metrics.row_log_loss(probabilities[name][tested], truth) for name in (baseline, predictor)]
    return paired_difference(losses[0], losses[1], rows.loc[tested, "episode"].to_numpy(), seed=seed)


def verdict(
    rows: pd.DataFrame,
    fold: npt.NDArray[np.int64],
    probabilities: Mapping[str, Floats],
    predictor: str,
    task: Task,
    *,
    seed: int,
    spread_over_episodes: bool = True,
) -> MovesVerdict:
    """Judge one predictor against every baseline on the tested rows.

    Parameters
    ----------
    rows, fold, probabilities, task, seed
        as for `evaluate`
    predictor
        whom to judge
    spread_over_episodes
        whether the rows are those of `sampling.sample`; then nothing is claimed, and the sentence says why
    """
    tested = fold >= 0
    gains = {name: gain_over(probabilities, predictor, name, rows, tested, task, seed) for name in BASELINES}
    gain = gains[GARCH_NORMAL]
    enough = gain.episodes >= MINIMUM_EPISODES
    beaten = {name: bool(enough and one.low > 0.0) for name, one in gains.items()}
    truth = task.labels(rows)[tested]
    loss = {name: float(metrics.row_log_loss(p[tested], truth).mean()) for name, p in probabilities.items()}
    sentence = (
        f"On {int(tested.sum()):,} out-of-sample rows from {gain.episodes} "
        f"{'episode' if gain.episodes == 1 else 'episodes'} the log-loss of {predictor} for {task.name} is "
        f"{loss[predictor]:.3f} nats, a gain of {gain.mean:+.3f} over GARCH-normal probabilities (95 % over episodes "
        f"{gain.low:+.3f} .. {gain.high:+.3f}), where filtered historical ones reach {loss[GARCH_HISTORICAL]:.3f} and "
        f"class frequencies {loss[CLASS_PRIOR]:.3f}: {_conclusion(gain, enough, beaten, spread_over_episodes)}"
    )
    return MovesVerdict(
        predictor, gain.mean, gain.low, gain.high, int(tested.sum()), gain.episodes,
        beaten[GARCH_NORMAL], all(beaten.values()), all(beaten.values()) and not spread_over_episodes, sentence,
    )  # fmt: skip


def _conclusion(gain: Interval, enough: bool, beaten: Mapping[str, bool], spread_over_episodes: bool) -> str:
    if not enough:
        return f"fewer than {MINIMUM_EPISODES} episodes cannot show an edge, so none is claimed."
    if all(beaten.values()) and spread_over_episodes:
        return f"it beats every baseline here, but {SPREAD_OVER_EPISODES}; no edge is claimed."
    if all(beaten.values()):
        return "it beats every baseline."
    if beaten[GARCH_NORMAL]:
        rest = " and ".join(name for name, won in beaten.items() if not won)
        return f"it beats GARCH-normal probabilities, but is not shown better than {rest}, so no edge is claimed."
    if gain.high < 0.0:
        return "it is worse than GARCH-normal probabilities."
    return "no edge over GARCH-normal probabilities is shown."


def _seven_session_vol(rows: pd.DataFrame) -> Floats:
    return np.asarray(rows["garch_vol_7"].to_numpy(dtype=np.float64) * np.sqrt(HORIZON / SESSIONS_PER_YEAR))


def _evidence(rows: pd.DataFrame, truth: Labels, task: Task) -> dict[str, float]:
    shares = np.bincount(truth, minlength=task.n_classes) / truth.size
    facts = {
        "rows": float(len(rows)),
        "sessions": float(rows["session"].nunique()),
        "episodes": float(rows["episode"].nunique()),
    }
    return facts | {f"share_{k}": float(share) for k, share in enumerate(shares)}


def _intervals(rows: pd.DataFrame, p: Floats, truth: Labels, task: Task, seed: int) -> dict[str, float]:
    table = metric_intervals(p, truth, rows["episode"].to_numpy(), n_classes=task.n_classes, seed=seed)
    bounds: dict[str, float] = {}
    for one in table.to_dict("records"):
        bounds |= {f"{one['metric']}_low": one["low"], f"{one['metric']}_high": one["high"]}
    return bounds
