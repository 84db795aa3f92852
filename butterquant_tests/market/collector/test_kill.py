"""A collector that is killed at any moment leaves whole files, and the next one ends where an undisturbed one does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from butterquant_assets.market.collector.collection import LOCK
from butterquant_tests.market.collector.collecting import Watched, contents, day_before, desk
from butterquant_tests.shared_data import ROOT

START = day_before(2)
PROGRAM = """
import sys
from pathlib import Path
from butterquant_assets.market.collector.collection import collect_crypto
from butterquant_assets.market.crypto_config import CryptoConfig
config = CryptoConfig(source="okx", exchange_url=sys.argv[1], universe=2, start=sys.argv[3])
collect_crypto(config, Path(sys.argv[2]))
"""


class Deadly(Watched):
    """Kills a process when it has asked so often."""

    victim = 0
    after = 0

    def choose(self, path: str, query: str):  # type: ignore[no-untyped-def]
        if self.victim and self.asked.total() >= self.after:
            os.kill(self.victim, signal.SIGKILL)
        return super().choose(path, query)


@pytest.mark.slow
@pytest.mark.parametrize("after", [25, 60])
def test_a_killed_collector_loses_only_what_was_in_flight(after: int, tmp_path: Path) -> None:
    with desk(tmp_path / "undisturbed") as one:
        one.collect(start=START)
        expected = contents(one.store)
    deadly = Deadly()
    deadly.after = after
    with desk(tmp_path / "killed", faults=deadly) as one:
        arguments = [sys.executable, "-c", PROGRAM, one.url, str(one.folder), START]
        with subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
            deadly.victim = process.pid
            assert process.wait(timeout=120) == -signal.SIGKILL
        deadly.victim = 0
        held = contents(one.store)
        assert (one.folder / LOCK).exists()
        assert all(expected.get(key) == content for key, content in held.items())
        report = one.collect(start=START)
        assert report.incomplete_days == 0
        assert contents(one.store) == expected
        assert not list(one.folder.rglob(".*.tmp"))
