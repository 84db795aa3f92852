"""The hyper-parameter study as an asset: asked for by a person, never by the graph."""

from __future__ import annotations

import time

from butterquant_assets.butterfly import study
from butterquant_assets.butterfly.assets import ANALYSES, FEATURES, TRAINING
from butterquant_assets.butterfly.study_schemas import SUCCESS_STUDY
from butterquant_assets.foundation.freshness import Window
from butterquant_assets.foundation.study_store import open_journal
from butterquant_assets.learning.tuning import TrialRecord
from butterquant_assets.orchestration.declaration import LakeAsset, Result, Work, lake_asset
from butterquant_assets.orchestration.progress import logger

STUDY = SUCCESS_STUDY.table
FOLDER = "studies"


def _result(report: study.StudyReport) -> Result:
    return Result({"success_study": report.table}, facts={None: report.facts}, plots=report.plots)


@lake_asset(
    SUCCESS_STUDY,
    reads=[Window(TRAINING), Window(ANALYSES), Window(FEATURES)],
    code=[study, _result],
    config=lambda settings: (settings.study, settings.training, settings.costs),
    axis=None,
    kinds=frozenset({"optuna", "parquet"}),
    pool="training",
)
def success_study(work: Work) -> Result:
    """Trials of a hyper-parameter study of one kind of member; empty unless BUTTERQUANT_STUDY__TRIALS asks for it."""
    asked, training, costs = work.config
    if not asked.trials:
        return _result(study.not_asked())
    context = study.study_context(
        asked, training, costs, work.freshness.inputs(STUDY, None), work.freshness.nodes[STUDY].code
    )

    def tell(trial: TrialRecord) -> None:
        value = "" if trial.value is None else f"{trial.value:.5f}"
        logger.info("%-28s trial %d/%d %s %s", STUDY, trial.number + 1, asked.trials, trial.state, value)

    tables = work.read(TRAINING), work.read(ANALYSES), work.read(FEATURES)
    # The journal grows with every trial, so it is no artifact: what is published is the table.
    path = work.house.settings.home / FOLDER / f"{study.study_name(asked, context)}.journal"
    with open_journal(path) as storage:
        report = study.run(
            *tables, training, costs, asked, storage=storage, context=context, clock=time.monotonic, on_trial=tell
        )
    return _result(report)


ASSETS: tuple[LakeAsset, ...] = (success_study,)
