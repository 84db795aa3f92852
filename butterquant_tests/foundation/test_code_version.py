from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from butterquant_assets.foundation import code_version as module
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
    forget()
    yield root
    forget()
    for name in [name for name in sys.modules if name.split(".")[0] == "toy"]:
        del sys.modules[name]


def forget() -> None:
    importlib.invalidate_caches()
    for cached in (
        module._imports,
        module._is_first_party_module,
        module._source,
        module._tree,
        module._module_hash,
    ):
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


def test_the_body_of_a_named_function_counts() -> None:
    def one() -> int:
        return 1

    def two() -> int:
        return 2

    roots = ["butterquant_assets.foundation.errors"]
    assert code_version(roots, [one]) != code_version(roots, [two])
    assert code_version(roots, [one]) == code_version(roots, [one])
