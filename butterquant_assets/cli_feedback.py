"""The ``feedback`` commands: putting realised outcomes of past decisions into the next training set.

What belongs here: options, and how the answers are worded. What does not: which trades are taken
(`butterfly.feedback`), and storing them (`foundation.feedback_ledger`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from butterquant_assets.cli_models import DONE, HOME, JSON, errors_to_exit_codes
from butterquant_assets.foundation.errors import ConfigError

OFF = "Feedback is switched off (BUTTERQUANT_FEEDBACK__ENABLED): nothing was taken."


@click.group()
def feedback() -> None:
    """Realised outcomes of trades taken, as rows of the next training set.

    \b
    butterquant feedback take                     all outcomes that are known by now
    butterquant feedback take --until 2018-09-28  none that was evaluated later
    butterquant feedback show                     what was taken, and what is used

    A trade enters the ledger once, for ever; taking again adds what came to be known since. The next `butterquant run`
    trains on it. BUTTERQUANT_FEEDBACK__ENABLED=false switches it off, BUTTERQUANT_FEEDBACK__AI_WEIGHT (BASELINE_WEIGHT,
    BLEND_WEIGHT) weighs the trades of a track, where a row of the sample has 1.
    """


@feedback.command()
@HOME
@click.option("--until", metavar="YYYY-MM-DD", help="Leave outcomes evaluated later alone.  [default: all known]")
@JSON
@errors_to_exit_codes
def take(home: Path | None, until: str | None, as_json: bool) -> int:
    """Put trades whose outcome came to be known into the ledger."""
    from butterquant_assets.butterfly.feedback_assets import take_feedback

    done = take_feedback(_house(home), _day(until)).to_json()
    click.echo(json.dumps(done, indent=2, sort_keys=True) if as_json else _take_text(done))
    return DONE


@feedback.command()
@HOME
@JSON
@errors_to_exit_codes
def show(home: Path | None, as_json: bool) -> int:
    """What was taken when, and what the training makes of it."""
    from butterquant_assets.butterfly.feedback_assets import feedback_in_use
    from butterquant_assets.foundation.feedback_ledger import FeedbackLedger

    house = _house(home)
    with FeedbackLedger(house.settings.warehouse_location) as ledger:
        takes = ledger.takes()
    days = {name: takes[name].dt.strftime("%Y-%m-%d") for name in ("known_until", "first_session", "last_session")}
    moment = takes["taken_at"].dt.strftime("%Y-%m-%dT%H:%M:%S")
    shown = takes.assign(taken_at=moment, **days).to_dict("records")
    answer = {"enabled": house.settings.feedback.enabled, "takes": shown, "in_use": feedback_in_use(house)}
    click.echo(json.dumps(answer, indent=2, sort_keys=True) if as_json else _show_text(answer))
    return DONE


def _house(home: Path | None) -> Any:
    from butterquant_assets.definitions import Settings, build_house
    from butterquant_assets.foundation.settings import load_settings, read_binding

    settings = load_settings(Settings, {"home": home})
    if not read_binding(settings.home):
        raise ConfigError(f"{settings.home} is not a home directory yet: run `butterquant run --home {settings.home}`")
    return build_house(settings)


def _day(text: str | None) -> Any:
    import pandas as pd

    if text is None:
        return None
    try:
        return pd.to_datetime(text, format="%Y-%m-%d").as_unit("us")
    except ValueError:
        raise ConfigError(f"--until {text!r} is no date; write it as YYYY-MM-DD, for instance 2018-09-28") from None


def _take_text(done: dict[str, Any]) -> str:
    if not done["enabled"]:
        return OFF
    open_ones = ", ".join(f"{count} {reason}" for reason, count in done["unlabelled"].items()) or "none"
    head = (
        f"Take {done['take']}: {done['added']} trades added, outcomes up to {done['known_until']}."
        if done["take"]
        else f"Nothing to take: no outcome up to {done['known_until']} is new."
    )
    return "\n".join(
        [
            head,
            f"Of {done['trades']} trades {done['in_ledger']} were in the ledger, {done['in_training_set']} are samples "
            f"and {done['settled']} belong to days settled by an earlier take.",
            f"Without outcome: {open_ones}",
            *(["`butterquant run` trains on them."] if done["take"] else []),
        ]
    )


def _show_text(answer: dict[str, Any]) -> str:
    lines = [] if answer["enabled"] else [OFF.replace("nothing was taken", "what was taken is not used")]
    if not answer["takes"]:
        return "\n".join([*lines, "Nothing was taken yet: `butterquant feedback take`"])
    lines.append(f"{'take':>4}  {'taken at (UTC)':<20}{'known until':<13}{'trades':>6}{'mean roi_net':>14}  decided")
    lines += [
        f"{t['take']:>4}  {t['taken_at']:<20}{t['known_until']:<13}{t['trades']:>6}{t['mean_roi_net']:>14.1%}  "
        f"{t['first_session']} .. {t['last_session']}"
        for t in answer["takes"]
    ]
    if used := answer["in_use"]:
        rest = ", ".join(f"{count} {reason}" for reason, count in used["unused"].items()) or "none"
        lines.append(
            f"At the last run: {used['rows']} training rows of weight {used['weight']:.6g} from {used['trades']} "
            f"trades; not used: {rest}"
        )
    return "\n".join(lines)
