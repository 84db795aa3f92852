"""Settings of the crypto house."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.market.crypto_config import CryptoConfig


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"source": "files"}, "BUTTERQUANT_CRYPTO__DATA_DIR"),
        ({"data_dir": Path("x")}, "reads no folder"),
        ({"start": "2024-13-01"}, "2024-13-01"),
        ({"start": "2024-01"}, "UTC day"),
        ({"start": "2024-02-01", "end": "2024-01-01"}, "swap them"),
        ({"coins": 1}, "coins is 1"),
        ({"edge": 1.5}, "edge 1.5"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"timeout_seconds": 0.0}, "timeout_seconds is 0.0"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        CryptoConfig(**values)


def test_the_store_lies_in_the_home_unless_another_folder_is_named(tmp_path: Path) -> None:
    assert CryptoConfig().store_in(tmp_path) == tmp_path / "collected" / "crypto"
    assert CryptoConfig(store=tmp_path / "elsewhere").store_in(tmp_path) == tmp_path / "elsewhere"
