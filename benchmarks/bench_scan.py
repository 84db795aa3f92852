"""Beyond the full quota: time and memory as rows grow, and a scan of every session and ticker as one backfill.

The longest of the benchmarks, some minutes: ``python -m benchmarks.run --only scan``. One and four and sixteen times
the quota are asked for; the sessions of a stratum run out before that, so seconds and bytes are compared per row.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.engine_house import describe, kind, market_home, measure
from benchmarks.harness import Result, compare
from butterquant_assets.butterfly.config import SamplingConfig

TIMES = (1, 4, 16)
EVERYTHING = SamplingConfig(low_days=100_000, normal_days=100_000, high_days=100_000, tickers_per_day=66)
SCAN_SECONDS = 480.0
# Linear, or better: work done once a month costs less per row where a month holds more rows.
SECONDS_PER_ROW, BYTES_PER_ROW = 1 / 1.1, 1 / 1.25


def benchmarks() -> list[Result]:
    """Seconds and memory growth per row against those of the quota, and the seconds of the scan."""
    name, quota = f"scan.{kind()}", SamplingConfig()
    with market_home() as market:
        sizes = [
            measure(
                market,
                replace(
                    quota,
                    low_days=quota.low_days * times,
                    normal_days=quota.normal_days * times,
                    high_days=quota.high_days * times,
                ),
            )
            for times in TIMES
        ]
        scan = measure(market, EVERYTHING)
    results = []
    for times, one in zip(TIMES, sizes, strict=True):
        print(describe(f"engine, {times} x the quota", one))
        seconds, growth = one.seconds / one.samples, one.growth_bytes / one.samples
        if times == 1:
            first_seconds, first_growth = seconds, growth
            continue
        results += [
            compare(
                f"{name}.milliseconds_per_row_at_{times}x",
                1e3 * seconds,
                1e3 * first_seconds,
                "ms",
                target=SECONDS_PER_ROW,
                better="lower",
            ),
            compare(
                f"{name}.memory_growth_per_row_at_{times}x",
                growth / 1e3,
                first_growth / 1e3,
                "kB",
                target=BYTES_PER_ROW,
                better="lower",
            ),
        ]
    print(describe("scan of every session and ticker", scan))
    return [*results, compare(f"{name}.every_session", scan.seconds, SCAN_SECONDS, "s", target=1.0, better="lower")]
