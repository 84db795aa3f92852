"""The lake as Dagster's IO manager: many partitions in one call, pruned reads, no pickle.

Declared assets publish through `rebuild` while they run, batch by batch, so that a killed run keeps what it has; for
them `handle_output` has nothing left to write. A plain asset that returns a frame is written here, all its partitions
in one call. `load_input` serves both: a downstream function or a notebook (`defs.load_asset_value`) gets a frame.
"""

from __future__ import annotations

from typing import Any

import dagster as dg
import pandas as pd

from butterquant_assets.foundation.contracts import Outcome, Verdict
from butterquant_assets.foundation.errors import SchemaError
from butterquant_assets.foundation.lake import Footer, Lake, content_hash
from butterquant_assets.orchestration.partitions import split_by_key, unit_of
from butterquant_assets.orchestration.rebuild import Rebuilt


class LakeIOManager(dg.IOManager):
    """Reads and writes frames in a lake.

    Input metadata ``columns`` (a list) prunes columns on read; output metadata ``time`` names the column that decides
    the partition, where it is not ``session``. Not a configurable resource: its configuration would be
    shown in the UI, and a lake's URL may hold a password.
    """

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Write a frame by partition; a `Rebuilt` is in the lake already."""
        if isinstance(obj, Rebuilt):
            return
        if not isinstance(obj, pd.DataFrame):
            raise SchemaError(
                f"{context.asset_key.to_user_string()} returned {type(obj).__name__}; the lake stores DataFrames: "
                "return one, or give the asset another IO manager"
            )
        lake, name = self.lake, context.asset_key.to_user_string()
        if not context.has_asset_partitions:
            _write(lake, name, None, obj)
            return
        metadata = context.definition_metadata or {}
        unit = unit_of(context.asset_partitions_def)
        parts = split_by_key(obj, str(metadata.get("time", "session")), unit)
        strays = sorted(parts.keys() - set(context.asset_partition_keys))
        if strays:
            raise SchemaError(f"{name} returned rows of {strays[:3]}, outside the partitions of this run")
        for key in context.asset_partition_keys:
            _write(lake, name, key, parts.get(key, obj.iloc[:0]).reset_index(drop=True))

    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        """All rows of the input's partitions, in partition order."""
        metadata = context.definition_metadata or {}
        keys = list(context.asset_partition_keys) if context.has_asset_partitions else None
        return self.lake.read(context.asset_key.to_user_string(), keys, metadata.get("columns"))


def _write(lake: Lake, name: str, key: str | None, frame: pd.DataFrame) -> None:
    verdict = Verdict({"schema": Outcome(True)})
    lake.write(name, key, frame, Footer(content_hash(frame), {}, "", "", verdict, len(frame)))
