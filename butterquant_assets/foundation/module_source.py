"""What the source of a module says: a hash of its meaning, and what it imports.

Parsing a hundred modules takes more than a second, and every process of a run would do it again. So the answer is kept
beside the compiled form, in ``__pycache__``, under a hash of the source: where the source is another, or the folder
cannot be written, it is parsed. As a program, ``python -m butterquant_assets.foundation.module_source``, it does so for
the whole package, as `compileall` does for compiled forms; an image's users may not write there later.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from butterquant_assets.foundation.files import write_atomically

SUFFIX = ".said.json"


@dataclass(frozen=True)
class Said:
    """What one module says.

    Parameters
    ----------
    hash
        of its syntax tree without docstrings, comments, layout
    imports
        as written, relative ones left out: names of modules, each with what is imported from it; nothing for
        ``import a.b``
    """

    hash: str
    imports: tuple[tuple[str, tuple[str, ...]], ...]


def said(path: Path, *, keep: bool | None = None) -> Said:
    """What the module in a file says.

    Parameters
    ----------
    path
        of the file
    keep
        whether to keep the answer for later processes; by default as compiled forms are (PYTHONDONTWRITEBYTECODE)

    Raises
    ------
    SyntaxError
        if it is no Python.
    """
    source = path.read_bytes()
    key = _digest(source + _own_source())
    place = Path(importlib.util.cache_from_source(str(path))).with_suffix(SUFFIX)
    kept = _kept(place, key)
    if kept is None:
        kept = _parsed(source)
        if not sys.dont_write_bytecode if keep is None else keep:
            _keep(place, key, kept)
    return kept


def canonical(tree: ast.Module) -> str:
    """A syntax tree without docstrings and positions, as text; takes the docstrings out of `tree`."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree, include_attributes=False)


def _parsed(source: bytes) -> Said:
    tree = ast.parse(source)
    imports: list[tuple[str, tuple[str, ...]]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            imports.append((node.module, tuple(alias.name for alias in node.names)))
    return Said(_digest(canonical(tree).encode()), tuple(dict.fromkeys(imports)))


def _kept(place: Path, key: str) -> Said | None:
    try:
        found: Any = json.loads(place.read_bytes())
    except (OSError, ValueError):
        return None  # none yet, or half of one
    if not isinstance(found, dict) or found.get("key") != key:
        return None
    return Said(found["hash"], tuple((module, tuple(names)) for module, names in found["imports"]))


def _keep(place: Path, key: str, found: Said) -> None:
    try:
        place.parent.mkdir(exist_ok=True)
        write_atomically(place, json.dumps({"key": key} | asdict(found)).encode())
    except OSError:
        return  # a folder that this user may not write: as with compiled forms, it is done again next time


@cache
def _own_source() -> bytes:
    """The code of this module, so that a change of what is kept here forgets what was kept before."""
    return Path(__file__).read_bytes()


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=12).hexdigest()


if __name__ == "__main__":
    for module in sorted(Path(__file__).parent.parent.rglob("*.py")):
        said(module, keep=True)
