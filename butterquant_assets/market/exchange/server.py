"""Runs the exchange over loopback: in the foreground for a user, in a thread for a test."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from butterquant_assets.foundation.errors import ConfigError, SourceError
from butterquant_assets.market.exchange.app import ExchangeApp

if TYPE_CHECKING:
    import uvicorn

HOST = "127.0.0.1"
_START_SECONDS = 20.0


def serve_exchange(app: ExchangeApp, port: int, host: str = HOST) -> None:
    """Serve until interrupted.

    Raises
    ------
    ConfigError
        if the port is taken or uvicorn is not installed.
    """
    listener = _bound(host, port)
    try:
        _server(app).run(sockets=[listener])
    finally:
        listener.close()


@contextmanager
def running_exchange(app: ExchangeApp) -> Iterator[str]:
    """Serve in a thread on a free loopback port while the context lasts; yields the address, http://127.0.0.1:PORT."""
    listener = _bound(HOST, 0)
    server = _server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    ready = threading.Event()
    waited = 0.0
    while not server.started:
        if waited > _START_SECONDS or not thread.is_alive():
            raise SourceError(f"the exchange did not start within {_START_SECONDS} s; see its log above")
        ready.wait(0.01)
        waited += 0.01
    try:
        yield f"http://{HOST}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=_START_SECONDS)
        listener.close()


def _server(app: ExchangeApp) -> uvicorn.Server:
    try:
        import uvicorn
    except ImportError as error:
        raise ConfigError(
            "the exchange needs uvicorn, which is not installed; pip install 'butterquant-assets[serving]'"
        ) from error

    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            date_header=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )


def _bound(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen on {host}:{port}: {error}; choose another --port") from error
    return listener
