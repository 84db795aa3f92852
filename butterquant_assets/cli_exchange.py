"""The ``exchange-simulator`` command: an exchange on this machine, for trying the product without an account.

What belongs here: options, and starting the server. What does not: what the exchange says (`market.exchange`) and how
its market moves (`market.crypto_simulator`).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click

from butterquant_assets.cli_models import DONE, errors_to_exit_codes
from butterquant_assets.foundation.errors import ConfigError


@click.command("exchange-simulator")
@click.option("--port", default=8700, show_default=True, help="Loopback port it listens on.")
@click.option("--seed", default=0, show_default=True, help="Of the simulated market and of the faults.")
@click.option("--edge", default=0.0, show_default=True, help="0: nothing can be found. Up to 1: a planted edge.")
@click.option("--coins", default=20, show_default=True, help="Simulated coins: SIMBTC, SIMETH, SIMC03, ...")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Serve the swap bars, mark prices and funding recorded in this folder instead of the simulated market.",
)
@click.option(
    "--now",
    metavar="TIME",
    help="Stand still at this UTC time (2024-05-01T12:00).  [default: the clock; with --data the end of the recording]",
)
@click.option(
    "--faults",
    multiple=True,
    metavar="KIND[:RATE[:ENDPOINT,...]]",
    help="What goes wrong, for instance server_error:0.1 or missing:0.05:market/history-candles; may be repeated.",
)
@click.option("--no-limits", is_flag=True, help="Admit any number of requests instead of OKX's.")
@errors_to_exit_codes
def exchange_simulator(
    port: int,
    seed: int,
    edge: float,
    coins: int,
    data: Path | None,
    now: str | None,
    faults: tuple[str, ...],
    no_limits: bool,
) -> int:
    """A local exchange that speaks OKX's v5 REST, until interrupted. It has public market data and takes no orders.

    Every simulated coin is called SIM...; point a client's address at it: http://127.0.0.1:PORT.
    """
    from butterquant_assets.market.crypto_simulator import CryptoMarket
    from butterquant_assets.market.crypto_state import CryptoMarketConfig
    from butterquant_assets.market.exchange.app import ExchangeApp
    from butterquant_assets.market.exchange.clock import Clock, SteppedClock
    from butterquant_assets.market.exchange.faults import Faults, parse_rule
    from butterquant_assets.market.exchange.folder_venue import FolderVenue
    from butterquant_assets.market.exchange.rate_limits import RateLimiter
    from butterquant_assets.market.exchange.server import serve_exchange
    from butterquant_assets.market.exchange.simulated_venue import SimulatedVenue
    from butterquant_assets.market.exchange.venue import Venue

    rules = [parse_rule(words) for words in faults]
    venue: Venue
    clock: Clock = SteppedClock(_moment(now)) if now else _wall_clock
    if data is not None:
        venue = recorded = FolderVenue(data)
        clock = clock if now else SteppedClock(recorded.last_moment)
    else:
        venue = SimulatedVenue(CryptoMarket(CryptoMarketConfig(seed=seed, edge=edge, coins=coins)))
    listed = [one.inst_id for one in venue.instruments(clock())]
    if not listed:
        raise ConfigError(f"nothing trades at {now}; choose a --now within the market's time")
    app = ExchangeApp(
        venue, clock, faults=Faults(rules, seed), limiter=None if no_limits else RateLimiter(time.monotonic)
    )
    click.echo(f"Exchange at http://127.0.0.1:{port}: {len(listed)} instruments, {', '.join(listed[:4])} ...")
    serve_exchange(app, port)
    return DONE


def _wall_clock() -> int:
    return time.time_ns() // 1_000_000


def _moment(words: str) -> int:
    try:
        return round(datetime.fromisoformat(words).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError as error:
        raise ConfigError(f"--now is {words!r}; expected a UTC time such as 2024-05-01T12:00") from error
