"""Where the tests find real market data and reference vectors, or why they skip."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def data_dir() -> Path:
    """The folder of real market data; skips the calling test where it is absent."""
    folder = Path(os.environ.get("BUTTERQUANT_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "stocks_daily.parquet").is_file():
        pytest.skip(f"real market data not found at {folder}; set BUTTERQUANT_TEST_DATA to its folder")
    return folder


def reference_dir() -> Path:
    """The folder of reference vectors; skips the calling test where it is absent."""
    folder = Path(os.environ.get("BUTTERQUANT_TEST_REFERENCE", ROOT.parent / "shared" / "reference"))
    if not (folder / "butterfly_quantlib.csv").is_file():
        pytest.skip(f"reference vectors not found at {folder}; set BUTTERQUANT_TEST_REFERENCE to their folder")
    return folder
