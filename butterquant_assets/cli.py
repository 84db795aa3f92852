"""The `butterquant` command."""

from __future__ import annotations

import json
import logging
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from butterquant_assets.cli_collect import collect
from butterquant_assets.cli_crypto import collect_crypto
from butterquant_assets.cli_data import export, prune, trace
from butterquant_assets.cli_exchange import exchange_simulator
from butterquant_assets.cli_feedback import feedback
from butterquant_assets.cli_models import DONE, FAILED, errors_to_exit_codes, models
from butterquant_assets.serving.command import serve

COUNTED = (
    ("Bars refused or noted", "bar_rejects"),
    ("Analyses rejected", "analysis_rejects"),
    ("Without label", "unlabelled"),
)

SOURCE_OPTIONS = (
    click.option(
        "--source",
        type=click.Choice(["sample", "files"]),
        help="sample: the embedded market, no network (S&P 500, NASDAQ and VIX are real, the 50 constituents "
        "SIM01..SIM50 are simulated). files: a folder of Parquet or CSV.  [default: sample]",
    ),
    click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of the files source: stocks_daily, vix_daily, and where there are any index_daily, stock_splits, "
        "implied_vols; each as .parquet, .csv or a folder of either.",
    ),
    click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        help="Directory that holds lake, models and Dagster's storage. It is bound to one source and span.  "
        "[default: $BUTTERQUANT_HOME or ./home]",
    ),
)


def _source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(SOURCE_OPTIONS):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="butterquant-assets")
def main() -> None:
    """A trading-research operation as a graph of assets, each traceable and rebuilt only when it must be.

    \b
    butterquant run              bring everything up to date on the embedded market
    butterquant status           what is materialised, stale, failing, and why
    butterquant analyse AAPL 2016-06-01 --source files --data DIR
    butterquant ui               Dagster's webserver and daemon over the same home
    butterquant collect          daily bars, splits and the VIX up to the last close, as files in a folder
    butterquant collect-crypto   bars, funding, books and the rest of perpetual swaps, from OKX
    butterquant export           daily metrics or decisions from the warehouse, as one Parquet file
    butterquant prune            old runs, superseded files and models nothing refers to, removed
    butterquant models list      which model versions there are, which one serves and why
    butterquant feedback take    put trades whose outcome is known into the next training set
    butterquant serve            class probabilities, expected ROI and a decision over HTTP
    butterquant backfill         ask the daemon for a range of months; `butterquant worker` makes them with Celery
    butterquant exchange-simulator   a local exchange that speaks OKX's REST, over a simulated market

    Every setting can also come from the environment (BUTTERQUANT_HOME, BUTTERQUANT_SAMPLING__HIGH_DAYS, ...).
    Exit codes: 0 done, 1 a run failed or left partitions quarantined, 2 bad usage or configuration.
    """


main.add_command(models)
main.add_command(feedback)
main.add_command(collect)
main.add_command(collect_crypto)
main.add_command(export)
main.add_command(prune)
main.add_command(trace)
main.add_command(exchange_simulator)
main.add_command(serve)


@main.command()
@_source_options
@click.option("--start", metavar="YYYY-MM", help="First analysis month.  [default: all the source allows]")
@click.option("--end", metavar="YYYY-MM", help="Last analysis month. Market months before and after are added.")
@click.option(
    "--select",
    metavar="SELECTION",
    help="Only these assets, in Dagster's selection syntax, for instance "
    "'group:market' or '+key:\"butterfly/features\"'.",
)
@click.option(
    "--only", type=click.Choice(["equity", "crypto"]), help="Only this house; by default both, the equity house first."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document (docs/cli.md) instead of text.")
@errors_to_exit_codes
def run(
    source: str | None,
    data: Path | None,
    home: Path | None,
    start: str | None,
    end: str | None,
    select: str | None,
    only: str | None,
    as_json: bool,
) -> int:
    """Bring the graph up to date: rebuild exactly what is stale, say why, and summarise.

    The equity house first (months), then the crypto house (UTC days; BUTTERQUANT_CRYPTO__SOURCE).

    Launches no run when everything is current. A run that was killed is taken up where it stopped.
    """
    from butterquant_assets.runner import bring_up_to_date

    began = time.monotonic()
    if not as_json:
        _show_progress()
    settings = _settings(home=home, source=source, data_dir=data, start=start, end=end)
    report = bring_up_to_date(settings, select, only)
    report["seconds"] = round(time.monotonic() - began, 1)
    click.echo(json.dumps(report, indent=2, sort_keys=True) if as_json else _run_text(report))
    return DONE if report["status"] in ("current", "done") else FAILED


@main.command()
@_source_options
@click.argument("ticker")
@click.argument("date")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document (docs/cli.md) instead of text.")
@errors_to_exit_codes
def analyse(ticker: str, date: str, source: str | None, data: Path | None, home: Path | None, as_json: bool) -> int:
    """One full as-of analysis of TICKER on DATE (YYYY-MM-DD), from bars up to that date only.

    Reads the source directly and stores nothing.
    """
    from butterquant_assets.runner import analyse_now

    settings = _settings(home=home, source=source, data_dir=data)
    result = analyse_now(settings, ticker, date)
    click.echo(json.dumps(result, indent=2) if as_json else _pairs(result))
    return DONE


@main.command()
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="[default: $BUTTERQUANT_HOME or ./home]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document (docs/cli.md) instead of text.")
@errors_to_exit_codes
def status(home: Path | None, as_json: bool) -> int:
    """What is materialised, stale or failing, and why. Changes nothing."""
    from butterquant_assets.runner import current_status

    report = current_status(_settings(home=home))
    click.echo(json.dumps(report, indent=2, sort_keys=True) if as_json else _status_text(report))
    return DONE


@main.command()
@_source_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address the webserver listens on.")
@click.option("--port", default=3000, show_default=True, help="Port the webserver listens on.")
@click.option("--reports-port", default=3001, show_default=True, help="Port the reports are served on.")
@errors_to_exit_codes
def ui(source: str | None, data: Path | None, home: Path | None, host: str, port: int, reports_port: int) -> int:
    """Dagster's webserver and daemon over the home directory, until interrupted.

    A crypto source that cannot be read when the home is new to it is told, and leaves the equity house alone there.
    """
    from butterquant_assets.processes import serve_ui

    return serve_ui(_settings(home=home, source=source, data_dir=data), host, port, reports_port, _tell)


@main.command()
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="[default: $BUTTERQUANT_HOME or ./home]")
@click.option("--queue", "queues", multiple=True, default=("dagster",), show_default=True, help="dagster, training.")
@click.option("--concurrency", default=1, show_default=True, type=click.IntRange(1), help="Steps at once.")
@errors_to_exit_codes
def worker(home: Path | None, queues: tuple[str, ...], concurrency: int) -> int:
    """A Celery worker for BUTTERQUANT_EXECUTOR=celery, until SIGTERM; it finishes the step it is at."""
    from butterquant_assets.processes import run_worker

    run_worker(_settings(home=home), queues, concurrency, _tell)
    return DONE


@main.command()
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="[default: $BUTTERQUANT_HOME or ./home]")
@click.option("--start", required=True, metavar="KEY", help="First analysis month YYYY-MM, or crypto day YYYY-MM-DD.")
@click.option("--end", required=True, metavar="KEY", help="Last month (market months are added), or crypto day.")
@click.option("--select", metavar="SELECTION", help="Only these assets, as in `butterquant run`.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document (docs/cli.md) instead of text.")
@errors_to_exit_codes
def backfill(home: Path | None, start: str, end: str, select: str | None, as_json: bool) -> int:
    """Ask the running daemon for a backfill, in runs of BUTTERQUANT_MONTHS_PER_RUN months (or days) side by side.

    Uses the instance of DAGSTER_HOME where that is set, and the home's own otherwise.
    """
    from butterquant_assets.runner import ask_for_backfill

    asked = ask_for_backfill(_settings(home=home), start, end, select)
    click.echo(json.dumps(asked, indent=2) if as_json else f"Backfill {asked['backfill']} asked for; see the UI.")
    return DONE


@main.command()
@_source_options
@errors_to_exit_codes
def env(source: str | None, data: Path | None, home: Path | None) -> int:
    """Shell lines that let Dagster's own commands work on the home: eval "$(butterquant env)"; dg dev."""
    from butterquant_assets.processes import dagster_variables

    for name, value in dagster_variables(_settings(home=home, source=source, data_dir=data), _tell).items():
        click.echo(f"export {name}={shlex.quote(value)}")
    return DONE


def _settings(**given: Any) -> Any:
    from butterquant_assets.definitions import Settings
    from butterquant_assets.foundation.settings import load_settings

    return load_settings(Settings, given)


def _tell(problem: str) -> None:
    """Beside what the command answers."""
    click.echo(f"PROBLEM  {problem}", err=True)


def _show_progress() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("butterquant.progress")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


# -- text


def _run_text(report: dict[str, Any]) -> str:
    lines = [""]
    if report["status"] == "current":
        lines.append(f"Everything is current; no run was launched ({report['seconds']} s).")
    else:
        lines += _rebuilt_text(report)
    lines += _houses_text(report["houses"])
    lines += _findings_text(report["findings"])
    lines += ["", *(f"PROBLEM  {problem}" for problem in report["problems"])] if report["problems"] else []
    lines += [
        "",
        f"Look at it:  butterquant ui --home {report['findings']['home']}   (then open http://127.0.0.1:3000)",
    ]
    return "\n".join(lines)


def _rebuilt_text(report: dict[str, Any]) -> list[str]:
    lines = [f"Run {report['status']} in {report['seconds']} s ({', '.join(run[:8] for run in report['runs'])})", ""]
    lines.append(f"{'asset':<28}{'rebuilt':>8}{'unchanged':>10}{'rows':>9}  why")
    for entry in report["assets"]:
        if entry["rebuilt"] or entry["quarantined"] or entry["waiting"]:
            why = "; ".join(f"{r['reason']} ({r['partitions']})" for r in entry["reasons"][:2])
            lines.append(f"{entry['asset']:<28}{entry['rebuilt']:>8}{entry['unchanged']:>10}{entry['rows']:>9}  {why}")
    return lines


def _houses_text(houses: dict[str, Any]) -> list[str]:
    if len(houses) < 2:
        return []
    said = {name: ", ".join(run[:8] for run in house["runs"]) or "no run" for name, house in houses.items()}
    return ["", *(f"{name.capitalize():<8} {house['status']} ({said[name]})" for name, house in houses.items())]


def _findings_text(found: dict[str, Any]) -> list[str]:
    lines = []
    if "strata" in found:
        lines += ["", "VIX strata: asked / found / taken days (episodes)"]
        lines += [
            f"  {name:<8}{s['asked_days']:>4} /{s['found_days']:>5} /{s['taken_days']:>4}   ({s['episodes_taken']} of "
            f"{s['episodes_found']} episodes)"
            for name, s in found["strata"].items()
        ]
    for title, key in COUNTED:
        counts = found.get(key) or {}
        lines.append(f"{title}: " + (", ".join(f"{n} {reason}" for reason, n in counts.items()) or "none"))
    if "labels" in found:
        lines += ["", f"Labels of {found['training_rows']} rows: loss / small / good / excellent"]
        lines += [
            f"  {name:<14}" + " / ".join(f"{share:.0%}" for share in shares.values())
            for name, shares in found["labels"].items()
        ]
    if "model" in found:
        model = found["model"]
        lines += ["", f"Model success {model['version']} out of sample, walk-forward: log-loss, accuracy, Brier"]
        lines += [
            f"  {name:<20}{m.get('log_loss', float('nan')):>8.4f}{m.get('accuracy', float('nan')):>8.1%}"
            f"{m.get('brier', float('nan')):>8.4f}"
            for name, m in model["out_of_sample"].items()
        ]
        lines.append(f"  {model['verdict']}")
    lines += [f"Champion: {found['champion']['reason']}"] if "champion" in found else []
    lines += [f"Decisions: {found['decisions']['verdict']}"] if "decisions" in found else []
    lines += _signals_text(found["signals"]) if "signals" in found else []
    if "model" in found:
        lines += ["", f"ONNX:    {found['model']['onnx']}", f"Report:  {found['model']['report']}"]
    lines.append(f"Lake:    {found['lake']}")
    return lines


def _signals_text(found: dict[str, Any]) -> list[str]:
    market = "simulated market" if found["simulated"] else "crypto market"
    lines = ["", f"Signals ({market}): {found['signals']}, of which every gate accepted {found['accepted']}"]
    if not found["rounds"]:
        return [*lines, "  No round of learning yet."]
    lines.append(f"  {found['rounds']} rounds of learning, the newest {found['newest_round']}")
    lines[-1] += f"; calibration: {found['calibration_method']}"
    for name, earned in found["earned"].items():
        said = f"  {name.capitalize()} ones, {earned['executed']:.0f} executed on paper by then"
        if earned["mean_pnl_bps"] is not None:
            said += f", earned {earned['mean_pnl_bps']:+.1f} bps each"
        if None not in (earned["low_bps"], earned["high_bps"]):
            said += f" (95 % interval over weeks {earned['low_bps']:+.1f} .. {earned['high_bps']:+.1f})"
        lines.append(said)
    if share := found["chosen_afterwards"]:
        lines.append(f"  {100 * share:.{0 if share >= 0.1 else 1}f} % of the trades behind this are of coins chosen")
        lines[-1] += " afterwards: those that fell and went are missing, so it looks too good"
    return lines


def _status_text(report: dict[str, Any]) -> str:
    lines = [
        f"Home {report['home']}: source {report['source']}, analysis months {report['start']} .. {report['end']}",
    ]
    if crypto := report.get("crypto"):
        lines.append(f"Crypto: source {crypto['source']}, UTC days {crypto['start']} .. {crypto['end'] or 'none yet'}")
    lines.append("")
    heads = ("partitions", "current", "stale", "quarantined", "waiting", "     rows")
    lines.append(f"{'asset':<28}" + "".join(f"{head:>{len(head) + 2}}" for head in heads))
    for e in report["assets"]:
        lines.append(f"{e['asset']:<28}" + "".join(f"{e[head.strip()]:>{len(head) + 2}}" for head in heads))
        lines += [f"    {r['reason']} ({r['partitions']})" for r in e["reasons"]]
        lines += [f"    warning: {name}: {text}" for name, text in list(e["warnings"].items())[:3]]
    lines += ["", *(f"PROBLEM  {problem}" for problem in report["problems"])] if report["problems"] else []
    return "\n".join(lines)


def _pairs(values: dict[str, Any]) -> str:
    features = values["features"]
    values = {k: v for k, v in values.items() if k != "features"} | {f"feature {k}": v for k, v in features.items()}
    width = max(map(len, values)) + 2
    return "\n".join(f"{k:<{width}}{v:.6g}" if isinstance(v, float) else f"{k:<{width}}{v}" for k, v in values.items())


if __name__ == "__main__":
    main()
