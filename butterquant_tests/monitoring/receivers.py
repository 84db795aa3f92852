"""Receivers on the loopback interface: a web server and a mail server that record what they are sent."""

from __future__ import annotations

import base64
import contextlib
import datetime
import ipaddress
import json
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Answer:
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    silent: bool = False  # says nothing until the receiver closes


class WebReceiver:
    """Answers POSTs with `script`, one entry each, then with 200; keeps what came."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self._closing = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.requests.append((self.path, body))
                answer = receiver.script.pop(0) if receiver.script else Answer()
                if answer.silent:
                    receiver._closing.wait(10)
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def texts(self) -> list[str]:
        return [body["text"] for _, body in self.requests]

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class MailReceiver:
    """A small SMTP server with STARTTLS and AUTH; `refuse` maps a command, or a whole line in
    capitals, to the answer given instead. Before each answer, or byte of one, it waits for `delay` seconds."""

    def __init__(
        self,
        folder: Path,
        login: tuple[str, str] | None = None,
        *,
        offers_tls: bool = True,
        tls: bool = False,
        delay: float = 0.0,
        by_byte: bool = False,
    ) -> None:
        self.mails: list[str] = []
        self.refuse: dict[str, str] = {}
        self.logins: list[tuple[str, str]] = []
        self.clear_commands: list[str] = []  # what was said before encryption
        self.certificate = folder / "receiver.pem"
        key = write_certificate(self.certificate, folder / "receiver.key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        receiver = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.encrypted = False
                with contextlib.suppress(OSError, ValueError):  # who waits for so long hangs up
                    if tls:
                        self.encrypt()
                    self.say("220 loopback")
                    self.listen()

            def listen(self) -> None:
                while line := self.rfile.readline():
                    text = line.decode().strip()
                    command = text.split(" ")[0].upper()
                    if not self.encrypted:
                        receiver.clear_commands.append(text)
                    refused = receiver.refuse.get(command, receiver.refuse.get(text.upper()))
                    if refused is not None:
                        self.say(refused)
                    elif not self.answer(command, text):
                        return

            def answer(self, command: str, text: str) -> bool:
                if command == "EHLO":
                    extras = ["AUTH PLAIN"] if login else []
                    extras += ["STARTTLS"] if offers_tls and not self.encrypted else []
                    for extra in ["loopback", *extras]:
                        self.say(f"250-{extra}")
                    self.say("250 8BITMIME")
                elif command == "STARTTLS":
                    self.say("220 go on")
                    try:
                        self.encrypt()
                    except (ssl.SSLError, OSError):
                        return False
                elif command == "AUTH":
                    user, password = base64.b64decode(text.split(" ")[2]).decode().split("\0")[1:]
                    receiver.logins.append((user, password))
                    self.say("235 welcome" if (user, password) == login else f"535 {user} {password} is wrong")
                elif command == "DATA":
                    self.say("354 go on")
                    lines = []
                    while (line := self.rfile.readline()) not in (b".\r\n", b""):
                        lines.append(line)
                    receiver.mails.append(b"".join(lines).decode())
                    self.say("250 taken")
                elif command == "QUIT":
                    self.say("221 bye")
                    return False
                else:
                    self.say("250 ok")
                return True

            def encrypt(self) -> None:
                self.connection = context.wrap_socket(self.request, server_side=True)
                self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
                self.encrypted = True

            def say(self, text: str) -> None:
                whole = f"{text}\r\n".encode()
                for part in (whole[k : k + 1] for k in range(len(whole))) if by_byte else (whole,):
                    time.sleep(delay)
                    self.wfile.write(part)
                    self.wfile.flush()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def write_certificate(certificate: Path, key_file: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, valid for a day."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return key_file


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port that nobody listens on, kept so that nobody takes it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


class Clocks:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.at = datetime.datetime(2026, 3, 2, 6, 0, tzinfo=datetime.UTC)
        self.slept: list[float] = []

    def now(self) -> datetime.datetime:
        return self.at

    def elapsed(self) -> float:
        return self.at.timestamp()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.pass_(seconds=seconds)

    def pass_(self, **duration: float) -> None:
        self.at += datetime.timedelta(**duration)
