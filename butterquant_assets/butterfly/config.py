"""What a user may choose in the butterfly line, as frozen values that pure functions take.

Wherever REFERENCE gives two rules, ``ours`` is the default and the source document's stays selectable as ``document``,
so that anyone can see what the difference does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
class TrainingConfig:
    """How the success model is trained and judged.

    Parameters
    ----------
    label
        label column to learn
    validation_share, test_share
        shares of the sampled sessions, by time, that validate and test
    embargo_days
        calendar days left free after each training part, on top of the purge by holding period
    hidden, dropout, learning_rate, weight_decay, batch_size, max_epochs, patience
        the network and its optimiser; `patience` epochs without a lower validation log-loss stop the training
    minimum_rows, minimum_part_rows
        fewer rows than this in training, or in validation or test, are refused
    seed
        every random draw of the training
    """

    label: str = "label_mark"
    validation_share: float = 0.2
    test_share: float = 0.2
    embargo_days: int = 5
    hidden: tuple[int, ...] = (128, 64)
    dropout: float = 0.3
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch_size: int = 64
    max_epochs: int = 200
    patience: int = 20
    minimum_rows: int = 100
    minimum_part_rows: int = 20
    seed: int = 7
