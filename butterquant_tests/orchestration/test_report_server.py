"""Reports are handed out, and nothing else of the home."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from butterquant_assets.orchestration.report_server import report_server, report_url

PAGE = "models/success/0123/report.html"
PRIVATE = ("warehouse.sqlite", "models/success/0123/model.onnx", "lake/market/report.html", "models/../secret.html")


@pytest.fixture
def base(tmp_path: Path) -> Iterator[str]:
    for name in (PAGE, *PRIVATE[:3], "secret.html"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"this is {name}")
    server = report_server(tmp_path, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_report_is_handed_out_and_may_load_nothing_from_elsewhere(base: str) -> None:
    answer = httpx.get(report_url(f"{base}/", PAGE))
    assert (answer.status_code, answer.text) == (200, f"this is {PAGE}")
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", [*PRIVATE, "", "models", "models/", "models/%2e%2e/secret.html", "models/none.html"])
def test_everything_else_of_the_home_is_not_found(base: str, path: str) -> None:
    assert httpx.get(f"{base}/{path}").status_code == 404
