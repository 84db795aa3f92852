"""The server as users run it: under load while champions change, and when it is told to stop."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from typing import Any

import numpy as np
import onnxruntime
import orjson
import pytest

from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.foundation.model_store import ModelStore
from butterquant_tests.serving import stores
from butterquant_tests.serving.conftest import House
from butterquant_tests.serving.processes import Server, serving

SECONDS, RATE, CLIENTS, ROWS, BODIES = 8.0, 200.0, 4, 8, 16
JSON = {"Content-Type": "application/json"}


def expected(store: ModelStore, version: str, rows: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(store.onnx_path(stores.NAME, version))
    return np.asarray(session.run(None, {"features": rows.astype(np.float32)})[0], dtype=np.float64)


class Load:
    """Clients that ask at a steady rate and judge every answer by the version it names."""

    def __init__(self, server: Server, house: House) -> None:
        self.server = server
        batches = [stores.rows(ROWS, seed=seed) for seed in range(BODIES)]
        self.bodies = [orjson.dumps({"columns": list(FEATURES), "values": stores.as_lists(batch)}) for batch in batches]
        self.truth = {
            version: [expected(house.store, version, batch) for batch in batches]
            for version in (house.first, house.second)
        }
        self.failures: list[str] = []
        self.answered: dict[str, int] = dict.fromkeys(self.truth, 0)
        self._lock = threading.Lock()

    def run(self, until: float) -> None:
        threads = [threading.Thread(target=self._client, args=(i, until)) for i in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, number: int, until: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10.0)
        turn, due = number, time.monotonic()
        while time.monotonic() < until:
            due += CLIENTS / RATE
            problem = self._ask(connection, turn % BODIES)
            if problem:
                self.failures.append(problem)
            turn += CLIENTS + 1
            time.sleep(max(0.0, due - time.monotonic()))
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, which: int) -> str | None:
        try:
            connection.request("POST", "/v1/success", self.bodies[which], JSON)
            response = connection.getresponse()
            answer = orjson.loads(response.read())
        except (OSError, http.client.HTTPException) as error:
            return f"no answer: {error!r}"
        if response.status != 200:
            return f"{response.status}: {answer}"
        version = answer["model"]["version"]
        if response.headers["X-Model-Version"] != version:
            return f"header names {response.headers['X-Model-Version']}, body {version}"
        if not np.allclose(answer["probabilities"], self.truth[version][which], atol=1e-6):
            return f"the answer names {version} but is not its"
        with self._lock:
            self.answered[version] += 1
        return None


def swap_champions(house: House, until: float) -> int:
    """Promote one and the other in turn, and once a version whose file is broken; returns promotions."""
    broken = stores.publish(house.store, 3, onnx=b"no model")
    done = 0
    while time.monotonic() < until - 0.5:
        done += 1
        if done == 10:
            stores.promote(house.store, broken)
        else:
            house.store.set_champion(stores.NAME, (house.first, house.second)[done % 2])
        time.sleep(0.15)
    return done


def metrics(server: Server) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10.0)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}


@pytest.mark.slow
def test_no_answer_is_lost_or_mixed_while_champions_change_under_load(house: House) -> None:
    with serving(house.home, "--poll-seconds", "0.02") as server:
        load = Load(server, house)
        assert all(
            np.abs(a - b).max() > 0.01 for a, b in zip(load.truth[house.first], load.truth[house.second], strict=True)
        )
        until = time.monotonic() + SECONDS
        promoted: list[int] = []
        swapping = threading.Thread(target=lambda: promoted.append(swap_champions(house, until)))
        swapping.start()
        load.run(until)
        swapping.join()
        counted = metrics(server)
        assert server.stop() == 0
    assert load.failures == []
    answers = sum(load.answered.values())
    assert answers > 0.7 * SECONDS * RATE
    assert min(load.answered.values()) > 0.2 * answers
    assert promoted[0] > 20
    # Two promotions within one look are one swap.
    assert counted["butterquant_model_swaps_total"] > 0.7 * promoted[0]
    assert counted["butterquant_model_refused_total"] == 1
    assert counted["butterquant_rows_total"] == ROWS * answers
    assert counted['butterquant_requests_total{route="/v1/success",status="200"}'] == answers
    assert "Traceback" not in "".join(server.lines)


@pytest.mark.slow
def test_a_request_that_is_under_way_when_the_server_is_told_to_stop_is_answered(house: House) -> None:
    body = orjson.dumps({"features": stores.as_dicts(stores.rows(1))[0]})
    lines = ("POST /v1/success HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {len(body)}")
    head = "\r\n".join(lines) + "\r\n\r\n"
    with serving(house.home) as server, socket.create_connection(("127.0.0.1", server.port), timeout=10.0) as caller:
        wait_until_ready(server)
        caller.sendall(head.encode() + body[:50])
        time.sleep(0.2)
        stopped: list[Any] = []
        stopping = threading.Thread(target=lambda: stopped.append(server.stop()))
        stopping.start()
        time.sleep(0.5)
        assert server.process.poll() is None
        caller.sendall(body[50:])
        assert caller.recv(65536).startswith(b"HTTP/1.1 200 OK")
        stopping.join()
    assert stopped == [0]


def wait_until_ready(server: Server) -> None:
    for _ in range(200):
        try:
            if metrics(server)["butterquant_ready"] == 1.0:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError("the server did not become ready")
