"""The local exchange in a process of its own, so that it takes no time from the collector that is measured.

As a program it serves a simulated market of some coins, standing still, and obeys lines on standard input: `advance MS`
moves its clock, `limit` starts counting requests against OKX's limits, `report` prints what it was asked since the last
report, by endpoint, and how many requests it turned down.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from butterquant_assets.market.crypto_simulator import CryptoMarket
from butterquant_assets.market.crypto_state import CryptoMarketConfig
from butterquant_assets.market.exchange.app import ExchangeApp
from butterquant_assets.market.exchange.clock import SteppedClock
from butterquant_assets.market.exchange.faults import Faults
from butterquant_assets.market.exchange.rate_limits import RateLimiter
from butterquant_assets.market.exchange.server import running_exchange
from butterquant_assets.market.exchange.simulated_venue import SimulatedVenue
from butterquant_assets.market.exchange.venue import Instrument

ROOT = Path(__file__).parents[1]
HOUR_MS = 3_600_000


class Counting(Faults):
    """No faults, but a count of what is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def choose(self, path: str, query: str) -> None:
        """Count, and spoil nothing."""
        self.asked[path] += 1


class Lasting(SimulatedVenue):
    """The simulated market's coins that trade all the time, as many as asked for."""

    def __init__(self, market: CryptoMarket, coins: int, days: int) -> None:
        super().__init__(market)
        self._lasting = set(lasting_coins(market, days)[:coins])

    def instruments(self, now: int) -> tuple[Instrument, ...]:
        """What trades now and always."""
        return tuple(one for one in super().instruments(now) if one.base in self._lasting)


def market_of(coins: int) -> CryptoMarket:
    """A market of which so many coins, at least, trade all the time."""
    return CryptoMarket(CryptoMarketConfig(seed=11, coins=coins + 30))


def lasting_coins(market: CryptoMarket, days: int) -> tuple[str, ...]:
    """Coins that are listed from the first day and for so many days at least."""
    traits = market.traits
    lasting = (traits.listed_day == 0) & (traits.delisted_day > days)
    return tuple(name for name, kept in zip(traits.names, lasting, strict=True) if kept)


class ExchangeProcess:
    """A running exchange."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.url = url
        self._process = process

    def advance(self, milliseconds: int) -> None:
        """Move its clock on."""
        self._say(f"advance {milliseconds}")

    def limit(self) -> None:
        """Count requests against OKX's limits from now on."""
        self._say("limit")

    def report(self) -> tuple[dict[str, int], int, float]:
        """Requests by endpoint and requests turned down since the last report, and its stopwatch in seconds."""
        told = json.loads(self._say("report"))
        return told["asked"], int(told["refused"]), float(told["seconds"])

    def _say(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


@contextmanager
def exchange_process(coins: int, days: int, minutes: int) -> Iterator[ExchangeProcess]:
    """An exchange of so many coins, so many days and minutes into their market."""
    command = [sys.executable, "-m", "benchmarks.exchange_process", str(coins), str(days), str(minutes)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield ExchangeProcess(process, process.stdout.readline().strip())
        finally:
            process.kill()


def serve(coins: int, days: int, minutes: int) -> None:
    """Serve until standard input ends."""
    market = market_of(coins)
    market.hours(market.first_hour, market.first_hour + 24 * (days + 1))  # known before anything is measured
    clock = SteppedClock((market.first_hour + 24 * days) * HOUR_MS + minutes * 60_000)
    counting = Counting()
    app = ExchangeApp(Lasting(market, coins, days), clock, faults=counting)
    with running_exchange(app) as url:
        print(url, flush=True)
        for line in sys.stdin:
            word, _, value = line.strip().partition(" ")
            told = "done"
            if word == "advance":
                clock.advance(int(value))
            elif word == "limit":
                app.limiter = RateLimiter(time.monotonic)
            else:
                refused = app.limiter.refused if app.limiter else 0
                told = json.dumps({"asked": dict(counting.asked), "refused": refused, "seconds": time.monotonic()})
                counting.asked.clear()
            print(told, flush=True)


if __name__ == "__main__":
    serve(*map(int, sys.argv[1:4]))
