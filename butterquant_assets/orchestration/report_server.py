"""A small read-only web server for the reports and plots of a home directory, so that asset pages can link to them.

What belongs here: handing out finished report files. What does not: making them, and everything else in the home (data,
warehouse, Dagster's storage), which is not served.
"""

from __future__ import annotations

import sys
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

FOLDERS = ("models", "plots", "reports")
SUFFIXES = (".html", ".png")


def report_url(base: str, path: str) -> str:
    """Where a browser finds the report kept under `path`, relative to the home."""
    return f"{base.rstrip('/')}/{PurePosixPath(path)}"


class ReportHandler(SimpleHTTPRequestHandler):
    """Files of `SUFFIXES` below `FOLDERS`; everything else is not found, whether it exists or not."""

    def send_head(self) -> Any:
        """Answer for GET and HEAD."""
        path = PurePosixPath(unquote(urlsplit(self.path).path))
        if len(path.parts) < 3 or path.parts[1] not in FOLDERS or path.suffix not in SUFFIXES or ".." in path.parts:
            self.send_error(HTTPStatus.NOT_FOUND, "reports end with .html and lie below /models, /plots or /reports")
            return None
        return super().send_head()

    def end_headers(self) -> None:
        """Reports are self-contained, so a page may load nothing from elsewhere."""
        self.send_header(
            "Content-Security-Policy",
            "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'none'",
        )
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Say nothing: this server shares the terminal with Dagster."""


def report_server(home: Path, host: str, port: int) -> ThreadingHTTPServer:
    """A server of the reports of a home; port 0 takes any free one."""
    return ThreadingHTTPServer((host, port), partial(ReportHandler, directory=str(home)))


def main(home: str, host: str, port: str) -> None:
    """Serve until interrupted."""
    try:
        server = report_server(Path(home), host, int(port))
    except OSError as error:
        raise SystemExit(
            f"reports cannot be served on {host}:{port} ({error.strerror}): choose another --reports-port"
        ) from None
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
