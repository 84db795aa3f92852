"""The registry of models: which version serves, which ones did, and why.

The warehouse is the truth: one row per version with its role, and an append-only history of what happened to it. The
serving process polls a pointer file of the model store instead (``models/<name>/champion.json``), which follows the
warehouse. An edge: it does I/O and knows no Dagster. What does not belong here: the pointer file (`registry_pointer`),
judging whether a version deserves service (`learning`), the files of a version (`model_store`), and what is shown to
whom (the command line).

How two decisions at once cannot both win: each event takes the next number of its model's history, and only one can
have it. The other sees that the champion changed while it was being prepared, and is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from butterquant_assets.foundation.errors import ConfigError, ModelStoreError
from butterquant_assets.foundation.registry_events import (
    ModelEvent,
    chained,
    evidence_in_favour,
    last_word,
    plain_evidence,
    served_before,
    service_event,
    verified_history,
)
from butterquant_assets.foundation.registry_pointer import ChampionPointer, Store, check_servable
from butterquant_assets.foundation.registry_records import (
    REFUSED,
    Mended,
    RegisteredModel,
    by_service,
    models_of,
    row_of,
)
from butterquant_assets.foundation.warehouse import Warehouse

log = logging.getLogger(__name__)

ACTOR = "butterquant"
# Somebody else took the number of an event this often in a row: not a race any more.
ATTEMPTS = 50

Clock = Callable[[], datetime]
# From the history as it stands: the version the next event is about, or the event that says it all already.
Decide = Callable[[list[ModelEvent]], str | ModelEvent]


class Registry:
    """Roles and history of model versions.

    Parameters
    ----------
    warehouse_url
        as for `Warehouse`; its schema is brought up to date at the first call
    store
        the model store whose pointer file follows the registry
    clock
        the time of events, with a time zone

    Notes
    -----
    Use it as a context manager, or call `close`. Every method may raise `WarehouseError`.
    """

    def __init__(self, warehouse_url: str, store: Store, *, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self._warehouse = Warehouse(warehouse_url)
        self._store = store
        self._pointer = ChampionPointer(store)
        self._clock = clock
        self._migrated = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give back all connections."""
        self._warehouse.close()

    # -- reading

    def names(self) -> list[str]:
        """Models with a registered version, ascending."""
        return [str(name) for name in self._open().fetch("model_names")["model"]]

    def models(self, name: str | None = None) -> list[RegisteredModel]:
        """Versions of one model or of all: by model, the champion first, then the newest first."""
        names = self.names() if name is None else [name]
        return [model for each in names for model in by_service(self._versions(each))]

    def champion(self, name: str) -> RegisteredModel | None:
        """The version in service, after making the pointer file agree; None where there is none.

        Raises
        ------
        ModelStoreError
            if the pointer must be mended and the champion's files were lost or altered.
        """
        self.reconcile(name)
        return self._champion(name)

    def history(self, name: str) -> list[ModelEvent]:
        """What happened to a model's versions, oldest first.

        Raises
        ------
        WarehouseError
            if an event was altered, removed or slipped in after it was written.
        """
        return verified_history(name, self._open().fetch("model_events", {"model": name}))

    def evidence_in_favour(self, name: str, version: str) -> ModelEvent | None:
        """The event that speaks for promoting a version over the champion of today; None where nothing does.

        It is the last word on the version (not refused, not rolled back since), its evidence has ``promoted`` true,
        and it was gathered against the version that still serves.
        """
        champion = self._champion(name)
        return evidence_in_favour(self.history(name), version, champion.version if champion else None)

    def last_word(self, name: str, version: str) -> ModelEvent | None:
        """The newest event that judges a version, its removal from service included; None where nothing does."""
        return last_word(self.history(name), version)

    def resolve(self, prefix: str, name: str | None = None) -> RegisteredModel:
        """The one registered version that starts with `prefix`, of one model or of all.

        Raises
        ------
        ConfigError
            if there is none, or more than one.
        """
        known = self.models(name)
        found = [model for model in known if prefix and model.version.startswith(prefix.lower())]
        if len(found) == 1:
            return found[0]
        of = f" of {name}" if name else ""
        if not found:
            have = ", ".join(f"{m.model} {m.version}" for m in known[:8]) or "none yet: run `butterquant run` first"
            raise ConfigError(f"no registered version{of} starts with {prefix!r}; registered: {have}")
        meant = ", ".join(f"{m.model} {m.version}" for m in found)
        raise ConfigError(f"{prefix!r} could be {meant}; write more of its digits, or pass --name")

    # -- writing

    def register(
        self,
        card: Mapping[str, Any],
        *,
        evidence: Mapping[str, Any] | None = None,
        actor: str = ACTOR,
        reason: str = "published",
        training_set: str | None = None,
    ) -> RegisteredModel:
        """Enter a published version as a challenger. Entering it again refreshes its row and keeps its role.

        Parameters
        ----------
        card
            as `ModelStore.load_card` gives it, of a version that is published
        evidence
            plain values, if it was judged already (see `judged`)
        actor, reason
            who enters it and why
        training_set
            its table in the card's ``data_versions``; by default the one whose name ends in ``training_set``

        Raises
        ------
        ModelStoreError
            if the version is not published, was altered, or its card lacks what the registry needs.
        """
        name, version = str(card.get("name")), str(card.get("version"))
        stored = self._store.verify(name, version)
        if stored.get("files") != card.get("files"):
            raise ModelStoreError(
                f"the card given for {name} {version} is not the published one; load it from the store"
            )
        known = {model.version: model for model in self._versions(name)}
        row = row_of(stored, training_set) | {"published_at": None if version in known else self._now()}
        self._open().execute("upsert_model", row)

        def registered(events: list[ModelEvent]) -> str | ModelEvent:
            return next((e for e in events if e.version == version and e.action == "registered"), version)

        self._append("insert_model_event", name, "registered", registered, evidence, actor, reason)
        return self._known(name, version)

    def judged(
        self, name: str, version: str, *, evidence: Mapping[str, Any], actor: str = ACTOR, reason: str
    ) -> ModelEvent:
        """Record evidence about a version without acting on it, for somebody to decide later.

        Parameters
        ----------
        name, version
            of a registered version
        evidence
            plain values; ``promoted`` true says that it speaks for the version and against the champion
        actor, reason
            who judged, and the finding in one sentence

        Returns
        -------
        ModelEvent
            the event before it where that says the same already
        """
        self._known(name, version)
        return self._verdict("insert_model_event", name, version, "judged", evidence, actor, reason)

    def refuse(
        self, name: str, version: str, *, evidence: Mapping[str, Any], actor: str = ACTOR, reason: str
    ) -> ModelEvent:
        """Record that a version was judged and refused. The same verdict again is recorded once.

        Raises
        ------
        ModelStoreError
            if the version is unknown, or in service: promote another, or roll back.
        """
        self._known(name, version)
        return self._verdict("refuse_model", name, version, "refused", evidence, actor, reason)

    def promote(
        self,
        name: str,
        version: str,
        *,
        evidence: Mapping[str, Any],
        actor: str = ACTOR,
        reason: str,
        against: str | None = None,
    ) -> ModelEvent:
        """Put a version into service. Promoting the champion changes nothing but a pointer that lags behind.

        Parameters
        ----------
        name, version
            of a registered, published, unaltered version
        evidence
            plain values, kept with the event
        actor, reason
            who decides, and why in one sentence
        against
            the champion the evidence was gathered against; if another serves by now, the promotion is refused.
            None: whichever serves when this call begins

        Returns
        -------
        ModelEvent
            the promotion; for the champion, the event that put it into service

        Raises
        ------
        ModelStoreError
            if the version is unknown, not published or altered, or the champion changed meanwhile.
        """
        check_servable(self._store, self._known(name, version))
        current = self._champion_version(name)
        expected = against if against is not None else current

        def promoted(events: list[ModelEvent]) -> str | ModelEvent:
            now = self._champion_version(name)
            if now == version:
                return service_event(events, version) or version
            _refuse_surprise(name, f"the promotion of {version}", expected, now)
            return version

        event = self._append("promote_model", name, "promoted", promoted, evidence, actor, reason)
        self.reconcile(name)
        return event

    def rollback(self, name: str, *, actor: str = ACTOR, reason: str) -> ModelEvent:
        """Put the champion before the current one back into service.

        Rolling back again walks further back, until the first version that ever served. Versions refused since they
        served are passed over. A promotion afterwards starts from there.

        Returns
        -------
        ModelEvent
            of the version restored; its ``previous_version`` is the one taken out

        Raises
        ------
        ModelStoreError
            if nothing served before, the version to restore was lost or altered, or the champion changed meanwhile.
        """
        seen = self._champion_version(name)

        def restored(events: list[ModelEvent]) -> str:
            now = self._champion_version(name)
            _refuse_surprise(name, "the rollback", seen, now)
            known = {model.version: model for model in self._versions(name)}
            refused = {version for version, model in known.items() if model.role == REFUSED}
            before = [v for v in served_before(events, now) if v not in refused]
            if now is None or not before:
                why = f"nothing served before {now} that was not refused since" if now else "no version serves"
                raise ModelStoreError(f"{name} cannot be rolled back: {why}; promote a version instead")
            check_servable(self._store, known[before[0]])
            return before[0]

        event = self._append("promote_model", name, "rolled_back", restored, {}, actor, reason)
        self.reconcile(name)
        return event

    def reconcile(self, name: str) -> Mended | None:
        """Make the pointer file say what the warehouse says; None where it did.

        Raises
        ------
        ModelStoreError
            if the champion's files were lost or altered; the pointer is then left alone.
        """
        return self._pointer.follow(name, self._champion_version)

    # -- inside

    def _open(self) -> Warehouse:
        if not self._migrated:
            self._warehouse.migrate()
            self._migrated = True
        return self._warehouse

    def _now(self) -> datetime:
        return self._clock().astimezone(UTC).replace(tzinfo=None)

    def _versions(self, name: str) -> list[RegisteredModel]:
        return models_of(self._open().fetch("models", {"model": name}))

    def _champion(self, name: str) -> RegisteredModel | None:
        found = models_of(self._open().fetch("champion", {"model": name}))
        return found[0] if found else None

    def _champion_version(self, name: str) -> str | None:
        champion = self._champion(name)
        return champion.version if champion else None

    def _known(self, name: str, version: str) -> RegisteredModel:
        known = self._versions(name)
        for model in known:
            if model.version == version:
                return model
        have = ", ".join(model.version for model in known[:8]) or "none"
        raise ModelStoreError(
            f"{name} {version} is not registered; registered are: {have}. Publish and register it first"
        )

    def _verdict(
        self, query: str, name: str, version: str, action: str, evidence: Mapping[str, Any], actor: str, reason: str
    ) -> ModelEvent:
        """Append what was found about a version, unless its last event says so already."""

        def judged(events: list[ModelEvent]) -> str | ModelEvent:
            if action == "refused" and self._champion_version(name) == version:
                raise ModelStoreError(
                    f"{name} {version} is in service and cannot be refused: promote another version, or roll back"
                )
            last = next((event for event in reversed(events) if event.version == version), None)
            said = (action, reason, plain_evidence(evidence))
            return last if last is not None and (last.action, last.reason, last.evidence) == said else version

        return self._append(query, name, action, judged, evidence, actor, reason)

    def _append(
        self,
        query: str,
        name: str,
        action: str,
        decide: Decide,
        evidence: Mapping[str, Any] | None,
        actor: str,
        reason: str,
    ) -> ModelEvent:
        """Append one event and change roles with it, both or neither.

        `decide` is asked again whenever another event came first.
        """
        _refuse_blank(actor=actor, reason=reason)
        for _ in range(ATTEMPTS):
            events = self.history(name)
            version = decide(events)
            if isinstance(version, ModelEvent):
                return version
            event = chained(
                events,
                model=name,
                at=self._now(),
                version=version,
                action=action,
                previous_version=self._champion_version(name),
                actor=actor,
                reason=reason,
                evidence=plain_evidence(evidence or {}),
            )
            self._open().execute(query, event.to_row())
            written = self.history(name)
            if len(written) >= event.sequence and written[event.sequence - 1].event_id == event.event_id:
                log.info("%s %s %s by %s: %s", name, version, action, actor, reason)
                return event
        raise ModelStoreError(f"{ATTEMPTS} other events of {name} came first: something registers without end; stop it")


def _refuse_blank(**values: str) -> None:
    for name, value in values.items():
        if not value.strip():
            raise ConfigError(f"{name} is empty: say it in a few words, for those who read the history later")


def _refuse_surprise(name: str, what: str, expected: str | None, found: str | None) -> None:
    if found != expected:
        raise ModelStoreError(
            f"the champion of {name} is {found or 'none'} by now, but {what} was prepared against "
            f"{expected or 'none'}: look at `butterquant models history`, and decide anew"
        )
