"""The command that serves: options, the socket, the server.

What belongs here: turning a command line into a running process. What does not: the application itself.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from butterquant_assets.foundation.errors import ButterQuantError, ConfigError

if TYPE_CHECKING:
    from butterquant_assets.serving.gateway import Gateway

TOKEN_VARIABLE = "BUTTERQUANT_SERVE_TOKEN"  # noqa: S105 - the name of a variable, not its content
SHORTEST_TOKEN = 16
GRACE_SECONDS = 20


@click.command()
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="[default: $BUTTERQUANT_HOME or ./home]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--model", default="success", show_default=True, help="Model whose champion is served.")
@click.option(
    "--token-env",
    metavar="NAME",
    help=f"Environment variable that holds the bearer token callers must send. "
    f"{TOKEN_VARIABLE} is used when it is set; a variable named here must be.",
)
@click.option("--max-batch", default=4096, show_default=True, type=click.IntRange(1), help="Most rows in one request.")
@click.option(
    "--max-body-bytes", default=8 * 2**20, show_default=True, type=click.IntRange(1), help="Largest body of a request."
)
@click.option(
    "--poll-seconds",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.01),
    help="Time between two looks for a promotion.",
)
@click.option("--access-log", is_flag=True, help="One JSON line per request on standard output.")
def serve(
    home: Path | None,
    host: str,
    port: int,
    model: str,
    token_env: str | None,
    max_batch: int,
    max_body_bytes: int,
    poll_seconds: float,
    access_log: bool,
) -> None:
    """Answer HTTP requests with the champion, until interrupted. A promotion is followed without losing a request.

    Starts without a champion, too: /ready then says 503 and why, until one is promoted. The description of the
    interface is at /docs. Interrupting finishes the requests that are under way.
    """
    try:
        from butterquant_assets.serving.app import ServingOptions, create_app
        from butterquant_assets.serving.gateway import Limits

        token = _token(token_env)
        listening = listen(host, port)
        if token is None and not _is_loopback(host):
            click.echo(
                f"warning: {host} is open to whoever reaches it; set a token in {TOKEN_VARIABLE}",
                err=True,
            )
        options = ServingOptions(
            models=_home(home) / "models",
            model=model,
            poll_seconds=poll_seconds,
            limits=Limits(max_rows=max_batch, max_body_bytes=max_body_bytes),
            token=token,
            log_requests=access_log,
        )
        click.echo(f"serving {model} on http://{host}:{listening.getsockname()[1]}  (interface: /docs)", err=True)
        run_server(create_app(options), listening)
    except ButterQuantError as error:
        click.echo(f"butterquant: {error}", err=True)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except ImportError as error:
        click.echo(
            f"butterquant: serving needs more packages ({error}): pip install 'butterquant-assets[serving]'", err=True
        )
        sys.exit(2)


def run_server(app: Gateway, listening: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM; requests under way are finished.

    Parameters
    ----------
    app
        an ASGI application
    listening
        bound socket
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        log_level="warning",
        loop="uvloop",
        http="httptools",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    _log_to_stderr()
    # The server finishes what is under way and then raises the signal again: that is a good end, not a death.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    # Modules and tables live as long as the process: the collector need not walk them during a request.
    gc.collect()
    gc.freeze()
    uvicorn.Server(config).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address.

    Raises
    ------
    ConfigError
        if the port is taken or the address is not one of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} on {host} is in use by another process; stop that one, or pass --port with another "
                "(0 takes a free one)"
            ) from error
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    return listening


def _home(given: Path | None) -> Path:
    home = (given or Path(os.environ.get("BUTTERQUANT_HOME", "home"))).expanduser().absolute()
    if not home.is_dir():
        raise ConfigError(f"there is no home directory {home}; build one with 'butterquant run', or pass --home")
    return home


def _token(variable: str | None) -> str | None:
    """The token, never shown: a missing one that was asked for must not leave the server open."""
    token = os.environ.get(variable or TOKEN_VARIABLE, "").strip()
    if not token:
        if variable is not None:
            raise ConfigError(f"--token-env names {variable}, which is not set; set it, or leave the option out")
        return None
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise ConfigError(
            f"the token in {variable or TOKEN_VARIABLE} has {len(token)} characters; use at least {SHORTEST_TOKEN} "
            "printable ASCII ones, for instance from 'openssl rand -hex 32'"
        )
    return token


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _log_to_stderr() -> None:
    plain = logging.StreamHandler(sys.stderr)
    plain.setFormatter(logging.Formatter("%(asctime)s  %(levelname)s  %(message)s"))
    for name in ("butterquant.serving", "uvicorn.error"):
        logging.getLogger(name).addHandler(plain)
    logging.getLogger("butterquant.serving").setLevel(logging.INFO)
    requests = logging.getLogger("butterquant.serving.access")
    requests.propagate = False
    requests.addHandler(logging.StreamHandler(sys.stdout))
