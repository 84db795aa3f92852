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
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from butterquant_assets.foundation.module_source import Said, canonical, said

PACKAGE = __name__.split(".")[0]
DECLARING = "assets"
"""How the names of modules end that declare assets."""


def code_version(roots: Iterable[str | ModuleType], functions: Iterable[Callable[..., Any]] = ()) -> str:
    """Hash of everything reachable from `roots`, and of the bodies of `functions`.

    Parameters
    ----------
    roots
        modules (or their names) to start from
    functions
        functions whose own source counts although the rest of their module does not; with them what they use of that
        module, directly or not: functions, classes, and constants, also imported ones
    """
    modules, distributions = closure(root if isinstance(root, str) else root.__name__ for root in roots)
    state = hashlib.blake2b(digest_size=12)
    for name in sorted(modules):
        state.update(f"{name}={_said(name).hash}\n".encode())
    for distribution in sorted(distributions):
        state.update(f"{distribution}={_version(distribution)}\n".encode())
    for part in _with_what_they_use(functions):
        state.update(part.encode())
    return state.hexdigest()


def _with_what_they_use(functions: Iterable[Callable[..., Any]]) -> Iterable[str]:
    """What counts of functions: their own source in the order given, then what they use by name."""
    own = [inspect.unwrap(function) for function in functions]
    found: dict[str, str] = {}
    waiting: list[Any] = list(own)
    while waiting:
        user = waiting.pop()
        names = vars(sys.modules[user.__module__])
        for name in _written(user).names:
            value: Any = inspect.unwrap(names[name]) if callable(names.get(name)) else names.get(name)
            place = f"{user.__module__}.{name}"
            if place in found or name not in names or any(value is each for each in own):
                continue
            if _is_helper(value, user):
                found[place] = _written(value).text
                waiting.append(value)
            elif _is_constant(value):
                found[place] = _shown(value)
    yield from (_written(function).text for function in own)
    yield from (f"{place}={found[place]}" for place in sorted(found))


def _is_helper(value: object, user: Any) -> bool:
    """Whether a function or class is of its user's module, or of one that declares assets, which never counts whole."""
    if not inspect.isfunction(value) and not inspect.isclass(value):
        return False
    home = str(value.__module__)
    return home == user.__module__ or (inspect.isfunction(value) and home.endswith(DECLARING))


@dataclass(frozen=True)
class _Written:
    """Source of a function or class without docstrings and layout, and the names that stand in it."""

    text: str
    names: tuple[str, ...]


@cache
def _written(part: Any) -> _Written:
    tree = ast.parse(textwrap.dedent(inspect.getsource(part)))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return _Written(canonical(tree), tuple(sorted(names)))


def _is_constant(value: Any) -> bool:
    """Whether a value cannot change and says all of itself in its repr."""
    if isinstance(value, tuple | frozenset):
        return all(map(_is_constant, value))
    return value is None or isinstance(value, str | bytes | bool | int | float)


def _shown(constant: Any) -> str:
    """A constant in words that do not depend on the order of a set."""
    if isinstance(constant, tuple | frozenset):
        parts = [_shown(part) for part in constant]
        return f"{type(constant).__name__}({', '.join(parts if isinstance(constant, tuple) else sorted(parts))})"
    return repr(constant)


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
    for module, names in _said(name).imports:
        # `from package import module` reaches the module, `from module import name` reaches the module before it.
        inner = [f"{module}.{alias}" for alias in names]
        for target in [target for target in inner if _is_first_party_module(target)] or [module]:
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
def _said(name: str) -> Said:
    path = _source(name)
    if path is None:
        raise ModuleNotFoundError(f"module {name} has no source to hash")
    return said(path)


@cache
def _version(top_level: str) -> str:
    try:
        return importlib.metadata.version(top_level)
    except importlib.metadata.PackageNotFoundError:
        # The import name rarely differs from the distribution's; where it does, the lists of installed files know.
        files = (f"\n{top_level}/__init__.py,", f"\n{top_level}.py,")
        for distribution in importlib.metadata.distributions():
            listing = "\n" + (distribution.read_text("RECORD") or "")
            if any(file in listing for file in files):
                return distribution.version
    raise ModuleNotFoundError(f"no installed distribution provides {top_level}")
