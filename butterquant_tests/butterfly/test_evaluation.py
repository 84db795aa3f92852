"""The geometry baseline against closed forms and simulation; decisions by hand; what a verdict may claim."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from butterquant_assets.butterfly import evaluation, pricing
from butterquant_assets.butterfly.config import CostConfig
from butterquant_assets.butterfly.evaluation import (
    class_values,
    evaluate_all,
    expected_roi,
    geometry_probabilities,
    predict_all,
    total_score_rule_probabilities,
    verdict,
)
from butterquant_assets.butterfly.iv_proxy import leg_vols_of
from butterquant_assets.butterfly.strikes import strikes_of
from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning.metrics import row_log_loss
from butterquant_assets.learning.mlp import MlpSettings, predict, train_mlp
from butterquant_assets.learning.splits import TimeSplit, purged_time_split

COSTS = CostConfig()
FEATURES = ("current_iv", "profit_ratio", "noise")


def market(n: int, seed: int = 0) -> pd.DataFrame:
    """Analyses of a fair market: butterflies around the spot, priced with a smile, three tickers a session."""
    random = np.random.default_rng(seed)
    session = pd.Timestamp("2015-01-05") + pd.to_timedelta(np.arange(n) // 3 * 7, unit="D")
    dte = random.choice([21, 30, 45], size=n)
    held = np.where(dte >= 30, dte - 5, dte - 3)
    spot, iv = random.uniform(20, 400, n), random.uniform(0.15, 0.5, n)
    width = 1.25 * spot * iv * np.sqrt(dte / 365)
    center = spot * random.uniform(0.97, 1.03, n)
    frame = pd.DataFrame(
        {
            "session": session.astype("datetime64[us]"),
            "ticker": pd.Series([f"SIM{i % 3:02d}" for i in range(n)], dtype="str"),
            "evaluation_session": (session + pd.to_timedelta(held, unit="D")).astype("datetime64[us]"),
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


def training_rows(analyses: pd.DataFrame, exit_spot: np.ndarray, sessions_per_episode: int = 3) -> pd.DataFrame:
    random = np.random.default_rng(11)
    rows = analyses[["session", "ticker", "evaluation_session"]].copy()
    rows["episode"] = (rows["session"].rank(method="dense").astype(int) - 1) // sessions_per_episode
    rows["current_iv"] = analyses["iv_center"]
    rows["profit_ratio"] = (analyses["width"] - analyses["debit"]) / analyses["debit"]
    rows["noise"] = random.normal(size=len(rows))
    for name, roi in returns(analyses, exit_spot).items():
        rows[name] = roi
        rows[f"label_{name[4:]}"] = pricing.label_of(roi)
    return rows


def split_of(rows: pd.DataFrame) -> TimeSplit:
    return purged_time_split(
        rows["session"].to_numpy(),
        rows["evaluation_session"].to_numpy(),
        validation_share=0.2,
        test_share=0.4,
        embargo_days=5,
    )


def test_probabilities_at_expiry_match_the_normal_distribution() -> None:
    """Class 0 of roi_expiry is |S' - K| > W - 0.9 D, so its probability is a difference of normal distributions."""
    analyses = market(60)
    held = (analyses["evaluation_session"] - analyses["session"]).dt.days / 365
    vol, root = analyses["iv_center"], np.sqrt(held)
    found = geometry_probabilities(analyses, "label_expiry")

    def below(level: pd.Series) -> np.ndarray:
        drift = (analyses["rate"] - vol**2 / 2) * held
        return norm.cdf((np.log(level / analyses["spot"]) - drift) / (vol * root))

    for threshold, classes in ((-0.10, [0]), (0.05, [0, 1]), (0.15, [0, 1, 2])):
        reach = analyses["width"] - (1 + threshold) * analyses["debit"]
        inside = below(analyses["center_strike"] + reach) - below(analyses["center_strike"] - reach)
        # 2,001 equally likely points resolve each boundary to one part in 2,001, and smoothing moves four more.
        assert found[:, classes].sum(axis=1) == pytest.approx(1 - inside, abs=3.5e-3)


@pytest.mark.parametrize("kind", ["tent", "expiry", "mark", "net"])
def test_probabilities_match_a_simulation_of_the_no_edge_market(kind: str) -> None:
    row = market(12).iloc[[4]]
    many = row.loc[row.index.repeat(40_000)].reset_index(drop=True)
    classes = pricing.label_of(returns(many, simulate_exit(many, 3))[f"roi_{kind}"]).astype(int)
    simulated = np.bincount(classes, minlength=4) / len(many)
    assert geometry_probabilities(row, f"label_{kind}")[0] == pytest.approx(simulated, abs=0.01)


def test_a_finer_grid_changes_little_and_no_probability_is_zero() -> None:
    analyses = market(30)
    coarse, fine = (geometry_probabilities(analyses, "label_mark", points=points) for points in (2001, 20_001))
    assert coarse == pytest.approx(fine, abs=3e-3)
    assert (coarse > 0).all()
    assert coarse.sum(axis=1) == pytest.approx(np.ones(len(analyses)))


def test_the_geometry_baseline_is_the_same_for_prices_ten_times_higher() -> None:
    analyses = market(30)
    money = ["spot", "lower_strike", "center_strike", "upper_strike", "width", "debit"]
    tenfold = analyses.assign(**{name: analyses[name] * 10 for name in money})
    plain, scaled = (geometry_probabilities(frame, "label_mark") for frame in (analyses, tenfold))
    assert scaled == pytest.approx(plain, abs=1.0001 / 2005)  # rounding may move one point across a class boundary


def test_chunks_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    analyses = market(20)
    whole = geometry_probabilities(analyses, "label_net")
    monkeypatch.setattr(evaluation, "ROWS_PER_CHUNK", 3)
    assert geometry_probabilities(analyses, "label_net").tolist() == whole.tolist()


def test_unusable_analyses_are_refused() -> None:
    analyses = market(9)
    with pytest.raises(ConfigError, match="'label_best' is no label"):
        geometry_probabilities(analyses, "label_best")
    with pytest.raises(DataError, match="1 analyses lack debit"):
        geometry_probabilities(analyses.assign(debit=analyses["debit"].where(analyses.index > 0)), "label_mark")
    with pytest.raises(DataError, match="do not follow their entry"):
        geometry_probabilities(analyses.assign(evaluation_session=analyses["session"]), "label_mark")


def test_the_total_score_rule_gives_the_frequencies_of_the_band() -> None:
    scores, labels = [40.0] * 96 + [80.0] * 4, [0] * 96 + [3] * 4
    p = total_score_rule_probabilities(scores, labels, [44.9, 45.0, 80.0])
    overall = np.array([97, 1, 1, 5]) / 104
    assert p[0] == pytest.approx((np.array([96, 0, 0, 0]) + 4 * overall) / 100)
    assert p[1] == pytest.approx(overall)  # no training row in 45 .. 60
    assert p[2] == pytest.approx((np.array([0, 0, 0, 4]) + 4 * overall) / 8)
    with pytest.raises(DataError, match="total_score is missing"):
        total_score_rule_probabilities(scores, labels, [np.nan])


def test_expected_roi_uses_class_means_and_leaves_out_classes_without_rows() -> None:
    values = class_values([0, 0, 3, 2], [-0.5, -0.7, 0.9, 0.1])
    assert values == pytest.approx([-0.6, np.nan, 0.1, 0.9], nan_ok=True)
    assert expected_roi([[0.25, 0.5, 0.0, 0.25]], values) == pytest.approx([(0.25 * -0.6 + 0.25 * 0.9) / 0.5])
    assert np.isnan(expected_roi([[0.25] * 4], [np.nan] * 4)).all()
    with pytest.raises(DataError, match="1 labelled rows lack roi_net"):
        class_values([0, 1], [0.1, np.nan])


def test_evaluation_reports_every_predictor_part_and_decision() -> None:
    analyses = market(300)
    rows = training_rows(analyses, simulate_exit(analyses, 1))
    split = split_of(rows)
    # Analyses in another order, with rows nobody asked for, must be matched by session and ticker.
    shuffled = pd.concat([market(330), analyses]).drop_duplicates(["session", "ticker"], keep="last")
    shuffled = shuffled.sample(frac=1, random_state=0)
    model = np.tile([0.1, 0.1, 0.1, 0.7], (len(rows), 1))
    predictions = predict_all(rows, shuffled, split, model, label="label_mark", features=FEATURES)
    assert predictions["geometry"].tolist() == geometry_probabilities(analyses, "label_mark").tolist()
    report = evaluate_all(predictions, rows, split, label="label_mark")
    cell = report.set_index(["predictor", "part", "metric"])["value"]
    assert set(report["predictor"]) == {*predictions, "all_rows"}
    test = rows[split.test]
    assert cell["all_rows", "test", "rows"] == len(test)
    assert cell["all_rows", "test", "episodes"] == test["episode"].nunique()
    assert cell["model", "test", "log_loss"] == pytest.approx(
        row_log_loss(model[split.test], test["label_mark"].to_numpy().astype(int)).mean()
    )
    # .1 x .05 + .1 x .20 + .7 x .40 = .305 > .15: the document's gate takes every row of this model.
    assert cell["model", "test", "document_gate_rows"] == len(test)
    assert cell["model", "test", "document_gate_mean_roi_net"] == pytest.approx(test["roi_net"].mean())
    # The class prior says the same for every row: our gate takes all or none, and none has no mean.
    assert cell["class_prior", "test", "our_gate_rows"] == 0
    assert np.isnan(cell["class_prior", "test", "our_gate_mean_roi_net"])
    baselines = predictions["class_prior"][0] @ [0, 0.05, 0.2, 0.4]
    assert (cell["class_prior", "test", "document_gate_rows"] == len(test)) == (baselines > 0.15)


def test_baselines_learn_from_the_training_part_only() -> None:
    analyses = market(240)
    rows = training_rows(analyses, simulate_exit(analyses, 1))
    split = split_of(rows)
    model = np.full((len(rows), 4), 0.25)
    other = rows.copy()
    other.loc[~split.train, "label_mark"] = 3 - other.loc[~split.train, "label_mark"]
    first, second = (
        predict_all(frame, analyses, split, model, label="label_mark", features=FEATURES) for frame in (rows, other)
    )
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_row_without_analysis_is_refused() -> None:
    analyses = market(90)
    rows = training_rows(analyses, simulate_exit(analyses, 1))
    with pytest.raises(DataError, match="1 training rows have no analysis"):
        predict_all(
            rows,
            analyses.iloc[1:],
            split_of(rows),
            np.full((len(rows), 4), 0.25),
            label="label_mark",
            features=FEATURES,
        )


def judged(
    n: int, seed: int, vol_ratio: object, model: object, sessions_per_episode: int = 3
) -> evaluation.EdgeVerdict:
    analyses = market(n, seed)
    ratio = vol_ratio(len(analyses)) if callable(vol_ratio) else vol_ratio
    rows = training_rows(analyses, simulate_exit(analyses, seed + 1, ratio), sessions_per_episode)
    geometry = geometry_probabilities(analyses, "label_mark", points=501)
    predictions = {"geometry": geometry, "model": model(analyses, geometry)}
    return verdict(predictions, rows, split_of(rows), label="label_mark", seed=7)


def calm(n: int) -> np.ndarray:
    """Half of the rows move only half as much as their options are priced for."""
    return np.where(np.arange(n) % 2 == 0, 0.5, 1.0)


def knows_the_calm(analyses: pd.DataFrame, geometry: np.ndarray) -> np.ndarray:
    """A model that sees which rows are calm, and prices them with the volatility they will have."""
    held = (analyses["evaluation_session"] - analyses["session"]).dt.days.to_numpy()[:, None] / 365
    vol = (analyses["iv_center"].to_numpy() * calm(len(analyses)))[:, None]
    z = norm.ppf((np.arange(501) + 0.5) / 501)
    spots = analyses["spot"].to_numpy()[:, None] * np.exp((0.04 - vol**2 / 2) * held + vol * np.sqrt(held) * z)
    counts = np.zeros((len(analyses), 4))
    for column in spots.T:
        counts[np.arange(len(analyses)), pricing.label_of(returns(analyses, column)["roi_mark"]).astype(int)] += 1
    return (counts + 1) / (501 + 4)


def overfitted(analyses: pd.DataFrame, geometry: np.ndarray) -> np.ndarray:
    noisy = geometry * np.exp(np.random.default_rng(0).normal(0, 0.5, geometry.shape))
    return noisy / noisy.sum(axis=1, keepdims=True)


def test_a_real_edge_is_claimed() -> None:
    found = judged(900, 0, calm, knows_the_calm)
    assert found.beats_geometry
    assert 0 < found.low < found.gain < found.high
    assert found.sentence.endswith("it beats the geometry baseline.")


def test_an_edge_under_proxy_volatilities_is_claimed_with_its_condition() -> None:
    analyses = market(900, 0)
    rows = training_rows(analyses, simulate_exit(analyses, 1, calm(len(analyses))))
    geometry = geometry_probabilities(analyses, "label_mark", points=501)
    predictions = {"geometry": geometry, "model": knows_the_calm(analyses, geometry)}
    found = verdict(predictions, rows, split_of(rows), label="label_mark", seed=7, vols_are_proxy=True)
    assert found.beats_geometry
    assert "published volatilities" in found.sentence


def test_pure_noise_on_a_fair_market_is_not_claimed_as_edge() -> None:
    """Forty fair markets: by luck about one 95 % interval lies above 0 for a model no better than geometry."""

    def slightly_noisy(analyses: pd.DataFrame, geometry: np.ndarray) -> np.ndarray:
        noisy = geometry * np.exp(np.random.default_rng(1).normal(0, 0.02, geometry.shape))
        return noisy / noisy.sum(axis=1, keepdims=True)

    claims = [judged(240, seed, 1.0, slightly_noisy).beats_geometry for seed in range(40)]
    assert sum(claims) <= 4  # binomial(40, .025) exceeds 4 with probability .002


def test_an_overfitted_model_is_said_to_be_worse() -> None:
    found = judged(900, 0, 1.0, overfitted)
    assert not found.beats_geometry
    assert found.sentence.endswith("it is worse than the geometry baseline.")


def test_few_episodes_claim_nothing_however_large_the_gain() -> None:
    found = judged(900, 0, calm, knows_the_calm, sessions_per_episode=40)
    assert found.gain > 0
    assert found.episodes < 6
    assert not found.beats_geometry
    assert "fewer than 6 episodes" in found.sentence
    single = judged(900, 0, calm, knows_the_calm, sessions_per_episode=1000)
    assert single.to_json()["low"] is None
    assert "1 episode the" in single.sentence


def test_the_verdict_is_the_same_each_time() -> None:
    assert judged(240, 3, 1.0, overfitted) == judged(240, 3, 1.0, overfitted)


@pytest.mark.slow
def test_a_network_trained_on_fair_markets_claims_no_edge() -> None:
    claims = []
    for seed in range(6):
        analyses = market(600, 100 + seed)
        rows = training_rows(analyses, simulate_exit(analyses, 200 + seed))
        split = split_of(rows)
        X, y = rows[list(FEATURES)].to_numpy(), rows["label_mark"].to_numpy().astype(int)
        settings = MlpSettings(hidden=(16,), max_epochs=40, patience=8, seed=seed)
        parts = (X[split.train], y[split.train], X[split.validation], y[split.validation])
        model = predict(train_mlp(*parts, features=FEATURES, settings=settings), X)
        predictions = predict_all(rows, analyses, split, model, label="label_mark", features=FEATURES)
        claims.append(verdict(predictions, rows, split, label="label_mark", seed=seed).beats_geometry)
    assert not any(claims)
