"""The ``collect`` command: poll Yahoo and CBOE, and land what they say as files.

What belongs here: options, and how the answer is worded. What does not: what is asked and landed (`market.sources`).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from butterquant_assets.cli_models import DONE, FAILED, JSON, errors_to_exit_codes

if TYPE_CHECKING:
    from butterquant_assets.market.sources.collector import Collection

SECTION = "BUTTERQUANT_COLLECT__"


@click.command()
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Landing folder; made when absent. Read it with --source files --data DIR.",
)
@click.option("--symbols", metavar="LIST", help="Tickers, separated by commas.  [default: those collected before]")
@click.option(
    "--symbols-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=f"{SECTION}SYMBOLS_FILE",
    help="Text file of tickers, one a line, # for comments.",
)
@click.option(
    "--start", metavar="YYYY-MM-DD", envvar=f"{SECTION}START", help="First date asked for.  [default: 2000-01-01]"
)
@click.option("--full", is_flag=True, help="Ask for the whole history, to find corrections to old sessions.")
@click.option("--pending", "pending_only", is_flag=True, help="Ask only for what is not complete yet.")
@click.option("--no-vix", is_flag=True, help="Leave the VIX out.")
@click.option(
    "--accept",
    multiple=True,
    metavar="TICKER",
    help="Take the whole answer for this ticker as it comes, even where it re-bases landed prices or lacks splits.",
)
@click.option("--clock-minutes", type=float, envvar=f"{SECTION}CLOCK_MINUTES", help="Tolerated clock difference. [5]")
@click.option("--pause-seconds", type=float, envvar=f"{SECTION}PAUSE_SECONDS", help="Between two requests.  [0.5]")
@click.option("--yahoo-url", envvar=f"{SECTION}YAHOO_URL", help="Address of the chart service.")
@click.option("--cboe-url", envvar=f"{SECTION}CBOE_URL", help="Address of CBOE's files.")
@JSON
@errors_to_exit_codes
def collect(
    folder: Path,
    symbols: str | None,
    full: bool,
    pending_only: bool,
    no_vix: bool,
    accept: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> int:
    """Collect daily bars, splits and the VIX up to the last closed session, as files.

    \b
    butterquant collect --to landing --symbols AAPL,MSFT,BRK.B --start 2010-01-01
    butterquant collect --to landing                     the same tickers again: what is new, and corrections
    butterquant run --source files --data landing

    Prices are landed as quoted on the day. A row that changed replaces the old one and is recorded in revisions/; one
    that is no longer delivered stays. A session counts once it has closed. Exits with 1 when anything is still missing
    or was refused; the next call asks for it again.
    """
    from butterquant_assets.market.collect_progress import CollectConfig, read_symbols
    from butterquant_assets.market.sources.collector import client_of, symbols_of
    from butterquant_assets.market.sources.collector import collect as collect_into
    from butterquant_assets.market.sources.landing import Landing

    stated: dict[str, Any] = {
        name: str(value) if isinstance(value, Path) else value for name, value in given.items() if value is not None
    }
    config = CollectConfig(symbols=(symbols,) if symbols else (), vix=not no_vix, **stated)
    wanted = symbols_of(config) if config.enabled else tuple(Landing(folder).manifest().symbols)
    with client_of(config) as client:
        done = collect_into(
            folder, config, wanted, client, full=full, pending_only=pending_only, accept=read_symbols(accept)
        )
    click.echo(json.dumps(asdict(done), indent=2, sort_keys=True) if as_json else _text(done))
    return FAILED if done.problems or done.pending else DONE


def _text(done: Collection) -> str:
    lines = [
        f"Collected {done.collected} of {done.asked} through {done.closed}: {done.added} rows added, {done.revised} "
        f"revised, {len(done.files)} files changed"
    ]
    lines += [f"PROBLEM  {problem}" for problem in done.problems]
    if done.pending:
        more = f" and {len(done.pending) - 10} more" if len(done.pending) > 10 else ""
        lines.append(f"Not complete through {done.closed}: {', '.join(done.pending[:10])}{more}")
    return "\n".join(lines)
