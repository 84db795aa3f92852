"""The ``models`` commands: which model versions there are, which one serves and why, and changing that.

What belongs here: options, and calls of the registry. What does not: what is decided (`foundation.registry`) and how
answers are worded (`foundation.registry_text`).
"""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click

from butterquant_assets.foundation.errors import ButterQuantError, ConfigError, ModelStoreError

DONE, FAILED, BAD_USAGE = 0, 1, 2
NAME = "success"

HOME = click.option(
    "--home", type=click.Path(path_type=Path, file_okay=False), help="[default: $BUTTERQUANT_HOME or ./home]"
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document (docs/cli.md) instead of text.")
ANY_NAME = click.option("--name", metavar="MODEL", help="Only versions of this model.  [default: all]")
ONE_NAME = click.option("--name", metavar="MODEL", default=NAME, show_default=True, help="The model meant.")
REASON = click.option("--reason", required=True, metavar="TEXT", help="Why, in one sentence; kept in the history.")
ACTOR = click.option("--actor", metavar="WHO", help="Who decides; kept in the history.  [default: your login name]")


def errors_to_exit_codes(command: Callable[..., int]) -> Callable[..., None]:
    """ConfigError and usage errors exit with 2, our other errors with 1; tracebacks are for bugs."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            code = command(*args, **kwargs)
        except ButterQuantError as error:
            click.echo(f"butterquant: {error}", err=True)
            sys.exit(BAD_USAGE if isinstance(error, ConfigError) else FAILED)
        sys.exit(code)

    return wrapped


@click.group()
def models() -> None:
    """Which model versions there are, which one serves and why; promote one, or roll back.

    \b
    butterquant models list
    butterquant models show 3f2a                 a version may be shortened while it stays unambiguous
    butterquant models compare 3f2a 91bc
    butterquant models promote 91bc --reason "beats 3f2a over nine episodes"
    butterquant models rollback --reason "prices of 2018-02-05 look wrong"

    Roles: a challenger never served, the champion serves, a retired version served once, a refused one was judged and
    did not deserve it. Everything that happens to a version is kept in the history, with who did it, why, and the
    evidence. The warehouse is the truth; the serving process follows it within a second or so.
    """


@models.command("list")
@HOME
@ANY_NAME
@JSON
@errors_to_exit_codes
def list_models(home: Path | None, name: str | None, as_json: bool) -> int:
    """All registered versions: the champion first, then the newest first.

    Log-loss is on the rows no part of the model was fitted on; the gain is the log-loss of the geometry baseline (a
    market without edge) minus the model's, in nats a row: above 0 is better, and `models show` has its interval.
    """
    from butterquant_assets.foundation import registry_text as text

    with _opened(home) as (registry, store, _):
        warnings = _settled(registry, [name] if name else registry.names())
        entries = [text.entry(model, *_card(store, model)) for model in registry.models(name)]
    _answer({"models": entries, "warnings": warnings}, text.list_text, as_json)
    return DONE


@models.command()
@click.argument("version")
@HOME
@ANY_NAME
@JSON
@errors_to_exit_codes
def show(version: str, home: Path | None, name: str | None, as_json: bool) -> int:
    """What VERSION is: purpose, evaluation beside its baselines, verdict, data, history, files.

    Every file is checked against the card. Exits with 1 if one was lost or altered.
    """
    from butterquant_assets.foundation import registry_text as text
    from butterquant_assets.foundation.lake import Lake
    from butterquant_assets.foundation.registry_lineage import trace_data

    with _opened(home) as (registry, store, settings):
        model = registry.resolve(version, name)
        card, problem = _card(store, model, every_file=True)
        lineage = trace_data(Lake(settings.lake_location), card["data_versions"]) if card else []
        events = [event for event in registry.history(model.model) if text.concerns(event, model.version)]
    folder = store.directory(model.model, model.version)
    _answer(text.details(model, card, problem, lineage, events, str(folder)), text.show_text, as_json)
    return FAILED if problem else DONE


@models.command()
@click.argument("first")
@click.argument("second")
@HOME
@ANY_NAME
@JSON
@errors_to_exit_codes
def compare(first: str, second: str, home: Path | None, name: str | None, as_json: bool) -> int:
    """Metrics of two versions side by side, and the paired evidence on record.

    Metrics of versions that were judged on different rows cannot be compared; the answer says when that is so. Paired
    evidence is what decides: both versions on the same rows, with an interval over episodes.
    """
    from butterquant_assets.foundation import registry_text as text

    with _opened(home) as (registry, store, _):
        pair = [registry.resolve(version, name) for version in (first, second)]
        if pair[0] == pair[1]:
            raise ConfigError(f"{first!r} and {second!r} are the same version, {pair[0].version}; name two")
        if pair[0].model != pair[1].model:
            raise ConfigError(
                f"{pair[0].version} is a model of {pair[0].model}, {pair[1].version} of {pair[1].model}; "
                "compare versions of one model"
            )
        cards = [store.load_card(model.model, model.version) for model in pair]
        events = registry.history(pair[0].model)
    _answer(text.comparison(pair, cards, events), text.compare_text, as_json)
    return DONE


@models.command()
@click.argument("version")
@REASON
@HOME
@ANY_NAME
@ACTOR
@click.option(
    "--force",
    is_flag=True,
    help="Promote without evidence in favour. The history says that it was forced, and what was overruled.",
)
@JSON
@errors_to_exit_codes
def promote(
    version: str, reason: str, home: Path | None, name: str | None, actor: str | None, force: bool, as_json: bool
) -> int:
    """Put VERSION into service.

    Refused unless the last word on record about the version speaks for it, and against the version that serves today;
    --force overrules that. Never promotes a version with a file that was lost or altered.
    """
    from butterquant_assets.foundation import registry_text as text

    with _opened(home) as (registry, _, _settings):
        model = registry.resolve(version, name)
        # Not registry.champion: a champion whose files were lost must not stand in the way of another.
        champion = next((each for each in registry.models(model.model) if each.role == "champion"), None)
        evidence = _evidence_to_promote(registry, model, champion, force)
        event = registry.promote(
            model.model,
            model.version,
            evidence=evidence,
            actor=_actor(actor),
            reason=reason,
            against=champion.version if champion else None,
        )
    done = champion is None or champion.version != model.version
    _answer({"changed": done, "event": event.to_json()}, text.change_text, as_json)
    return DONE


@models.command()
@REASON
@HOME
@ONE_NAME
@ACTOR
@JSON
@errors_to_exit_codes
def rollback(reason: str, home: Path | None, name: str, actor: str | None, as_json: bool) -> int:
    """Put the champion before the current one back into service.

    Rolling back again walks further back, to the first version that ever served; versions refused since are passed
    over. Refused when there is none before. The rollback is itself an event of the history.
    """
    from butterquant_assets.foundation import registry_text as text

    with _opened(home) as (registry, _, _settings):
        event = registry.rollback(name, actor=_actor(actor), reason=reason)
    _answer({"changed": True, "event": event.to_json()}, text.change_text, as_json)
    return DONE


@models.command()
@HOME
@ANY_NAME
@JSON
@errors_to_exit_codes
def history(home: Path | None, name: str | None, as_json: bool) -> int:
    """Everything that happened to versions: registered, judged, promoted, refused, rolled back; when, by whom, why.

    The evidence of each event is in the --json answer. A history that somebody edited is refused.
    """
    from butterquant_assets.foundation import registry_text as text

    with _opened(home) as (registry, _, _settings):
        events = [
            event.to_json() for each in ([name] if name else registry.names()) for event in registry.history(each)
        ]
    _answer({"events": events}, text.history_text, as_json)
    return DONE


# -- inside


@contextmanager
def _opened(home: Path | None) -> Iterator[tuple[Any, Any, Any]]:
    """Registry, model store and settings of a home directory that is in use."""
    from butterquant_assets.definitions import Settings
    from butterquant_assets.foundation.model_store import ModelStore
    from butterquant_assets.foundation.registry import Registry
    from butterquant_assets.foundation.settings import load_settings, read_binding

    settings = load_settings(Settings, {"home": home})
    if not read_binding(settings.home):
        raise ConfigError(f"{settings.home} is not a home directory yet: run `butterquant run --home {settings.home}`")
    store = ModelStore(settings.models_location)
    with Registry(settings.warehouse_location, store) as registry:
        yield registry, store, settings


def _answer(document: dict[str, Any], worded: Callable[[dict[str, Any]], str], as_json: bool) -> None:
    click.echo(json.dumps(document, indent=2, sort_keys=True) if as_json else worded(document))


def _card(store: Any, model: Any, *, every_file: bool = False) -> tuple[dict[str, Any] | None, str | None]:
    """The card, and what is wrong with it or its files."""
    try:
        card: dict[str, Any] = (store.verify if every_file else store.load_card)(model.model, model.version)
    except ModelStoreError as error:
        return None, str(error)
    return card, None


def _settled(registry: Any, names: list[str]) -> list[str]:
    """Bring the pointer files in line; sentences about what was found and what could not be mended."""
    found = []
    for name in names:
        try:
            mended = registry.reconcile(name)
        except ModelStoreError as error:
            found.append(f"the champion of {name} cannot serve: {error}")
        else:
            found += [mended.sentence()] if mended else []
    return found


def _evidence_to_promote(registry: Any, model: Any, champion: Any, force: bool) -> dict[str, Any]:
    from butterquant_assets.foundation import registry_text as text

    if champion and champion.version == model.version:
        return {}
    favour = registry.evidence_in_favour(model.model, model.version)
    if favour:
        return dict(favour.evidence)
    word = registry.last_word(model.model, model.version)
    if not force:
        raise ModelStoreError(
            f"nothing on record speaks for promoting {model.model} {model.version} over "
            f"{champion.version if champion else 'no champion'}: {text.word(word)}. Let it be judged "
            "(`butterquant run`), or pass --force, which the history will show"
        )
    return {"forced": True, "overruled": word.to_json() if word else None}


def _actor(given: str | None) -> str:
    if given:
        return given
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody without a login name"
