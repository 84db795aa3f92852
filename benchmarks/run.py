"""Run all benchmarks: ``python -m benchmarks.run [--only TEXT] [--check]``."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from benchmarks.harness import Result, table, write_json

FOLDER = Path(__file__).parent
REPORT = FOLDER.parent / "build" / "bench.json"


def discover(folder: Path = FOLDER, only: str = "") -> list[Path]:
    """Benchmark modules of a folder whose name contains `only`, by name."""
    return sorted(path for path in folder.glob("bench_*.py") if only in path.stem)


def load(path: Path) -> ModuleType:
    """Import a benchmark module from its file."""
    if path.parent == FOLDER:
        return importlib.import_module(f"benchmarks.{path.stem}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(paths: Sequence[Path]) -> list[Result]:
    """Results of benchmark modules, in order; names must be unique."""
    results: list[Result] = []
    for path in paths:
        print(f"{path.stem} ...", file=sys.stderr, flush=True)
        results += load(path).benchmarks()
    names = [result.name for result in results]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"benchmarks share a name: {', '.join(repeated)}; give each its own")
    return results


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER, report: Path = REPORT) -> int:
    """Run, print, write the report; 0 when done, 1 with ``--check`` and a target missed, 2 when nothing matches."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="Measure ours beside the reference.")
    parser.add_argument("--only", default="", metavar="TEXT", help="only modules whose name contains TEXT")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is not met")
    options = parser.parse_args(arguments)
    paths = discover(folder, options.only)
    if not paths:
        print(f"no benchmark module in {folder} contains {options.only!r} in its name", file=sys.stderr)
        return 2
    results = run(paths)
    print(table(results))
    write_json(results, report)
    print(f"written to {report}", file=sys.stderr)
    return 1 if options.check and not all(result.met for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
