"""The served model: what our layer adds to onnxruntime, latency of one row over HTTP, throughput of batches.

The server is a process of its own and the client a raw socket on a persistent connection, so that the client's own work
hardly counts. Other load on the machine shows in the 99th percentile first.
"""

from __future__ import annotations

import socket
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import orjson

from benchmarks.harness import Result, compare, median_seconds
from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.serving.model import load_model
from butterquant_tests.serving import stores
from butterquant_tests.serving.processes import serving

HIDDEN = (128, 64)
REQUESTS, WARM_UP, BATCH, BATCHES = 4000, 500, 1024, 60
WRAPPER_US, P50_MS, P99_MS, ROWS_PER_SECOND = 10.0, 0.6, 2.0, 50_000.0


def benchmarks() -> list[Result]:
    """Microseconds our layer adds to the bare session, percentiles of one row over HTTP, rows per second."""
    with tempfile.TemporaryDirectory() as folder:
        store = stores.new_store(Path(folder))
        version = stores.publish(store, 1, hidden=HIDDEN)
        stores.promote(store, version)
        results = [_wrapper(store, version)]
        with serving(Path(folder)) as server, Client(server.port) as client:
            return results + _latency(client, store, version) + _throughput(client, store, version)


def _wrapper(store: ModelStore, version: str) -> Result:
    model, session = load_model(store, stores.NAME, version), _bare(store, version)
    row = stores.rows(1).astype(np.float32)
    np.testing.assert_array_equal(model.score(row).probabilities, session.run(None, {"features": row})[0])
    names, inputs = ["probabilities"], {"features": row}
    # Short stretches in turn, and the least of each: what else the machine does can only add.
    calls = (lambda: session.run(names, inputs), lambda: model.score(row))
    pairs = [[median_seconds(call, repeats=1, minimum_seconds=5e-4) for call in calls] for _ in range(300)]
    bare, ours = np.min(pairs, axis=0)
    print(f"one row: onnxruntime {1e6 * bare:.1f} us, with expected ROI and checks {1e6 * ours:.1f} us")
    added = 1e6 * float(ours - bare)
    return compare("serving.added_to_onnxruntime", added, WRAPPER_US, "us", target=1.0, better="lower")


def _latency(client: Client, store: ModelStore, version: str) -> list[Result]:
    row = stores.rows(1)
    body = orjson.dumps({"features": stores.as_dicts(row)[0]})
    answer = client.ask(body)["predictions"][0]["probabilities"]
    np.testing.assert_allclose(list(answer.values()), _truth(store, version, row)[0], atol=1e-7)
    request = client.request(body)
    for _ in range(WARM_UP):
        client.exchange(request)
    seconds = np.empty(REQUESTS)
    for i in range(REQUESTS):
        began = time.perf_counter()
        client.exchange(request)
        seconds[i] = time.perf_counter() - began
    p50, p99 = 1e3 * np.percentile(seconds, [50, 99])
    return [
        compare("serving.http_one_row_p50", float(p50), P50_MS, "ms", target=1.0, better="lower"),
        compare("serving.http_one_row_p99", float(p99), P99_MS, "ms", target=1.0, better="lower"),
    ]


def _throughput(client: Client, store: ModelStore, version: str) -> list[Result]:
    rows = stores.rows(BATCH)
    body = orjson.dumps({"columns": list(FEATURES), "values": stores.as_lists(rows)})
    np.testing.assert_allclose(client.ask(body)["probabilities"], _truth(store, version, rows), atol=1e-6)
    request = client.request(body)
    began = time.perf_counter()
    for _ in range(BATCHES):
        client.exchange(request)
    rate = BATCH * BATCHES / (time.perf_counter() - began)
    return [compare("serving.http_batch_of_1024", rate, ROWS_PER_SECOND, "rows/s", target=1.0, better="higher")]


def _bare(store: ModelStore, version: str) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(store.onnx_path(stores.NAME, version), options)


def _truth(store: ModelStore, version: str, rows: np.ndarray) -> np.ndarray:
    return np.asarray(_bare(store, version).run(None, {"features": rows.astype(np.float32)})[0])


class Client:
    """One persistent connection."""

    def __init__(self, port: int) -> None:
        self._socket = self._connect(port)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @staticmethod
    def _connect(port: int) -> socket.socket:
        """The port is bound before the first model is loaded; the kernel lets us wait in its queue."""
        return socket.create_connection(("127.0.0.1", port), timeout=60.0)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @staticmethod
    def request(body: bytes) -> bytes:
        head = "POST /v1/success HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def exchange(self, request: bytes) -> bytes:
        """Send, and read the whole answer; returns its body."""
        self._socket.sendall(request)
        received = bytearray()
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._socket.recv(1 << 18)
        if not received.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(bytes(received[:500]).decode())
        at = received.find(b"content-length: ") + 16
        size = end + 4 + int(received[at : received.find(b"\r\n", at)])
        while len(received) < size:
            received += self._socket.recv(1 << 18)
        return bytes(received[end + 4 : size])

    def ask(self, body: bytes) -> dict[str, Any]:
        answer: dict[str, Any] = orjson.loads(self.exchange(self.request(body)))
        return answer
