"""Time that jumps to the next moment somebody waits for, so that hours of waiting pass at once and in order."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Coroutine
from typing import Any

SETTLING_ROUNDS = 20


class VirtualTime:
    """A stopwatch and a pause that belong together."""

    def __init__(self) -> None:
        self.time = 0.0
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._waiting, (self.time + seconds, self._count, future))
        await future

    async def run(self, *coroutines: Coroutine[Any, Any, Any]) -> None:
        """All of them to their end."""
        tasks = [asyncio.ensure_future(each) for each in coroutines]
        while not all(task.done() for task in tasks):
            for _ in range(SETTLING_ROUNDS):
                await asyncio.sleep(0)
            if self._waiting:
                moment, _, future = heapq.heappop(self._waiting)
                self.time = max(self.time, moment)
                if not future.done():
                    future.set_result(None)
        for task in tasks:
            task.result()
