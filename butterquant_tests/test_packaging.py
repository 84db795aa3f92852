"""What is shipped besides the code: the installed package, the container image, the hooks."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from butterquant_tests.shared_data import ROOT


def copied(dockerfile: str) -> list[str]:
    """Sources of COPY instructions that come from the checkout."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_an_installed_package_brings_its_sql_and_its_profile(tmp_path: Path) -> None:
    # What the wheel's force-include makes of a checkout: no sql/ beside the package, _sql inside it.
    package = tmp_path / "site" / "butterquant_assets"
    needed = [ROOT / "butterquant_assets" / name for name in ("__init__.py", "orchestration/__init__.py")]
    needed += [ROOT / "butterquant_assets" / "orchestration" / "instance.py"]
    for source in (*needed, *(ROOT / "butterquant_assets" / "foundation").glob("*.py")):
        target = package / source.relative_to(ROOT / "butterquant_assets")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    for source in (ROOT / "sql").rglob("*.sql"):
        target = package / "_sql" / source.relative_to(ROOT / "sql")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    script = (
        "from butterquant_assets.foundation.warehouse import Warehouse\n"
        f"print(*Warehouse('sqlite:///{tmp_path / 'warehouse.sqlite'}').migrate())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site")},
        check=True,
        capture_output=True,
        text=True,
    )
    migrations = (ROOT / "sql" / "migrations").glob("*.sql")
    assert done.stdout.split() == sorted({path.name.split(".")[0] for path in migrations})


def test_the_wheel_holds_sql_and_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = pytest.importorskip("hatchling.build", reason="the build backend hatchling is not installed")
    monkeypatch.chdir(ROOT)
    names = set(zipfile.ZipFile(tmp_path / backend.build_wheel(str(tmp_path))).namelist())
    shipped = {f"butterquant_assets/_sql/{path.relative_to(ROOT / 'sql')}" for path in (ROOT / "sql").rglob("*.sql")}
    assert shipped
    assert shipped <= names
    assert "butterquant_assets/orchestration/profiles/embedded.yaml" in names
    assert not any(name.startswith(("butterquant_tests", "benchmarks")) for name in names)


def test_the_image_copies_only_what_exists_and_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = copied((ROOT / "Dockerfile").read_text())
    assert len(sources) >= 8
    assert {source for source in sources if not (ROOT / source).exists()} == set()
    assert set(sources) <= kept


def test_the_image_runs_as_an_ordinary_user_and_is_watched() -> None:
    final = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    assert re.search(r"^USER (?!root|0\b)\w+$", final, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .*\\\n +CMD ", final, re.MULTILINE)
    assert re.search(r"^EXPOSE 3000$", final, re.MULTILINE)


def test_the_hooks_are_well_formed() -> None:
    tool = Path(sys.executable).parent / "pre-commit"
    if not tool.exists():
        pytest.skip("pre-commit is not installed")
    subprocess.run([tool, "validate-config", ROOT / ".pre-commit-config.yaml"], check=True, capture_output=True)
