"""The version made of a weekly update: its files, its card, its tables, and how its rival did on the same rows. Pure.

What belongs here: turning a walk through the weeks into plain values that can be stored, registered and judged. What
does not: the walk (`update`), restoring a stored update (`replay`), and storing anything.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly import challenge, evaluation
from butterquant_assets.butterfly.config import CostConfig
from butterquant_assets.butterfly.evaluation import GEOMETRY, MODEL
from butterquant_assets.butterfly.geometry import aligned, geometry_probabilities
from butterquant_assets.butterfly.model_schemas import PROBABILITIES
from butterquant_assets.butterfly.replay import WEEKS, TimedModel, predict_at_the_time, vintage_folder
from butterquant_assets.butterfly.success import OUT_OF_SAMPLE
from butterquant_assets.butterfly.update import KEYS, UpdateConfig, UpdateWalk, Week
from butterquant_assets.foundation.model_content import canonical_json, content_version
from butterquant_assets.learning import ensemble as ensemble_files
from butterquant_assets.learning import metrics
from butterquant_assets.learning.cards import plain_values
from butterquant_assets.learning.promotion import Evidence

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

PART, PARENT = "weekly_update", "parent"
LIMIT = (
    "An update changes trees and calibration only: weights, class values and threshold are those of the full training "
    "it started from."
)


@dataclass(frozen=True, eq=False)
class Parent:
    """The full training an update starts from, as it is stored.

    Parameters
    ----------
    version, training, files
        version, training record, and files by path
    models
        its vintages in time order
    """

    version: str
    training: Mapping[str, Any]
    files: Mapping[str, bytes]
    models: Sequence[TimedModel]


@dataclass(frozen=True, eq=False)
class UpdatedSuccess:
    """An updated success model as plain values.

    Parameters
    ----------
    version
        hash of all files and of the training record
    files
        contents by path: the model to serve under ``ensemble/``; under ``weeks/<first day>/`` what the model of each
        earlier week has beyond its vintage; the out-of-sample predictions
    training
        training record, from which `success.card` makes the card
    evaluation
        columns predictor (model, parent, geometry), part, metric, value: the same rows for all
    """

    version: str
    files: dict[str, bytes]
    training: dict[str, Any]
    evaluation: pd.DataFrame


def build_update(
    walk: UpdateWalk,
    analyses: pd.DataFrame,
    parent: Parent,
    config: UpdateConfig,
    costs: CostConfig,
    *,
    data_versions: Mapping[str, str],
    code_version: str,
) -> UpdatedSuccess:
    """The version of a walk that has something to judge (`UpdateWalk.refusal` is None).

    Parameters
    ----------
    walk
        through the weeks
    analyses
        columns of `schemas.ANALYSES`, of the same rows, for the geometry baseline
    parent
        what it started from
    config, costs
        configuration in use
    data_versions
        content hash of each table the walk read, beside those of the parent
    code_version
        hash of the code that made the update

    Notes
    -----
    What the version is depends on the parent and the rows, and on nothing that is decided about it.
    """
    label = str(parent.training["label"])
    met = walk.rows[walk.updated]
    geometry = geometry_probabilities(aligned(met, analyses), label, costs=costs)
    everyone = {name: np.full(walk.probabilities.shape, np.nan) for name in (MODEL, PARENT, GEOMETRY)}
    everyone[MODEL], everyone[PARENT] = walk.probabilities, walk.unchanged
    everyone[GEOMETRY][walk.updated] = geometry
    files = _model_files(walk, parent) | {OUT_OF_SAMPLE: _out_of_sample(walk, everyone, parent)}
    table = _evaluation(everyone, walk, label)
    record = _record(walk, everyone, parent, config, label)
    record |= {"data_versions": {**parent.training["data_versions"], **data_versions}, "code_version": code_version}
    hashes = canonical_json({path: content_version(content, {}) for path, content in sorted(files.items())})
    return UpdatedSuccess(content_version(hashes, record), files, record, table)


def judge_update(
    version: str, walk: UpdateWalk, rival: Sequence[TimedModel], *, label: str, champion: str, seed: int
) -> Evidence:
    """Judge an update against the models of the version in service, on the rows that an updated model met.

    Parameters
    ----------
    version
        of the update
    walk
        its walk
    rival
        models of the version in service, in time order; what the first of them is too late for is left out
    label
        label column
    champion
        version in service
    seed
        of the bootstrap
    """
    rows = walk.rows[walk.judged]
    theirs = predict_at_the_time(rival, rows)
    both = np.asarray(np.isfinite(theirs).all(axis=1), dtype=np.bool_)
    return challenge.judge_rows(
        version,
        walk.probabilities[walk.judged][both],
        theirs[both],
        rows.loc[both, label].to_numpy().astype(np.int64),
        rows.loc[both, "episode"].to_numpy(),
        champion=champion,
        seed=seed,
    )


def week_table(walk: UpdateWalk, label: str) -> pd.DataFrame:
    """The weeks as rows of `update_schemas.SUCCESS_UPDATE`, with the losses of the updated and the unchanged model."""
    entry = walk.rows["session"].to_numpy().astype("datetime64[D]")
    ends = [week.first for week in walk.weeks[1:]] + [np.datetime64("9999-12-31")]
    known = walk.rows["evaluation_session"].notna().to_numpy()
    rows = []
    for week, end in zip(walk.weeks, ends, strict=True):
        met = (entry >= week.first) & (entry < end)
        scored = met & known
        y = walk.rows.loc[scored, label].to_numpy().astype(np.int64)
        losses = [
            float(metrics.row_log_loss(p[scored], y).mean()) if len(y) else np.nan
            for p in (walk.probabilities, walk.unchanged)
        ]
        rows.append(
            {
                "first": pd.Timestamp(str(week.first)),
                "vintage": week.month,
                "updated": week.updated,
                "reason": week.reason,
                "new_rows": week.new_rows,
                "new_episodes": week.new_episodes,
                "rounds": sum(week.rounds.values()),
                "calibration_rows": week.calibration_rows,
                "rows": int(met.sum()),
                "known_rows": len(y),
                "log_loss": losses[0],
                "log_loss_parent": losses[1],
            }
        )
    return pd.DataFrame(rows).astype({"first": "datetime64[us]", "vintage": "str", "reason": "str"})


def _model_files(walk: UpdateWalk, parent: Parent) -> dict[str, bytes]:
    files = {f"ensemble/{p}": content for p, content in ensemble_files.to_files(walk.served.ensemble).items()}
    for week in walk.weeks[:-1]:
        if week.updated:
            folder = vintage_folder(week.month, parent.models)
            stored = ensemble_files.to_files(week.ensemble)
            files |= {
                f"{WEEKS}/{week.first}/{path}": content
                for path, content in stored.items()
                if parent.files.get(f"{folder}/{path}") != content
            }
    return files


def _out_of_sample(walk: UpdateWalk, everyone: Mapping[str, Floats], parent: Parent) -> bytes:
    """Predictions of model and geometry: the update's where one of its models decided, else the parent's."""
    before = pd.read_parquet(io.BytesIO(parent.files[OUT_OF_SAMPLE]))
    rows = walk.rows.loc[walk.updated, KEYS]
    entry = rows["session"].to_numpy().astype("datetime64[D]")
    firsts = np.array([week.first for week in walk.weeks])
    months = np.array([week.month for week in walk.weeks], dtype=object)
    rows = rows.assign(vintage=months[np.searchsorted(firsts, entry, side="right") - 1])
    kept = ~pd.MultiIndex.from_frame(before[KEYS]).isin(pd.MultiIndex.from_frame(rows[KEYS]))
    parts = [
        rows.assign(predictor=name, **dict(zip(PROBABILITIES, everyone[name][walk.updated].T, strict=True)))
        for name in (MODEL, GEOMETRY)
    ]
    table = pd.concat([before[kept], *parts], ignore_index=True)[list(before.columns)]
    table = table.astype({"vintage": "str", "predictor": "str"})
    table = table.sort_values([*KEYS, "predictor"], kind="stable").reset_index(drop=True)
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def _evaluation(everyone: Mapping[str, Floats], walk: UpdateWalk, label: str) -> pd.DataFrame:
    y = walk.rows.loc[walk.judged, label].to_numpy().astype(np.int64)
    found = {name: metrics.evaluate(p[walk.judged], y) for name, p in everyone.items()}
    rows = [(name, PART, metric, found[name][metric]) for name in everyone for metric in metrics.SCALARS]
    return pd.DataFrame(rows, columns=["predictor", "part", "metric", "value"])


def _record(
    walk: UpdateWalk, everyone: Mapping[str, Floats], parent: Parent, config: UpdateConfig, label: str
) -> dict[str, Any]:
    """The parent's training record, with what the update changed."""
    old, served = parent.training, walk.served
    calibrator = served.ensemble.calibrator
    proxy = old["config"]["analysis"]["iv_level"] != "published"
    verdict = evaluation.verdict(
        everyone, walk.rows, walk.judged, label=label, seed=config.seed, vols_are_proxy=proxy
    ).to_json()
    y = walk.rows.loc[walk.judged, label].to_numpy().astype(np.int64)
    matrix = metrics.confusion_matrix(walk.probabilities[walk.judged].argmax(axis=1), y)
    update = {
        "parent": parent.version,
        "vintage": served.month,
        "first_week": str(next(week.first for week in walk.weeks if week.updated)),
        "weeks_updated": sum(week.updated for week in walk.weeks),
        "decides_from": str(served.first),
        "new_rows": served.new_rows,
        "new_episodes": served.new_episodes,
        "rounds": served.rounds,
        "calibration_rows": served.calibration_rows,
    }
    record: dict[str, Any] = plain_values(
        {
            **old,
            "architecture": {**old["architecture"], "calibration": calibrator.method},
            "training": {**old["training"], "update": update},
            "splits": {**old["splits"], WEEKS: [_week_facts(week) for week in walk.weeks]},
            "confusion_matrix": matrix.tolist(),
            "verdict": verdict,
            "config": {**old["config"], "update": asdict(config)},
            "seeds": {**old["seeds"], "update": config.seed},
            "limits": [*old["limits"], LIMIT],
            "serving": {
                **old["serving"],
                "calibration": {"method": calibrator.method, "version": calibrator.version()},
            },
        }
    )
    return record


def _week_facts(week: Week) -> dict[str, Any]:
    facts = {"first": str(week.first), "vintage": week.month}
    return facts | {name: getattr(week, name) for name in ("updated", "new_rows", "new_episodes", "rounds")}
