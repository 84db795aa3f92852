"""The lake as an IO manager for plain assets. Dagster reads annotations, so they are not postponed to strings here."""

from pathlib import Path

import dagster as dg
import pandas as pd

from butterquant_assets.foundation.lake import Lake
from butterquant_assets.orchestration.io_manager import LakeIOManager
from butterquant_assets.orchestration.partitions import monthly


def test_a_plain_asset_writes_many_partitions_in_one_call_and_another_reads_them(tmp_path: Path) -> None:
    @dg.asset(key_prefix="toy", partitions_def=monthly("2018-01", "2018-03"))
    def table(context: dg.AssetExecutionContext) -> pd.DataFrame:
        sessions = pd.to_datetime([f"{key}-05" for key in context.partition_keys]).astype("datetime64[us]")
        return pd.DataFrame({"session": sessions, "x": range(len(sessions))})

    @dg.asset(key_prefix="toy", ins={"table": dg.AssetIn(metadata={"columns": ["x"]})})
    def total(table: pd.DataFrame) -> pd.DataFrame:
        assert list(table.columns) == ["x"]
        return pd.DataFrame({"total": [table["x"].sum()]})

    resources = {"io_manager": LakeIOManager(Lake(tmp_path))}
    tags = {"dagster/asset_partition_range_start": "2018-01", "dagster/asset_partition_range_end": "2018-03"}
    assert dg.materialize([table], resources=resources, tags=tags).success
    assert sorted(p.name for p in (tmp_path / "toy/table").iterdir()) == [f"2018-0{m}.parquet" for m in (1, 2, 3)]
    assert dg.materialize([table, total], selection=[total], resources=resources).success
    assert pd.read_parquet(tmp_path / "toy/total.parquet")["total"].item() == 3
