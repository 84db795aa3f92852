"""Which private request is answered by what, and how often it may be made; and the door it has to pass."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from butterquant_assets.market.exchange.answers import OkxError, Row
from butterquant_assets.market.exchange.rate_limits import RateLimit
from butterquant_assets.market.exchange.trading import account_endpoints as account
from butterquant_assets.market.exchange.trading import algo_endpoints as algos
from butterquant_assets.market.exchange.trading import order_endpoints as orders
from butterquant_assets.market.exchange.trading.credentials import Credentials, SignedRequest, authenticate
from butterquant_assets.market.exchange.trading.desk import TradingDesk
from butterquant_assets.market.exchange.trading.order_endpoints import Outcome

Handler = Callable[[TradingDesk, Any, int], list[Row] | Outcome]


@dataclass(frozen=True)
class PrivateEndpoint:
    """What answers a method and path, and how often it may be asked."""

    handler: Handler
    limit: RateLimit
    bulk: bool = False
    """Whether its body is an array."""


_BY_INSTRUMENT = "instId"
PRIVATE: Mapping[tuple[str, str], PrivateEndpoint] = {
    ("GET", "asset/currencies"): PrivateEndpoint(account.currencies, RateLimit(6, seconds=1)),
    ("GET", "account/config"): PrivateEndpoint(account.config, RateLimit(5)),
    ("GET", "account/balance"): PrivateEndpoint(account.balance, RateLimit(10)),
    ("GET", "account/positions"): PrivateEndpoint(account.positions, RateLimit(10)),
    ("GET", "account/leverage-info"): PrivateEndpoint(account.leverage_info, RateLimit(20)),
    ("GET", "account/bills"): PrivateEndpoint(account.bills, RateLimit(5, seconds=1)),
    ("GET", "account/bills-archive"): PrivateEndpoint(account.bills, RateLimit(5)),
    ("GET", "account/trade-fee"): PrivateEndpoint(account.trade_fee, RateLimit(5)),
    ("POST", "account/set-leverage"): PrivateEndpoint(account.set_leverage, RateLimit(40)),
    ("POST", "account/set-position-mode"): PrivateEndpoint(account.set_position_mode, RateLimit(5)),
    ("POST", "account/position/margin-balance"): PrivateEndpoint(account.margin_balance, RateLimit(20)),
    ("GET", "trade/order"): PrivateEndpoint(orders.order, RateLimit(60, per=_BY_INSTRUMENT)),
    ("GET", "trade/orders-pending"): PrivateEndpoint(orders.pending, RateLimit(60)),
    ("GET", "trade/orders-history"): PrivateEndpoint(orders.history, RateLimit(40)),
    ("GET", "trade/orders-history-archive"): PrivateEndpoint(orders.history, RateLimit(20)),
    ("GET", "trade/fills"): PrivateEndpoint(orders.fills, RateLimit(60)),
    ("GET", "trade/fills-history"): PrivateEndpoint(orders.fills, RateLimit(10)),
    ("POST", "trade/order"): PrivateEndpoint(orders.place, RateLimit(60, per=_BY_INSTRUMENT)),
    ("POST", "trade/batch-orders"): PrivateEndpoint(orders.place_several, RateLimit(300), bulk=True),
    ("POST", "trade/cancel-order"): PrivateEndpoint(orders.cancel, RateLimit(60, per=_BY_INSTRUMENT)),
    ("POST", "trade/cancel-batch-orders"): PrivateEndpoint(orders.cancel_several, RateLimit(300), bulk=True),
    ("POST", "trade/amend-order"): PrivateEndpoint(orders.amend, RateLimit(60, per=_BY_INSTRUMENT)),
    ("POST", "trade/amend-batch-orders"): PrivateEndpoint(orders.amend_several, RateLimit(300), bulk=True),
    ("POST", "trade/close-position"): PrivateEndpoint(orders.close_position, RateLimit(20, per=_BY_INSTRUMENT)),
    ("GET", "trade/order-algo"): PrivateEndpoint(algos.algo, RateLimit(20)),
    ("GET", "trade/orders-algo-pending"): PrivateEndpoint(algos.pending, RateLimit(20)),
    ("GET", "trade/orders-algo-history"): PrivateEndpoint(algos.history, RateLimit(20)),
    ("POST", "trade/order-algo"): PrivateEndpoint(algos.place, RateLimit(20, per=_BY_INSTRUMENT)),
    ("POST", "trade/cancel-algos"): PrivateEndpoint(algos.cancel, RateLimit(20), bulk=True),
}


@dataclass(frozen=True)
class Trading:
    """An account and the key that opens it."""

    desk: TradingDesk
    credentials: Credentials

    def answer(self, request: SignedRequest, path: str, now: int, told: int) -> Outcome:
        """Admit and carry out a request.

        Parameters
        ----------
        request
            as it came
        path
            after /api/v5/; one of `PRIVATE`
        now
            ms, at which the market stands
        told
            ms that the exchange takes for now when it looks at a timestamp

        Raises
        ------
        OkxError
            whatever it is refused for.
        """
        authenticate(self.credentials, request, told)
        endpoint, parameters = PRIVATE[request.method, path], parameters_of(request)
        if isinstance(parameters, list) is not endpoint.bulk:
            raise OkxError("50002", "JSON syntax error", 400)
        found = endpoint.handler(self.desk, parameters, self.desk.advance(now))
        return found if isinstance(found, Outcome) else Outcome(found)


def parameters_of(request: SignedRequest) -> Any:
    """The query of a GET as a dictionary; the JSON body of a POST.

    Raises
    ------
    OkxError
        50000 for an empty body, 50006 for another content type, 50002 for what is no JSON object or array.
    """
    if request.method == "GET":
        return dict(parse_qsl(request.target.partition("?")[2]))
    if not request.body:
        raise OkxError("50000", "Body for POST request can not be empty.", 400)
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise OkxError("50006", 'Invalid Content-Type, please use "application/json" format.', 400)
    try:
        found = json.loads(request.body, parse_float=str)
    except ValueError as error:
        raise OkxError("50002", "JSON syntax error", 400) from error
    if not isinstance(found, dict | list):
        raise OkxError("50002", "JSON syntax error", 400)
    return found
