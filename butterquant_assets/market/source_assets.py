"""Declaring assets that hold what a source delivered, as it delivered it.

What belongs here: what such assets of every market share. What does not: any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import pandas as pd

from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.foundation.freshness import Window
from butterquant_assets.orchestration.declaration import Axis, Compute, LakeAsset, lake_asset

MAX_REJECT_SHARE = 0.2


def source_asset(
    *contracts: Contract, code: Sequence[ModuleType | Callable[..., Any]], axis: Axis | None, **options: Any
) -> Callable[[Compute], LakeAsset]:
    """Declare an asset whose tables are datasets of the source, under their own names.

    Parameters
    ----------
    contracts
        of the tables, ``market/<dataset>``
    code, axis, options
        as for `LakeAsset`
    """
    reads = [Window(f"source:{dataset}") for dataset in datasets_of(contracts)]
    return lake_asset(*contracts, reads=reads, code=[*code, datasets_of], axis=axis, **options)


def datasets_of(contracts: Sequence[Contract]) -> list[str]:
    """Names of the datasets that the contracts are of."""
    return [contract.table.split("/")[1] for contract in contracts]


def refused_facts(refused: pd.DataFrame) -> dict[str, Any]:
    """How many rows were refused, and for what.

    Parameters
    ----------
    refused
        column reason
    """
    reasons = {str(reason): int(count) for reason, count in refused["reason"].value_counts().sort_index().items()}
    return {"refused rows": len(refused), "refused by reason": reasons}
