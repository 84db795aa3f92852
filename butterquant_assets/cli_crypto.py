"""The ``collect-crypto`` command: ask an exchange, and store what it says.

What belongs here: options, and how the answer is worded. What does not: what is asked and stored (`market.collector`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from butterquant_assets.cli_models import DONE, FAILED, JSON, errors_to_exit_codes

if TYPE_CHECKING:
    from butterquant_assets.market.collector.collection import CryptoCollection

DATASETS = (
    *("crypto_bars", "crypto_minute_bars", "mark_prices", "index_prices", "funding_rates", "open_interest"),
    *("taker_volume", "trade_flow", "order_books", "leverage_tiers"),
)


@click.command("collect-crypto")
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="[default: $BUTTERQUANT_HOME or ./home]")
@click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder it is stored in.  [default: collected/crypto in the home]",
)
@click.option("--exchange-url", metavar="URL", help="What speaks OKX's v5 REST.  [default: OKX]")
@click.option("--symbols", metavar="LIST", help="Coins, separated by commas, in place of the largest by market value.")
@click.option("--days", "history_days", type=int, metavar="N", help="Days of history at the first start.  [365]")
@click.option("--bar", type=click.Choice(("1h", "1m")), help="1m keeps minute bars beside the hourly ones.")
@click.option("--only", "datasets", multiple=True, type=click.Choice(DATASETS), help="Only this; may be repeated.")
@click.option("--full", is_flag=True, help="Ask for everything in reach again, to find late corrections.")
@JSON
@errors_to_exit_codes
def collect_crypto(home: Path | None, datasets: tuple[str, ...], full: bool, as_json: bool, **given: Any) -> int:
    """Collect bars, mark and index prices, funding, open interest, taker volume, trades, books, tiers from OKX.

    \b
    butterquant collect-crypto --symbols BTC,ETH,SOL --days 60
    butterquant collect-crypto                            what is new since, and what was missing
    butterquant exchange-simulator --port 8700 &
    butterquant collect-crypto --exchange-url http://127.0.0.1:8700 --days 40

    Asks as fast as the exchange permits and no faster; a killed call is taken up where it stopped. A day counts as
    complete once it is over and nothing of it is missing. Exits with 1 when anything is missing or was refused; the
    next call asks for it again. Set BUTTERQUANT_CRYPTO__SOURCE=okx to let the graph read the store, and to have it
    filled every hour.
    """
    from butterquant_assets.definitions import Settings
    from butterquant_assets.foundation.settings import load_settings, read_binding
    from butterquant_assets.market.collector.collection import COLLECTED
    from butterquant_assets.market.collector.collection import collect_crypto as collect_into
    from butterquant_assets.orchestration.house import CRYPTO

    settings = load_settings(Settings, {"home": home})
    symbols = given.pop("symbols")
    stated = {name: value for name, value in given.items() if value is not None}
    if symbols:
        stated["symbols"] = tuple(name.strip().upper() for name in symbols.split(",") if name.strip())
    bound = read_binding(settings.home, Settings.bound_sections[CRYPTO].file)
    if bound and bound["source"] != "okx":
        # The span of another source says nothing about what is to be collected.
        stated |= {"start": None, "end": None}
    if "history_days" in stated:
        stated["start"] = None
    config = replace(settings.crypto, **stated)
    done = collect_into(config, config.store_in(settings.home), full=full, datasets=datasets or COLLECTED)
    click.echo(json.dumps(asdict(done), indent=2, sort_keys=True) if as_json else _text(done))
    return FAILED if done.problems or done.incomplete_days else DONE


def _text(done: CryptoCollection) -> str:
    lines = [
        f"Collected {len(done.coins)} coins up to {done.at} UTC: {sum(done.changed.values())} files changed, "
        f"{done.requests} requests, {done.retried} of them again"
    ]
    lines += [f"PROBLEM  {problem}" for problem in done.problems]
    if done.incomplete_days:
        lines.append(f"{done.incomplete_days} days that are over are not complete; the last of each dataset:")
        lines += [f"  {dataset:<20}{words}" for dataset, words in done.incomplete.items()]
    return "\n".join(lines)
