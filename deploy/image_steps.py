"""The image's installation steps without an engine: ``python deploy/image_steps.py FOLDER``.

Follows the first stage of the Dockerfile word by word: its RUN lines in a shell, its COPY lines from this checkout,
with FOLDER in place of the root of the file system. Afterwards each of the image's commands is asked for its help, and
the code location is loaded, from a folder in which nothing lies.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = (
    *(f"{command} --help" for command in ("butterquant", "dagster-webserver", "dagster-daemon", "dagster api grpc")),
    "dagster definitions validate -m butterquant_assets.definitions 2>&1",
)


def stages(text: str) -> list[list[str]]:
    """Instructions of each stage, continuation lines joined and comments left out."""
    lines = re.sub(r"\\\n\s*", "", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    parts = re.split(r"^FROM .*$", lines, flags=re.MULTILINE)[1:]
    return [[line for line in part.splitlines() if line.strip()] for part in parts]


def follow(instructions: list[str], root: Path) -> dict[str, str]:
    """Carry out a stage below `root`; returns its environment."""
    kept = ("HOME", "LANG", "TORCH_INDEX_URL")
    environment = {name: value for name, value in os.environ.items() if name in kept or name.startswith("PIP_")}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).resolve().parent), "/usr/local/bin:/usr/bin:/bin"])
    here = root
    for instruction in instructions:
        word, _, rest = instruction.partition(" ")
        rest = rest.replace("/opt/venv", str(root / "opt/venv"))
        if word == "WORKDIR":
            here = root / rest.strip("/")
            here.mkdir(parents=True, exist_ok=True)
        elif word in ("ENV", "ARG"):
            for name, value in re.findall(r'(\w+)=("[^"]*"|\S*)', rest):
                given = os.path.expandvars(value.strip('"').replace("$PATH", environment["PATH"]))
                environment[name] = environment.get(name, given) if word == "ARG" else given
        elif word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                into = here / target
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, into, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / source, into)
        elif word == "RUN":
            print(f"+ {rest}", flush=True)
            _shell(rest, here, environment)
        else:
            raise SystemExit(f"{word} is not understood here: teach deploy/image_steps.py what it does")
    return environment


def _shell(command: str, folder: Path, environment: dict[str, str]) -> None:
    subprocess.run(["/bin/sh", "-ec", command], cwd=folder, env=environment, check=True)  # noqa: S603


def main() -> None:
    """Install, then use what was installed."""
    if len(sys.argv) != 2 or Path(sys.argv[1]).exists():
        raise SystemExit("usage: python deploy/image_steps.py FOLDER, a folder that does not exist yet")
    root = Path(sys.argv[1]).resolve()
    root.mkdir(parents=True)
    environment = follow(stages((ROOT / "Dockerfile").read_text())[0], root)
    work = root / "home"
    work.mkdir()
    environment |= {"BUTTERQUANT_HOME": str(work), "PYTHONDONTWRITEBYTECODE": "1"}
    for command in COMMANDS:
        print(f"+ {command}", flush=True)
        _shell(f"{command} > {root}/said || (cat {root}/said; exit 1)", work, environment)
        print((root / "said").read_text().strip().splitlines()[-1])
    print("every step of the image's installation went through")


if __name__ == "__main__":
    main()
