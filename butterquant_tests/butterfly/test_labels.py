"""Labels: what the market paid on the evaluation date, nothing later, and a reason wherever there is none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import labels, pricing, schemas
from butterquant_assets.butterfly.config import AnalysisConfig, CostConfig
from butterquant_assets.butterfly.iv_proxy import leg_vols, leg_vols_of
from butterquant_assets.butterfly.strikes import strikes_of
from butterquant_assets.foundation.errors import DataError
from butterquant_tests.butterfly.cases import NO_VOLS, analysed, assert_same_bits, made_up_bars, published_vols

DEFAULT = AnalysisConfig()
END = "2016-09-30"


def _label(
    analyses: pd.DataFrame | None = None,
    bars: pd.DataFrame | None = None,
    last_session: str = END,
    vols: pd.DataFrame = NO_VOLS,
    config: AnalysisConfig = DEFAULT,
    commission: float = 0.0,
) -> pd.DataFrame:
    return labels.label_trades(
        analysed().analyses if analyses is None else analyses,
        made_up_bars() if bars is None else bars,
        vols,
        last_session,
        config,
        CostConfig(commission),
    )


def _split(bars: pd.DataFrame, ticker: str, day: str, ratio: float) -> pd.DataFrame:
    """The same history with a split on `day`: prices from it on are divided, volumes multiplied."""
    later = (bars["ticker"] == ticker) & (bars["session"] >= pd.Timestamp(day))
    return bars.assign(
        close=bars["close"].where(~later, bars["close"] / ratio),
        volume=bars["volume"].where(~later, bars["volume"] * ratio),
        split_ratio=bars["split_ratio"].where(~(later & (bars["session"] == pd.Timestamp(day))), ratio),
    )


def _published() -> pd.DataFrame:
    """The analyses as if their volatilities had been published, flat."""
    analyses = analysed().analyses.copy()
    for leg in ("lower", "center", "upper"):
        analyses[f"iv_{leg}"] = analyses["current_iv"]
    return analyses.assign(iv_source="published")


def test_every_label_keeps_the_contract_and_the_declared_columns() -> None:
    found = _label()
    assert (found["missing_reason"] == "").all()
    assert schemas.ROI_LABELS.validate(found).reasons() == []
    assert found.dtypes.astype(str).to_dict() == labels.LABEL_TYPES


def test_a_label_is_recomputed_from_bars_and_analyses_by_its_definitions() -> None:
    found, bars = _label(), made_up_bars()
    for label, row in zip(found.itertuples(), analysed().analyses.itertuples(), strict=True):
        closes = bars[(bars["ticker"] == row.ticker) & (bars["session"] <= row.evaluation_session)]["close"]
        assert label.exit_spot == closes.iloc[-1]
        hv = np.log(closes).diff().iloc[-30:].std() * np.sqrt(252)
        moneyness = np.log(row.center_strike / label.exit_spot)
        assert abs(moneyness) < 0.2
        one = pd.DataFrame([row._asdict()])
        expected = leg_vols(np.array([1.15 * hv]), strikes_of(one), np.array([label.exit_spot]), "smooth")
        for leg in ("lower", "center", "upper"):
            assert getattr(label, f"exit_iv_{leg}") == pytest.approx(getattr(expected, leg)[0], rel=1e-12)
        mark = pricing.value(label.exit_spot, strikes_of(one), row.days_left, row.rate, expected)[0]
        assert label.roi_mark == pytest.approx(mark / row.debit - 1, rel=1e-10)
        net = max(mark - label.exit_cost, 0) - row.debit - row.entry_cost
        assert label.roi_net == pytest.approx(net / (row.debit + row.entry_cost), rel=1e-10)


def test_an_outsider_with_quantlib_recomputes_every_mark_from_the_stored_columns() -> None:
    import QuantLib as ql  # noqa: N813

    found = _label().merge(analysed().analyses, on=["session", "ticker"], suffixes=("", "_entry"))
    for row in found.itertuples():
        day = ql.Date(row.evaluation_session.day, row.evaluation_session.month, row.evaluation_session.year)
        years = ql.Actual365Fixed().yearFraction(day, day + row.days_left)
        mark = 0.0
        for leg, weight in (("lower", 1), ("center", -2), ("upper", 1)):
            strike, vol = getattr(row, f"{leg}_strike"), getattr(row, f"exit_iv_{leg}")
            forward, discount = row.exit_spot * np.exp(row.rate * years), np.exp(-row.rate * years)
            kind = ql.Option.Put if row.butterfly_type == "PUT" else ql.Option.Call
            mark += weight * ql.blackFormula(kind, strike, forward, vol * np.sqrt(years), discount)
        assert row.roi_mark == pytest.approx((mark - row.debit) / row.debit, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("level", ["realised", "published"])
def test_data_after_the_evaluation_changes_no_bit_of_a_label(level: str) -> None:
    bars = made_up_bars()
    vols = published_vols(bars) if level == "published" else NO_VOLS
    analyses = _published() if level == "published" else analysed().analyses
    config = AnalysisConfig(smile="flat") if level == "published" else DEFAULT
    whole = _label(analyses, bars, vols=vols, config=config)
    assert (whole["missing_reason"] == "").all()
    for row in range(len(whole)):
        day = whole["evaluation_session"].iloc[row]
        alone = _label(
            analyses.iloc[[row]],
            bars[bars["session"] <= day],
            last_session=str(day.date()),
            vols=vols[vols["session"] <= day],
            config=config,
        )
        assert_same_bits(alone, whole.iloc[[row]].reset_index(drop=True))


@pytest.mark.parametrize("ratio", [4.0, 0.125, 1.5, 1.311791])
def test_a_split_between_entry_and_evaluation_leaves_the_label_what_it_would_be_unsplit(ratio: float) -> None:
    plain = _label()
    found = _label(bars=_split(made_up_bars(), "T00", "2016-02-29", ratio))
    row = plain["ticker"].eq("T00") & plain["session"].eq(pd.Timestamp("2016-02-16"))
    columns = ["exit_spot", "exit_iv_lower", "exit_iv_center", "exit_iv_upper", "exit_cost", "roi_mark", "roi_net"]
    np.testing.assert_allclose(found.loc[row, columns], plain.loc[row, columns], rtol=1e-9)
    assert found.loc[row, "label_mark"].tolist() == plain.loc[row, "label_mark"].tolist()


@pytest.mark.parametrize("day", ["2016-02-16", "2016-03-07"])
def test_splits_on_the_entry_session_and_after_the_evaluation_do_not_touch_the_exit_price(day: str) -> None:
    row = analysed().analyses.iloc[[0]]
    assert str(row["evaluation_session"].iloc[0].date()) == "2016-03-04"
    bars = made_up_bars()
    bars = bars.assign(
        split_ratio=bars["split_ratio"].where(
            ~((bars["ticker"] == "T00") & (bars["session"] == pd.Timestamp(day))), 4.0
        )
    )
    assert _label(row, bars)["exit_spot"].tolist() == _label(row)["exit_spot"].tolist()


def test_an_evaluation_after_the_data_ends_has_no_label_yet() -> None:
    found = _label(last_session="2016-04-18")
    late = found["evaluation_session"] > pd.Timestamp("2016-04-18")
    assert late.sum() == 3
    assert (found["missing_reason"] == np.where(late, "after_data_end", "")).all()
    assert found.loc[late, [f"roi_{kind}" for kind in labels.ROI_KINDS]].isna().all(axis=None)
    assert schemas.ROI_LABELS.validate(found).reasons() == []


def test_a_ticker_that_stopped_trading_is_never_marked_at_its_last_price() -> None:
    bars = made_up_bars()
    gone = bars[~((bars["ticker"] == "T01") & (bars["session"] > pd.Timestamp("2016-03-01")))]
    found = _label(bars=gone)
    delisted = found["ticker"] == "T01"
    assert found.loc[delisted, "missing_reason"].tolist() == ["no_bar_on_evaluation"]
    assert found.loc[delisted, ["exit_spot", "roi_mark", "label_mark", "label_tent"]].isna().all(axis=None)
    assert (found.loc[~delisted, "missing_reason"] == "").all()


def test_too_few_bars_before_the_evaluation_give_no_realised_volatility() -> None:
    bars = made_up_bars()
    found = _label(analysed().analyses.iloc[[0]], bars[bars["session"] >= pd.Timestamp("2016-02-16")])
    assert found["missing_reason"].tolist() == ["too_short_for_exit_iv"]


def test_a_halt_before_the_evaluation_gives_no_realised_volatility() -> None:
    bars = made_up_bars()
    halt = bars["session"].between(pd.Timestamp("2016-02-22"), pd.Timestamp("2016-03-01"))
    assert bars.loc[halt, "session"].nunique() == 7
    found = _label(analysed().analyses.iloc[[0]], bars[~halt])
    assert found["missing_reason"].tolist() == ["too_short_for_exit_iv"]


def test_prices_that_did_not_move_have_no_exit_volatility() -> None:
    bars = made_up_bars()
    still = (bars["ticker"] == "T00") & (bars["session"] > pd.Timestamp("2016-01-01"))
    found = _label(analysed().analyses.iloc[[0]], bars.assign(close=bars["close"].where(~still, 40.0)))
    assert found["missing_reason"].tolist() == ["no_exit_iv"]


def test_published_volatility_at_exit_is_that_of_the_days_left_on_the_evaluation_session() -> None:
    vols = published_vols(made_up_bars())
    found = _label(_published(), vols=vols, config=AnalysisConfig(smile="flat"))
    merged = found.merge(
        vols,
        left_on=["evaluation_session", "ticker", "days_left"],
        right_on=["session", "ticker", "days"],
        suffixes=("", "_v"),
    )
    assert len(merged) == len(found)
    for leg in ("lower", "center", "upper"):
        assert (merged[f"exit_iv_{leg}"] == merged["iv"]).all()


def test_a_published_entry_without_a_published_exit_has_no_label_and_no_proxy_steps_in() -> None:
    vols = published_vols(made_up_bars())
    day = analysed().analyses["evaluation_session"].iloc[0]
    holed = vols[~((vols["session"] == day) & (vols["ticker"] == "T00"))]
    found = _label(_published(), vols=holed, config=AnalysisConfig(smile="flat"))
    assert found["missing_reason"].tolist() == ["no_exit_iv"] + [""] * (len(found) - 1)


def test_bars_that_lack_the_entry_session_are_refused() -> None:
    bars = made_up_bars()
    entry = (bars["ticker"] == "T00") & (bars["session"] == pd.Timestamp("2016-02-16"))
    with pytest.raises(DataError, match="T00 on 2016-02-16"):
        _label(bars=bars[~entry])


def test_commissions_lower_only_the_net_roi() -> None:
    free, paid = _label(), _label(commission=0.65)
    assert (paid["roi_net"] < free["roi_net"]).any()
    assert paid["roi_mark"].equals(free["roi_mark"])


def test_every_computed_column_names_its_sources() -> None:
    computed = set(labels.LABEL_TYPES) - {"session", "ticker", "missing_reason"}
    assert set(labels.LABEL_SOURCES) == computed
    known = {f"analyses.{name}" for name in schemas.ANALYSES.columns}
    known |= {"equity_bars.close", "equity_bars.split_ratio", "implied_vols.iv", "vix.close"}
    assert {source for sources in labels.LABEL_SOURCES.values() for source in sources} <= known


def test_no_analyses_give_an_empty_table_of_the_contract() -> None:
    found = _label(analysed().analyses.iloc[:0])
    assert schemas.ROI_LABELS.validate(found).reasons() == []


def test_entry_volatilities_stored_in_the_analyses_give_back_the_debit() -> None:
    analyses = analysed().analyses
    value = pricing.value(
        analyses["spot"].to_numpy(), strikes_of(analyses), analyses["dte"].to_numpy(), 0.04, leg_vols_of(analyses)
    )
    np.testing.assert_allclose(value, analyses["debit"], rtol=1e-9)
