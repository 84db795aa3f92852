"""The server as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMAND = [sys.executable, "-c", "from butterquant_assets.serving.command import serve; serve()"]


class Server:
    """A running server: its port, and what it wrote so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.lines = process, []  # type: subprocess.Popen[str], list[str]
        self.port = 0
        self._ready = threading.Event()
        threading.Thread(target=self._follow, daemon=True).start()
        if not self._ready.wait(60.0) or not self.port:
            process.kill()
            raise RuntimeError("the server did not start:\n" + "".join(self.lines))

    def _follow(self) -> None:
        stream = self.process.stderr
        assert stream is not None
        for line in stream:
            self.lines.append(line)
            found = re.search(r"on http://127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found.group(1))
                self._ready.set()
        self._ready.set()

    def stop(self) -> int:
        """Ask it to end, as an orchestrator does; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30.0)


def environment(**extra: str) -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("BUTTERQUANT_")} | extra


@contextmanager
def serving(home: Path, *options: str, **extra: str) -> Iterator[Server]:
    """A server on a free port; killed at the end if it still runs."""
    process = subprocess.Popen(
        [*COMMAND, "--home", str(home), "--port", "0", *options],
        env=environment(**extra),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield Server(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
