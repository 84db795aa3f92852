"""Hyper-parameter search: a budget of trials, resumable, the same trials whether interrupted or not.

What belongs here: the search (Optuna's tree-structured Parzen estimator), its space and its result as plain values.
What does not: the file it is kept in (`foundation.study_store`), what is searched for (`learning.tuning_objective`).

Each trial draws from a sampler seeded by (seed, number of the trial) and by nothing else but the trials before it. So
a study that was killed and taken up gives the trials of an undisturbed one, and one asked for more trials gives the
same first ones. A trial cut short is run again; it leaves no trace in the result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError, DataError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, Trial

COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"
RANDOM_TRIALS = 10
TRIALS_BEFORE_PRUNING = 5
# What an unlucky choice of parameters may raise. Anything else is a mistake in the program and stops the study.
TRIAL_FAILURES = (DataError, ArithmeticError, ValueError, RuntimeError)
_INTERRUPTED, _REASON, _IDENTITY = "interrupted", "reason", "identity"

Report = Callable[[int, float], None]
"""`report(step, value)`: an intermediate value of a trial; raises `PrunedError` where going on is not worth it."""
Objective = Callable[[dict[str, Any], Report], float]
"""Parameters and `report` in, the value to minimise out."""


class PrunedError(Exception):
    """The trial is no better than the median of the earlier ones; an objective lets it pass through."""


@dataclass(frozen=True)
class Parameter:
    """One dimension of a search space.

    Parameters
    ----------
    name
        key in the parameters given to the objective
    kind
        ``float``, ``int`` or ``categorical``
    low, high
        bounds, both included; of a number only
    log
        whether a number is searched on a logarithmic scale
    choices
        of a categorical: plain values or tuples of them

    Raises
    ------
    ConfigError
        if these contradict each other.
    """

    name: str
    kind: Literal["float", "int", "categorical"]
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ("float", "int", "categorical"):
            raise ConfigError(f"{self.name} is of kind {self.kind!r}; use float, int or categorical")
        if self.kind == "categorical":
            if not self.choices or self.low is not None or self.high is not None or self.log:
                raise ConfigError(f"the categorical {self.name} needs choices, and neither bounds nor log")
            return
        if self.low is None or self.high is None or not self.low <= self.high or self.choices:
            raise ConfigError(
                f"{self.name} has bounds {self.low} .. {self.high}; a number needs low <= high, no choices"
            )
        if self.log and self.low <= 0:
            raise ConfigError(f"{self.name} begins at {self.low}; a logarithmic scale needs a bound above 0")
        if self.kind == "int" and not (float(self.low).is_integer() and float(self.high).is_integer()):
            raise ConfigError(f"{self.name} has bounds {self.low} .. {self.high}; those of an int must be whole")

    def distribution(self) -> BaseDistribution:
        """The same in Optuna's words."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind == "categorical":
            return CategoricalDistribution([json.dumps(choice) for choice in self.choices])
        low, high = cast("float", self.low), cast("float", self.high)
        if self.kind == "int":
            return IntDistribution(int(low), int(high), log=self.log)
        return FloatDistribution(float(low), float(high), log=self.log)

    def decoded(self, stored: Any) -> Any:
        """The value an objective sees, from the one in the journal (a categorical is stored as JSON)."""
        if self.kind != "categorical":
            return stored
        return self.choices[[json.dumps(choice) for choice in self.choices].index(stored)]


@dataclass(frozen=True)
class TrialRecord:
    """One trial as plain values.

    Attributes
    ----------
    number
        from 0, without gaps
    state
        ``complete``, ``pruned`` or ``failed``
    value
        to be minimised; of a pruned trial the last value reported; None of a failed one
    parameters
        by name
    reported
        intermediate values by step
    reason
        why it failed or was pruned, else empty
    """

    number: int
    state: str
    value: float | None
    parameters: dict[str, Any]
    reported: dict[int, float]
    reason: str


@dataclass(frozen=True)
class StudyResult:
    """A finished study, or one out of time.

    Attributes
    ----------
    name, seed, space
        of the study
    best
        the complete trial of lowest value, the earliest of equals
    trials
        all, in order
    stopped_by
        ``trials`` or ``seconds``
    interruptions
        trials begun by a process that did not finish them; not part of what is stored or compared
    """

    name: str
    seed: int
    space: tuple[Parameter, ...]
    best: TrialRecord
    trials: tuple[TrialRecord, ...]
    stopped_by: str
    interruptions: int = field(default=0, compare=False)

    @property
    def best_parameters(self) -> dict[str, Any]:
        """Parameters of the best trial by name."""
        return dict(self.best.parameters)

    def table(self) -> pd.DataFrame:
        """One row a trial.

        Returns
        -------
        DataFrame
            ``number`` (int64), ``state`` (str), ``value`` (float64, NaN of a failed trial), ``steps`` (int64, values
            reported), ``reason`` (str), then a column for each parameter: int64 or float64, or for a categorical its
            choice as JSON
        """
        columns: dict[str, Any] = {
            "number": pd.Series([trial.number for trial in self.trials], dtype="int64"),
            "state": pd.Series([trial.state for trial in self.trials], dtype="str"),
            "value": pd.Series([trial.value for trial in self.trials], dtype="float64"),
            "steps": pd.Series([len(trial.reported) for trial in self.trials], dtype="int64"),
            "reason": pd.Series([trial.reason for trial in self.trials], dtype="str"),
        }
        for parameter in self.space:
            values = [trial.parameters[parameter.name] for trial in self.trials]
            if parameter.kind == "categorical":
                columns[parameter.name] = pd.Series([json.dumps(value) for value in values], dtype="str")
            else:
                columns[parameter.name] = pd.Series(values, dtype="int64" if parameter.kind == "int" else "float64")
        return pd.DataFrame(columns)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a model card: everything but the interruptions, so that a resumed study gives the same."""
        return {
            "name": self.name,
            "seed": self.seed,
            "space": [asdict(parameter) for parameter in self.space],
            "best": asdict(self.best),
            "trials": [asdict(trial) for trial in self.trials],
            "stopped_by": self.stopped_by,
        }


def run_study(
    objective: Objective,
    space: Sequence[Parameter],
    *,
    name: str,
    storage: BaseStorage,
    trials: int,
    seed: int,
    seconds: float | None = None,
    clock: Callable[[], float] | None = None,
    context: Mapping[str, str] | None = None,
    on_trial: Callable[[TrialRecord], None] | None = None,
) -> StudyResult:
    """Minimise `objective` over `space`; takes up the study of that name where the storage has one.

    Parameters
    ----------
    objective
        see `Objective`; deterministic, or a resumed study is not the undisturbed one
    space
        what is searched
    name
        of the study within the storage
    storage
        from `foundation.study_store.open_journal`; any Optuna storage does
    trials
        how many in all, those of earlier calls included; pruned and failed ones count, interrupted ones do not
    seed
        of the sampler
    seconds, clock
        begin no further trial once `clock` (a monotonic count of seconds) has advanced this far within this call; the
        first missing trial is always run, so that every call makes progress
    context
        what the values rest on (content of the training set, version of the code): a study is only taken up with the
        same
    on_trial
        called after each trial of this call

    Returns
    -------
    StudyResult of the first `trials` trials

    Raises
    ------
    ConfigError
        if the budget or the space is unusable, or a study of that name was begun with another space, seed or context.
    DataError
        if no trial was completed; the message gives the first reason.

    Notes
    -----
    A trial that raises one of `TRIAL_FAILURES`, or returns a value that is not finite, failed and its reason is
    recorded. Any other exception leaves the call, and the trial is run again when the study is taken up.
    Sampler: multivariate TPE (Bergstra et al., *Algorithms for Hyper-Parameter Optimization*, NIPS 2011) after ten
    random trials. Pruning: the median stopping rule (Golovin et al., *Google Vizier*, KDD 2017) against the values of
    all earlier trials at the same step. Optuna's own `MedianPruner` sets a trial's best step so far against the others'
    present step, which prunes nothing once an easy fold came first, and leaves pruned trials out of the median, so that
    it grows stricter with every trial it prunes.
    """
    _check_budget(space, trials, seconds, clock)
    with _quiet():
        study = _open(name, storage, space, seed, dict(context or {}))
        _give_up_interrupted(study)
        began = clock() if clock else 0.0
        counted = len(_counted(study))
        ran = 0
        while counted + ran < trials and not (ran and seconds is not None and clock and clock() - began >= seconds):
            record = _run_trial(study, objective, space, seed, number=counted + ran)
            ran += 1
            if on_trial:
                on_trial(record)
        found = _counted(study)[:trials]
        interruptions = len(study.get_trials(deepcopy=False)) - len(_counted(study))
    records = tuple(_record(trial, number, space) for number, trial in enumerate(found))
    stopped_by = "trials" if len(records) == trials else "seconds"
    return StudyResult(name, seed, tuple(space), _best(name, records), records, stopped_by, interruptions)


def _open(name: str, storage: BaseStorage, space: Sequence[Parameter], seed: int, context: dict[str, str]) -> Study:
    import optuna

    identity = {"space": [asdict(parameter) for parameter in space], "seed": seed, "context": context}
    wanted = json.loads(json.dumps(identity))  # tuples come back from the journal as lists
    study = optuna.create_study(
        study_name=name, storage=storage, direction="minimize", pruner=optuna.pruners.NopPruner(), load_if_exists=True
    )
    begun = study.user_attrs.get(_IDENTITY)
    if begun is None:
        study.set_user_attr(_IDENTITY, wanted)
    elif begun != wanted:
        differing = ", ".join(part for part in wanted if begun.get(part) != wanted[part])
        raise ConfigError(
            f"the study {name!r} was begun with another {differing}; give this one another name, or remove its journal"
        )
    return study


def _run_trial(study: Study, objective: Objective, space: Sequence[Parameter], seed: int, number: int) -> TrialRecord:
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    study.sampler = TPESampler(
        seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]),
        n_startup_trials=RANDOM_TRIALS,
        multivariate=True,
        constant_liar=False,
    )
    trial = study.ask({parameter.name: parameter.distribution() for parameter in space})
    parameters = {parameter.name: parameter.decoded(trial.params[parameter.name]) for parameter in space}
    value, state, reason = None, TrialState.COMPLETE, ""
    try:
        value = float(objective(parameters, _reporter(study, trial)))
        if not np.isfinite(value):
            value, state, reason = None, TrialState.FAIL, f"the objective is {value}"
    except PrunedError as pruned:
        state, reason = TrialState.PRUNED, str(pruned)
    except ConfigError:
        raise
    except TRIAL_FAILURES as error:
        state, reason = TrialState.FAIL, f"{type(error).__name__}: {error}"
    if reason:
        trial.set_user_attr(_REASON, reason)
    return _record(study.tell(trial, value, state), number, space)


def _reporter(study: Study, trial: Trial) -> Report:
    """Record an intermediate value, and stop the trial where it is above the median of earlier trials at that step."""
    from optuna.trial import TrialState

    states = (TrialState.COMPLETE, TrialState.PRUNED)
    others = [done.intermediate_values for done in study.get_trials(deepcopy=False, states=states)]

    def report(step: int, value: float) -> None:
        if not np.isfinite(value):
            raise DataError(f"the value reported at step {step} is {value}")
        trial.report(float(value), step)
        known = [reported[step] for reported in others if step in reported]
        if len(known) < TRIALS_BEFORE_PRUNING:
            return
        median = float(np.median(known))
        if value > median:
            raise PrunedError(f"{value:.6g} at step {step}, above the median {median:.6g} of {len(known)} trials")

    return report


def _give_up_interrupted(study: Study) -> None:
    """Close trials whose process died. The mark comes first: a kill in between is met the same way the next time."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study._storage.set_trial_user_attr(trial._trial_id, _INTERRUPTED, True)
        study.tell(trial.number, state=TrialState.FAIL)


def _counted(study: Study) -> list[FrozenTrial]:
    """Trials that ran to an end, in order."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state.is_finished() and _INTERRUPTED not in trial.user_attrs
    ]


def _record(trial: FrozenTrial, number: int, space: Sequence[Parameter]) -> TrialRecord:
    state = {"COMPLETE": COMPLETE, "PRUNED": PRUNED, "FAIL": FAILED}[trial.state.name]
    return TrialRecord(
        number=number,
        state=state,
        value=None if state == FAILED else trial.value,
        parameters={parameter.name: parameter.decoded(trial.params[parameter.name]) for parameter in space},
        reported=dict(sorted(trial.intermediate_values.items())),
        reason=str(trial.user_attrs.get(_REASON, "")),
    )


def _best(name: str, records: Sequence[TrialRecord]) -> TrialRecord:
    complete = [record for record in records if record.state == COMPLETE]
    if not complete:
        raise DataError(
            f"none of the {len(records)} trials of study {name!r} was completed; the first: {records[0].reason}"
        )
    return min(complete, key=lambda record: (record.value, record.number))


def _check_budget(
    space: Sequence[Parameter], trials: int, seconds: float | None, clock: Callable[[], float] | None
) -> None:
    if trials < 1:
        raise ConfigError(f"trials is {trials}; a study needs 1 or more")
    if seconds is not None and (seconds <= 0 or clock is None):
        raise ConfigError(f"seconds is {seconds}; a limit must be above 0 and needs a clock")
    names = [parameter.name for parameter in space]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"the space has parameters {names}; it needs at least one, each name once")


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna reports every trial; the process gets its own verbosity back."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
