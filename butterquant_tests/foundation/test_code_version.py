from __future__ import annotations

import importlib
import importlib.metadata
import linecache
import sys
from pathlib import Path

import pytest

from butterquant_assets.foundation import code_version as module
from butterquant_assets.foundation import module_source
from butterquant_assets.foundation.code_version import closure, code_version

PACKAGE = {
    "__init__.py": "",
    "a.py": '"""Doc."""\nfrom toy import b\n\ndef f():\n    """Doc."""\n    import numpy\n    return b.g()\n',
    "b.py": "from toy.deep.c import H\n\ndef g():\n    return H\n",
    "deep/__init__.py": "",
    "deep/c.py": "H = 1\n",
    "lone.py": "import pandas\n\ndef h():\n    return 2\n",
}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "toy"
    (root / "deep").mkdir(parents=True)
    for name, text in PACKAGE.items():
        (root / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(module, "PACKAGE", "toy")
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    forget()
    yield root
    forget()
    for name in [name for name in sys.modules if name.split(".")[0] == "toy"]:
        del sys.modules[name]


def forget() -> None:
    importlib.invalidate_caches()
    for cached in (module._imports, module._is_first_party_module, module._source, module._said):
        cached.cache_clear()


def test_the_closure_follows_imports_at_any_depth_and_inside_functions(toy: Path) -> None:
    first, third = closure(["toy.a"])
    assert first == {"toy.a", "toy.b", "toy.deep.c"}
    assert third == {"numpy"}


def test_editing_a_reached_module_changes_the_version_and_an_unreached_one_does_not(toy: Path) -> None:
    a, lone = code_version(["toy.a"]), code_version(["toy.lone"])
    (toy / "deep/c.py").write_text("H = 2\n")
    forget()
    assert code_version(["toy.a"]) != a
    assert code_version(["toy.lone"]) == lone


def test_comments_docstrings_and_layout_change_nothing(toy: Path) -> None:
    before = code_version(["toy.a"])
    (toy / "deep/c.py").write_text('"""New docstring."""\n# a comment\n\n\nH    =   1\n')
    (toy / "a.py").write_text(PACKAGE["a.py"].replace("Doc.", "Other words."))
    forget()
    assert code_version(["toy.a"]) == before


def test_what_a_module_says_is_kept_beside_its_compiled_form_until_it_says_something_else(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = code_version(["toy.a"])
    forget()
    with monkeypatch.context() as patched:
        patched.setattr(module_source, "_parsed", lambda source: pytest.fail("was parsed again"))
        assert code_version(["toy.a"]) == before
    (kept,) = (toy / "deep" / "__pycache__").glob("c.*.said.json")
    kept.write_bytes(kept.read_bytes()[:20])
    forget()
    assert code_version(["toy.a"]) == before
    (toy / "deep/c.py").write_text("H = 3\n")
    forget()
    assert code_version(["toy.a"]) != before


def test_where_nothing_can_be_kept_the_version_is_the_same(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    found = []
    for owner, name, value in ((module_source, "write_atomically", refuse), (sys, "dont_write_bytecode", True)):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, value)
            found.append(code_version(["toy.a"]))
        assert not list(toy.rglob("*.said.json"))
        forget()
    assert {*found} == {code_version(["toy.a"])}
    assert len(list(toy.rglob("*.said.json"))) == 3


def test_a_distribution_that_is_named_otherwise_than_what_it_is_imported_as_is_found() -> None:
    assert module._version("sklearn") == importlib.metadata.version("scikit-learn")
    with pytest.raises(ModuleNotFoundError, match="no installed distribution provides nowhere_at_all"):
        module._version("nowhere_at_all")


def test_the_body_of_a_named_function_counts() -> None:
    def one() -> int:
        return 1

    def two() -> int:
        return 2

    roots = ["butterquant_assets.foundation.errors"]
    assert code_version(roots, [one]) != code_version(roots, [two])
    assert code_version(roots, [one]) == code_version(roots, [one])


HELPED = {
    "numbers.py": "HALF = 0.5\nUNUSED = 7\n",
    "other_assets.py": "def shared():\n    return 1\n",
    "line_assets.py": """
from functools import lru_cache
from toy.numbers import HALF
from toy.other_assets import shared

LIMIT, NAMES, STATE, LOOSE = 3, ("a", frozenset({"b", "c"})), [1], 9

class Kept:
    def rows(self):
        return LIMIT

@lru_cache
def helper():
    \"\"\"Doc.\"\"\"
    return deeper()

def deeper():
    return NAMES

def main():
    return helper(), Kept().rows(), shared(), HALF, STATE

def stranger():
    return LOOSE
""",
}


@pytest.mark.parametrize(
    ("file", "old", "new", "counts"),
    [
        ("line_assets.py", "return NAMES", "return NAMES[0]", True),
        ("line_assets.py", "LIMIT, NAMES, STATE, LOOSE = 3", "LIMIT, NAMES, STATE, LOOSE = 4", True),
        ("line_assets.py", '{"b", "c"}', '{"b", "d"}', True),
        ("line_assets.py", "return LIMIT", "return LIMIT + 1", True),
        ("other_assets.py", "return 1", "return 2", True),
        ("numbers.py", "HALF = 0.5", "HALF = 0.25", True),
        ("line_assets.py", "Doc.", "Other words.", False),
        ("line_assets.py", "return LOOSE", "return LOOSE + 1", False),
        ("line_assets.py", 'frozenset({"b", "c"})), [1], 9', 'frozenset({"c", "b"})), [1], 8', False),
        ("numbers.py", "UNUSED = 7", "UNUSED = 8", False),
    ],
)
def test_a_function_counts_with_the_helpers_and_constants_it_uses_and_no_others(
    toy: Path, monkeypatch: pytest.MonkeyPatch, file: str, old: str, new: str, counts: bool
) -> None:
    assert old in HELPED[file]
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # compiled forms of one second cannot be told apart
    versions = []
    for changed in (False, True):
        for name, text in HELPED.items():
            (toy / name).write_text(text.replace(old, new) if changed and name == file else text)
        for name in [name for name in sys.modules if name.split(".")[0] == "toy"]:
            del sys.modules[name]
        forget()
        linecache.clearcache()
        versions.append(code_version([], [importlib.import_module("toy.line_assets").main]))
    assert (versions[0] != versions[1]) is counts
