"""Labelled trades for the tests of the label report: made up with known truth, or real with published volatility."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from butterquant_assets.butterfly import pricing, strikes
from butterquant_assets.butterfly.config import CostConfig
from butterquant_assets.butterfly.iv_proxy import leg_vols
from butterquant_assets.butterfly.labels import ROI_KINDS
from butterquant_assets.foundation.calendar import sessions
from butterquant_tests.shared_data import data_dir

RATE = 0.04


def fair_trades(
    count: int = 400, *, noise: float = 0.0, edge: float = 0.0, smile: str = "flat", seed: int = 5
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Analyses, labels and published volatilities of a market whose published volatility is the true one.

    `noise` is the standard deviation of the log of the proxy over the published volatility, drawn anew at both ends;
    `edge` the log of the realised volatility over the published one, up for half of the trades and down for the others,
    which predicted_vol knows. Every trade has its ticker; eight neighbours share an episode.
    """
    random = np.random.default_rng(seed)
    days = sessions()
    first = int(np.searchsorted(days, np.datetime64("2014-01-02")))
    session = np.sort(days[first + random.integers(0, 1200, count)])
    spot = np.exp(random.uniform(np.log(10), np.log(900), count))
    true = random.uniform(0.15, 0.5, count)
    entry, exit_ = (true * np.exp(noise * random.standard_normal(count)) for _ in range(2))
    side = random.choice([-1.0, 1.0], count)
    real = true * np.exp(edge * side)
    predicted = real * np.exp(0.1 * random.standard_normal(count))
    dte = random.choice([21, 30, 45], count)
    forecast = spot * np.exp(0.02 * random.standard_normal(count))
    band, period = random.uniform(3, 20, count), random.uniform(7, 180, count)
    chosen = strikes.choose_strikes(spot, forecast, predicted, dte, band, period, "ours")
    evaluation, left = strikes.evaluation_dates(session, dte)
    vols = leg_vols(entry, chosen, spot, smile)  # type: ignore[arg-type]
    debit = pricing.value(spot, chosen, dte, RATE, vols)
    years = (dte - left) / 365
    exit_spot = spot * np.exp((RATE - real**2 / 2) * years + real * np.sqrt(years) * random.standard_normal(count))
    exit_vols = leg_vols(exit_, chosen, exit_spot, smile)  # type: ignore[arg-type]
    mark = pricing.value(exit_spot, chosen, left, RATE, exit_vols)
    entry_cost = pricing.trade_cost(spot, chosen, dte, RATE, vols, CostConfig())
    exit_cost = pricing.trade_cost(exit_spot, chosen, left, RATE, exit_vols, CostConfig())
    key = {"session": session.astype("datetime64[us]"), "ticker": [f"T{k:05d}" for k in range(count)]}
    stratum = np.array(["low", "normal", "high"], dtype=object)[np.arange(count) * 3 // count]
    episode = stratum + "-" + (np.arange(count) // 8).astype(str).astype(object)
    analyses = pd.DataFrame(
        key
        | {"stratum": stratum, "episode": episode, "spot": spot, "iv_source": "realised"}
        | {"lower_strike": chosen.lower, "center_strike": chosen.center, "upper_strike": chosen.upper}
        | {"width": chosen.width, "dte": dte, "days_left": left, "rate": RATE, "debit": debit}
        | {"iv_lower": vols.lower, "iv_center": vols.center, "iv_upper": vols.upper, "current_iv": entry}
        | {"predicted_vol": predicted, "vol_mispricing": (entry - predicted) / entry, "forecast_price": forecast}
        | {"band_pct": band, "dominant_period": period, "entry_cost": entry_cost}
        | {"evaluation_session": evaluation.astype("datetime64[us]")}
    )
    rois = {
        "roi_tent": pricing.roi_tent(exit_spot, chosen, debit),
        "roi_expiry": pricing.roi_expiry(exit_spot, chosen, debit),
        "roi_mark": pricing.roi_mark(mark, debit),
        "roi_net": pricing.roi_net(mark, exit_cost, debit, entry_cost),
    }
    labels = pd.DataFrame(
        key
        | {"evaluation_session": analyses["evaluation_session"], "days_left": left, "exit_spot": exit_spot}
        | {"exit_iv_lower": exit_vols.lower, "exit_iv_center": exit_vols.center, "exit_iv_upper": exit_vols.upper}
        | {"exit_cost": exit_cost, "missing_reason": ""}
        | rois
        | {f"label_{kind}": pricing.label_of(rois[f"roi_{kind}"]) for kind in ROI_KINDS}
    )
    names = ["session", "ticker"]
    ends = [analyses[names], analyses[["evaluation_session", "ticker"]].set_axis(names, axis=1)]
    return analyses, labels, pd.concat([end.assign(iv=true) for end in ends], ignore_index=True)


@lru_cache
def published_three_months() -> pd.DataFrame:
    """Real three-month at-the-money volatility of ten stocks, 2010-2019: session, ticker, iv."""
    raw = pd.read_parquet(data_dir() / "implied_vol_3m.parquet")
    return pd.DataFrame(
        {
            "session": raw["timestamp"].dt.tz_localize(None).astype("datetime64[us]"),
            "ticker": raw["symbol"].astype("str"),
            "iv": raw["iv_3m_atm"].astype("float64"),
        }
    )


@lru_cache
def real_vix() -> pd.DataFrame:
    """Real VIX closes: session, close."""
    raw = pd.read_parquet(data_dir() / "vix_daily.parquet", columns=["timestamp", "close"])
    return pd.DataFrame(
        {"session": raw["timestamp"].dt.tz_localize(None).astype("datetime64[us]"), "close": raw["close"]}
    )
