"""What the registry keeps about a model version, and how a model card becomes it. Pure.

What belongs here: records and their order. What does not: events (`registry_events`), storage and files (`registry`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from butterquant_assets.foundation.errors import ModelStoreError
from butterquant_assets.foundation.model_store import ONNX

CHAMPION, CHALLENGER, REFUSED, RETIRED = "champion", "challenger", "refused", "retired"
# Parts of an evaluation that nothing was fitted on, the strictest first; and names its model goes by.
JUDGED_PARTS = ("walk_forward", "test", "out_of_fold", "pooled")
MODELS = ("model", "ensemble")


@dataclass(frozen=True)
class RegisteredModel:
    """One version of a model.

    Parameters
    ----------
    model, version
        name and content hash
    role
        ``challenger`` (never served), ``champion`` (serves), ``retired`` (served), ``refused`` (judged and refused)
    label
        label column it was trained on
    onnx_sha256, training_content, code_version
        hashes of the ONNX file, of the training set and of the code
    metrics
        on its test part
    published_at
        naive UTC; None where the publisher did not say
    """

    model: str
    version: str
    role: str
    label: str
    onnx_sha256: str
    training_content: str
    code_version: str
    metrics: dict[str, Any]
    published_at: datetime | None


@dataclass(frozen=True)
class Mended:
    """A pointer file that did not say what the warehouse says.

    `pointer` is what it said (None: nothing, or nothing readable), `champion` what the warehouse says. With no
    champion the pointer was left alone: the warehouse does not know who put that version into service.
    """

    model: str
    pointer: str | None
    champion: str | None

    def sentence(self) -> str:
        """What was found and done, in words."""
        if self.champion is None:
            return (
                f"the pointer file of {self.model} names {self.pointer}, but this warehouse never promoted a version: "
                "it is not the warehouse of these models, or was made anew; promote a version to settle it"
            )
        return (
            f"the pointer file of {self.model} named {self.pointer or 'no version'}, the warehouse {self.champion}; "
            "the file now says the same"
        )


def by_service(models: list[RegisteredModel]) -> list[RegisteredModel]:
    """The champion first, then the newest first; those without a time last."""

    def newest(model: RegisteredModel) -> float:
        return model.published_at.replace(tzinfo=UTC).timestamp() if model.published_at else 0.0

    return sorted(models, key=lambda model: (model.role != CHAMPION, -newest(model), model.version))


def models_of(rows: pd.DataFrame) -> list[RegisteredModel]:
    """Rows of the ``models`` and ``champion`` queries."""
    return [
        RegisteredModel(
            **{str(name): value for name, value in row.items()}
            | {
                "metrics": json.loads(row["metrics"]),
                "published_at": None if pd.isna(row["published_at"]) else row["published_at"].to_pydatetime(),
            }
        )
        for row in rows.to_dict("records")
    ]


def row_of(card: Mapping[str, Any], training_set: str | None = None) -> dict[str, Any]:
    """Parameters of ``upsert_model`` from a card, without ``published_at``.

    Raises
    ------
    ModelStoreError
        if the card lacks one of them.
    """
    try:
        return {
            "model": card["name"],
            "version": card["version"],
            "role": CHALLENGER,
            "label": card["label"]["column"],
            "onnx_sha256": card["files"][ONNX],
            "training_content": _training_content(card["data_versions"], training_set),
            "code_version": card["code_version"],
            "metrics": json.dumps(headline_metrics(card), sort_keys=True),
        }
    except (KeyError, TypeError) as error:
        raise ModelStoreError(
            f"the card of {card.get('name')} {card.get('version')} lacks {error}, which the registry keeps: build the "
            "card with learning.cards.build_card"
        ) from error


def _training_content(data_versions: Mapping[str, str], training_set: str | None) -> str:
    named = [n for n in data_versions if (n == training_set if training_set else n.endswith("training_set"))]
    if len(named) != 1:
        raise ModelStoreError(
            f"the card's data_versions name {', '.join(sorted(data_versions)) or 'nothing'}; expected exactly one "
            f"{training_set or 'table whose name ends in training_set'}: pass training_set"
        )
    return data_versions[named[0]]


def headline_part(card: Mapping[str, Any]) -> str | None:
    """The part of a card's evaluation that judges the model; None where the card has no evaluation."""
    parts = card.get("evaluation") or {}
    return next((part for part in JUDGED_PARTS if part in parts), next(reversed(parts), None))


def headline_metrics(card: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics of the model on that part, by name; empty where the card has none.

    The model is the predictor named ``model`` or ``ensemble``, else the first.
    """
    part = headline_part(card)
    predictors = card["evaluation"][part] if part else {}
    name = next((name for name in MODELS if name in predictors), next(iter(predictors), None))
    return dict(predictors[name]) if name else {}
