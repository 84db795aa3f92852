"""Which version of the code made an asset.

The version of an asset is a hash over the syntax trees, without docstrings and positions, of all first-party modules
its pure functions reach by import, directly or not, plus the versions of the third-party distributions those modules
import. So a comment or a docstring changes nothing, and editing one pure module concerns exactly the assets that
reach it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = __name__.split(".")[0]


def code_version(roots: Iterable[str | ModuleType], functions: Iterable[Callable[..., Any]] = ()) -> str:
    """Hash of everything reachable from `roots`, and of the bodies of `functions`.

    Parameters
    ----------
    roots
        modules (or their names) to start from
    functions
        functions whose own source counts although the rest of their module does not
    """
    modules, distributions = closure(root if isinstance(root, str) else root.__name__ for root in roots)
    state = hashlib.blake2b(digest_size=12)
    for name in sorted(modules):
        state.update(f"{name}={_module_hash(name)}\n".encode())
    for distribution in sorted(distributions):
        state.update(f"{distribution}={_version(distribution)}\n".encode())
    for function in functions:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        state.update(_canonical(tree).encode())
    return state.hexdigest()


def package_stamp() -> tuple[tuple[str, int, int], ...]:
    """Path, size and modification time of every first-party source file."""
    spec = importlib.util.find_spec(PACKAGE)
    roots = list(spec.submodule_search_locations or ()) if spec else []
    files = sorted(path for root in roots for path in Path(root).rglob("*.py"))
    return tuple((str(path), status.st_size, status.st_mtime_ns) for path in files for status in [path.stat()])


def closure(roots: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """First-party modules and third-party top-level packages reachable by import from `roots`, roots included."""
    seen: set[str] = set()
    third_party: set[str] = set()
    queue = list(roots)
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        first, third = _imports(name)
        queue.extend(first - seen)
        third_party |= third
    return frozenset(seen), frozenset(third_party)


@cache
def _imports(name: str) -> tuple[frozenset[str], frozenset[str]]:
    first: set[str] = set()
    third: set[str] = set()
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            # `from package import module` reaches the module, `from module import name` reaches the module before it.
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            targets = [target for target in inner if _is_first_party_module(target)] or [node.module]
        else:
            continue
        for target in targets:
            top = target.split(".")[0]
            if top == PACKAGE:
                first.add(target)
            elif top not in sys.stdlib_module_names:
                third.add(top)
    return frozenset(first), frozenset(third)


@cache
def _is_first_party_module(name: str) -> bool:
    return name.split(".")[0] == PACKAGE and _source(name) is not None


@cache
def _source(name: str) -> Path | None:
    """The file of a first-party module; looked up on disk, because `find_spec` would import the packages above it."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    base = Path(spec.submodule_search_locations[0]).joinpath(*name.split(".")[1:])
    candidates = (base / "__init__.py", base.parent / f"{base.name}.py")
    return next((path for path in candidates if path.is_file()), None)


@cache
def _tree(name: str) -> ast.Module:
    path = _source(name)
    if path is None:
        raise ModuleNotFoundError(f"module {name} has no source to hash")
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _module_hash(name: str) -> str:
    return hashlib.blake2b(_canonical(_tree(name)).encode(), digest_size=12).hexdigest()


def _canonical(tree: ast.Module) -> str:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree, include_attributes=False)


@cache
def _version(top_level: str) -> str:
    # The import name rarely differs from the distribution's; where it does, the mapping knows.
    for distribution in _distributions().get(top_level, [top_level]):
        return importlib.metadata.version(distribution)
    raise ModuleNotFoundError(f"no installed distribution provides {top_level}")


@lru_cache(maxsize=1)
def _distributions() -> dict[str, list[str]]:
    return {name: sorted(set(found)) for name, found in importlib.metadata.packages_distributions().items()}
