"""CoinGecko and CoinMarketCap on loopback, in the shapes both document."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.sources.http_client import HttpClient, Patience

COINGECKO, COINMARKETCAP = "coingecko", "coinmarketcap"
COINS: tuple[tuple[str, str, float, float, float | None], ...] = (
    ("btc", "Bitcoin", 1.9e12, 95_000.0, 1.2),
    ("usdt", "Tether", 1.4e11, 1.0, 0.01),
    ("eth", "Ethereum", 4e11, 3_400.0, None),
)


class RankingService:
    """Both services; either can break or refuse the key."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.coins = COINS
        self.broken: set[str] = set()
        self.refusing: set[str] = set()
        self.paths: list[str] = []
        self.seen: list[Mapping[str, str]] = []

    def config(self, **changes: object) -> CryptoConfig:
        urls = {"coingecko_url": f"{self.url}/{COINGECKO}", "coinmarketcap_url": f"{self.url}/{COINMARKETCAP}"}
        return CryptoConfig(**(urls | changes))  # type: ignore[arg-type]

    def client(self, headers: Mapping[str, str]) -> HttpClient:
        return HttpClient(Patience(attempts=2), headers=headers, sleep=lambda seconds: None)

    def answer(self, path: str) -> tuple[int, object]:
        service = path.split("/")[1]
        if service in self.refusing:
            return 401, {"status": {"error_message": "This API Key is invalid."}}
        if service in self.broken:
            return 500, {}
        names = ("symbol", "name", "market_cap", "current_price", "price_change_percentage_24h")
        if service == COINGECKO:
            return 200, [dict(zip(names, one, strict=True)) for one in self.coins]
        quotes = [
            {"market_cap": cap, "price": price, "percent_change_24h": change} for _, _, cap, price, change in self.coins
        ]
        rows = [
            {"symbol": one[0].upper(), "name": one[1], "quote": {"USD": quote}}
            for one, quote in zip(self.coins, quotes, strict=True)
        ]
        return 200, {"status": {"error_code": 0}, "data": rows}


@contextmanager
def ranking_service() -> Iterator[RankingService]:
    """Both services while the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            service.paths.append(self.path)
            service.seen.append(dict(self.headers.items()))
            status, document = service.answer(self.path)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service = RankingService(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
