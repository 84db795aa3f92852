"""Decisions against a plain row-by-row implementation, by hand, and under cuts, shuffles and routes."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly.decision_schemas import TRADE_DECISIONS
from butterquant_assets.butterfly.decisions import DECISION_TYPES, DecisionRules, ModelView, decide, route
from butterquant_assets.butterfly.evaluation import expected_roi
from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_tests.butterfly.decision_cases import CLASS_VALUES, model, probabilities, scan_of, session_days

DAYS = session_days("2016-03-01", 12)
DOCUMENT_VALUES = (0.0, 0.05, 0.20, 0.40)


def plain_route(ticker: str, share: float, salt: str) -> str:
    number = int(hashlib.blake2b(f"{salt}:{ticker}".encode(), digest_size=8).hexdigest(), 16)
    return "challenger" if (number // 4096) / 2**52 < share else "champion"


def plain_value(p: np.ndarray, values: tuple[float, ...] | np.ndarray) -> float:
    return float(sum(a * b for a, b in zip(p, values, strict=True)))


def plain_decisions(
    scan: pd.DataFrame, champion: ModelView, challenger: ModelView | None, rules: DecisionRules
) -> dict[tuple[pd.Timestamp, str, str], tuple[float, str, float]]:
    """(score, status, rank) of each (session, ticker, track), one candidate after the other."""
    found = {}
    for session in scan["session"].unique():
        for track in ("ai", "baseline", "blend"):
            judged = []
            for number in np.flatnonzero(scan["session"] == session):
                row = scan.iloc[number]
                challenged = challenger and plain_route(row["ticker"], rules.challenger_share, rules.salt) != "champion"
                view = challenger if challenger and challenged else champion
                p = view.probabilities[number]
                score, bar = {
                    "ai": (plain_value(p, view.class_values), view.threshold),
                    "baseline": (row["total_score"], rules.score_threshold),
                    "blend": (0.7 * row["total_score"] + 30 * (p[2] + p[3]), rules.blend_threshold),
                }[track]
                judged.append((row["ticker"], score, bar))
            over = sorted(
                (item for item in judged if item[2] is not None and item[1] > item[2]), key=lambda i: (-i[1], i[0])
            )
            ranks = {item[0]: place for place, item in enumerate(over, start=1)}
            for ticker, score, bar in judged:
                rank = ranks.get(ticker, np.nan)
                if np.isnan(score):
                    status = "not_decided"
                elif bar is None:
                    status = "no_threshold"
                elif ticker not in ranks:
                    status = "below_threshold"
                else:
                    status = "selected" if rank <= rules.places else "not_among_best"
                found[session, ticker, track] = (score, status, rank)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_decisions_match_a_plain_implementation(seed: int) -> None:
    random = np.random.default_rng(seed)
    scan = scan_of(DAYS, 20, seed)
    champion, challenger = model(len(scan), seed), model(len(scan), seed + 100, "challenger-1", 0.2)
    if seed == 1:
        challenger = ModelView("challenger-1", challenger.probabilities, CLASS_VALUES, None)
    champion.probabilities[random.integers(0, len(scan), 9)] = np.nan
    scan.loc[random.integers(0, len(scan), 9), "total_score"] = np.nan
    scan["total_score"] = scan["total_score"].round(0)  # ties
    rules = DecisionRules(places=3, challenger_share=0.3, salt=f"salt{seed}")
    second = None if seed == 0 else challenger
    table = decide(scan, champion, challenger=second, rules=rules)
    plain = plain_decisions(scan, champion, second, rules)
    assert len(table) == len(plain) == 3 * len(scan)
    for row in table.itertuples():
        score, status, rank = plain[row.session, row.ticker, row.track]
        assert row.score == pytest.approx(score, rel=1e-12, nan_ok=True)
        assert (row.status, row.selected) == (status, status == "selected")
        assert row.rank == rank or (np.isnan(row.rank) and np.isnan(rank))


def test_a_scan_decided_by_hand() -> None:
    scan = pd.DataFrame(
        {
            "session": pd.to_datetime(["2016-03-01"] * 4).astype("datetime64[us]"),
            "ticker": pd.Series(["DDD", "AAA", "CCC", "BBB"], dtype="str"),
            "total_score": [61.0, 59.0, np.nan, 90.0],
        }
    )
    # E: .3 * -.6 + .1 * -.03 + .2 * .1 + .4 * .6 = .077; AAA and BBB the same .257; CCC below.
    p = np.array([[0.3, 0.1, 0.2, 0.4], [0.2, 0.0, 0.2, 0.6], [0.9, 0.0, 0.0, 0.1], [0.2, 0.0, 0.2, 0.6]])
    table = decide(scan, ModelView("v1", p, CLASS_VALUES, 0.05), rules=DecisionRules(places=2))
    rows = table.set_index(["ticker", "track"])
    assert rows.loc[("DDD", "ai"), "expected_roi"] == pytest.approx(0.077)
    assert rows.loc[("DDD", "ai"), "expected_roi_document"] == pytest.approx(0.205)
    assert rows.loc[("BBB", "blend"), "blend_score"] == pytest.approx(0.7 * 90 + 30 * 0.8)
    assert {ticker: row["reason"] for (ticker, track), row in rows.iterrows() if track == "ai"} == {
        "AAA": "E = +0.260 over threshold 0.050; rank 1 of 3",
        "BBB": "E = +0.260 over threshold 0.050; rank 2 of 3",
        "CCC": "E = -0.480 is not above the threshold 0.050",
        "DDD": "E = +0.077 is rank 3 of 3 over the threshold 0.050; the best 2 are taken",
    }
    assert {ticker: row["reason"] for (ticker, track), row in rows.iterrows() if track == "baseline"} == {
        "AAA": "total_score = 59.0 is not above the threshold 60.0",
        "BBB": "total_score = 90.0 over threshold 60.0; rank 1 of 2",
        "CCC": "not decided: total_score missing",
        "DDD": "total_score = 61.0 over threshold 60.0; rank 2 of 2",
    }
    assert list(rows[rows["selected"]].index) == [
        ("AAA", "ai"), ("AAA", "blend"), ("BBB", "ai"), ("BBB", "baseline"), ("BBB", "blend"), ("DDD", "baseline")
    ]  # fmt: skip


def test_cutting_later_sessions_changes_no_decision() -> None:
    scan = scan_of(DAYS, 15, 3)
    champion, challenger = model(len(scan), 1), model(len(scan), 2, "challenger-1")
    whole = decide(scan, champion, challenger=challenger)
    for last in (DAYS[0], DAYS[6]):
        keep = (scan["session"] <= last).to_numpy()
        views = [ModelView(v.version, v.probabilities[keep], CLASS_VALUES, v.threshold) for v in (champion, challenger)]
        cut = decide(scan[keep], views[0], challenger=views[1])
        pd.testing.assert_frame_equal(cut, whole[whole["session"] <= last], check_exact=True)


def test_the_order_of_the_candidates_does_not_matter() -> None:
    scan, champion = scan_of(DAYS, 15, 4), model(180, 5)
    order = np.random.default_rng(0).permutation(len(scan))
    shuffled = ModelView("champion-1", champion.probabilities[order], CLASS_VALUES, 0.1)
    pd.testing.assert_frame_equal(decide(scan.iloc[order], shuffled), decide(scan, champion), check_exact=True)


def test_decisions_keep_their_contract() -> None:
    scan = scan_of(DAYS, 15, 6)
    scan.loc[5, "total_score"] = np.nan
    challenger = ModelView("challenger-1", probabilities(len(scan), 8), np.full(4, np.nan), 0.1)
    table = decide(scan, model(len(scan), 7), challenger=challenger)
    assert TRADE_DECISIONS.validate(table).reasons() == []
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == DECISION_TYPES
    lacking = table[(table["route"] == "challenger") & (table["track"] == "ai")]
    assert set(lacking["reason"]) == {"not decided: class values of the model missing"}
    empty = decide(scan.iloc[:0], model(0, 7))
    assert TRADE_DECISIONS.validate(empty).reasons() == []


def test_without_a_threshold_the_model_takes_nothing_and_says_why() -> None:
    scan = scan_of(DAYS, 15, 6)
    view = ModelView("v1", probabilities(len(scan), 1), CLASS_VALUES, None, "too few episodes so far")
    table = decide(scan, view)
    ai = table[table["track"] == "ai"]
    assert set(ai["reason"]) == {"no threshold (too few episodes so far), so nothing is taken"}
    assert not ai["passes_gate"].any()
    assert ai["passes_document_gate"].any()
    assert table.groupby("track")["selected"].sum()[["baseline", "blend"]].min() > 0


def test_the_documents_gate_ranks_by_the_documents_values() -> None:
    scan, view = scan_of(DAYS, 15, 6), model(180, 1, threshold=None)
    table = decide(scan, view, rules=DecisionRules(gate="document"))
    ai = table[table["track"] == "ai"]
    by_hand = [plain_value(p, DOCUMENT_VALUES) for p in view.probabilities]
    np.testing.assert_allclose(ai["score"], by_hand, rtol=1e-12)
    assert (ai["threshold"] == 0.15).all()
    assert ai["selected"].sum() == 5 * len(DAYS)
    assert ai.loc[ai["selected"], "passes_document_gate"].all()


def test_a_ticker_keeps_its_route() -> None:
    tickers = [f"T{number}" for number in range(2000)]
    routes = route(tickers, share=0.2, salt="a")
    assert list(routes) == [plain_route(ticker, 0.2, "a") for ticker in tickers]
    assert 0.17 < (routes == "challenger").mean() < 0.23
    assert list(route(tickers[::-7] + tickers[3:5], share=0.2, salt="a")) == [*routes[::-7], *routes[3:5]]
    wider = route(tickers, share=0.5, salt="a")
    assert (wider[routes == "challenger"] == "challenger").all()
    assert (route(tickers, share=0.2, salt="b") != routes).any()
    assert set(route(tickers, share=0.0, salt="a")) == {"champion"}
    assert set(route(tickers, share=1.0, salt="a")) == {"challenger"}
    assert len(route([], share=0.5, salt="a")) == 0


def test_the_challenger_decides_its_tickers_only() -> None:
    scan, champion = scan_of(DAYS, 40, 6), model(480, 1)
    challenger = model(480, 2, "challenger-1")
    table = decide(scan, champion, challenger=challenger)
    alone = decide(scan, champion)
    assert set(alone["route"]) == {"champion"}
    theirs = table["route"] == "challenger"
    assert 0 < theirs.mean() < 0.5
    assert set(table.loc[theirs, "model_version"]) == {"challenger-1"}
    assert table[theirs].groupby("ticker")["route"].count().eq(3 * len(DAYS)).all()
    columns = ["p0", "p3", "expected_roi", "blend_score"]
    pd.testing.assert_frame_equal(table.loc[~theirs, columns], alone.loc[~theirs, columns])
    assert (table.loc[theirs, "p0"] != alone.loc[theirs, "p0"]).all()


def test_what_cannot_be_decided_is_refused() -> None:
    scan = scan_of(DAYS[:1], 4, 0)
    with pytest.raises(DataError, match=r"1 candidates are repeated, for instance SIM00 on 2016-03-01"):
        decide(pd.concat([scan, scan.iloc[:1]]), model(5, 0))
    with pytest.raises(DataError, match=r"shape \(3, 4\) for 4 candidates"):
        decide(scan, model(3, 0))
    wrong = model(4, 0)
    wrong.probabilities[2] *= 1.01
    with pytest.raises(DataError, match="gives 1 rows that are no probabilities"):
        decide(scan, wrong)
    with pytest.raises(DataError, match="1 candidates lack session or ticker"):
        decide(scan.assign(session=scan["session"].where(scan["ticker"] != "SIM02")), model(4, 0))
    with pytest.raises(ConfigError, match=r"challenger_share is 1\.2"):
        route(["A"], share=1.2, salt="")
    with pytest.raises(ConfigError, match="places is 0"):
        DecisionRules(places=0)
    with pytest.raises(ConfigError, match="gate is 'ours'"):
        DecisionRules(gate="ours")  # type: ignore[arg-type]


def test_expected_returns_agree_with_those_of_the_evaluation() -> None:
    scan, view = scan_of(DAYS, 15, 6), model(180, 1)
    for values in (CLASS_VALUES, np.array([-0.6, np.nan, 0.1, 0.6])):
        table = decide(scan, ModelView("v1", view.probabilities, values, 0.1))
        found = table.loc[table["track"] == "ai", "expected_roi"]
        np.testing.assert_allclose(found, expected_roi(view.probabilities, values), rtol=1e-12)
