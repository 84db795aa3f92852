"""Whether a new success model takes over: its judgement against the one in service. Pure.

What belongs here: bringing the two models' out-of-sample predictions together and judging them. What does not: the
rules (`learning.promotion`), and acting on the verdict (the registry).
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly.evaluation import GEOMETRY, MODEL
from butterquant_assets.butterfly.model_schemas import PROBABILITIES
from butterquant_assets.learning.metrics import expected_calibration_error
from butterquant_assets.learning.promotion import Evidence, judge_challenger, judge_first
from butterquant_assets.learning.reliability import (
    ece_by_chance_in_episodes,
    ece_difference_error,
    ece_under_perfect_calibration,
)

Floats = npt.NDArray[np.float64]

KEYS = ["session", "ticker"]
ECE_ERRORS = 1.645  # one-sided, 95 %


def judge(
    challenger: str,
    predictions: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    champion: str | None,
    stored: bytes | None,
    label: str,
    seed: int,
) -> Evidence:
    """Judge a challenger on rows that both models predicted out of sample and whose outcome is known.

    Parameters
    ----------
    challenger
        its version
    predictions
        columns of `model_schemas.SUCCESS_PREDICTIONS`, the challenger's own
    truth
        session, ticker, episode and the label
    champion
        version in service, or None: then the geometry baseline is the rival
    stored
        the champion's out-of-sample predictions, Parquet bytes; needed where there is a champion
    label
        label column
    seed
        of the bootstrap
    """
    ours = _of(predictions, MODEL)
    rival = _of(predictions, GEOMETRY) if stored is None else _of(pd.read_parquet(io.BytesIO(stored)), MODEL)
    rows = truth[[*KEYS, "episode", label]].merge(ours, on=KEYS).merge(rival, on=KEYS, suffixes=("", "_rival"))
    return judge_rows(
        challenger,
        rows[list(PROBABILITIES)].to_numpy(dtype=np.float64),
        rows[[f"{name}_rival" for name in PROBABILITIES]].to_numpy(dtype=np.float64),
        rows[label].to_numpy().astype(np.int64),
        rows["episode"].to_numpy(),
        champion=champion,
        seed=seed,
    )


def judge_rows(
    challenger: str,
    probabilities: Floats,
    rival: Floats,
    labels: npt.NDArray[np.int64],
    episode: npt.NDArray[Any],
    *,
    champion: str | None,
    seed: int,
) -> Evidence:
    """Judge a challenger by predictions of the same rows, none of which either model had learnt from.

    Parameters
    ----------
    challenger
        its version
    probabilities, rival
        class probabilities of the challenger and of its rival, shape (n, 4) each
    labels, episode
        true classes and episodes, shape (n,)
    champion
        version in service, the rival; None: then the rival is the geometry baseline
    seed
        of the bootstrap
    """
    evidence = (rival, probabilities, labels, episode)
    # Rows of an episode share their luck, which moves the calibration error of a flawless model too; and the rival's
    # error is no yardstick to the last digit: worse is what exceeds it by more than the difference's own error.
    rival_error = expected_calibration_error(rival, labels)
    margin = ECE_ERRORS * ece_difference_error(probabilities, rival, labels, episode, seed=seed)
    limit = max(
        ece_under_perfect_calibration(probabilities, seed=seed),
        ece_by_chance_in_episodes(probabilities, labels, episode, seed=seed),
        min(1.0, rival_error + margin),
    )
    if champion is None:
        return judge_first(*evidence, challenger_version=challenger, ece_percentile=limit, seed=seed)
    return judge_challenger(
        *evidence, champion_version=champion, challenger_version=challenger, ece_percentile=limit, seed=seed
    )


def evidence_row(evidence: dict[str, Any], champion_after: str | None) -> pd.DataFrame:
    """Stored evidence as one row of `model_schemas.SUCCESS_CHAMPION`."""

    def number(name: str) -> float:
        value = evidence.get(name)
        return float("nan") if value is None else float(value)

    row = {
        "challenger": str(evidence["challenger"]),
        "rival": str(evidence.get("champion") or GEOMETRY),
        "champion": champion_after or "",
        "promoted": bool(evidence["promoted"]),
        "rows": int(evidence["rows"]),
        "episodes": int(evidence["episodes"]),
        **{name: number(name) for name in ("difference", "low", "high")},
        "ece_rival": number("ece_champion"),
        "ece_challenger": number("ece_challenger"),
        "ece_limit": number("ece_limit"),
        "reason": str(evidence["reason"]),
    }
    text = ["challenger", "rival", "champion", "reason"]
    return pd.DataFrame([row]).astype(dict.fromkeys(text, "str"))


def stays_on_trial(judgement: pd.DataFrame, challenger: str) -> bool:
    """Whether a challenger that was not promoted goes on deciding its share of the universe.

    A refusal for want of evidence leaves it on trial: its share is where evidence comes from. One that is shown to be
    worse than its rival, whose calibration is, or that was refused by hand is not.

    Parameters
    ----------
    judgement
        one row of `model_schemas.SUCCESS_CHAMPION`
    challenger
        a version; one that was not judged is on trial
    """
    rows = judgement[judgement["challenger"] == challenger]
    if rows.empty:
        return True
    row = rows.iloc[0]
    if not row["rows"]:
        return bool(row["promoted"])
    # A bound that does not exist (a single episode) shows nothing.
    return not (row["high"] < 0 or row["ece_challenger"] > row["ece_limit"])


def _of(predictions: pd.DataFrame, predictor: str) -> pd.DataFrame:
    return predictions.loc[predictions["predictor"] == predictor, [*KEYS, *PROBABILITIES]]
