"""What the command line says about models: plain values from cards and events, and their wording. Pure.

What belongs here: the ``--json`` documents of ``butterquant models`` (docs/cli.md) and the texts made from them. What
does not: where cards and events come from (`registry`, `model_store`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from butterquant_assets.foundation.registry_events import IN_FAVOUR, ModelEvent
from butterquant_assets.foundation.registry_lineage import TracedTable
from butterquant_assets.foundation.registry_records import (
    MODELS,
    RegisteredModel,
    headline_metrics,
    headline_part,
)

Card = Mapping[str, Any]

GEOMETRY = "geometry"
# Shown in texts, in this order, where a card has them; the JSON documents hold all.
SHOWN_METRICS = ("log_loss", "brier", "accuracy", "macro_f1", "ece", "rmse", "qlike")
SHORT_HASH = 12
NOTHING = "-"


# -- documents


def entry(model: RegisteredModel, card: Card | None, problem: str | None) -> dict[str, Any]:
    """One line of ``models list`` as plain values; `problem` says why there is no card."""
    gain = gain_over_geometry(card) if card else {}
    return {
        "model": model.model,
        "version": model.version,
        "role": model.role,
        "label": model.label,
        "published_at": model.published_at.isoformat(timespec="seconds") if model.published_at else None,
        "trained_on": trained_on(card) if card else {},
        "log_loss": model.metrics.get("log_loss"),
        "gain_over_geometry": gain.get("gain"),
        "beats_geometry": gain.get("beats_geometry"),
        "problem": problem,
    }


def trained_on(card: Card) -> dict[str, Any]:
    """Rows, episodes and dates of the rows a model was fitted on, as far as the card's splits say."""
    splits = card.get("splits")
    train = splits.get("train") if isinstance(splits, Mapping) else None
    names = ("rows", "episodes", "first_entry", "last_entry", "last_exit")
    return {name: train[name] for name in names if name in train} if isinstance(train, Mapping) else {}


def gain_over_geometry(card: Card) -> dict[str, Any]:
    """Log-loss of the geometry baseline minus the model's, with its interval where the verdict has one."""
    verdict = card.get("verdict") or {}
    if "gain" in verdict:
        return {name: verdict.get(name) for name in ("gain", "low", "high", "episodes", "beats_geometry")}
    part = headline_part(card)
    baseline = card["evaluation"][part].get(GEOMETRY, {}).get("log_loss") if part else None
    own = headline_metrics(card).get("log_loss")
    return {"gain": baseline - own} if baseline is not None and own is not None else {}


def details(
    model: RegisteredModel,
    card: Card | None,
    problem: str | None,
    lineage: Sequence[TracedTable],
    events: Sequence[ModelEvent],
    folder: str,
) -> dict[str, Any]:
    """The document of ``models show``."""
    card = card or {}
    part = headline_part(card)
    return {
        **entry(model, card or None, problem),
        "purpose": card.get("purpose"),
        "label_definition": (card.get("label") or {}).get("definition"),
        "verdict": card.get("verdict") or {},
        "judged_on": part,
        "evaluation": card["evaluation"][part] if part else {},
        "gain": gain_over_geometry(card) if card else {},
        "calibration": card.get("calibration"),
        "splits": card.get("splits") or {},
        "seeds": card.get("seeds") or {},
        "limits": list(card.get("limits") or []),
        "code_version": model.code_version,
        "training_content": model.training_content,
        "data_versions": dict(card.get("data_versions") or {}),
        "lineage": [{**vars(table), "reads": list(table.reads), "state": table.state} for table in lineage],
        "files": dict(card.get("files") or {}),
        "folder": folder,
        "history": [event.to_json() for event in events],
    }


def comparison(
    models: Sequence[RegisteredModel], cards: Sequence[Card], events: Sequence[ModelEvent]
) -> dict[str, Any]:
    """The document of ``models compare``: metrics of two versions, what makes them incomparable, paired evidence."""
    metrics = [headline_metrics(card) for card in cards]
    names = sorted(set(metrics[0]) | set(metrics[1]), key=_metric_order)
    values_by_name = {}
    for name in names:
        first, second = (values.get(name) for values in metrics)
        values_by_name[name] = {"first": first, "second": second, "difference": _minus(first, second)}
    pair = {model.version for model in models}
    paired = [e for e in events if {e.version, e.previous_version} == pair and e.evidence and IN_FAVOUR in e.evidence]
    return {
        "model": models[0].model,
        "first": entry(models[0], cards[0], None),
        "second": entry(models[1], cards[1], None),
        "metrics": values_by_name,
        "caveats": _caveats(models, cards),
        "paired_evidence": [event.to_json() for event in paired],
    }


def _caveats(models: Sequence[RegisteredModel], cards: Sequence[Card]) -> list[str]:
    found = []
    if models[0].label != models[1].label:
        found.append(f"they predict different labels, {models[0].label} and {models[1].label}")
    parts = [headline_part(card) for card in cards]
    rows = [
        (card.get("splits") or {}).get(part) if isinstance(card.get("splits"), Mapping) else None
        for card, part in zip(cards, parts, strict=True)
    ]
    if parts[0] != parts[1] or rows[0] != rows[1]:
        found.append("they were judged on different rows, so their metrics differ for that reason, too")
    elif models[0].training_content != models[1].training_content:
        found.append("their training sets differ, so the rows they were judged on may, too")
    return found


def _metric_order(name: str) -> tuple[int, str]:
    return (SHOWN_METRICS.index(name) if name in SHOWN_METRICS else len(SHOWN_METRICS), name)


def concerns(event: ModelEvent, version: str) -> bool:
    """Whether an event is about a version, or took it out of service."""
    took_out = event.action in ("promoted", "rolled_back") and event.previous_version == version
    return event.version == version or took_out


# -- texts


def list_text(document: Mapping[str, Any]) -> str:
    """``models list`` in words."""
    rows = [
        (
            e["model"],
            e["version"],
            e["role"],
            _span(e["trained_on"]),
            number(e["log_loss"], ".4f"),
            number(e["gain_over_geometry"], "+.4f"),
            (e["published_at"] or NOTHING).replace("T", " "),
        )
        for e in document["models"]
    ]
    heads = ("model", "version", "role", "trained on", "log-loss", "gain", "published (UTC)")
    lines = table(heads, rows, right=(4, 5)) if rows else ["No model is registered yet: run `butterquant run`."]
    if rows and not any(e["role"] == "champion" for e in document["models"]):
        lines += ["", "No version serves. Put one into service: butterquant models promote VERSION --reason TEXT"]
    lines += [f"PROBLEM  {e['problem']}" for e in document["models"] if e["problem"]]
    return "\n".join(lines + [f"NOTE  {warning}" for warning in document["warnings"]])


def show_text(document: Mapping[str, Any]) -> str:
    """``models show`` in words."""
    d = document
    lines = [f"{d['model']} {d['version']}: {d['role']}", d["purpose"] or ""]
    lines += ["", f"PROBLEM  {d['problem']}"] if d["problem"] else []
    lines += ["", *pairs(_head_facts(d))]
    if d["evaluation"]:
        lines += ["", f"Judged on its {d['judged_on']} part", *_evaluation_lines(d["evaluation"])]
        lines += [f"  {d['verdict']['sentence']}"] if d["verdict"].get("sentence") else []
    if d["calibration"]:
        lines += ["", "Calibration", *pairs(_flat(d["calibration"]))]
    if d["lineage"]:
        lines += ["", "Data, from what it was trained on back to the sources", *_lineage_lines(d["lineage"])]
    lines += ["", "History", *(_event_lines(d["history"]) or ["  nothing on record"])]
    if d["files"]:
        files = {path: f"sha256 {digest[:SHORT_HASH]}..." for path, digest in d["files"].items()}
        lines += ["", f"Files in {d['folder']}", *pairs(files)]
    lines += ["", "Limits", *(f"  {limit}" for limit in d["limits"])] if d["limits"] else []
    return "\n".join(lines)


def compare_text(document: Mapping[str, Any]) -> str:
    """``models compare`` in words."""
    first, second = document["first"], document["second"]
    named = [f"{e['version'][:SHORT_HASH]} ({e['role']})" for e in (first, second)]
    shown = {n: v for n, v in document["metrics"].items() if n in SHOWN_METRICS}
    rows: list[tuple[str, ...]]
    rows = [(n, number(v["first"]), number(v["second"]), number(v["difference"], "+.4f")) for n, v in shown.items()]
    gains = [e["gain_over_geometry"] for e in (first, second)]
    rows.append(("gain over geometry", *(number(g, "+.4f") for g in gains), number(_minus(*gains), "+.4f")))
    rows.append(("trained on", _span(first["trained_on"]), _span(second["trained_on"]), ""))
    lines = table((document["model"], *named, "second - first"), rows, right=(1, 2, 3))
    lines += [f"CAUTION  {caveat}" for caveat in document["caveats"]]
    if not document["paired_evidence"]:
        return "\n".join([*lines, "", "No paired evidence on record: no event judged one of them against the other."])
    lines += ["", "Paired evidence on record, newest first"]
    for event in reversed(document["paired_evidence"]):
        lines += _event_lines([event])
        lines += [f"    {line.strip()}" for line in pairs(_flat(event["evidence"]))]
    return "\n".join(lines)


def change_text(document: Mapping[str, Any]) -> str:
    """``models promote`` and ``models rollback`` in words."""
    event = document["event"]
    model, version, at = event["model"], event["version"], _minute(event["at"])
    if not document["changed"]:
        return f"{model} {version} is in service already, since {at} UTC; nothing was changed."
    how = "restored" if event["action"] == "rolled_back" else "promoted"
    how += " by force, without evidence in favour" if event["evidence"].get("forced") else ""
    before = f"it takes the place of {event['previous_version']}" if event["previous_version"] else "it is the first"
    return f"{model} {version} was {how} at {at} UTC; {before}. Event {event['sequence']} of its history."


def history_text(document: Mapping[str, Any]) -> str:
    """``models history`` in words."""
    events = document["events"]
    if not events:
        return "Nothing is on record yet: run `butterquant run`."
    return "\n".join(_event_lines(events, named=len({event["model"] for event in events}) > 1))


def word(event: ModelEvent | None) -> str:
    """The last word on a version, for a message."""
    if event is None:
        return "it was never judged"
    against = f"when {event.previous_version or 'none'} served"
    return f"the last word is '{event.action.replace('_', ' ')}', {event.at:%Y-%m-%d}, {against}: {event.reason}"


def _head_facts(d: Mapping[str, Any]) -> dict[str, str]:
    gain = d["gain"]
    interval = (
        f" [{number(gain['low'], '+.4f')}, {number(gain['high'], '+.4f')}]" if gain.get("low") is not None else ""
    )
    count = gain.get("episodes")
    over = f" over {count} episode{'' if count == 1 else 's'}" if count else ""
    facts = {
        "label": f"{d['label']}: {d['label_definition']}" if d["label_definition"] else d["label"],
        "trained on": _span(d["trained_on"]),
        "gain over geometry": f"{number(gain.get('gain'), '+.4f')}{interval} nats a row{over}" if gain else "",
        "published": f"{d['published_at'].replace('T', ' ')} UTC" if d["published_at"] else "",
        "code": d["code_version"],
        "training set": d["training_content"],
        "seeds": ", ".join(f"{name} {seed}" for name, seed in d["seeds"].items()),
    }
    return {name: value for name, value in facts.items() if value}


def _evaluation_lines(evaluation: Mapping[str, Mapping[str, Any]]) -> list[str]:
    metrics = [m for m in SHOWN_METRICS if any(m in values for values in evaluation.values())]
    shown = [name for name, values in evaluation.items() if any(values.get(m) is not None for m in metrics)]
    order = sorted(shown, key=lambda name: (name not in MODELS, name))
    rows = [(name, *(number(evaluation[name].get(m)) for m in metrics)) for name in order]
    return table(("predictor", *metrics), rows, right=range(1, len(metrics) + 1), indent="  ")


def _lineage_lines(lineage: Sequence[Mapping[str, Any]]) -> list[str]:
    said = {
        "unchanged": "as the model was trained on",
        "changed": "CHANGED since the model was trained",
        "missing": "no longer in the lake",
        "upstream": "",
    }
    rows = []
    for t in lineage:
        source = t["asset"].startswith("source:")
        span = f"{t['first']} .. {t['last']}" if t["first"] else ("" if source else "one file")
        rows.append((t["asset"], span, "" if source else f"{t['rows']:,}", t["content"] or "", said[t["state"]]))
    return table(("table", "months", "rows", "content now", ""), rows, right=(2,), indent="  ")


def _event_lines(events: Sequence[Mapping[str, Any]], *, named: bool = False) -> list[str]:
    rows = []
    for event in events:
        forced = " (forced)" if event["evidence"].get("forced") else ""
        change = f"was {event['previous_version']}" if event["action"] in ("promoted", "rolled_back") else ""
        change = change if event["previous_version"] else ""
        who = (event["model"],) if named else ()
        what = (event["action"].replace("_", " ") + forced, event["version"], change, event["actor"], event["reason"])
        rows.append((*who, str(event["sequence"]), _minute(event["at"]), *what))
    return table((), rows, indent="  ")


def _span(trained: Mapping[str, Any]) -> str:
    if "rows" not in trained:
        return NOTHING
    until = f" to {trained['last_entry']}" if "last_entry" in trained else ""
    episodes = f", {trained['episodes']} episodes" if "episodes" in trained else ""
    return f"{trained['rows']:,} rows{until}{episodes}"


def _minute(at: str) -> str:
    return at[:16].replace("T", " ")


def _minus(first: Any, second: Any) -> float | None:
    return second - first if isinstance(first, int | float) and isinstance(second, int | float) else None


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested plain values as name -> text; long lists by their length."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name} ")
        elif isinstance(value, list):
            flat[prefix + name] = ", ".join(map(str, value)) if len(value) <= 6 else f"{len(value)} values"
        else:
            flat[prefix + name] = f"{value:.6g}" if isinstance(value, float) else str(value)
    return flat


def number(value: Any, pattern: str = ".4f") -> str:
    """A figure, or a dash where there is none."""
    return format(value, pattern) if isinstance(value, int | float) else NOTHING


def pairs(values: Mapping[str, str]) -> list[str]:
    """Names and values in two columns."""
    width = max(map(len, values), default=0) + 2
    return [f"  {name:<{width}}{value}" for name, value in values.items()]


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = (), indent: str = ""
) -> list[str]:
    """Columns as wide as their widest cell, those in `right` flush right."""
    cells = [list(heads), *map(list, rows)] if heads else [list(row) for row in rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))] if cells else []
    padded = (
        "  ".join(
            f"{cell:>{w}}" if place in right else f"{cell:<{w}}"
            for place, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )
    return [(indent + line).rstrip() for line in padded]
