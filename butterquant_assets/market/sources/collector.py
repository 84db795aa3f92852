"""One collection: ask the services for every ticker, lay the answers over what is landed, say what is still missing.

A ticker that is refused stays as it was, and the others go on. A service that limits or blocks us, or fails for several
tickers in a row, is left alone until the next collection; what had come by then is landed. Files change only at the
end, so that whoever watches the folder sees one change and not five hundred.

What belongs here: the order of things. What does not: services (`yahoo.py`, `cboe.py`), files (`landing.py`), and what
an answer changes (`market/collect.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError, SourceError
from butterquant_assets.market.collect import (
    SPLIT_VALUES,
    Days,
    Revision,
    empty_rows,
    merge,
    merge_splits,
    rebasing_factor,
    screen,
)
from butterquant_assets.market.collect_progress import (
    CollectConfig,
    Progress,
    Window,
    advanced,
    last_closed_session,
    pending,
    read_symbols,
    silence,
    window_to_ask,
)
from butterquant_assets.market.sources import cboe, yahoo
from butterquant_assets.market.sources.http_client import HttpClient, Patience, ServiceError, UnavailableError
from butterquant_assets.market.sources.landing import BARS, VIX, Landing, Manifest, Table

FAILURES_IN_A_ROW = 3
VIX_ENTRY = "VIX"


@dataclass(frozen=True)
class Collection:
    """What a collection did.

    Parameters
    ----------
    closed
        last closed session when it began, ``YYYY-MM-DD``
    asked, collected
        number of tickers asked for, the VIX included, and of those whose answer was landed
    pending
        names that are not complete through `closed`
    added, revised
        rows
    files
        files that changed
    problems
        sentences
    """

    closed: str
    asked: int
    collected: int
    pending: tuple[str, ...]
    added: int
    revised: int
    files: tuple[str, ...]
    problems: tuple[str, ...]


def symbols_of(config: CollectConfig) -> tuple[str, ...]:
    """The tickers that a configuration names, those of its file included, each once.

    Raises
    ------
    ConfigError
        if the file cannot be read or holds something else.
    """
    lines = list(config.symbols)
    if config.symbols_file is not None:
        try:
            lines += Path(config.symbols_file).read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"symbols file {config.symbols_file} cannot be read ({error}): name a text file"
            ) from error
    return read_symbols(lines)


def client_of(config: CollectConfig) -> HttpClient:
    """The HTTP client that a configuration asks for."""
    return HttpClient(Patience(clock_minutes=config.clock_minutes), seed=config.seed)


def collect(
    folder: Path,
    config: CollectConfig,
    symbols: Sequence[str],
    client: HttpClient,
    *,
    full: bool = False,
    pending_only: bool = False,
    accept: Sequence[str] = (),
) -> Collection:
    """Bring a landing folder up to the last closed session.

    Parameters
    ----------
    folder
        landing folder
    config
        what and how; `symbols` and `symbols_file` are not read here
    symbols
        tickers to ask for
    client
        carries the clock
    full
        ask for the whole history
    pending_only
        leave out what is complete already
    accept
        tickers whose whole history is asked for and taken as it comes, even where it re-bases landed prices or lacks
        landed splits

    Raises
    ------
    ConfigError
        if there is nothing to ask for.
    SourceError
        if the folder cannot be used, or the clock runs behind what was collected before.
    """
    if not symbols and not config.vix:
        raise ConfigError("no symbols to collect: name some (--symbols AAPL,MSFT or --symbols-file FILE)")
    if strangers := [ticker for ticker in accept if ticker not in symbols]:
        raise ConfigError(
            f"{', '.join(strangers)} is to be accepted but is not collected: name it among the symbols too"
        )
    landing = Landing(folder)
    with landing.opened():
        manifest = landing.manifest()
        _refuse_past(manifest, client.now(), config.clock_minutes)
        poll = _Poll(landing, config, client, manifest, frozenset(accept), full=full)
        closed = poll.closed(client.now())
        vix, tickers = config.vix, list(symbols)
        if pending_only:
            vix = vix and bool(pending({VIX_ENTRY: manifest.vix}, [VIX_ENTRY], closed))
            waiting = pending(manifest.symbols, tickers, closed)
            tickers = [ticker for ticker in tickers if ticker in waiting or ticker in accept]
        if vix:
            poll.ask_vix()
        poll.ask_stocks(tickers)
        files = poll.land()
        after = landing.manifest()
    waiting = pending({**after.symbols, VIX_ENTRY: after.vix}, [*([VIX_ENTRY] if config.vix else []), *symbols], closed)
    return Collection(
        str(closed),
        len(tickers) + vix,
        poll.collected,
        waiting,
        poll.added,
        poll.revised,
        tuple(files),
        tuple(poll.problems),
    )


@dataclass
class _Poll:
    """One collection under way; nothing is written before `land`."""

    landing: Landing
    config: CollectConfig
    client: HttpClient
    manifest: Manifest
    accept: frozenset[str]
    full: bool
    problems: list[str] = field(default_factory=list)
    collected: int = 0
    added: int = 0
    revised: int = 0
    fresh: dict[str, list[pd.DataFrame]] = field(default_factory=lambda: {BARS.name: [], VIX.name: []})
    revisions: dict[str, list[Revision]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.symbols = dict(self.manifest.symbols)
        self.vix = self.manifest.vix
        self.splits = {str(ticker): rows for ticker, rows in self.landing.splits().groupby("ticker")}

    def closed(self, now: datetime) -> np.datetime64:
        return last_closed_session(now, self.config.settle_minutes)

    def ask_vix(self) -> None:
        window = window_to_ask(self.vix, self.config, self.closed(self.client.now()), self.client.now(), full=True)
        try:
            rows = cboe.fetch_vix(self.client, self.config.cboe_url)
        except SourceError as error:
            self.problems.append(f"VIX: {error}")
            self.vix = replace(self.vix, problem=str(error))
            return
        rows = rows[rows["session"] >= pd.Timestamp(window.first)]
        held = self.landing.held(VIX, window.first)
        self.vix = self._take(VIX, VIX_ENTRY, self.vix, window, held, rows, self.client.now())
        self.collected += 1

    def ask_stocks(self, tickers: Sequence[str]) -> None:
        windows = {ticker: self._window(ticker) for ticker in tickers}
        held = self._held(windows)
        failures = 0
        for place, ticker in enumerate(tickers):
            if place:
                self.client.sleep(self.config.pause_seconds)
            try:
                self._ask_stock(ticker, windows[ticker], held.get(ticker, empty_rows(BARS.values)))
                failures = 0
            except SourceError as error:
                self.problems.append(str(error) if str(error).startswith(f"{ticker}:") else f"{ticker}: {error}")
                self.symbols[ticker] = replace(self.symbols.get(ticker, Progress()), problem=self.problems[-1])
                failures = failures + 1 if isinstance(error, UnavailableError) else 0
                if isinstance(error, ServiceError) or failures == FAILURES_IN_A_ROW:
                    self._leave_alone(tickers[place + 1 :])
                    return

    def land(self) -> list[str]:
        """Write everything: records of what changes, splits, the VIX, bars, and last of all how far it got."""
        now = self.client.now()
        for dataset, revisions in self.revisions.items():
            self.landing.record(dataset, revisions, now)
        files = self.landing.land_splits(
            pd.concat([empty_rows(SPLIT_VALUES), *self.splits.values()], ignore_index=True)
        )
        for table in (VIX, BARS):
            if self.fresh[table.name]:
                files += self.landing.land(table, pd.concat(self.fresh[table.name], ignore_index=True))
        self.landing.write_manifest(Manifest(self.symbols, self.vix))
        return files

    def _window(self, ticker: str) -> Window:
        now = self.client.now()
        full = self.full or ticker in self.accept
        return window_to_ask(self.symbols.get(ticker, Progress()), self.config, self.closed(now), now, full=full)

    def _held(self, windows: dict[str, Window]) -> dict[str, pd.DataFrame]:
        if not windows:
            return {}
        rows = self.landing.held(BARS, min(window.first for window in windows.values()))
        rows = rows[rows["ticker"].isin(list(windows))]
        return {
            str(ticker): part[part["session"] >= pd.Timestamp(windows[str(ticker)].first)]
            for ticker, part in rows.groupby("ticker")
        }

    def _ask_stock(self, ticker: str, window: Window, held: pd.DataFrame) -> None:
        chart = yahoo.fetch_chart(self.client, self.config.yahoo_url, ticker, window.first)
        closed = self.closed(chart.received)
        told = chart.splits[chart.splits["session"] <= pd.Timestamp(closed)]
        splits = merge_splits(
            self.splits.get(ticker, empty_rows(SPLIT_VALUES)), told, window.first, accept=ticker in self.accept
        )
        before = self.symbols.get(ticker, Progress())
        self.symbols[ticker] = self._take(BARS, ticker, before, window, held, chart.bars, chart.received)
        self.splits[ticker] = splits.rows
        self.revisions.setdefault("stock_splits", []).extend(splits.revisions)
        if splits.unanswered.size:
            self.problems.append(
                f"{ticker}: the split of {splits.unanswered[0]} is no longer told of; it stays. If it never was one, "
                f"collect it with --accept {ticker}"
            )
        self.collected += 1

    def _take(
        self,
        table: Table,
        name: str,
        before: Progress,
        window: Window,
        held: pd.DataFrame,
        rows: pd.DataFrame,
        received: datetime,
    ) -> Progress:
        """Screen and merge an answer, remember what is to be landed, and return how far it brings the ticker."""
        closed, today = self.closed(received), _date_at_exchange(received)
        in_span = rows[rows["session"] >= pd.Timestamp(window.first)]
        screened = screen(in_span, table.values, closed, today)
        if table == BARS and name not in self.accept:
            _refuse_rebasing(name, held, screened.rows)
        merged = merge(held, screened.rows, table.values, window.first)
        after = advanced(before, window, merged, screened, closed, received)
        found = [*screened.problems, *_unanswered(name, merged.unanswered, screened.refused)]
        if quiet := silence(after, name, closed):
            found.append(quiet)
        self.problems += found
        self.added += merged.added
        self.revised += len(merged.revisions)
        self.revisions.setdefault(table.name, []).extend(merged.revisions)
        self.fresh[table.name].append(screened.rows)
        return replace(after, problem="; ".join(found))

    def _leave_alone(self, tickers: Sequence[str]) -> None:
        if tickers:
            self.problems.append(f"{len(tickers)} tickers from {tickers[0]} on were not asked for: the next poll does")


def _refuse_rebasing(ticker: str, held: pd.DataFrame, rows: pd.DataFrame) -> None:
    factor = rebasing_factor(held, rows)
    if factor is not None:
        raise SourceError(
            f"{ticker}: landed closes would change by one and the same factor, {factor:.6g}, expected past quotes to "
            "stay: the service adjusted for a split it does not tell of, or tells of one it did not adjust for. "
            f"Nothing of the ticker was landed; if the answer is right, collect it with --accept {ticker}"
        )


def _unanswered(name: str, days: Days, refused: Days) -> list[str]:
    gone = np.setdiff1d(days, refused)
    if not gone.size:
        return []
    return [f"{name}: {gone.size} landed sessions, {gone[0]} to {gone[-1]}, are no longer given; they stay"]


def _date_at_exchange(instant: datetime) -> np.datetime64:
    return np.datetime64(pd.Timestamp(instant).tz_convert(yahoo.ZONE).strftime("%Y-%m-%d"), "D")


def _refuse_past(manifest: Manifest, now: datetime, minutes: float) -> None:
    last = manifest.polled_at()
    if last and datetime.fromisoformat(last) > now + timedelta(minutes=minutes):
        raise SourceError(
            f"this machine's clock says {now:%Y-%m-%d %H:%M:%S} UTC, but the folder was collected at "
            f"{last}, later than that: the clock jumped back; set it and collect again"
        )
