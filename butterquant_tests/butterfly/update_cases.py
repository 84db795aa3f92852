"""A trained model and rows scanned after it, for the tests of the weekly update and of its asset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import replay, success_report, update
from butterquant_assets.butterfly.replay import TimedModel, vintage_folder
from butterquant_assets.butterfly.success_report import Outlook
from butterquant_assets.butterfly.update import UpdateConfig, UpdateWalk, walk_weeks
from butterquant_assets.butterfly.update_version import Parent, UpdatedSuccess, build_update
from butterquant_assets.learning import ensemble as ensemble_files
from butterquant_assets.learning.calibration import Calibrator
from butterquant_assets.learning.ensemble import Ensemble
from butterquant_tests.butterfly.market_cases import (
    COSTS,
    KEYS,
    QUICK,
    Tables,
    market_features,
    simulate_exit,
    tables,
    trained,
    training_rows,
)

LABEL = "label_mark"
TRAINING = replace(
    QUICK, student_hidden=(16,), student_epochs=5, step_rows=350, importance_rows=10, minimum_weighing_rows=10_000
)
CONFIG = UpdateConfig(rounds=20, minimum_rows=40, minimum_episodes=2)
SETTINGS = replace(TRAINING.settings, lightgbm=replace(TRAINING.settings.lightgbm, learning_rate=0.2, min_leaf_rows=10))
WEEKS_SCANNED = 36


@dataclass(frozen=True)
class Case:
    """A trained model, and rows scanned over the last weeks of the same market: tickers the training never saw."""

    given: Tables
    parent: Parent
    rows: pd.DataFrame

    def walk(self, rows: pd.DataFrame | None = None, config: UpdateConfig = CONFIG, **changed: object) -> UpdateWalk:
        models = changed.get("models", self.parent.models)
        sample = changed.get("sample", self.given.training_set)
        given = self.rows if rows is None else rows
        return walk_weeks(given, sample, models, config, SETTINGS, label=LABEL)  # type: ignore[arg-type]

    def build(self, walk: UpdateWalk, config: UpdateConfig = CONFIG) -> UpdatedSuccess:
        versions = {"butterfly/daily_scan": "s1", "butterfly/scan_outcomes": "o1"}
        return build_update(
            walk, self.given.analyses, self.parent, config, COSTS, data_versions=versions, code_version="c2"
        )


@lru_cache
def update_case() -> Case:
    """Trained once for all tests; trees have most of the weight, so that what they learn shows."""
    given = tables(160, seed=4)
    analyses = given.analyses
    rows = training_rows(analyses, simulate_exit(analyses, 5), features=market_features(analyses))
    unseen = ~rows["ticker"].isin(given.training_set["ticker"].unique())
    late = rows["session"] >= np.sort(rows["session"].unique())[-WEEKS_SCANNED]
    scanned = rows[unseen & late]
    features = scanned[[*KEYS, *update.FEATURES]]
    outcomes = scanned[[*KEYS, "evaluation_session", LABEL]].assign(missing_reason="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(success_report, "look", lambda found: Outlook(b"report", {}, {}))
        model = trained(given, TRAINING)
    files = dict(model.files)
    weighted = []
    for old in replay.timed_models(model.version, model.training, model.files):
        weights = {"base": 0.1, "lightgbm": 0.9}
        new = Ensemble(old.ensemble.base, old.ensemble.members, weights, old.ensemble.calibrator)
        weighted.append(replace(old, ensemble=new))
    for timed in weighted:
        folder = vintage_folder(str(timed.first.astype("datetime64[M]")), weighted)
        files |= {f"{folder}/{path}": content for path, content in ensemble_files.to_files(timed.ensemble).items()}
    parent = Parent(model.version, model.training, files, weighted)
    return Case(given, parent, update.update_rows(scanned, features, outcomes, LABEL))


@lru_cache
def shifted_rows() -> pd.DataFrame:
    """The same rows in a market that changed: more than half of all trades now end in the best class."""
    rows = update_case().rows
    luck = np.random.default_rng(1).random(len(rows))
    return rows.assign(**{LABEL: np.where(luck < 0.6, 3.0, rows[LABEL])})


def calibrated(models: list[TimedModel], temperature: float) -> list[TimedModel]:
    """The same vintages, each with a temperature."""
    made = Calibrator("temperature", {"temperature": np.array([temperature])})
    return [
        replace(m, ensemble=Ensemble(m.ensemble.base, m.ensemble.members, m.ensemble.weights, made)) for m in models
    ]
