"""Which butterflies are taken: expected returns, three tracks of decisions side by side, and why each fell as it did.

What belongs here: turning probabilities and scores of a day into decisions, with a reason in words for each row. What
does not: finding the threshold (`execution_threshold`), and judging decisions by what came of them (`performance`).
Decisions of a session use that session's rows and nothing else, so nothing that comes later can change one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly.evaluation import DOCUMENT_CLASS_VALUES, EXPECTED_ROI_THRESHOLD, expected_roi
from butterquant_assets.butterfly.execution_threshold import ChosenThreshold, choose_threshold
from butterquant_assets.butterfly.geometry import N_CLASSES
from butterquant_assets.foundation.errors import ConfigError, DataError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int64]
Texts = npt.NDArray[np.object_]
Gate = Literal["training", "document"]

__all__ = [
    "DECISION_TYPES",
    "ROUTES",
    "STATUSES",
    "TRACKS",
    "ChosenThreshold",
    "DecisionRules",
    "ModelView",
    "choose_threshold",
    "decide",
    "route",
]

AI, BASELINE, BLEND = TRACKS = ("ai", "baseline", "blend")  # alphabetical, the order in which a table holds them
CHAMPION, CHALLENGER = ROUTES = ("champion", "challenger")
SELECTED, NOT_AMONG_BEST, BELOW_THRESHOLD, NO_THRESHOLD, NOT_DECIDED = STATUSES = (
    "selected",
    "not_among_best",
    "below_threshold",
    "no_threshold",
    "not_decided",
)
SCORE_SHARE = 0.7  # of total_score in the blend; the rest is 100 (p2 + p3)
SUM_TOLERANCE = 1e-4  # probabilities of a float32 graph

PROBABILITIES = tuple(f"p{k}" for k in range(N_CLASSES))
DECISION_TYPES: dict[str, str] = {
    "session": "datetime64[us]",
    "ticker": "str",
    "track": "str",
    "route": "str",
    "model_version": "str",
    **dict.fromkeys(PROBABILITIES, "float64"),
    "expected_roi": "float64",
    "expected_roi_document": "float64",
    "passes_gate": "bool",
    "passes_document_gate": "bool",
    "total_score": "float64",
    "blend_score": "float64",
    "score": "float64",
    "threshold": "float64",
    "rank": "float64",
    "status": "str",
    "selected": "bool",
    "reason": "str",
}
"""Columns of the decisions in stored order with their types; `decision_schemas.TRADE_DECISIONS` adds meaning."""


@dataclass(frozen=True)
class DecisionRules:
    """How candidates become decisions.

    Parameters
    ----------
    gate
        which expected ROI the AI track ranks and thresholds: ``training`` (mean roi_net of each class on training
        folds, with the threshold found on earlier folds) or ``document`` (class values 0, .05, .20, .40 and
        `threshold_document`, which on a fair market fires in 87 % of rows)
    threshold_document
        what the document's expected ROI must exceed
    score_threshold, blend_threshold
        what total_score and the blend must exceed, points
    places
        how many of a session are taken in each track
    challenger_share
        share of tickers routed to the challenger, 0 .. 1
    salt
        enters the hash that routes; another salt is another draw
    """

    gate: Gate = "training"
    threshold_document: float = EXPECTED_ROI_THRESHOLD
    score_threshold: float = 60.0
    blend_threshold: float = 60.0
    places: int = 5
    challenger_share: float = 0.2
    salt: str = "butterfly"

    def __post_init__(self) -> None:
        if self.gate not in ("training", "document"):
            raise ConfigError(f"gate is {self.gate!r}; use 'training' or 'document'")
        if self.places < 1:
            raise ConfigError(f"places is {self.places}; at least 1 candidate of a session must be able to be taken")


@dataclass(frozen=True)
class ModelView:
    """What one model thinks of a scan, with the values and the threshold that belong to it.

    Parameters
    ----------
    version
        of the model
    probabilities
        of the four classes for each row of the scan, shape (n, 4); a row with a missing value is not decided
    class_values
        mean roi_net of each class on the model's training rows, shape (4,); NaN for a class without rows
    threshold
        what the expected ROI must exceed, found on earlier folds (`choose_threshold`); None: take nothing
    threshold_reason
        in words, why there is no threshold
    """

    version: str
    probabilities: Floats
    class_values: Floats
    threshold: float | None
    threshold_reason: str = "earlier folds support none"


def route(tickers: npt.ArrayLike, *, share: float, salt: str) -> Texts:
    """Which model decides on a ticker: ``champion`` or ``challenger``.

    A ticker keeps its route on every session, in every process, and whatever other tickers there are. A larger share
    moves tickers to the challenger only, never back.

    Parameters
    ----------
    tickers
        shape (n,), repeats allowed
    share
        expected share of tickers at the challenger, 0 .. 1
    salt
        enters the hash

    Returns
    -------
    array of texts, shape (n,)

    Raises
    ------
    ConfigError
        if `share` is no share.
    """
    if not 0.0 <= share <= 1.0:
        raise ConfigError(f"challenger_share is {share}; it must lie between 0 and 1")
    codes, names = pd.factorize(np.asarray(tickers, dtype=object))
    routes = np.array([CHALLENGER if _place(salt, name) < share else CHAMPION for name in names], dtype=object)
    return routes[codes] if len(codes) else routes


def decide(
    scan: pd.DataFrame,
    champion: ModelView,
    *,
    challenger: ModelView | None = None,
    rules: DecisionRules | None = None,
) -> pd.DataFrame:
    """Decisions of every track on every candidate, with the reason for each.

    Three tracks judge the same candidates. **ai**: the expected ROI of the gate in use exceeds its threshold, best
    five of the session by expected ROI. **baseline**: total_score exceeds 60, best five by total_score. **blend**:
    .7 total_score + .3 x 100 (p2 + p3) exceeds 60, best five by it. Equal values are ordered by ticker.

    Parameters
    ----------
    scan
        the candidates: columns session, ticker, total_score (points; may be missing), one row per (session, ticker)
    champion
        the model in service
    challenger
        a model on trial: decides the tickers that `route` gives it, ranked together with the champion's; without one
        the champion decides all
    rules
        thresholds, places, routing

    Returns
    -------
    DataFrame
        columns of `DECISION_TYPES`, one row per (session, ticker, track), sorted by them. ``score`` is what the track
        ranks by, ``threshold`` what it must exceed (NaN: there is none), ``rank`` the place among the session's rows
        above their threshold (NaN for the others). A row whose score cannot be computed has status ``not_decided``.

    Raises
    ------
    DataError
        if a (session, ticker) is repeated or missing, probabilities do not fit the scan, or are none.

    Notes
    -----
    Source: REFERENCE section 1, decision tracks; the blend is that of seed document 000.
    """
    settings = rules or DecisionRules()
    session, ticker = _codes(scan)
    order = np.lexsort((ticker, session))
    rows = scan.iloc[order]
    routes = route(rows["ticker"], share=settings.challenger_share if challenger else 0.0, salt=settings.salt)
    columns = _opinions(order, routes == CHALLENGER, champion, challenger or champion, settings)
    columns |= {"total_score": rows["total_score"].to_numpy(dtype=np.float64), "route": routes}
    p = columns["p"]
    columns["blend_score"] = SCORE_SHARE * columns["total_score"] + (1 - SCORE_SHARE) * 100.0 * (p[:, 2] + p[:, 3])
    tracks = [_track(name, columns, session[order], ticker[order], settings) for name in TRACKS]
    return _table(rows, columns, tracks)


def _place(salt: str, ticker: str) -> float:
    # Python's own hash() of a text differs between processes. 52 bits, so that the quotient is exact.
    digest = hashlib.blake2b(f"{salt}:{ticker}".encode(), digest_size=8).digest()
    return float((int.from_bytes(digest, "big") >> 12) / 2**52)


def _codes(scan: pd.DataFrame) -> tuple[Codes, Codes]:
    """Numbers of each row's session and ticker, in ascending order of both."""
    session, _ = pd.factorize(scan["session"], sort=True)
    ticker, names = pd.factorize(scan["ticker"], sort=True)
    if (session < 0).any() or (ticker < 0).any():
        raise DataError(f"{((session < 0) | (ticker < 0)).sum()} candidates lack session or ticker; every one has both")
    cells = session * max(1, len(names)) + ticker
    repeated = pd.Series(cells).duplicated().to_numpy()
    if repeated.any():
        first = scan.iloc[int(np.flatnonzero(repeated)[0])]
        raise DataError(
            f"{repeated.sum()} candidates are repeated, for instance {first['ticker']} on {first['session']:%Y-%m-%d}; "
            "give one row per session and ticker"
        )
    return session.astype(np.int64), ticker.astype(np.int64)


def _opinions(
    order: Codes, challenged: Bools, champion: ModelView, challenger: ModelView, rules: DecisionRules
) -> dict[str, npt.NDArray[Any]]:
    """What the model of each row's route says: probabilities, expected returns, threshold, and version."""
    pick = challenged.astype(np.int64)
    sides = [_one_opinion(view, len(order), rules) for view in (champion, challenger)]
    return {name: np.stack([side[name] for side in sides])[pick, order] for name in sides[0]}


def _one_opinion(view: ModelView, count: int, rules: DecisionRules) -> dict[str, npt.NDArray[Any]]:
    p = _checked(view, count)
    ours, document = expected_roi(p, view.class_values), expected_roi(p, DOCUMENT_CLASS_VALUES)
    threshold = np.nan if view.threshold is None else view.threshold
    by_document = rules.gate == "document"
    return {
        "p": p,
        "expected_roi": ours,
        "expected_roi_document": document,
        "passes_gate": ours > threshold,  # False against NaN: nothing passes a threshold that does not exist
        "passes_document_gate": document > rules.threshold_document,
        "ai_score": document if by_document else ours,
        "ai_threshold": np.full(count, rules.threshold_document if by_document else threshold),
        "no_threshold": np.full(count, view.threshold_reason, dtype=object),
        "model_version": np.full(count, view.version, dtype=object),
    }


def _checked(view: ModelView, count: int) -> Floats:
    p = np.array(view.probabilities, dtype=np.float64)
    if p.shape != (count, N_CLASSES):
        raise DataError(
            f"model {view.version} gives probabilities of shape {p.shape} for {count} candidates; "
            f"expected ({count}, {N_CLASSES})"
        )
    missing = np.isnan(p).any(axis=1)
    wrong = ~missing & ((p < 0.0).any(axis=1) | (np.abs(p.sum(axis=1) - 1.0) > SUM_TOLERANCE))
    if wrong.any():
        example = p[np.flatnonzero(wrong)[0]]
        raise DataError(
            f"model {view.version} gives {wrong.sum()} rows that are no probabilities, for instance "
            f"{np.round(example, 4).tolist()}; they must be at least 0 and sum to 1"
        )
    p[missing] = np.nan
    return p


@dataclass(frozen=True)
class _Track:
    score: Floats
    threshold: Floats
    rank: Floats
    status: Texts
    reason: Texts


def _track(
    name: str, columns: dict[str, npt.NDArray[Any]], session: Codes, ticker: Codes, rules: DecisionRules
) -> _Track:
    """Ranks, statuses and reasons of one track, rows in stored order."""
    fixed = {BASELINE: rules.score_threshold, BLEND: rules.blend_threshold}
    source = {AI: "ai_score", BASELINE: "total_score", BLEND: "blend_score"}[name]
    score = columns[source].astype(np.float64)
    threshold = columns["ai_threshold"].astype(np.float64) if name == AI else np.full(len(score), fixed[name])
    over = score > threshold
    rank, of = _ranks(over, score, session, ticker)
    masks = (np.isnan(score), np.isnan(threshold), ~over, rank > rules.places)
    status = np.select(
        masks, [np.array(word, object) for word in (NOT_DECIDED, NO_THRESHOLD, BELOW_THRESHOLD, NOT_AMONG_BEST)],
        np.array(SELECTED, object),
    )  # fmt: skip
    reason = _reasons(name, status, score, threshold, rank, of, rules.places)
    for row in np.flatnonzero(status == NO_THRESHOLD):
        reason[row] = f"no threshold ({columns['no_threshold'][row]}), so nothing is taken"
    for row in np.flatnonzero(status == NOT_DECIDED):
        reason[row] = f"not decided: {_missing(name, columns, int(row))}"
    return _Track(score, threshold, rank, status, reason)


def _ranks(over: Bools, score: Floats, session: Codes, ticker: Codes) -> tuple[Floats, Codes]:
    """Place of each row among those of its session that are `over`, and how many they are."""
    rows = np.flatnonzero(over)
    rows = rows[np.lexsort((ticker[rows], -score[rows], session[rows]))]
    count = np.bincount(session[rows], minlength=int(session.max()) + 1 if len(session) else 0)
    first = np.cumsum(count) - count
    rank = np.full(len(over), np.nan)
    rank[rows] = np.arange(len(rows)) - first[session[rows]] + 1.0
    return rank, count[session].astype(np.int64)


def _reasons(
    track: str, status: Texts, score: Floats, threshold: Floats, rank: Floats, of: Codes, places: int
) -> Texts:
    """The reason of each row that was decided against a threshold, in words."""
    name, digits = {AI: ("E", "+.3f"), BASELINE: ("total_score", ".1f"), BLEND: ("blend", ".1f")}[track]
    bar = digits.removeprefix("+")
    told: dict[str, Callable[[float, float, float, int], str]] = {
        SELECTED: lambda s, t, r, n: f"{name} = {s:{digits}} over threshold {t:{bar}}; rank {r:.0f} of {n}",
        NOT_AMONG_BEST: lambda s, t, r, n: (
            f"{name} = {s:{digits}} is rank {r:.0f} of {n} over the threshold {t:{bar}}; the best {places} are taken"
        ),
        BELOW_THRESHOLD: lambda s, t, r, n: f"{name} = {s:{digits}} is not above the threshold {t:{bar}}",
    }
    reasons = np.full(len(status), "", dtype=object)
    for word, sentence in told.items():
        rows = np.flatnonzero(status == word)
        values = (column[rows].tolist() for column in (score, threshold, rank, of))
        reasons[rows] = [sentence(*row) for row in zip(*values, strict=True)]
    return reasons


def _missing(track: str, columns: dict[str, npt.NDArray[Any]], row: int) -> str:
    """Which input of the track's score is missing in a row."""
    lacking = []
    if track != BASELINE and np.isnan(columns["p"][row].astype(np.float64)).any():
        lacking.append("class probabilities")
    if track != AI and np.isnan(float(columns["total_score"][row])):
        lacking.append("total_score")
    return f"{' and '.join(lacking) or 'class values of the model'} missing"


def _table(rows: pd.DataFrame, columns: dict[str, npt.NDArray[Any]], tracks: list[_Track]) -> pd.DataFrame:
    """One row per candidate and track; candidates are in order and tracks alphabetical, so nothing is left to sort."""
    times, status = len(TRACKS), np.stack([track.status for track in tracks], axis=1).ravel()
    shared = ("route", "model_version", "expected_roi", "expected_roi_document", "passes_gate", "passes_document_gate")
    values: dict[str, Any] = {name: np.repeat(columns[name], times) for name in shared}
    values |= {name: np.repeat(columns[name], times) for name in ("total_score", "blend_score")}
    values |= {name: np.repeat(columns["p"][:, k], times) for k, name in enumerate(PROBABILITIES)}
    for name in ("score", "threshold", "rank", "reason"):
        values[name] = np.stack([getattr(track, name) for track in tracks], axis=1).ravel()
    values |= {"track": np.tile(np.array(TRACKS, object), len(rows)), "status": status, "selected": status == SELECTED}
    values |= {name: rows[name].to_numpy().repeat(times) for name in ("session", "ticker")}
    return pd.DataFrame({name: pd.Series(values[name], dtype=dtype) for name, dtype in DECISION_TYPES.items()})
