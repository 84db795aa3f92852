"""What a source of market data is, and the one place that opens them by name.

What belongs here: what sources of this market share. What does not: any particular source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from butterquant_assets.foundation.calendar import month_of
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.market.schemas import CONTRACTS
from butterquant_assets.market.source import Delivery as Delivery  # what sources of this market deliver
from butterquant_assets.market.source import Source

DATASETS = tuple(CONTRACTS)
"""What can be asked of a source: equity_bars, index_bars, vix, implied_vols, published_vols, option_chains."""

REJECTS = "bar_rejects"
"""What was refused of the datasets in `REJECTING`; it has fingerprints of its own."""

REJECTING = ("equity_bars", "index_bars", "vix")

SOURCES = ("sample", "files")


class MarketSource(Source[Delivery], Protocol):
    """A source of equity bars and the VIX, by month; its span holds the months with both."""


def open_source(
    name: str,
    *,
    data_dir: Path | str | None = None,
    seed: int = 7,
    edge: float = 0.0,
    tickers: int = 50,
    bars_dataset: str = "stocks_daily",
    clock: Callable[[], datetime] | None = None,
) -> MarketSource:
    """Open a source by name.

    Parameters
    ----------
    name
        ``sample`` or ``files``
    data_dir
        folder of the files (``files`` only, and needed there)
    seed, edge, tickers
        of the simulated constituents (``sample`` only)
    bars_dataset
        which file dataset holds the equity bars (``files`` only)
    clock
        tells the time, with its zone: what is dated in the future is refused (``files`` only); by default the time it
        is

    Raises
    ------
    ConfigError
        for an unknown name, or arguments the source cannot work with.
    """
    if name == "sample":
        from butterquant_assets.market.sources.sample import SampleSource

        return SampleSource(seed=seed, edge=edge, tickers=tickers)
    if name == "files":
        from butterquant_assets.market.sources.files import FilesSource

        if data_dir is None:
            raise ConfigError("source 'files' needs a folder; give it with --data DIR or BUTTERQUANT_DATA_DIR")
        return FilesSource(Path(data_dir), bars_dataset=bars_dataset, clock=clock)
    raise ConfigError(f"unknown source {name!r}; expected one of {', '.join(SOURCES)}")


def known_dataset(dataset: str) -> str:
    """Return `dataset`, or raise ConfigError when no source delivers it."""
    if dataset not in DATASETS:
        raise ConfigError(f"unknown dataset {dataset!r}; expected one of {', '.join(DATASETS)}")
    return dataset


def in_months(frame: pd.DataFrame, months: Sequence[str]) -> pd.DataFrame:
    """Rows of a frame sorted by session that fall into `months`, with a plain index."""
    wanted = np.isin(_month_values(frame), np.array(list(months), dtype="datetime64[M]"))
    return frame[wanted].reset_index(drop=True)


def month_hashes(frames: Sequence[pd.DataFrame], months: Sequence[str]) -> dict[str, str]:
    """SHA-256 per month over the values of several frames, each sorted by session; column order counts."""
    digests = {month: hashlib.sha256() for month in months}
    for frame in frames:
        values = [_hashable(frame[name]) for name in frame.columns]
        present = _month_values(frame)
        for month, digest in digests.items():
            key = np.datetime64(month, "M")
            start, stop = np.searchsorted(present, key, "left"), np.searchsorted(present, key, "right")
            digest.update(f"|{','.join(frame.columns)}|{stop - start}|".encode())
            for column in values:
                part = column[start:stop]
                digest.update("\x00".join(part).encode() if part.dtype == object else part.tobytes())
    return {month: digest.hexdigest() for month, digest in digests.items()}


def months_present(frame: pd.DataFrame) -> set[str]:
    """Month keys of a frame's sessions."""
    return set(month_of(frame["session"].unique()).tolist())


def _month_values(frame: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    return frame["session"].to_numpy().astype("datetime64[M]")


def _hashable(column: pd.Series) -> np.ndarray[tuple[int], np.dtype[np.generic]]:
    return column.to_numpy(dtype=object) if pd.api.types.is_string_dtype(column.dtype) else column.to_numpy()
