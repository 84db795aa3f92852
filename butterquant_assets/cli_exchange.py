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
@click.option("--run", is_flag=True, help="Let time run on from --now instead of standing still.")
@click.option(
    "--faults",
    multiple=True,
    metavar="KIND[:RATE[:ENDPOINT,...]]",
    help="What goes wrong, for instance server_error:0.1 or missing:0.05:market/history-candles; may be repeated.",
)
@click.option("--balance", default=10_000.0, show_default=True, help="USDT the simulated account begins with.")
@click.option("--hedged", is_flag=True, help="Begin in long/short mode instead of net mode.")
@click.option("--no-limits", is_flag=True, help="Admit any number of requests instead of OKX's.")
@errors_to_exit_codes
def exchange_simulator(
    port: int,
    seed: int,
    edge: float,
    coins: int,
    data: Path | None,
    now: str | None,
    run: bool,
    faults: tuple[str, ...],
    balance: float,
    hedged: bool,
    no_limits: bool,
) -> int:
    """A local exchange that speaks OKX's v5 REST, until interrupted.

    It has public market data, and one simulated account that trades with isolated margin and forgets everything at the
    end. The key to it is printed; it opens nothing else. Every simulated coin is called SIM...; point a client's
    address at http://127.0.0.1:PORT and let it ask for demo trading (x-simulated-trading: 1).
    """
    from butterquant_assets.market.crypto_simulator import CryptoMarket
    from butterquant_assets.market.crypto_state import CryptoMarketConfig
    from butterquant_assets.market.exchange.app import ExchangeApp
    from butterquant_assets.market.exchange.clock import Clock, RunningClock, SteppedClock
    from butterquant_assets.market.exchange.faults import Faults, parse_rule
    from butterquant_assets.market.exchange.folder_venue import FolderVenue
    from butterquant_assets.market.exchange.rate_limits import RateLimiter
    from butterquant_assets.market.exchange.server import serve_exchange
    from butterquant_assets.market.exchange.simulated_venue import SimulatedVenue
    from butterquant_assets.market.exchange.trading.account import AccountConfig
    from butterquant_assets.market.exchange.trading.credentials import demo_credentials
    from butterquant_assets.market.exchange.trading.desk import TradingDesk
    from butterquant_assets.market.exchange.trading.routes import Trading
    from butterquant_assets.market.exchange.venue import Venue

    rules = [parse_rule(words) for words in faults]
    account = AccountConfig(balance=balance, hedged=hedged)
    venue: Venue
    if run and not now:
        raise ConfigError("--run needs a time to run from; give --now, or leave both out for the present")
    clock: Clock = _wall_clock
    if now:
        clock = RunningClock(_moment(now), time.monotonic) if run else SteppedClock(_moment(now))
    if data is not None:
        venue = recorded = FolderVenue(data)
        clock = clock if now else SteppedClock(recorded.last_moment)
    else:
        venue = SimulatedVenue(CryptoMarket(CryptoMarketConfig(seed=seed, edge=edge, coins=coins)))
    listed = [one.inst_id for one in venue.instruments(clock())]
    if not listed:
        raise ConfigError(f"nothing trades at {now}; choose a --now within the market's time")
    if data is None:
        click.echo("Simulating the market from its first day on ...")
        # the first answer would otherwise wait for years of simulated days, longer than clients do
        venue.price("trade", listed[0].split("-")[0], clock())
    key = demo_credentials(seed)
    app = ExchangeApp(
        venue,
        clock,
        faults=Faults(rules, seed),
        limiter=None if no_limits else RateLimiter(time.monotonic),
        trading=Trading(TradingDesk(venue, account, clock()), key),
    )
    click.echo(f"Exchange at http://127.0.0.1:{port}: {len(listed)} instruments, {', '.join(listed[:4])} ...")
    click.echo(
        f"Simulated account with {balance:,.2f} USDT. Its key opens nothing but this exchange:\n"
        f"  apiKey {key.key}\n  secret {key.secret}\n  passphrase {key.passphrase}"
    )
    serve_exchange(app, port)
    return DONE


def _wall_clock() -> int:
    return time.time_ns() // 1_000_000


def _moment(words: str) -> int:
    try:
        return round(datetime.fromisoformat(words).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError as error:
        raise ConfigError(f"--now is {words!r}; expected a UTC time such as 2024-05-01T12:00") from error
