"""What a user may choose in the butterfly line, as frozen values that pure functions take.

Wherever REFERENCE gives two rules, ``ours`` is the default and the source document's stays selectable as ``document``,
so that anyone can see what the difference does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from butterquant_assets.learning.members import MemberSettings

IvLevel = Literal["realised", "fitted", "published"]
Smile = Literal["smooth", "document", "flat"]
StrikeRule = Literal["ours", "document"]
DteRule = Literal["ours", "document"]


@dataclass(frozen=True)
class SamplingConfig:
    """How days and tickers are sampled.

    Parameters
    ----------
    low_days, normal_days, high_days
        sessions asked of each VIX stratum
    tickers_per_day
        tickers taken on each sampled session, by trailing dollar volume
    dollar_volume_sessions
        length of the trailing window, sessions
    episode_gap
        gaps of up to this many sessions do not end an episode
    seed
        enters the rank of each day within its episode
    """

    low_days: int = 40
    normal_days: int = 60
    high_days: int = 40
    tickers_per_day: int = 50
    dollar_volume_sessions: int = 60
    episode_gap: int = 5
    seed: int = 7


@dataclass(frozen=True)
class AnalysisConfig:
    """How an as-of analysis prices and builds a butterfly.

    Parameters
    ----------
    iv_level
        ``realised``: at-the-money volatility is 1.15 x the last 30 sessions' realised volatility (a proxy);
        ``fitted``: a level from realised volatilities of several horizons and the VIX (`iv_level`; a proxy too, with
        less than half the error); ``published``: the source delivers implied volatilities by tenor.
    smile
        ``smooth``: quadratic in log-moneyness through the documents' anchors; ``document``: their steps; ``flat``.
    strike_rule, dte_rule
        ``ours`` or ``document``
    rate
        continuously compounded, per year, Actual/365
    """

    iv_level: IvLevel = "realised"
    smile: Smile = "smooth"
    strike_rule: StrikeRule = "ours"
    dte_rule: DteRule = "ours"
    rate: float = 0.04


@dataclass(frozen=True)
class CostConfig:
    """Trading costs of a butterfly: commission in USD per contract and side (a contract is 100 shares)."""

    commission_usd: float = 0.0


@dataclass(frozen=True)
class ScanConfig:
    """The daily scan: analyses of the whole universe on every session of the last `months` analysis months.

    As many as realised returns are judged over (`monitoring.decay.DecayRules.trailing_months`): the newest trades are
    open, and of fewer months there would be days on which too few are known for a verdict.
    """

    months: int = 12


@dataclass(frozen=True)
class TrainingConfig:
    """How the success model is trained and judged.

    Parameters
    ----------
    label
        label column to learn
    members
        kinds of members of the ensemble: ``mlp``, ``xgboost``, ``lightgbm``, ``logistic``
    settings
        of every kind of member
    validation_share
        share of a fold's training sessions, the latest, by which members stop
    embargo_days
        calendar days left free after each training part, on top of the purge by holding period
    minimum_rows, minimum_episodes
        the first fold learns from at least so many rows of so many episodes; fewer in all are refused
    step_rows
        a retraining comes at the first month start by which so many new rows entered
    minimum_weighing_rows
        fewer out-of-fold rows than this leave the members with equal weights
    minimum_calibration_rows
        fewer leave them uncalibrated
    base_prior_rows
        how many rows the belief is worth that there is nothing beyond geometry
    student_hidden, student_epochs
        the network that learns the geometry baseline
    importance_rows
        out-of-sample rows, about, on which permutation importance is measured
    device
        ``cpu`` (byte-identical for a seed), ``cuda``, or ``auto``
    seed
        every random draw of the training
    """

    label: str = "label_mark"
    members: tuple[str, ...] = ("mlp", "xgboost", "lightgbm", "logistic")
    settings: MemberSettings = field(default_factory=MemberSettings)
    validation_share: float = 0.2
    embargo_days: int = 5
    minimum_rows: int = 1000
    minimum_episodes: int = 8
    step_rows: int = 800
    minimum_weighing_rows: int = 300
    minimum_calibration_rows: int = 300
    base_prior_rows: float = 10.0
    student_hidden: tuple[int, ...] = (128, 64)
    student_epochs: int = 80
    importance_rows: int = 1500
    device: str = "cpu"
    seed: int = 7
