"""Whether a newly trained model takes the place of the one in service, with the evidence in figures and in words.

What belongs here: the verdict on predictions of the same out-of-sample rows. What does not: making the predictions,
and acting on the verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.learning import metrics
from butterquant_assets.learning.evidence import DRAWS, Interval, paired_difference

N_CLASSES = 4
# All k episodes may favour the challenger by luck with probability 2^-k: below 2.5 % only from 6 on.
MINIMUM_EPISODES = 6


@dataclass(frozen=True)
class Evidence:
    """What speaks for and against putting a challenger into service.

    Parameters
    ----------
    challenger, champion
        versions; there is no champion when the first model is judged, against the geometry baseline
    rows, episodes
        judged on, the same for both
    difference, low, high
        log-loss of the champion (or of the geometry baseline) minus that of the challenger, nats a row, and its 95 %
        interval over episodes (infinite bounds from a single episode)
    ece_champion, ece_challenger
        expected calibration errors on these rows; that of the geometry baseline where there is no champion
    ece_limit
        what the challenger's calibration error may not exceed
    promoted
        the verdict
    beats_geometry
        whether the first model is shown to beat the geometry baseline; None where it was not what was asked
    reason
        the verdict in one sentence
    """

    challenger: str
    champion: str | None
    rows: int
    episodes: int
    difference: float
    low: float
    high: float
    ece_champion: float
    ece_challenger: float
    ece_limit: float
    promoted: bool
    beats_geometry: bool | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Plain values for a model card or the registry; bounds that do not exist (one episode) are None."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {name: values[name] if np.isfinite(values[name]) else None for name in ("low", "high")}


@dataclass(frozen=True)
class _Comparison:
    rows: int
    gain: Interval
    ece_rival: float
    ece_challenger: float
    ece_limit: float

    @property
    def calibrated(self) -> bool:
        return self.ece_challenger <= self.ece_limit

    def figures(self) -> str:
        bounds = f" (95 % interval over episodes {self.gain.low:+.4f} .. {self.gain.high:+.4f})"
        return (
            f"on {self.rows:,} rows from {_episodes(self.gain.episodes)} its gain in log-loss is "
            f"{self.gain.mean:+.4f} nats a row{bounds if self.gain.episodes > 1 else ''}"
        )


def judge_challenger(
    champion: npt.ArrayLike,
    challenger: npt.ArrayLike,
    labels: npt.ArrayLike,
    episode: npt.ArrayLike,
    *,
    champion_version: str,
    challenger_version: str,
    ece_percentile: float,
    seed: int,
    draws: int = DRAWS,
    n_classes: int = N_CLASSES,
    minimum_episodes: int = MINIMUM_EPISODES,
) -> Evidence:
    """Judge a challenger against the model in service, on rows neither of them was trained on.

    It is promoted only if the interval of the difference in log-loss excludes 0 in its favour, there are enough
    episodes, and its calibration error is not above the champion's, or else not above what chance explains.

    Parameters
    ----------
    champion, challenger
        class probabilities of the same rows, shape (n, n_classes) each
    labels
        true classes, shape (n,)
    episode
        identifier of each row's episode, shape (n,), no missing values
    champion_version, challenger_version
        a version that equals the champion's is refused as what is in service already
    ece_percentile
        95th percentile of the challenger's calibration error were it perfectly calibrated
        (`learning.reliability.ece_under_perfect_calibration`), 0 .. 1
    seed, draws
        of the bootstrap
    n_classes
        number of classes
    minimum_episodes
        fewer episodes promote nothing

    Returns
    -------
    Evidence

    Raises
    ------
    ConfigError
        if the percentile or the minimum makes no sense.
    DataError
        if there are no rows, something is no probability distribution or no label, or an episode is missing.

    Notes
    -----
    The interval has two sides, so of challengers no better than the champion about one in forty is promoted. Each is
    judged afresh: many of them, on the same rows, are many chances.
    """
    found = _compare(champion, challenger, labels, episode, ece_percentile, seed, draws, n_classes)
    _check_minimum(minimum_episodes)
    better, enough = found.gain.low > 0, found.gain.episodes >= minimum_episodes
    promoted = bool(better and enough and found.calibrated and challenger_version != champion_version)
    if challenger_version == champion_version:
        reason = f"Version {challenger_version} is the champion already, so there is nothing to promote."
    elif promoted:
        reason = f"{challenger_version} replaces {champion_version}: {found.figures()}, and {_calibration(found)}."
    else:
        why = _refusal(found, better, minimum_episodes)
        reason = f"{champion_version} stays: {challenger_version} is refused because {why}; {found.figures()}."
    return _evidence(found, challenger_version, champion_version, promoted, None, reason)


def judge_first(
    geometry: npt.ArrayLike,
    challenger: npt.ArrayLike,
    labels: npt.ArrayLike,
    episode: npt.ArrayLike,
    *,
    challenger_version: str,
    ece_percentile: float,
    seed: int,
    draws: int = DRAWS,
    n_classes: int = N_CLASSES,
    minimum_episodes: int = MINIMUM_EPISODES,
) -> Evidence:
    """Judge the first model, when none is in service, against the geometry baseline.

    It is installed unless it is shown to be worse than the baseline (the interval of the difference in log-loss lies
    below 0) or its calibration is unacceptable (above the baseline's and above what chance explains). Installed does
    not mean that it beats the baseline: the evidence says whether it does.

    Parameters
    ----------
    geometry
        probabilities of the geometry baseline for the same rows, shape (n, n_classes)
    challenger, labels, episode, challenger_version, ece_percentile, seed, draws, n_classes
        as for `judge_challenger`
    minimum_episodes
        fewer episodes cannot show that the baseline is beaten

    Returns
    -------
    Evidence
        with ``champion`` None and ``ece_champion`` that of the geometry baseline

    Raises
    ------
    ConfigError, DataError
        as `judge_challenger`.
    """
    found = _compare(geometry, challenger, labels, episode, ece_percentile, seed, draws, n_classes)
    _check_minimum(minimum_episodes)
    worse = found.gain.high < 0
    promoted = bool(not worse and found.calibrated)
    beats = bool(found.gain.low > 0 and found.gain.episodes >= minimum_episodes)
    compared = f"against the geometry baseline, {found.figures()}"
    if promoted:
        reason = (
            f"{challenger_version} is the first model in service: {compared}, so it {_against_geometry(found, beats)}, "
            f"and {_calibration(found)}."
        )
    else:
        why = "it is worse than the geometry baseline" if worse else _calibration(found)
        reason = f"{challenger_version} is refused and no model is in service, because {why}; {compared}."
    return _evidence(found, challenger_version, None, promoted, beats, reason)


def _compare(
    rival: npt.ArrayLike,
    challenger: npt.ArrayLike,
    labels: npt.ArrayLike,
    episode: npt.ArrayLike,
    ece_percentile: float,
    seed: int,
    draws: int,
    n_classes: int,
) -> _Comparison:
    if not 0 <= ece_percentile <= 1:
        raise ConfigError(f"ece_percentile is {ece_percentile}; a calibration error lies between 0 and 1")
    theirs, y = metrics.check_predictions(rival, labels, n_classes)
    ours, _ = metrics.check_predictions(challenger, labels, n_classes)
    gain = paired_difference(
        metrics.row_log_loss(theirs, y), metrics.row_log_loss(ours, y), episode, seed=seed, draws=draws
    )
    ece_rival, ece_ours = (metrics.expected_calibration_error(p, y) for p in (theirs, ours))
    return _Comparison(y.size, gain, ece_rival, ece_ours, max(ece_rival, ece_percentile))


def _check_minimum(minimum_episodes: int) -> None:
    if minimum_episodes < 2:
        raise ConfigError(f"minimum_episodes is {minimum_episodes}; one episode says nothing about the spread")


def _refusal(found: _Comparison, better: bool, minimum_episodes: int) -> str:
    if found.gain.episodes < minimum_episodes:
        return f"{_episodes(found.gain.episodes)} cannot show a difference, at least {minimum_episodes} are needed"
    if found.gain.high < 0:
        return "it is worse"
    if not better:
        return "no difference in its favour is shown"
    return _calibration(found)


def _against_geometry(found: _Comparison, beats: bool) -> str:
    if beats:
        return "beats the baseline"
    if found.gain.low > 0:
        return f"looks better, but {_episodes(found.gain.episodes)} cannot show that it is"
    return "is not shown to beat the baseline"


def _calibration(found: _Comparison) -> str:
    compared = "within" if found.calibrated else "above"
    return f"its calibration error of {found.ece_challenger:.4f} is {compared} the limit of {found.ece_limit:.4f}"


def _episodes(count: int) -> str:
    return f"{count} {'episode' if count == 1 else 'episodes'}"


def _evidence(
    found: _Comparison,
    challenger: str,
    champion: str | None,
    promoted: bool,
    beats_geometry: bool | None,
    reason: str,
) -> Evidence:
    return Evidence(
        challenger=challenger,
        champion=champion,
        rows=found.rows,
        episodes=found.gain.episodes,
        difference=found.gain.mean,
        low=found.gain.low,
        high=found.gain.high,
        ece_champion=found.ece_rival,
        ece_challenger=found.ece_challenger,
        ece_limit=found.ece_limit,
        promoted=promoted,
        beats_geometry=beats_geometry,
        reason=reason,
    )
