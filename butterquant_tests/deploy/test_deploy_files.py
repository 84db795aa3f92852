"""The files under deploy/: well formed, alike where they must be, and naming only what exists."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from dagster._grpc.utils import default_sensor_grpc_timeout

from butterquant_assets.cli import main
from butterquant_assets.orchestration.event_batches import BATCH_EVENTS, BATCH_VARIABLE
from butterquant_assets.orchestration.executors import DEFAULT_QUEUE
from butterquant_assets.orchestration.instance import PROFILE
from butterquant_assets.orchestration.pools import TRAINING_POOL
from butterquant_tests.shared_data import ROOT

DEPLOY = ROOT / "deploy"
SCHEMAS = Path(__file__).parent / "schemas"
ROLES = ("migrate", "code", "webserver", "daemon", "worker", "training", "serving")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def schema(name: str) -> dict[str, Any]:
    return json.loads((SCHEMAS / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return read(DEPLOY / "compose.yaml")


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    return read(DEPLOY / "helm" / "values.yaml")


def test_the_compose_file_follows_the_compose_specification(compose: dict[str, Any]) -> None:
    jsonschema.validate(compose, schema("compose-spec"))


@pytest.mark.parametrize(
    ("service", "key", "value"),
    [("worker", "restart_policy", "always"), ("redis", "healthcheck", ["PING"]), ("postgres", "ports", {"5432": 1})],
)
def test_the_compose_specification_refuses_what_it_does_not_know(
    compose: dict[str, Any], service: str, key: str, value: object
) -> None:
    broken = copy.deepcopy(compose)
    broken["services"][service][key] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema("compose-spec"))


def test_every_long_lived_service_has_a_health_check_restarts_and_waits_for_what_it_needs(
    compose: dict[str, Any],
) -> None:
    services = compose["services"]
    assert set(services) == {"postgres", "redis", *ROLES}
    for name, service in services.items():
        assert service["logging"]["options"]["max-size"], name
        if name == "migrate":
            assert service["restart"] == "no"
            continue
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"], name
        for needed, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if needed == "migrate" else "service_healthy"
            assert how["condition"] == wanted, (name, needed)
            assert needed in services
    for name in ROLES[2:]:
        assert {"postgres", "redis", "migrate", "code"} <= set(services[name]["depends_on"]), name


def test_all_roles_run_one_image_with_the_same_settings_home_and_instance(compose: dict[str, Any]) -> None:
    services = compose["services"]
    own = {"training": {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}, "serving": {"BUTTERQUANT_SERVE_TOKEN"}}
    shared = services["code"]["environment"]
    for name in ROLES:
        assert services[name]["image"] == services["code"]["image"]
        assert services[name]["volumes"] == services["code"]["volumes"]
        different = {k for k, v in services[name]["environment"].items() if shared.get(k) != v}
        assert different <= own.get(name, set()), name


def test_no_secret_stands_in_the_files_and_each_is_asked_for(compose: dict[str, Any]) -> None:
    example = (DEPLOY / ".env.example").read_text()
    for name in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "SERVE_TOKEN"):
        assert re.search(rf"^{name}=$", example, re.MULTILINE)
        assert f"${{{name}:?" in (DEPLOY / "compose.yaml").read_text()
    used = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    offered = set(re.findall(r"^(\w+)=", example, re.MULTILINE))
    assert used - offered <= {"TORCH_INDEX_URL"}
    for service in compose["services"].values():
        for key, value in service["environment"].items():
            if re.search("PASSWORD|TOKEN|AUTH", key):
                assert str(value).startswith("${"), key


def test_only_the_webserver_and_serving_are_published_and_on_this_machine_only(compose: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert set(published) == {"webserver", "serving"}
    assert all("127.0.0.1" in port for ports in published.values() for port in ports)


def test_the_queues_of_the_workers_are_those_that_steps_ask_for(compose: dict[str, Any]) -> None:
    commands = [compose["services"][name]["command"] for name in ("worker", "training")]
    assert [command[-1] for command in commands] == [DEFAULT_QUEUE, TRAINING_POOL]


@pytest.mark.parametrize("service", ["worker", "training", "serving"])
def test_our_own_commands_exist_with_the_options_that_are_given(compose: dict[str, Any], service: str) -> None:
    program, *arguments = compose["services"][service]["command"]
    assert program == "butterquant"
    done = CliRunner().invoke(main, [*arguments, "--help"])
    assert done.exit_code == 0, done.output


def test_the_scaled_out_instance_differs_from_the_production_one_in_two_places_only() -> None:
    production, scaled = read(ROOT / "dagster.yaml"), read(DEPLOY / "dagster.yaml")
    assert scaled["concurrency"]["runs"].pop("max_concurrent_runs") > production["concurrency"]["runs"].pop(
        "max_concurrent_runs"
    )
    logs = scaled.pop("compute_logs")
    assert logs["config"]["base_dir"].startswith("/home/butterquant/data/")
    assert scaled == production


def test_runs_store_their_events_in_batches_wherever_postgresql_holds_them(
    compose: dict[str, Any], values: dict[str, Any]
) -> None:
    for name in ROLES:
        assert compose["services"][name]["environment"][BATCH_VARIABLE] == BATCH_EVENTS, name
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    assert {"name": BATCH_VARIABLE, "value": BATCH_EVENTS} in deployment["env"]
    assert f"    {BATCH_VARIABLE}={BATCH_EVENTS} \\\n" in (ROOT / "Dockerfile").read_text()


def test_a_sensor_has_five_minutes_for_its_first_look_at_a_large_lake(
    compose: dict[str, Any], values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    name, seconds = "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS", "300"
    for role in ("daemon", "code"):
        assert compose["services"][role]["environment"][name] == seconds, role
    for role in (values["dagsterDaemon"], deployment):
        assert {"name": name, "value": seconds} in role["env"]
    monkeypatch.setenv(name, seconds)
    assert default_sensor_grpc_timeout() == 300  # the installed Dagster knows the variable


def test_a_run_that_was_asked_for_waits_two_seconds_and_skipped_ticks_are_kept_for_a_day(
    values: dict[str, Any],
) -> None:
    for profile in (ROOT / "dagster.yaml", DEPLOY / "dagster.yaml", PROFILE):
        instance = read(profile)
        assert instance["run_coordinator"]["config"]["dequeue_interval_seconds"] == 2
        assert instance["retention"]["sensor"]["purge_after_days"]["skipped"] == 1
    queue = values["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    assert queue["dequeueIntervalSeconds"] == 2
    assert values["retention"]["sensor"]["purgeAfterDays"]["skipped"] == 1


def test_the_workspace_names_the_code_server_and_the_location_of_the_project(compose: dict[str, Any]) -> None:
    server = read(DEPLOY / "workspace.yaml")["load_from"][0]["grpc_server"]
    local = read(ROOT / "workspace.yaml")["load_from"][0]["python_module"]
    command = compose["services"]["code"]["command"]
    assert server["host"] in compose["services"]
    assert str(server["port"]) == command[command.index("--port") + 1]
    assert server["location_name"] == local["location_name"] == command[command.index("--location-name") + 1]
    assert local["module_name"] == command[command.index("--module-name") + 1]


def test_the_helm_values_follow_the_subset_of_the_charts_schema(values: dict[str, Any]) -> None:
    jsonschema.validate(values, schema("dagster-chart-subset"))


def test_a_misspelt_helm_value_is_refused(values: dict[str, Any]) -> None:
    broken = copy.deepcopy(values)
    broken["runLauncher"]["config"]["k8sRunLauncher"]["envSecret"] = []
    with pytest.raises(jsonschema.ValidationError, match="envSecret"):
        jsonschema.validate(broken, schema("dagster-chart-subset"))


def test_runs_and_steps_on_kubernetes_get_the_lake_the_home_and_the_executor(values: dict[str, Any]) -> None:
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    environment = {entry["name"]: entry["value"] for entry in deployment["env"]}
    assert deployment["includeConfigInLaunchedRuns"]["enabled"]
    assert environment["BUTTERQUANT_EXECUTOR"] == "k8s"
    assert environment["BUTTERQUANT_LAKE_URL"].startswith("s3://")
    assert environment["BUTTERQUANT_HOME"] == deployment["volumeMounts"][0]["mountPath"]
    assert values["runLauncher"]["type"] == "K8sRunLauncher"
    assert (
        values["dagsterWebserver"]["readinessProbe"]["httpGet"]["port"] == values["dagsterWebserver"]["service"]["port"]
    )


def test_no_kubernetes_service_is_named_so_that_its_variables_look_like_settings(values: dict[str, Any]) -> None:
    documents = list(yaml.safe_load_all((DEPLOY / "helm" / "serving.yaml").read_text()))
    names = [document["metadata"]["name"] for document in documents if document["kind"] == "Service"]
    names += [deployment["name"] for deployment in values["dagster-user-deployments"]["deployments"]]
    release = re.search(r"upgrade --install (\S+) dagster/dagster", (DEPLOY / "helm" / "values.yaml").read_text())
    assert release is not None
    assert len(names) == 2
    assert not [name for name in [*names, release[1]] if name.startswith("butterquant")]


def test_serving_on_kubernetes_runs_an_existing_command_as_an_ordinary_user() -> None:
    deployment, service = yaml.safe_load_all((DEPLOY / "helm" / "serving.yaml").read_text())
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert CliRunner().invoke(main, [*container["command"][1:], "--help"]).exit_code == 0
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    assert service["spec"]["selector"] == pod["metadata"]["labels"] == deployment["spec"]["selector"]["matchLabels"]
    assert service["spec"]["ports"][0]["targetPort"] == container["ports"][0]["containerPort"]


def test_the_chart_is_of_the_version_of_dagster_in_the_lock(values: dict[str, Any]) -> None:
    locked = re.search(r"^dagster==(.+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked is not None
    assert f"--version {locked[1]} " in (DEPLOY / "helm" / "values.yaml").read_text()


def test_the_image_installs_what_make_install_does() -> None:
    makefile, dockerfile = (ROOT / "Makefile").read_text(), (ROOT / "Dockerfile").read_text()
    made = [_installed(line) for line in makefile.splitlines() if "-m pip install" in line]
    built = [_installed(line) for line in dockerfile.splitlines() if line.startswith("RUN pip install")]
    assert len(made) == 3
    assert built == [made[0], made[1], [word for word in made[2] if word != "--editable"]]


def _installed(line: str) -> list[str]:
    """Options and requirements of a pip command, without what differs in noise and index only."""
    line = re.sub(r"\$\{TORCH_INDEX_URL[^}]*\}|2> >\(.*$|'", "", line.partition("pip install ")[2])
    return [word for word in line.split() if word not in ("--quiet", "--disable-pip-version-check")]
