"""What Dagster is given: complete, described, light to load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from butterquant_assets.definitions import DECLARATIONS, Settings, build_definitions, build_house
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.foundation.freshness import State
from butterquant_assets.foundation.settings import load_settings
from butterquant_assets.orchestration.assets import asset_key
from butterquant_assets.orchestration.house import House
from butterquant_tests.shared_data import ROOT

INVENTORY = "monitoring/failed_partitions"
HEAVY = (
    "torch",
    "xgboost",
    "lightgbm",
    "evidently",
    "arch",
    "sklearn",
    "statsmodels",
    "onnxruntime",
    "matplotlib",
    "numba",
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    home = tmp_path_factory.mktemp("home")
    return build_house(load_settings(Settings, {"home": home, "start": "2016-03", "end": "2016-08"}, {}))


@pytest.fixture(scope="module")
def definitions(house: House) -> dg.Definitions:
    return build_definitions(house.settings, house)


def test_loading_the_definitions_imports_nothing_heavy(tmp_path: Path) -> None:
    code = f"import sys, butterquant_assets.definitions as d; d.defs(); print([m for m in {HEAVY} if m in sys.modules])"
    environment = {"BUTTERQUANT_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    # The first load binds the home, which reads the source; every later one must stay light.
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
        )
    assert done.stdout.strip() == "[]"


def test_every_asset_has_group_owner_kinds_description_schema_and_reads(definitions: dg.Definitions) -> None:
    specs = list(definitions.resolve_all_asset_specs())
    declared = {name for declaration in DECLARATIONS for name in declaration.names}
    # The inventory of failures looks at the state of affairs; it is no function of the lake.
    assert {spec.key.to_user_string() for spec in specs} == declared | {INVENTORY}
    assert len(declared) > 30
    for spec in specs:
        assert spec.group_name == spec.key.path[0]
        assert list(spec.owners) == ["team:research"]
        assert "parquet" in spec.kinds or spec.key.to_user_string() == INVENTORY
        assert len(spec.description or "") > 20, spec.key
        schema = spec.metadata["dagster/column_schema"]
        assert all(column.description for column in schema.columns), spec.key


def test_the_lineage_runs_from_bars_to_onnx(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    upstream = {key.to_user_string() for key in graph.get_ancestor_asset_keys(asset_key("butterfly/success_onnx"))}
    assert {"market/equity_bars", "market/vix", "butterfly/analyses", "butterfly/roi_labels"} <= upstream


def test_look_back_and_look_ahead_are_partition_mappings(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    deps = {
        (key, dep.asset_key.to_user_string()): dep.partition_mapping
        for key in ("butterfly/analyses", "butterfly/roi_labels")
        for dep in graph.get(asset_key(key)).assets_def.get_asset_spec(asset_key(key)).deps
    }
    analyses, labels = (deps[key, "market/equity_bars"] for key in ("butterfly/analyses", "butterfly/roi_labels"))
    assert (analyses.start_offset, analyses.end_offset) == (-26, 0)
    assert (labels.start_offset, labels.end_offset) == (-3, 2)


def test_market_months_cover_the_look_back_and_the_look_ahead(house: House) -> None:
    assert house.months("market")[0] == "2014-01"
    assert house.months("market")[-1] == "2016-10"
    assert house.months("analysis") == ("2016-03", "2016-04", "2016-05", "2016-06", "2016-07", "2016-08")


def test_every_partitioned_asset_is_filled_by_one_run(definitions: dg.Definitions) -> None:
    for assets in definitions.resolve_asset_graph().assets_defs:
        if assets.partitions_def is not None:
            assert assets.backfill_policy == dg.BackfillPolicy.single_run()


def test_months_outside_what_the_source_holds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"2001-01 \.\. 2018-12 were asked for, but source 'sample' holds"):
        build_house(load_settings(Settings, {"home": tmp_path, "start": "2001-01"}, {}))


def test_sections_come_from_the_environment_and_unknown_fields_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUTTERQUANT_SAMPLING__HIGH_DAYS", "3")
    assert load_settings(Settings, {"home": tmp_path}).sampling.high_days == 3
    monkeypatch.setenv("BUTTERQUANT_SAMPLING__HIGH_DAYZ", "3")
    with pytest.raises(ConfigError, match="high_dayz"):
        load_settings(Settings, {"home": tmp_path})


def test_an_unbuilt_home_is_stale_because_everything_is_missing(house: House) -> None:
    freshness = house.freshness()
    judged = freshness.judge("market/vix", "2016-03")
    assert (judged.state, judged.reasons) == (State.STALE, ("missing",))


@pytest.mark.slow
def test_dg_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    binaries = Path(sys.executable).parent
    prepared = subprocess.run([binaries / "butterquant", "env", "--home", tmp_path], capture_output=True, text=True)
    exports = dict(line.removeprefix("export ").split("=", 1) for line in prepared.stdout.splitlines())
    environment = {"PATH": f"{binaries}:/usr/bin:/bin", "HOME": str(tmp_path), **exports}
    command = [str(binaries / "dg"), "check", "defs"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
