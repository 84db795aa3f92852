"""The import contracts hold, cover every module, and would notice a breach."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from butterquant_tests.shared_data import ROOT

PACKAGE = ROOT / "butterquant_assets"
# Packages whose modules are pure unless their name says otherwise; foundation and sources are edges.
PURE_PACKAGES = ("butterfly", "signals", "formulas", "cross_section", "learning", "market", "quant")
EDGES = (".sources.", ".crypto_sources.", ".exchange.", ".collector.")
DAGSTER_SPEAKING = ("assets", "checks", "resources")


def contract(name: str) -> set[str]:
    """Source modules of a contract in .importlinter."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    return set(parser[f"importlinter:contract:{name}"]["source_modules"].split())


def modules(*packages: str) -> set[str]:
    """Dotted names of all modules of the packages, packages themselves left out."""
    found = (path for package in packages for path in (PACKAGE / package).rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in found if path.stem != "__init__"}


def speaks(name: str) -> bool:
    """Whether a module may speak to Dagster: ``assets``, ``decision_assets`` and the like."""
    return name.split(".")[-1].split("_")[-1] in DAGSTER_SPEAKING


def uncovered(names: set[str], listed: set[str]) -> set[str]:
    return {name for name in names if not any(name == entry or name.startswith(f"{entry}.") for entry in listed)}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env={"PYTHONPATH": "."})


def test_every_module_that_may_not_speak_to_dagster_is_listed() -> None:
    silent = {name for name in modules("foundation", *PURE_PACKAGES) if not speaks(name)}
    assert len(silent) > 20
    assert uncovered(silent, contract("no-dagster")) == set()


def test_every_pure_module_is_listed() -> None:
    pure = {name for name in modules(*PURE_PACKAGES) if not speaks(name) and not any(edge in name for edge in EDGES)}
    assert len(pure) > 15
    assert uncovered(pure, contract("pure")) == set()


def test_the_import_contracts_hold() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("foundation/errors.py", "import butterquant_assets.quant.garch", "Imports run down the house"),
        ("market/adjustment.py", "import butterquant_assets.butterfly.config", "Imports run down the house"),
        ("signals/__init__.py", "import butterquant_assets.butterfly.config", "Imports run down the house"),
        ("novelty/__init__.py", "", "Imports run down the house"),
        ("quant/garch.py", "import dagster", "know no Dagster"),
        ("butterfly/scoring.py", "import butterquant_assets.orchestration.assets", "know no Dagster"),
        ("butterfly/scoring.py", "import time", "Pure modules know no clock"),
        ("learning/walk_forward.py", "import butterquant_assets.foundation.lake", "Pure modules know no clock"),
        ("cli.py", "import pickle", "no pickle"),
        ("learning/metrics.py", "from joblib import load", "no pickle"),
    ],
)
def test_a_breach_of_the_contracts_is_noticed(tmp_path: Path, module: str, line: str, broken: str) -> None:
    shutil.copytree(PACKAGE, tmp_path / "butterquant_assets", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    target = tmp_path / "butterquant_assets" / module
    target.parent.mkdir(exist_ok=True)
    with target.open("a") as file:
        file.write(f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert any(broken in text and "BROKEN" in text for text in done.stdout.splitlines()), done.stdout
