"""What Dagster is given: complete, described, light to load."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from butterquant_assets.definitions import (
    CRYPTO_DECLARATIONS,
    DECLARATIONS,
    Settings,
    build_crypto_house,
    build_definitions,
    build_house,
    build_houses,
)
from butterquant_assets.foundation.errors import ConfigError, SourceError
from butterquant_assets.foundation.freshness import State
from butterquant_assets.foundation.settings import bind_section, load_settings
from butterquant_assets.orchestration.assets import asset_key
from butterquant_assets.orchestration.house import House
from butterquant_tests.shared_data import ROOT

INVENTORY = "monitoring/failed_partitions"
STORED_TYPES = {"datetime64[us]", "str", "float64", "int64", "bool"}
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
def houses(tmp_path_factory: pytest.TempPathFactory) -> tuple[House, ...]:
    home = tmp_path_factory.mktemp("home")
    crypto = {"source": "sample", "coins": 3, "days": 60}
    given = {"home": home, "start": "2016-03", "end": "2016-08", "crypto": crypto}
    return build_houses(load_settings(Settings, given, {}))


@pytest.fixture(scope="module")
def house(houses: tuple[House, ...]) -> House:
    return houses[0]


@pytest.fixture(scope="module")
def crypto(houses: tuple[House, ...]) -> House:
    return houses[1]


@pytest.fixture(scope="module")
def definitions(houses: tuple[House, ...]) -> dg.Definitions:
    return build_definitions(houses[0].settings, houses)


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
    declared = {name for declaration in (*DECLARATIONS, *CRYPTO_DECLARATIONS) for name in declaration.names}
    # The inventory of failures looks at the state of affairs; it is no function of the lake.
    assert {spec.key.to_user_string() for spec in specs} == declared | {INVENTORY}
    assert len(declared) > 60
    for spec in specs:
        assert spec.group_name == spec.key.path[0]
        assert list(spec.owners) == ["team:research"]
        assert "parquet" in spec.kinds or spec.key.to_user_string() == INVENTORY
        assert len(spec.description or "") > 20, spec.key
        schema = spec.metadata["dagster/column_schema"]
        assert all(column.description for column in schema.columns), spec.key
        assert {column.type for column in schema.columns} <= STORED_TYPES, spec.key


def test_every_asset_says_where_its_files_lie_and_a_partitioned_one_names_the_folder(
    definitions: dg.Definitions,
) -> None:
    for spec in definitions.resolve_all_asset_specs():
        if spec.key.to_user_string() == INVENTORY:
            continue
        assert spec.metadata["dagster/uri"].endswith("/" if spec.partitions_def else ".parquet"), spec.key


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
    assert house.keys("market")[0] == "2014-01"
    assert house.keys("market")[-1] == "2016-10"
    assert house.keys("analysis") == ("2016-03", "2016-04", "2016-05", "2016-06", "2016-07", "2016-08")


def test_every_partitioned_asset_is_filled_by_one_run(definitions: dg.Definitions) -> None:
    for assets in definitions.resolve_asset_graph().assets_defs:
        if assets.partitions_def is not None:
            assert assets.backfill_policy == dg.BackfillPolicy.single_run()


def test_months_outside_what_the_source_holds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"2001-01 \.\. 2018-12 were asked for, but source 'sample' holds"):
        build_house(load_settings(Settings, {"home": tmp_path, "start": "2001-01"}, {}))


def test_every_house_has_a_job_and_a_sensor_that_runs(definitions: dg.Definitions, houses: tuple[House, ...]) -> None:
    repository = definitions.get_repository_def()
    sensors = {sensor.name: sensor for sensor in repository.sensor_defs}
    jobs = {"freshness": "refresh", "crypto_freshness_sensor": "refresh_crypto"}
    for house, (name, job) in zip(houses, jobs.items(), strict=True):
        assert sensors[name].job_name == job
        assert sensors[name].default_status is dg.DefaultSensorStatus.RUNNING
        made = definitions.resolve_job_def(job).asset_layer.executable_asset_keys
        assert made == {asset_key(node.name) for node in house.nodes}
    schedules = {schedule.name: schedule for schedule in repository.schedule_defs}
    assert schedules.keys() == {"failed_partitions_daily", "prune_weekly"}
    assert all(schedule.default_status is dg.DefaultScheduleStatus.RUNNING for schedule in schedules.values())


def test_crypto_assets_are_partitioned_by_utc_day_and_read_their_look_back(
    definitions: dg.Definitions, crypto: House
) -> None:
    graph = definitions.resolve_asset_graph()
    assert crypto.keys("days")[0] == crypto.binding["start"]
    assert len(crypto.keys("days")) == 60
    bars = graph.get(asset_key("market/crypto_bars")).partitions_def
    assert isinstance(bars, dg.TimeWindowPartitionsDefinition)
    assert tuple(bars.get_partition_keys()) == crypto.keys("days")
    factors = graph.get(asset_key("signals/factors")).assets_def.get_asset_spec(asset_key("signals/factors"))
    mapping = {dep.asset_key.to_user_string(): dep.partition_mapping for dep in factors.deps}["market/crypto_bars"]
    assert (mapping.start_offset, mapping.end_offset) == (-37, 0)


def test_no_house_reads_from_the_other(houses: tuple[House, ...]) -> None:
    for house in houses:
        own = {node.name for node in house.nodes}
        read = {window.asset for node in house.nodes for window in node.reads if not window.asset.startswith("source:")}
        assert read <= own


def test_a_home_is_bound_to_its_crypto_source(crypto: House) -> None:
    home = crypto.settings.home
    bound = load_settings(Settings, {"home": home, "crypto": {"source": "sample"}}, {}).crypto
    assert (bound.coins, bound.days, bound.start) == (3, 60, crypto.keys("days")[0])
    with pytest.raises(ConfigError, match=r"bound to crypto coins = 3, but 5 was asked for"):
        load_settings(Settings, {"home": home, "crypto": {"source": "sample", "coins": 5}}, {})
    with pytest.raises(ConfigError, match=r"bound to crypto edge = 0\.0, but 0\.5"):
        build_crypto_house(crypto.settings.model_copy(update={"crypto": replace(bound, edge=0.5)}))


def test_days_outside_what_the_crypto_source_holds_are_refused(tmp_path: Path) -> None:
    asked = {"source": "sample", "days": 10, "end": "2031-01-01"}
    with pytest.raises(ConfigError, match=r"were asked for, but source 'sample' holds"):
        build_crypto_house(load_settings(Settings, {"home": tmp_path, "crypto": asked}, {}))
    assert not (tmp_path / "crypto.json").exists()


def test_a_home_may_be_without_crypto(tmp_path: Path) -> None:
    settings = load_settings(Settings, {"home": tmp_path, "crypto": {"source": "none"}}, {})
    assert build_crypto_house(settings) is None
    assert not (tmp_path / "crypto.json").exists()


@pytest.mark.parametrize("bound", [{"source": "sample", "coins": 3, "days": 5}, {"source": "files", "data_dir": "/d"}])
def test_crypto_can_be_switched_off_in_a_home_that_has_it(tmp_path: Path, bound: dict[str, object]) -> None:
    before = load_settings(Settings, {"home": tmp_path, "crypto": bound}, {})
    bind_section(before, "crypto", {"start": "2024-01-01", "last": "2024-01-05"})
    off = load_settings(Settings, {"home": tmp_path, "crypto": {"source": "none"}}, {})
    assert build_crypto_house(off) is None
    assert load_settings(Settings, {"home": tmp_path}, {}).crypto == replace(before.crypto, start="2024-01-01")
    with pytest.raises(ConfigError, match=r"bound to crypto source = .*, but 'okx' was asked for"):
        load_settings(Settings, {"home": tmp_path, "crypto": {"source": "okx"}}, {})


def test_the_crypto_sensor_waits_for_a_collection_into_what_its_house_reads_and_the_other_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"home": tmp_path, "start": "2016-03", "end": "2016-03", "crypto": {"source": "okx"}}
    settings = load_settings(Settings, given, {})
    definitions = build_definitions(settings)

    def unasked(house: House) -> None:
        raise SourceError(f"{house.name} was looked at")

    monkeypatch.setattr(House, "freshness", unasked)
    said = {}
    with dg.instance_for_test() as instance:
        job = definitions.resolve_job_def("collect_crypto")
        instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        for sensor in definitions.get_repository_def().sensor_defs:
            if sensor.name in ("freshness", "crypto_freshness_sensor"):
                with dg.build_sensor_context(instance) as context:
                    said[sensor.name] = sensor.evaluate_tick(context).skip_message or ""
    assert said["freshness"] == "equity was looked at"
    assert said["crypto_freshness_sensor"].endswith("is under way")


def test_days_to_be_collected_are_bound_before_the_collector_has_begun(tmp_path: Path) -> None:
    asked = {"source": "okx", "history_days": 30}
    settings = load_settings(Settings, {"home": tmp_path, "crypto": asked}, {})
    house = build_crypto_house(settings, clock=lambda: datetime(2026, 6, 30, 23, tzinfo=UTC))
    assert house is not None
    assert house.partition_span() == ("2026-06-01", None)
    assert house.keys("days") == ()
    repository = build_definitions(settings, [build_house(settings), house]).get_repository_def()
    assert {"refresh_crypto", "collect_crypto"} <= {job.name for job in repository.get_all_jobs()}
    (hourly,) = [schedule for schedule in repository.schedule_defs if schedule.job_name == "collect_crypto"]
    assert hourly.default_status is dg.DefaultScheduleStatus.RUNNING


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


def test_simulated_coins_join_real_shares_only_when_asked_for(tmp_path: Path) -> None:
    real = {"home": tmp_path, "source": "files", "data_dir": tmp_path}
    assert load_settings(Settings, real, {}).crypto.source == "none"
    assert load_settings(Settings, {**real, "crypto": {"source": "sample"}}, {}).crypto.source == "sample"
    assert load_settings(Settings, {"home": tmp_path}, {}).crypto.source == "sample"


def test_a_source_from_the_environment_decides_about_simulated_coins_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUTTERQUANT_SOURCE", "files")
    monkeypatch.setenv("BUTTERQUANT_DATA_DIR", str(tmp_path))
    assert load_settings(Settings, {"home": tmp_path}).crypto.source == "none"
    monkeypatch.setenv("BUTTERQUANT_CRYPTO__COINS", "5")
    assert load_settings(Settings, {"home": tmp_path}).crypto.source == "sample"
