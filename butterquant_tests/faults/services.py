"""A PostgreSQL of a test's own, and a proxy that can be cut, before it or before any other server."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from butterquant_tests.conftest import unavailable
from butterquant_tests.deploy.fleet import free_port

PIECE = 65_536
SYSTEM_BINARIES = Path("/usr/lib/postgresql")


class CuttableProxy:
    """Passes TCP connections on to a server, until it is cut.

    Cut, it resets every connection and refuses new ones, as a network that fails or a server that is gone does.

    Parameters
    ----------
    host, port
        where the server listens
    """

    def __init__(self, host: str, port: int) -> None:
        self.port = free_port()
        self.passed = 0  # connections that reached the server
        self._server = (host, port)
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.mend()

    def mend(self) -> None:
        """Take connections (again)."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Reset what is connected and refuse what comes."""
        with self._lock:
            listener, self._listener = self._listener, None
            gone, self._sockets = self._sockets, []
        for each in [*gone, *([listener] if listener else [])]:
            _close(each)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # cut
            try:
                server = socket.create_connection(self._server)
            except OSError:
                _close(client)  # the server is gone: whoever wants it is refused
                continue
            with self._lock:
                if self._listener is not listener:
                    _close(client)
                    _close(server)
                    return
                self._sockets += [client, server]
                self.passed += 1
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):  # cut, or closed from the other side
        while piece := source.recv(PIECE):
            target.sendall(piece)
    _close(source)
    _close(target)


def _close(each: socket.socket) -> None:
    with contextlib.suppress(OSError):  # nobody is at the other end any more
        each.shutdown(socket.SHUT_RDWR)
    each.close()


class PostgresServer:
    """A PostgreSQL server in a folder of its own, reached through a proxy.

    Parameters
    ----------
    folder
        empty; holds the cluster
    """

    def __init__(self, folder: Path) -> None:
        self._data, self._port = folder / "cluster", free_port()
        self._user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
        if self._user:
            shutil.chown(folder, self._user)
        self._command("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.start()
        self.proxy = CuttableProxy("127.0.0.1", self._port)

    def start(self) -> None:
        """Start and wait until it answers."""
        options = f"-p {self._port} -k '' -h 127.0.0.1 -F"
        self._control("start", "-w", "-o", options, "-l", str(self._data.parent / "server.log"))

    def stop(self, how: str = "fast") -> None:
        """``fast`` ends connections in order; ``immediate`` is the death of the server."""
        self._control("stop", "-w", "-m", how)

    def database(self, name: str, template: str = "template0") -> str:
        """Make a database, empty or a copy; returns its URL through the proxy."""
        direct = sa.URL.create("postgresql+psycopg2", "postgres", None, "127.0.0.1", self._port, "postgres")
        engine = sa.create_engine(direct, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        engine.dispose()
        return f"postgresql://postgres@127.0.0.1:{self.proxy.port}/{name}"

    def _control(self, *arguments: str) -> None:
        self._command("pg_ctl", "-D", str(self._data), *arguments)

    def _command(self, name: str, *arguments: str) -> None:
        subprocess.run(
            [_binary(name), *arguments],
            user=self._user,
            cwd=self._data.parent,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
        )


def _binary(name: str) -> str:
    found = shutil.which(name) or next((str(p) for p in sorted(SYSTEM_BINARIES.glob(f"*/bin/{name}"))), None)
    if found is None:
        unavailable("PostgreSQL", f"there is no {name} on PATH or under {SYSTEM_BINARIES}")
    return str(found)


@contextmanager
def postgres_of_its_own() -> Iterator[PostgresServer]:
    """A server for as long as the block lasts. Not under the test's own folder, which only its user may enter."""
    _binary("initdb")
    with tempfile.TemporaryDirectory(prefix="butterquant_pg_") as name:
        os.chmod(name, 0o755)  # noqa: S103 - another user must reach what is his in it
        server = PostgresServer(Path(name))
        try:
            yield server
        finally:
            server.proxy.cut()
            server.stop("immediate")
