from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from butterquant_tests.faults.services import CuttableProxy


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that gives back the first piece it is sent on each connection."""
    import threading

    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=lambda c=client: c.sendall(c.recv(100)), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_a_proxy_passes_on_is_cut_and_passes_on_again(echo: int) -> None:
    proxy = CuttableProxy("127.0.0.1", echo)
    held = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    held.sendall(b"one")
    assert held.recv(100) == b"one"
    proxy.cut()
    assert held.recv(100) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    proxy.mend()
    again = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    again.sendall(b"two")
    assert again.recv(100) == b"two"
    assert proxy.passed == 2
    proxy.cut()
