"""Which version is served: follows the champion pointer, and keeps what works when the new one does not.

What belongs here: noticing a promotion, loading it aside, and swapping one reference. What does not: who decides on
promotions.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from butterquant_assets.foundation.errors import ModelStoreError
from butterquant_assets.foundation.model_store import CARD, ONNX, ModelStore
from butterquant_assets.serving.model import ServedModel, load_model
from butterquant_assets.serving.telemetry import Telemetry

RETRY_SECONDS = 60.0
"""A refused version whose files do not change is tried again this often: the cause may have been the machine."""

log = logging.getLogger("butterquant.serving")

Signature = tuple[object, ...]


class ChampionWatcher:
    """Holds the served model and replaces it when the champion changes.

    `current` is one reference: a request takes it once and is answered by that version throughout, whatever happens
    meanwhile.

    Parameters
    ----------
    store
        holds versions and the champion pointer
    name
        model name
    telemetry
        counts swaps and refusals
    clock
        seconds, rising

    Attributes
    ----------
    current
        the model in service, None before the first
    problem
        why the champion is not (or no longer) the served model, None when all is well
    """

    def __init__(
        self, store: ModelStore, name: str, telemetry: Telemetry, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.store, self.name = store, name
        self.current: ServedModel | None = None
        self.problem: str | None = f"the champion of {name} was not looked for yet"
        self._telemetry, self._clock = telemetry, clock
        self._seen: Signature | None = None
        self._tried = clock()

    def check(self) -> bool:
        """Look once; load and swap if the champion or its files changed since the last look.

        Returns
        -------
        bool
            whether another version is served than before. What cannot be loaded is logged, counted and left aside.
        """
        version, seen = self._look()
        due = self.problem is not None and version is not None and self._clock() - self._tried >= RETRY_SECONDS
        if seen == self._seen and not due:
            return False
        self._seen, self._tried = seen, self._clock()
        if version is None:
            self._without_champion(seen)
            return False
        return self._take(version)

    def _look(self) -> tuple[str | None, Signature]:
        """The champion, and what tells whether it or its files changed."""
        try:
            version = self.store.champion(self.name)
        except (ModelStoreError, OSError) as error:
            return None, ("broken pointer", str(error))
        if version is None:
            return None, (None,)
        folder = self.store.directory(self.name, version)
        return version, (version, _stamp(folder / CARD), _stamp(folder / ONNX))

    def _take(self, version: str) -> bool:
        try:
            model = load_model(self.store, self.name, version)
        except (ModelStoreError, OSError) as error:
            self._refuse(f"{self.name} {version} was refused: {error}")
            return False
        if self.problem is not None and self.current is not None:
            log.info("%s %s is intact; all is well again", self.name, version)
        self.problem = None
        if self.current is not None and self.current.version == version:
            return False
        before, self.current = self.current, model
        self._telemetry.swapped(self.name, version, model.contract.calibration_version)
        log.info("serving %s %s%s", self.name, version, f" instead of {before.version}" if before else "")
        return True

    def _without_champion(self, seen: Signature) -> None:
        if seen[0] is None and self.current is None:
            self.problem = (
                f"no version of {self.name} is champion yet under {self.store.root}: build a model, or promote one"
            )
            log.warning("%s", self.problem)
        else:
            self._refuse(f"the champion pointer of {self.name} is unusable: {seen[-1] or 'it was removed'}")

    def _refuse(self, problem: str) -> None:
        served = f"; {self.current.version} stays in service" if self.current else ""
        self.problem = problem + served
        self._telemetry.refused()
        log.error("%s", self.problem)

    async def watch(self, poll_seconds: float) -> None:
        """Check for ever, off the event loop; ends only by cancellation."""
        while True:
            await asyncio.sleep(poll_seconds)
            try:
                await asyncio.to_thread(self.check)
            except Exception:
                log.exception("looking for the champion of %s failed unexpectedly; trying again", self.name)


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when a file does, without reading it."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
