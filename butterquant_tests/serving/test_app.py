"""The HTTP interface: answers, refusals, and what is around them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime
import orjson
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.serving import app as app_module
from butterquant_assets.serving.app import Service, ServingOptions, create_app
from butterquant_assets.serving.gateway import Gateway, Limits
from butterquant_assets.serving.telemetry import Telemetry
from butterquant_assets.serving.watcher import ChampionWatcher
from butterquant_tests.serving import stores
from butterquant_tests.serving.conftest import House
from butterquant_tests.serving.test_model import constant_graph

TOKEN = "0123456789abcdef-secret"  # noqa: S105 - of these tests only


def client(house: House, **options: Any) -> TestClient:
    """Polls rarely: tests that promote make a client of their own."""
    settings = ServingOptions(house.store.root, **{"poll_seconds": 600.0} | options)
    return TestClient(create_app(settings), raise_server_exceptions=False)


@pytest.fixture(scope="module")
def shared(master: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One application over the first version, for tests that change nothing."""
    home = tmp_path_factory.mktemp("shared") / "home"
    shutil.copytree(master.home, home)
    stores.promote(stores.new_store(home), master.first)
    with client(House(home, stores.new_store(home), master.first, master.second)) as opened:
        yield opened


def one() -> dict[str, Any]:
    return stores.as_dicts(stores.rows(1))[0]


def bare(house: House, version: str, rows: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(house.store.onnx_path(stores.NAME, version))
    return np.asarray(session.run(None, {"features": rows.astype(np.float32)})[0], dtype=np.float64)


def metric(opened: TestClient, line: str) -> float:
    """Value of the series whose name and labels are `line`."""
    found = [text for text in opened.get("/metrics").text.splitlines() if text.startswith(f"{line} ")]
    return float(found[0].rsplit(" ", 1)[1])


def test_rows_by_name_are_answered_with_what_the_bare_session_and_plain_sums_give(
    shared: TestClient, master: House
) -> None:
    rows = stores.rows(40, seed=8)
    response = shared.post("/v1/success", json={"rows": stores.as_dicts(rows)})
    answer, expected = response.json(), bare(master, master.first, rows)
    assert response.status_code == 200
    assert response.headers["X-Model-Version"] == master.first
    assert answer["model"] == {
        "name": "success",
        "version": master.first,
        "calibration": {"method": "isotonic", "version": "c0ffee"},
    }
    assert answer["gate"] == {"name": "training", "threshold": 0.02, "class_values": list(stores.TRAINING_VALUES)}
    for found, p in zip(answer["predictions"], expected, strict=True):
        assert list(found["probabilities"]) == list(stores.CLASSES)
        assert list(found["probabilities"].values()) == p.tolist()
        document, training = p @ [0.0, 0.05, 0.2, 0.4], p @ stores.TRAINING_VALUES
        assert found["expected_roi"] == pytest.approx({"document": document, "training": training}, abs=1e-12)
        assert found["decision"] == ("execute" if training > 0.02 else "pass")
    assert {found["decision"] for found in answer["predictions"]} == {"execute", "pass"}


def test_one_row_is_the_first_of_many(shared: TestClient) -> None:
    alone = shared.post("/v1/success", json={"features": one()}).json()
    many = shared.post("/v1/success", json={"rows": [one(), one()]}).json()
    assert len(alone["predictions"]) == 1
    first = many["predictions"][0]
    assert list(alone["predictions"][0]["probabilities"].values()) == pytest.approx(
        list(first["probabilities"].values()), abs=1e-6
    )


@pytest.mark.parametrize("rows", [3, 1500])
def test_a_table_is_answered_like_rows_inline_and_in_a_thread(shared: TestClient, master: House, rows: int) -> None:
    values = stores.rows(rows, seed=2)
    body = orjson.dumps({"columns": list(FEATURES), "values": stores.as_lists(values), "gate": "document"})
    assert (len(body) > app_module.INLINE_BODY_BYTES) == (rows == 1500)
    answer = shared.post("/v1/success", content=body).json()
    expected = bare(master, master.first, values)
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-7)
    np.testing.assert_allclose(answer["expected_roi"]["document"], expected @ [0.0, 0.05, 0.2, 0.4], atol=1e-7)
    np.testing.assert_allclose(answer["expected_roi"]["training"], expected @ stores.TRAINING_VALUES, atol=1e-7)
    assert answer["gate"]["name"] == "document"
    executed = np.array(answer["expected_roi"]["document"]) > 0.15
    assert answer["decisions"] == ["execute" if yes else "pass" for yes in executed]


def test_without_a_chosen_threshold_nothing_is_executed(house: House) -> None:
    entry = stores.serving_entry(threshold={"document": 0.15, "chosen": None})
    onnx = house.store.onnx_path(stores.NAME, house.first).read_bytes()
    stores.promote(house.store, stores.publish(house.store, 1, onnx=onnx, card={"serving": entry}))
    rows = stores.as_dicts(stores.rows(40, seed=8))
    with client(house) as opened:
        answer = opened.post("/v1/success", json={"rows": rows}).json()
        document = opened.post("/v1/success", json={"rows": rows, "gate": "document"}).json()
    assert answer["gate"]["threshold"] is None
    assert {found["decision"] for found in answer["predictions"]} == {"pass"}
    assert {found["decision"] for found in document["predictions"]} == {"execute", "pass"}


def test_a_missing_value_is_null_where_it_may_be_and_refused_elsewhere(shared: TestClient) -> None:
    assert shared.post("/v1/success", json={"features": one() | {"skew_estimate": None}}).status_code == 200
    refused = shared.post("/v1/success", json={"features": one() | {"delta": None}})
    assert refused.status_code == 422
    error = refused.json()["error"]
    assert error["code"] == "invalid_request"
    assert error["details"] == [
        {"row": 0, "field": "delta", "problem": "is null, but this feature must not be missing"}
    ]
    assert error["request_id"] == refused.headers["X-Request-ID"]


def test_a_row_that_overflows_the_model_is_refused_and_gets_no_null_for_a_number(house: House) -> None:
    fragile = constant_graph([0.1, 0.2, 0.3, 0.4])
    stores.promote(house.store, stores.publish(house.store, 9, onnx=fragile))
    with client(house) as opened:
        assert opened.post("/v1/success", json={"features": one()}).status_code == 200
        refused = opened.post("/v1/success", json={"features": one() | {"delta": 1e31}})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "not_finite")
    assert "no finite probability for row 0" in refused.json()["error"]["message"]


def test_json_that_python_writes_but_json_does_not_have_is_a_400(shared: TestClient) -> None:
    refused = shared.post("/v1/success", content=b'{"features": {"delta": NaN}}')
    assert refused.status_code == 400
    assert "send null" in refused.json()["error"]["message"]


def test_another_content_type_is_refused_with_the_right_one_named(shared: TestClient) -> None:
    refused = shared.post("/v1/success", data={"delta": "1"})
    assert refused.status_code == 415
    assert "Content-Type: application/json" in refused.json()["error"]["message"]
    with_charset = {"Content-Type": "application/json; charset=utf-8"}
    assert shared.post("/v1/success", json={"features": one()}, headers=with_charset).status_code == 200


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/success", 405), ("GET", "/v2/success", 404)])
def test_other_routes_and_methods_are_refused_in_the_same_form(
    shared: TestClient, method: str, path: str, status: int
) -> None:
    refused = shared.request(method, path)
    assert refused.status_code == status
    assert "/docs lists what there is" in refused.json()["error"]["message"]


def test_too_many_rows_and_too_large_bodies_are_refused(house: House) -> None:
    body = orjson.dumps({"rows": [one()] * 3})
    with client(house, limits=Limits(max_rows=2)) as opened:
        assert opened.post("/v1/success", json={"rows": [one()] * 2}).status_code == 200
        assert "at most 2" in opened.post("/v1/success", content=body).json()["error"]["message"]
    with client(house, limits=Limits(max_body_bytes=len(body))) as opened:
        assert opened.post("/v1/success", content=body).status_code == 200
        refused = opened.post("/v1/success", content=body + b" ")
        assert (refused.status_code, refused.headers["connection"]) == (413, "close")
        assert f"larger than {len(body)} bytes" in refused.json()["error"]["message"]
        # A generator is sent in chunks, without the length ahead.
        chunked = opened.post("/v1/success", content=iter([body, b" "]))
        assert chunked.status_code == 413
        assert opened.post("/v1/success", content=iter([body[:10], body[10:]])).status_code == 200


def test_health_and_readiness(house: House) -> None:
    with client(house) as opened:
        assert opened.get("/health").json() == {"status": "alive"}
        ready = opened.get("/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        assert ready.json()["model"] == {"name": "success", "version": house.first}


def test_without_a_champion_the_process_lives_says_why_and_takes_one_up(house: House) -> None:
    (house.store.root / stores.NAME / "champion.json").unlink()
    with client(house, poll_seconds=0.01) as opened:
        assert opened.get("/health").status_code == 200
        unready = opened.get("/ready")
        assert (unready.status_code, unready.json()["status"]) == (503, "unready")
        assert "no version of success is champion yet" in unready.json()["problem"]
        refused = opened.post("/v1/success", json={"features": one()})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")
        assert opened.get("/v1/models").json()["served"] is None
        assert opened.get("/openapi.json").status_code == 200
        assert metric(opened, "butterquant_ready") == 0
        stores.promote(house.store, house.second)
        while opened.get("/ready").status_code == 503:
            pass
        answer = opened.post("/v1/success", json={"features": one()})
        assert answer.headers["X-Model-Version"] == house.second


def test_models_tell_what_is_served_and_what_else_there_is(shared: TestClient, master: House) -> None:
    document = shared.get("/v1/models").json()
    assert (document["name"], document["problem"]) == ("success", None)
    assert document["other_versions"] == [master.second]
    served = document["served"]
    assert served["version"] == master.first
    assert [feature["name"] for feature in served["features"]] == list(FEATURES)
    assert served["features"][1] == {
        "name": "dominant_period",
        "unit": "sessions",
        "low": 7.0,
        "high": 180.0,
        "nullable": False,
        "description": "strongest period",
    }
    assert served["gates"]["document"] == {
        "class_values": [0.0, 0.05, 0.2, 0.4],
        "threshold": 0.15,
        "default": False,
    }
    assert served["card"]["limits"] == ["not for live trading"]


def test_metrics_count_requests_rows_and_the_version(house: House) -> None:
    with client(house) as opened:
        opened.post("/v1/success", json={"rows": [one()] * 7})
        opened.post("/v1/success", json={"rows": []})
        for path in ("/a", "/b"):
            opened.get(path)
        assert metric(opened, 'butterquant_requests_total{route="/v1/success",status="200"}') == 1
        assert metric(opened, 'butterquant_requests_total{route="/v1/success",status="422"}') == 1
        assert metric(opened, 'butterquant_requests_total{route="other",status="404"}') == 2
        assert metric(opened, 'butterquant_request_seconds_count{route="/v1/success"}') == 2
        assert metric(opened, "butterquant_rows_total") == 7
        info = f'butterquant_model_info{{calibration="c0ffee",name="success",version="{house.first}"}}'
        assert metric(opened, info) == 1
        assert metric(opened, "butterquant_model_swaps_total") == 1


def test_with_a_token_everything_but_probes_and_the_description_wants_it(house: House) -> None:
    with client(house, token=TOKEN) as opened:
        for path in ("/health", "/ready", "/docs", "/openapi.json"):
            assert opened.get(path).status_code == 200
        for path in ("/v1/models", "/metrics", "/elsewhere"):
            refused = opened.get(path)
            assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        for given in ("", "Bearer", "Bearer wrong", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe9"):
            headers = {"Authorization": given.encode("latin-1")}
            refused = opened.post("/v1/success", json={"features": one()}, headers=headers)
            assert refused.status_code == 401
            assert TOKEN not in refused.text
        good = {"Authorization": f"Bearer {TOKEN}"}
        assert opened.post("/v1/success", json={"features": one()}, headers=good).status_code == 200
        assert opened.get("/metrics", headers=good).status_code == 200
        operations = opened.get("/openapi.json").json()["paths"]
        assert operations["/v1/success"]["post"]["security"] == [{"token": []}]
        assert "security" not in operations["/ready"]["get"]


def test_the_token_is_in_no_representation_and_no_log(
    house: House, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert TOKEN not in repr(ServingOptions(house.store.root, token=TOKEN))
    with caplog.at_level(logging.DEBUG), client(house, token=TOKEN, log_requests=True) as opened:
        opened.post("/v1/success", json={"features": one()}, headers={"Authorization": f"Bearer {TOKEN}"})
        opened.get("/v1/models", headers={"Authorization": f"Bearer {TOKEN}x"})
    streams = capsys.readouterr()
    assert TOKEN not in caplog.text + streams.out + streams.err
    assert "serving success" in caplog.text


def test_a_bug_gives_an_id_and_no_trace_and_the_log_has_both(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("the secret of line 7")

    monkeypatch.setattr(Service, "_answer", broken)
    with client(house) as opened:
        failed = opened.post("/v1/success", json={"features": one()}, headers={"X-Request-ID": "abc-1"})
        assert metric(opened, 'butterquant_requests_total{route="/v1/success",status="500"}') == 1
        assert opened.get("/health").status_code == 200
    assert failed.status_code == 500
    assert failed.json()["error"]["request_id"] == "abc-1"
    assert "secret" not in failed.text
    assert "Traceback" not in failed.text
    assert "request abc-1 failed unexpectedly" in caplog.text
    assert "the secret of line 7" in caplog.text


def test_request_ids_are_the_caller_s_where_harmless_and_new_otherwise(shared: TestClient) -> None:
    assert shared.get("/health", headers={"X-Request-ID": "trade-7.a_B"}).headers["X-Request-ID"] == "trade-7.a_B"
    for given in ("a b", "x" * 65, '{"a"}'):
        assert shared.get("/health", headers={"X-Request-ID": given}).headers["X-Request-ID"] != given
    ids = {shared.get("/health").headers["X-Request-ID"] for _ in range(20)}
    assert len(ids) == 20


def test_the_access_log_is_one_json_line_per_request_and_off_by_default(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="butterquant.serving.access"):
        with client(house) as opened:
            opened.post("/v1/success", json={"features": one()})
        assert [r for r in caplog.records if r.name.endswith("access")] == []
        with client(house, log_requests=True) as opened:
            opened.post("/v1/success", json={"rows": [one()] * 2}, headers={"X-Request-ID": "r1"})
        (record,) = [r for r in caplog.records if r.name.endswith("access")]
    line = orjson.loads(record.getMessage())
    assert line.pop("milliseconds") > 0
    assert line == {
        "request_id": "r1",
        "method": "POST",
        "path": "/v1/success",
        "status": 200,
        "rows": 2,
        "version": house.first,
    }


def test_a_promotion_is_served_and_a_broken_one_is_not(house: House) -> None:
    with client(house, poll_seconds=0.01) as opened:
        assert opened.post("/v1/success", json={"features": one()}).headers["X-Model-Version"] == house.first
        stores.promote(house.store, house.second)
        while opened.get("/ready").json()["model"]["version"] != house.second:
            pass
        answer = opened.post("/v1/success", json={"features": one()}).json()
        found = list(answer["predictions"][0]["probabilities"].values())
        assert found == bare(house, house.second, stores.rows(1))[0].tolist()
        stores.promote(house.store, "0" * 16)
        while opened.get("/ready").json()["problem"] is None:
            pass
        ready = opened.get("/ready")
        assert ready.status_code == 200
        assert "is not published" in ready.json()["problem"]
        assert opened.post("/v1/success", json={"features": one()}).headers["X-Model-Version"] == house.second
        assert metric(opened, "butterquant_model_refused_total") == 1


def test_a_swap_in_the_middle_of_a_request_does_not_reach_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = ChampionWatcher(house.store, stores.NAME, Telemetry())
    watcher.check()
    parse = app_module.parse_request

    def swapping(*arguments: Any) -> Any:
        house.store.set_champion(stores.NAME, house.second)
        assert watcher.check()
        return parse(*arguments)

    monkeypatch.setattr(app_module, "parse_request", swapping)
    routes = FastAPI()
    with ThreadPoolExecutor(1) as workers:
        app_module._add_routes(routes, Service(watcher, Telemetry(), Limits(), workers))
        opened = TestClient(Gateway(routes, Telemetry(), Limits()))
        answer = opened.post("/v1/success", json={"features": one()})
    assert watcher.current is not None
    assert watcher.current.version == house.second
    assert answer.headers["X-Model-Version"] == answer.json()["model"]["version"] == house.first
    found = list(answer.json()["predictions"][0]["probabilities"].values())
    assert found == bare(house, house.first, stores.rows(1))[0].tolist()


def test_the_description_names_every_feature_with_title_unit_range_and_example(shared: TestClient) -> None:
    document = shared.get("/openapi.json").json()
    row = document["components"]["schemas"]["Row"]
    assert row["required"] == list(FEATURES)
    assert row["properties"]["dominant_period"] == {
        "title": "strongest period (sessions)",
        "type": "number",
        "examples": [93.5],
        "minimum": 7.0,
        "maximum": 180.0,
        "x-unit": "sessions",
    }
    assert row["properties"]["skew_estimate"]["type"] == ["number", "null"]
    assert set(document["paths"]) == {"/v1/success", "/v1/models", "/health", "/ready", "/metrics"}
    assert "swagger" in shared.get("/docs").text.lower()


def test_the_examples_of_the_description_are_answered(shared: TestClient) -> None:
    body = shared.get("/openapi.json").json()["paths"]["/v1/success"]["post"]["requestBody"]["content"]
    examples = body["application/json"]["examples"]
    assert len(examples) == 3
    for example in examples.values():
        assert shared.post("/v1/success", json=example["value"]).status_code == 200


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from ([value["$ref"]] if "$ref" in value else [])
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_every_reference_of_the_description_resolves_and_every_field_has_a_title(shared: TestClient) -> None:
    document = shared.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    found = set(references(document))
    assert len(found) > 5
    assert {reference.rsplit("/", 1)[1] for reference in found} <= set(schemas)
    for name, schema in schemas.items():
        for field, described in schema["properties"].items():
            assert "title" in described or "$ref" in described, f"{name}.{field}"
