"""The trading desk: takes orders for one account and lets the market act on it as time goes by.

The rules of matching, which take what costs the trader where something is not known:

- an order that takes walks the book of its moment; what it took is gone for the rest of that second
- a resting order is filled as maker, at its own price, by trades *through* its price, up to their size; a trade at its
  price found others before it. Of a recorded bar the whole volume counts
- within a step of the market: liquidation (mark price) first, then stops, take profits, resting orders, and last the
  stops of what a bar has just filled, if its range reaches them
- funding is paid at the settlement's own time by whoever holds the position at it, first and last moment included. A
  bar that closes at a settlement lies before it: what closed within the bar pays nothing, what opened within it pays
- what an account does leaves no trace in the public data

The state depends on the venue, the requests and their times alone: not on how often it is looked at.
"""

from __future__ import annotations

from decimal import Decimal

from butterquant_assets.market.exchange.answers import OkxError
from butterquant_assets.market.exchange.bar_sizes import HOUR_MS
from butterquant_assets.market.exchange.tiers import tier_for, tiers_of
from butterquant_assets.market.exchange.trading.account import Account, AccountConfig, Key, insufficient
from butterquant_assets.market.exchange.trading.amounts import ZERO, exact
from butterquant_assets.market.exchange.trading.book import BookSide, Level
from butterquant_assets.market.exchange.trading.records import Algo, Leg, Order, Position, Side, Wanted
from butterquant_assets.market.exchange.trading.tape import Step, Tape
from butterquant_assets.market.exchange.venue import Instrument, Venue

BY_SYSTEM, BY_USER, BY_RISK, NOT_ALL, NOT_AT_ONCE, CLOSED, STOP_CLOSED, WOULD_TAKE = (
    *("0", "1", "3", "13", "14"),
    *("17", "21", "31"),
)
"""OKX's cancelSource."""


class TradingDesk:
    """One account on a venue.

    Parameters
    ----------
    venue
        the market
    config
        how the account begins
    now
        ms at which it begins
    """

    def __init__(self, venue: Venue, config: AccountConfig, now: int) -> None:
        self.venue = venue
        self.account = Account(config, now)
        self.orders: dict[str, Order] = {}
        self.algos: dict[str, Algo] = {}
        self._by_client: dict[str, Order] = {}
        self._working: dict[str, Order] = {}
        self._book = BookSide(venue)
        self._moment = now
        self._due: list[tuple[int, str, float]] = []

    def advance(self, now: int) -> int:
        """Let everything happen that happens up to and including this moment (ms).

        Returns
        -------
        int
            the moment it is now; later than asked for if the desk has been there already
        """
        while self._moment < now:
            exposed = self._exposed()
            if not exposed:
                self._moment = now
                break
            end = min((self._moment // HOUR_MS + 1) * HOUR_MS, now)
            self._pass(exposed, self._moment, end)
            self._moment = end
            if end % HOUR_MS == 0:
                self._deliver(exposed, end)
        return self._moment

    def _exposed(self) -> dict[str, Instrument]:
        found = [held.instrument for held in self.account.positions.values()]
        found += [one.wanted.instrument for one in self.resting()] + [one.wanted.instrument for one in self.waiting()]
        return {one.base: one for one in sorted(found, key=lambda one: one.base)}

    def _pass(self, exposed: dict[str, Instrument], first: int, end: int) -> None:
        self._due = sorted(
            (int(time), base, float(rate))
            for base in exposed
            for time, rate in zip(*self.venue.settlements(base, first + 1, end + 1), strict=True)
        )
        tapes = {base: Tape(self.venue.steps(base, first, end)) for base in exposed}
        while True:
            touched = [(tape.touched(self, base), base) for base, tape in tapes.items()]
            steps = [(step.time, step.instant, base, step) for step, base in touched if step is not None]
            nearest = min(steps, key=lambda one: one[:3], default=None)
            if self._due and (nearest is None or (self._due[0][0], True) <= nearest[:2]):
                time, base, rate = self._due.pop(0)
                tapes[base].move_before(time)
                self._settle(base, exact(rate), time)
            elif nearest is not None:
                _, _, base, step = nearest
                tapes[base].move_past(step)
                self._step(base, step)
            else:
                return

    def _settle(self, base: str, rate: Decimal, time: int) -> None:
        mark = exact(self.venue.price("mark", base, time))
        for key in [key for key in self.account.positions if key[0] == base]:
            self.account.settle(key, mark, rate, time)

    def _step(self, base: str, step: Step) -> None:
        for key, held in list(self.account.positions.items()):
            if key[0] == base and step.liquidates(held, self.account.liquidation(held)):
                self._liquidate(key, held, step.time)
        for losing in (True, False):
            for algo in self.waiting(base):
                leg = step.fired(algo, losing=losing)
                if leg is not None and algo.state == "live":
                    self._fire(algo, leg, step)
        volume = step.volume
        queue = [order for order in self.resting(base) if step.passes(order)]
        queue.sort(key=lambda order: (-order.wanted.direction * (order.price or ZERO), order.created, order.id))
        for order in queue:
            if volume > 0 and order.open and order.price is not None:
                volume -= self._execute(order, min(order.remaining, volume), order.price, step.time, maker=True)
        for algo in self.waiting(base):
            leg = step.overrun(algo)
            if leg is not None and algo.state == "live":
                self._fire(algo, leg, step)

    def _liquidate(self, key: Key, held: Position, time: int) -> None:
        side: Side = "sell" if held.direction > 0 else "buy"
        wanted = Wanted(held.instrument, side, held.side, "market", held.contracts, reduce_only=True)
        order = self._new(wanted, time)
        order.category = "full_liquidation"
        self.account.liquidate(order, time)
        self._after_close(key, time)

    def _deliver(self, exposed: dict[str, Instrument], end: int) -> None:
        """Close what is no longer listed, at the last mark price that was known."""
        listed = {one.base for one in self.venue.instruments(end)}
        for base in sorted(set(exposed) - listed):
            for order in self.resting(base):
                self._finish(order, end, BY_SYSTEM)
            for algo in self.waiting(base):
                self._drop(algo, end)
            for key in [key for key in self.account.positions if key[0] == base]:
                price = exact(self.venue.price("mark", base, end - 1))
                self.account.deliver(key, price, end)

    def resting(self, base: str | None = None) -> list[Order]:
        """Open orders, oldest first."""
        self._working = {number: one for number, one in self._working.items() if one.open}
        return [one for one in self._working.values() if base in (None, one.wanted.instrument.base)]

    def waiting(self, base: str | None = None) -> list[Algo]:
        """Stops that have not fired, oldest first."""
        return [
            one for one in self.algos.values() if one.state == "live" and base in (None, one.wanted.instrument.base)
        ]

    def order_called(self, client_id: str) -> Order | None:
        """The order of this client order id."""
        return self._by_client.get(client_id)

    def available(self) -> Decimal:
        """Cash that no open order reserves."""
        return self.account.available(self.resting())

    def place(self, wanted: Wanted, now: int, reference: Decimal | None = None) -> Order:
        """Take an order and execute what can be executed at once.

        Parameters
        ----------
        wanted
            the order; size and price are on the instrument's grid already
        now
            ms
        reference
            stands for the last price where there is no book

        Raises
        ------
        OkxError
            51016 duplicated client id; 51022 no mark price; 51169 and 51112 nothing, or not so much, to close; 51004
            beyond the tier of the leverage; 51008 not affordable.
        """
        if wanted.client_id and wanted.client_id in self._by_client:
            raise OkxError("51016", "Client order ID already exists.")
        self._check_closing(wanted)
        levels = self._levels(wanted, now, reference)
        self._check_opening(wanted, levels, now)
        order = self._new(wanted, now)
        self._match(order, levels, now)
        return order

    def cancel(self, order: Order, now: int) -> None:
        """Take an open order back."""
        self._finish(order, now, BY_USER)

    def amend(self, order: Order, size: Decimal, price: Decimal | None, now: int) -> None:
        """Give an open order another size (in all) or price; it may take at once then.

        Raises
        ------
        OkxError
            51502 if that cannot be afforded, 51004 beyond the tier of the leverage.
        """
        before = order.size, order.price
        self._check_tier(order.wanted, size - order.filled)
        order.size, order.price = size, price
        if self.available() < 0:
            order.size, order.price = before
            raise OkxError("51502", "Order modification failed for insufficient margin.")
        order.updated = order.placed = now
        wanted = order.wanted
        levels = _within(self._book.against(wanted.instrument, wanted.direction, now), price, wanted.direction)
        self._match(order, levels, now)

    def _check_closing(self, wanted: Wanted) -> None:
        closable = self.account.closable(wanted)
        if wanted.only_closes and closable == 0:
            raise OkxError("51169", "Order failed because you don't have any positions in this direction to close.")
        if wanted.only_closes and not wanted.reduce_only and wanted.size > closable:
            raise OkxError("51112", "Close order size exceeds available size for this position.")

    def _check_tier(self, wanted: Wanted, size: Decimal) -> Decimal:
        """Contracts that an order of this size opens; refused beyond what the leverage allows."""
        account = self.account
        opens = ZERO if wanted.only_closes else max(size - account.closable(wanted), ZERO)
        held = account.positions.get(wanted.key)
        already = held.contracts if held is not None and held.direction == wanted.direction else ZERO
        leverage = account.leverage_of(wanted.key)
        if opens and leverage > exact(tier_for(tiers_of(wanted.instrument), float(already + opens)).leverage):
            raise OkxError("51004", f"Order amount exceeds current tier limit at leverage {leverage}; lower either.")
        return opens

    def _check_opening(self, wanted: Wanted, levels: list[Level], now: int) -> None:
        opens = self._check_tier(wanted, wanted.size)
        if not opens:
            return
        if not exact(self.venue.price("mark", wanted.instrument.base, now)).is_finite():
            raise OkxError("51022", "Contract suspended: no mark price is known.")
        leverage = self.account.leverage_of(wanted.key)
        price = wanted.price if wanted.price is not None else _mean_price(levels, wanted.size)
        if price is not None and self.account.cost(wanted.instrument, opens, price, leverage) > self.available():
            raise insufficient()

    def _levels(self, wanted: Wanted, now: int, reference: Decimal | None) -> list[Level]:
        levels = self._book.against(wanted.instrument, wanted.direction, now, reference)
        return _within(levels, wanted.price, wanted.direction)

    def _new(self, wanted: Wanted, now: int) -> Order:
        number = self.account.number("1")
        order = Order(number, wanted, self.account.leverage_of(wanted.key), wanted.size, wanted.price, now, now, now)
        self.orders[number] = self._working[number] = order
        if wanted.client_id:
            self._by_client[wanted.client_id] = order
        return order

    def _match(self, order: Order, levels: list[Level], now: int) -> None:
        kind = order.wanted.kind
        if kind == "post_only" and levels:
            self._finish(order, now, WOULD_TAKE)
            return
        if kind == "fok" and sum((level.part(order.remaining) for level in levels), ZERO) < order.remaining:
            self._finish(order, now, NOT_ALL)
            return
        for level in levels:
            if order.open and order.remaining:
                self._execute(order, level.part(order.remaining), level.price, now, maker=False)
        if order.open and kind not in ("limit", "post_only"):
            self._finish(order, now, NOT_AT_ONCE)

    def _execute(self, order: Order, contracts: Decimal, price: Decimal, now: int, *, maker: bool) -> Decimal:
        account, wanted = self.account, order.wanted
        closable = account.closable(wanted)
        if wanted.only_closes:
            contracts = min(contracts, closable)
        if not contracts:
            self._finish(order, now, CLOSED)
            return ZERO
        opens = max(contracts - closable, ZERO)
        if account.cost(wanted.instrument, opens, price, order.leverage) > account.cash:
            self._finish(order, now, BY_SYSTEM)
            return ZERO
        opened = account.fill(order, contracts, price, now, maker=maker)
        if not maker:
            self._book.took(wanted.instrument, wanted.direction, contracts, now)
        if opened:
            self._settle_late(order, opened, now)
        if not order.open:
            self._attach(order, now)
        if closable and contracts >= closable:
            self._after_close(wanted.key, now)
        return contracts

    def _settle_late(self, order: Order, opened: Decimal, now: int) -> None:
        """Who opens at the very moment of a settlement holds the position at it.

        What a bar opens that closes at a settlement yet to come pays with the rest of the position.
        """
        base = order.wanted.instrument.base
        if any(due[:2] == (now, base) for due in self._due):
            return
        _, rates = self.venue.settlements(base, now, now + 1)
        for rate in rates.tolist():
            mark = exact(self.venue.price("mark", base, now))
            self.account.settle(order.wanted.key, mark, exact(rate), now, opened)

    def _after_close(self, key: Key, now: int) -> None:
        """With a position go the orders and stops that only close it."""
        for order in self.resting(key[0]):
            if order.wanted.key == key and order.wanted.only_closes and not self.account.closable(order.wanted):
                self._finish(order, now, CLOSED)
        for algo in self.waiting(key[0]):
            if algo.wanted.key == key and algo.protects and not self.account.closable(algo.wanted):
                self._drop(algo, now)

    def _finish(self, order: Order, now: int, source: str) -> None:
        order.state, order.cancel_source, order.updated = "canceled", source, now
        self._attach(order, now)

    def place_algo(self, wanted: Wanted, legs: tuple[Leg, ...], now: int, *, whole: bool = False) -> Algo:
        """Take a stop, take profit, both, or a trigger order."""
        kind = legs[0].name if legs[0].name == "trigger" else ("oco" if len(legs) > 1 else "conditional")
        leverage = self.account.leverage_of(wanted.key)
        algo = Algo(self.account.number("5"), wanted, kind, legs, leverage, now, now, whole)
        self.algos[algo.id] = algo
        return algo

    def cancel_algo(self, algo: Algo, now: int) -> None:
        """Take a waiting stop back."""
        self._drop(algo, now)

    def _drop(self, algo: Algo, now: int) -> None:
        algo.state, algo.updated = "canceled", now

    def _attach(self, order: Order, now: int) -> None:
        """The brackets of an order come to life for what was filled when the order is done."""
        held = self.account.positions.get(order.wanted.key)
        if not order.filled or held is None or held.direction != order.wanted.direction:
            return
        for bracket in order.wanted.brackets:
            wanted = order.wanted
            side: Side = "sell" if wanted.side == "buy" else "buy"
            closing = Wanted(
                wanted.instrument,
                side,
                wanted.position_side,
                "market",
                order.filled,
                reduce_only=wanted.position_side == "net",
                client_id=bracket.client_id,
            )
            self.place_algo(closing, bracket.legs, now)

    def _fire(self, algo: Algo, leg: Leg, step: Step) -> None:
        wanted, held = algo.wanted, self.account.positions.get(algo.wanted.key)
        size = wanted.size
        if wanted.only_closes and held is not None:
            size = held.contracts if algo.whole else min(size, held.contracts)
        follows = Wanted(
            wanted.instrument,
            wanted.side,
            wanted.position_side,
            "market" if leg.price is None else "limit",
            size,
            leg.price,
            wanted.reduce_only,
            tag=wanted.tag,
            brackets=wanted.brackets,
        )
        algo.fired, algo.fired_at, algo.updated = leg, step.time, step.time
        try:
            order = self.place(follows, step.time, step.price_of(leg, algo))
        except OkxError as error:
            algo.state, algo.failure = "order_failed", error.code
            return
        order.algo_id = algo.id
        algo.state, algo.order_id, algo.actual_size = "effective", order.id, size


def _within(levels: list[Level], price: Decimal | None, direction: int) -> list[Level]:
    return [level for level in levels if price is None or direction * (price - level.price) >= 0]


def _mean_price(levels: list[Level], contracts: Decimal) -> Decimal | None:
    """Mean price of taking so many contracts, or as many as there are; None if there are none."""
    taken, paid = ZERO, ZERO
    for level in levels:
        part = level.part(contracts - taken)
        taken, paid = taken + part, paid + part * level.price
    return paid / taken if taken else None
