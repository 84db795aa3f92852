"""Simulated markets whose class probabilities are known, for the tests of the success model.

`market` is fair: butterflies priced at the volatility their underlying will have. `calm` makes half of the rows move
half as much as their options are priced for; ``vol_mispricing`` shows which, so there is an edge to find.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.stats import norm

from butterquant_assets.butterfly import pricing
from butterquant_assets.butterfly.config import AnalysisConfig, CostConfig, TrainingConfig
from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.butterfly.iv_proxy import leg_vols_of
from butterquant_assets.butterfly.strikes import strikes_of
from butterquant_assets.butterfly.success import TrainedSuccess, train_and_judge
from butterquant_assets.butterfly.vintages import Walk, train_vintages
from butterquant_assets.learning.boosters import LightgbmSettings
from butterquant_assets.learning.members import MemberSettings

COSTS = CostConfig()
ANALYSIS = AnalysisConfig()
KEYS = ["session", "ticker"]
QUICK = TrainingConfig(
    members=("lightgbm", "logistic"),
    settings=MemberSettings(lightgbm=LightgbmSettings(rounds=40, patience=5)),
    minimum_rows=300,
    minimum_episodes=8,
    step_rows=150,
    minimum_weighing_rows=120,
    minimum_calibration_rows=100,
    student_hidden=(64, 32),
    student_epochs=40,
    base_prior_rows=5.0,
    importance_rows=1000,
)
"""Small enough for seconds, with weights learnt from the third vintage on."""


def market(n: int, seed: int = 0, tickers: int = 3) -> pd.DataFrame:
    """Analyses of a fair market: butterflies around the spot, priced with a smile, on weekly sessions."""
    random = np.random.default_rng(seed)
    session = pd.Timestamp("2015-01-05") + pd.to_timedelta(np.arange(n) // tickers * 7, unit="D")
    dte = random.choice([21, 30, 45], size=n)
    held = np.where(dte >= 30, dte - 5, dte - 3)
    spot, iv = random.uniform(20, 400, n), random.uniform(0.15, 0.5, n)
    center = spot * random.uniform(0.97, 1.03, n)
    width = random.uniform(0.6, 2.2, n) * spot * iv * np.sqrt(dte / 365)
    frame = pd.DataFrame(
        {
            "session": session.astype("datetime64[us]"),
            "ticker": pd.Series([f"SIM{i % tickers:02d}" for i in range(n)], dtype="str"),
            "evaluation_session": (session + pd.to_timedelta(held, unit="D")).astype("datetime64[us]"),
            "dte": dte,
            "days_left": dte - held,
            "spot": spot,
            "lower_strike": center - width,
            "center_strike": center,
            "upper_strike": center + width,
            "width": width,
            "rate": 0.04,
            "iv_lower": iv * 1.04,
            "iv_center": iv,
            "iv_upper": iv * 0.97,
            "total_score": random.uniform(20, 90, n),
        }
    )
    strikes, vols = strikes_of(frame), leg_vols_of(frame)
    frame["debit"] = pricing.value(spot, strikes, dte, 0.04, vols)
    frame["entry_cost"] = pricing.trade_cost(spot, strikes, dte, 0.04, vols, COSTS)
    return frame[(frame["debit"] > 0.01 * width) & (frame["debit"] < width)].reset_index(drop=True)


def simulate_exit(analyses: pd.DataFrame, seed: int, vol_ratio: float | np.ndarray = 1.0) -> np.ndarray:
    """One future spot per row: lognormal with drift `rate` and the centre volatility times `vol_ratio`."""
    held = (analyses["evaluation_session"] - analyses["session"]).dt.days.to_numpy() / 365
    vol = analyses["iv_center"].to_numpy() * vol_ratio
    z = np.random.default_rng(seed).standard_normal(len(analyses))
    return analyses["spot"].to_numpy() * np.exp((0.04 - vol**2 / 2) * held + vol * np.sqrt(held) * z)


def returns(analyses: pd.DataFrame, exit_spot: np.ndarray) -> dict[str, np.ndarray]:
    """Every definition of the ROI at those exit spots, volatilities unchanged."""
    strikes, vols, left = strikes_of(analyses), leg_vols_of(analyses), analyses["days_left"].to_numpy()
    mark = pricing.value(exit_spot, strikes, left, 0.04, vols)
    exit_cost = pricing.trade_cost(exit_spot, strikes, left, 0.04, vols, COSTS)
    debit, entry_cost = analyses["debit"].to_numpy(), analyses["entry_cost"].to_numpy()
    return {
        "roi_tent": pricing.roi_tent(exit_spot, strikes, debit),
        "roi_expiry": pricing.roi_expiry(exit_spot, strikes, debit),
        "roi_mark": pricing.roi_mark(mark, debit),
        "roi_net": pricing.roi_net(mark, exit_cost, debit, entry_cost),
    }


def calm(n: int) -> np.ndarray:
    """Half of the rows move only half as much as their options are priced for."""
    return np.where(np.arange(n) % 2 == 0, 0.5, 1.0)


def knows_the_calm(analyses: pd.DataFrame, points: int = 501) -> np.ndarray:
    """What a model could know at best: the class probabilities under the volatility each row will have."""
    held = (analyses["evaluation_session"] - analyses["session"]).dt.days.to_numpy()[:, None] / 365
    vol = (analyses["iv_center"].to_numpy() * calm(len(analyses)))[:, None]
    z = norm.ppf((np.arange(points) + 0.5) / points)
    spots = analyses["spot"].to_numpy()[:, None] * np.exp((0.04 - vol**2 / 2) * held + vol * np.sqrt(held) * z)
    counts = np.zeros((len(analyses), 4))
    for column in spots.T:
        counts[np.arange(len(analyses)), pricing.label_of(returns(analyses, column)["roi_mark"]).astype(int)] += 1
    return (counts + 1) / (points + 4)


def market_features(analyses: pd.DataFrame, vol_ratio: float | np.ndarray = 1.0, seed: int = 11) -> pd.DataFrame:
    """The 23 features of such analyses: those that follow from the contract as they are defined, the rest noise."""
    rows = analyses[KEYS].copy()
    for number, name in enumerate(FEATURES):
        rows[name] = np.random.default_rng([seed, number]).normal(size=len(rows))
    spot, debit, width = (analyses[name] for name in ("spot", "debit", "width"))
    rows["forecast_return"] = analyses["center_strike"] / spot - 1
    rows["current_iv"] = analyses["iv_center"]
    rows["max_profit"], rows["max_loss"] = (width - debit) / spot, debit / spot
    rows["profit_ratio"] = (width - debit) / debit
    rows["dte_factor"] = analyses["dte"] / 30
    rows["vol_mispricing"] = (1.0 - vol_ratio) + 0.05 * rows["vol_mispricing"]
    return rows


def training_rows(
    analyses: pd.DataFrame,
    exit_spot: np.ndarray,
    sessions_per_episode: int = 3,
    features: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The training set of those analyses when the spots at exit are these."""
    rows = analyses[KEYS].copy()
    rows["stratum"] = "normal"
    rows["episode"] = (rows["session"].rank(method="dense").astype(int) - 1) // sessions_per_episode
    rows["evaluation_session"] = analyses["evaluation_session"]
    given = market_features(analyses) if features is None else features
    rows = rows.assign(**{name: given[name].to_numpy() for name in FEATURES})
    for name, roi in returns(analyses, exit_spot).items():
        rows[name] = roi
        rows[f"label_{name[4:]}"] = pricing.label_of(roi)
    return rows


@dataclass(frozen=True, eq=False)
class Tables:
    """What training takes."""

    training_set: pd.DataFrame
    analyses: pd.DataFrame
    features: pd.DataFrame

    def known_on(self, day: str) -> Tables:
        """The same tables as they stood on that day: no later analysis, no outcome not known by then."""
        last = pd.Timestamp(day)
        return Tables(
            self.training_set[self.training_set["evaluation_session"] <= last].reset_index(drop=True),
            self.analyses[self.analyses["session"] <= last].reset_index(drop=True),
            self.features[self.features["session"] <= last].reset_index(drop=True),
        )


@lru_cache
def tables(sessions: int = 200, seed: int = 0, *, edge: bool = False, labelled: int = 4, tickers: int = 12) -> Tables:
    """A market, fair or with the edge of `calm`; a few tickers have labels, the others only teach geometry."""
    analyses = market(sessions * tickers, seed, tickers)
    ratio = calm(len(analyses)) if edge else np.ones(len(analyses))
    features = market_features(analyses, ratio)
    rows = training_rows(analyses, simulate_exit(analyses, seed + 1, ratio), features=features)
    has_label = analyses["ticker"].isin([f"SIM{number:02d}" for number in range(labelled)])
    return Tables(rows[has_label].reset_index(drop=True), analyses, features)


def walk_of(given: Tables, config: TrainingConfig = QUICK) -> Walk:
    """All vintages of those tables."""
    return train_vintages(given.training_set, given.analyses, given.features, config, COSTS)


@lru_cache
def edge_walk() -> Walk:
    """The walk over the market with an edge, trained once for all tests."""
    return walk_of(tables(edge=True))


def trained(given: Tables, config: TrainingConfig = QUICK, **changed: object) -> TrainedSuccess:
    """A trained and judged model of those tables."""
    options: dict[str, object] = {"data_versions": {"training_set": "v1"}, "code_version": "c1"}
    options |= changed
    return train_and_judge(
        given.training_set,
        given.analyses,
        given.features,
        config,
        ANALYSIS,
        COSTS,
        **options,  # type: ignore[arg-type]
    )


@lru_cache
def edge_model() -> TrainedSuccess:
    """The model of the market with an edge, trained once for all tests."""
    return trained(tables(edge=True))
