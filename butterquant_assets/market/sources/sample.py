"""The embedded source: real index bars and VIX, simulated shares around them. Needs no network.

Real, from the `arch` package: S&P 500 (``SPX``) and NASDAQ Composite (``IXIC``) daily bars 1999-2018, and VIX closes
from 2014-01-03 (only closes, so its open, high and low are missing), all used up to the end of 2018. Simulated
(`market/simulator.py`): SIM01 .. SIM50 from 2011-01 to 2018-12 with their fair implied volatilities.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version

import numpy as np
import pandas as pd

from butterquant_assets.foundation.calendar import sessions
from butterquant_assets.market.cleaning import Cleaned, clean_index_bars, clean_vix
from butterquant_assets.market.schemas import BAR_REJECTS, CONTRACTS, EQUITY_BARS, IMPLIED_VOLS, empty_rows
from butterquant_assets.market.simulator import (
    RATE,
    TENORS,
    Floats,
    SimulatedMarket,
    check_parameters,
    implied_vols,
    simulate,
    visible_vix,
)
from butterquant_assets.market.sources.base import REJECTS, Delivery, in_months, known_dataset, months_present

FIRST, LAST = np.datetime64("2011-01-03"), np.datetime64("2018-12-31")
BEYOND = np.datetime64("2019-02-28")
"""The simulation runs past the end, so that every tenor has its true variance on the last session."""

FIRST_VIX_MONTH, LAST_MONTH = "2014-01", "2018-12"
ABSENT = ("published_vols", "option_chains")
"""Datasets of real options, which a simulated market has none of: they are empty."""

REVISION = 2
"""Raised whenever the same parameters give other rows, which their fingerprints could not see otherwise."""


class SampleSource:
    """The embedded default.

    Parameters
    ----------
    seed
        of the simulation
    edge
        largest log of true over priced variance; 0: a fair market with nothing to find
    tickers
        number of simulated shares

    Raises
    ------
    ConfigError
        for arguments the simulator refuses.
    """

    name = "sample"
    simulated = True

    def __init__(self, *, seed: int = 7, edge: float = 0.0, tickers: int = 50) -> None:
        check_parameters(seed, edge, tickers)
        self.seed, self.edge, self.tickers = seed, edge, tickers

    def describe(self) -> dict[str, str | int | float]:
        """What is real and what is simulated, and with which parameters."""
        return {
            "source": self.name,
            "simulated": f"equity bars and implied volatilities (SIM tickers, {self.tickers})",
            "real": "index bars (SPX, IXIC) and VIX closes, from the arch package",
            "arch_version": version("arch"),
            "seed": self.seed,
            "edge": self.edge,
            "rate": RATE,
        }

    def span(self) -> tuple[str, str]:
        """Months with both simulated bars and the real VIX."""
        return FIRST_VIX_MONTH, LAST_MONTH

    def keys_held(self, dataset: str) -> tuple[str, ...]:
        """Months with rows of a dataset, ascending; none where a simulated market has no such data."""
        if known_dataset(dataset) in ABSENT:
            return ()
        rows = {"vix": self._vix, "index_bars": self._indices}.get(dataset)
        return tuple(sorted(months_present(self._bars if rows is None else rows.rows)))

    def fingerprints(self, dataset: str, months: Sequence[str]) -> dict[str, str]:
        """Hash of what determines each month: parameters and package versions; nothing is generated."""
        real = dataset == REJECTS or known_dataset(dataset) in {"vix", "index_bars", *ABSENT}
        invented = {"seed": self.seed, "edge": self.edge, "tickers": self.tickers, "numpy": version("numpy")}
        causes = {"dataset": dataset, "arch": version("arch"), "revision": REVISION} | ({} if real else invented)
        return {
            month: hashlib.sha256(json.dumps(causes | {"month": month}, sort_keys=True).encode()).hexdigest()
            for month in months
        }

    def fetch(self, dataset: str, months: Sequence[str]) -> Delivery:
        """Rows and rejects of `months`; months outside the data are empty."""
        if known_dataset(dataset) == "equity_bars":
            return Delivery(in_months(self._bars, months), empty_rows(BAR_REJECTS))
        if dataset == "implied_vols":
            return Delivery(self._vols(months), empty_rows(BAR_REJECTS))
        if dataset in ABSENT:
            return Delivery(empty_rows(CONTRACTS[dataset]), empty_rows(BAR_REJECTS))
        cleaned = self._vix if dataset == "vix" else self._indices
        return Delivery(in_months(cleaned.rows, months), in_months(cleaned.rejects, months))

    @cached_property
    def _indices(self) -> Cleaned:
        from arch.data import nasdaq, sp500

        raw = pd.concat([_arch_bars(sp500.load(), "SPX", "sp500"), _arch_bars(nasdaq.load(), "IXIC", "nasdaq")])
        return clean_index_bars(raw[raw["session"] <= LAST].reset_index(drop=True))

    @cached_property
    def _vix(self) -> Cleaned:
        from arch.data import vix

        series = vix.load()["vix"]
        raw = pd.DataFrame(
            {"session": series.index.astype("datetime64[us]"), "ticker": "VIX", "close": series.to_numpy()}
        )
        raw = raw.assign(open=np.nan, high=np.nan, low=np.nan, file="arch.data.vix", place="row")
        raw["line"] = np.arange(1, len(raw) + 1)
        # The package lists every weekday; a holiday without a value is no bar at all, so there is nothing to reject.
        listed = raw["close"].notna() | raw["session"].isin(_session_index())
        return clean_vix(raw[listed & (raw["session"] <= LAST)].reset_index(drop=True))

    @cached_property
    def _market(self) -> SimulatedMarket:
        days = sessions()
        days = days[(days >= FIRST) & (days <= BEYOND)]
        index = self._indices.rows[self._indices.rows["ticker"] == "SPX"]
        vix_days = self._vix.rows["session"].to_numpy().astype("datetime64[D]")
        visible = visible_vix(
            days,
            vix_days,
            self._vix.rows["close"].to_numpy(),
            index["session"].to_numpy().astype("datetime64[D]"),
            index["close"].to_numpy(),
        )
        return simulate(days, visible, seed=self.seed, edge=self.edge, tickers=self.tickers)

    @cached_property
    def _published(self) -> int:
        return int(np.searchsorted(self._market.sessions, LAST, side="right"))

    @cached_property
    def _bars(self) -> pd.DataFrame:
        market, count = self._market, self._published
        tables = {name: getattr(market, name)[:count].ravel() for name in ("open", "high", "low", "close", "volume")}
        return pd.DataFrame(
            self._keys(np.arange(count), 1)
            | tables
            | {"split_ratio": market.split_ratio[:count].ravel(), "dividend_usd": 0.0, "quoted": True}
        )[EQUITY_BARS.columns]

    @cached_property
    def _fair_vols(self) -> Floats:
        return implied_vols(self._market, self._published)

    def _vols(self, months: Sequence[str]) -> pd.DataFrame:
        month = self._market.sessions[: self._published].astype("datetime64[M]")
        rows = np.flatnonzero(np.isin(month, np.array(list(months), dtype="datetime64[M]")))
        days = np.tile(np.array(TENORS, dtype=np.int64), len(rows) * self.tickers)
        vols = {"days": days, "iv": self._fair_vols[rows].ravel()}
        return pd.DataFrame(self._keys(rows, len(TENORS)) | vols)[IMPLIED_VOLS.columns]

    def _keys(self, rows: np.ndarray[tuple[int], np.dtype[np.intp]], repeat: int) -> dict[str, object]:
        dates = self._market.sessions[rows].astype("datetime64[us]")
        names = pd.Series(self._market.tickers, dtype="str")
        place = np.tile(np.repeat(np.arange(self.tickers), repeat), len(rows))
        return {
            "session": np.repeat(dates, self.tickers * repeat),
            "ticker": names.take(place).array,
        }


def _arch_bars(bars: pd.DataFrame, ticker: str, module: str) -> pd.DataFrame:
    columns = {name.lower(): bars[name].to_numpy(dtype=float) for name in ("Open", "High", "Low", "Close", "Volume")}
    place = {"file": f"arch.data.{module}", "place": "row", "line": np.arange(1, len(bars) + 1)}
    return pd.DataFrame({"session": bars.index.to_numpy().astype("datetime64[us]"), "ticker": ticker} | columns | place)


def _session_index() -> pd.DatetimeIndex:
    return pd.DatetimeIndex(sessions().astype("datetime64[us]"))
