"""Looking at a whole lake: what an object store is asked for, and that the answer is the same as on a local disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest

from butterquant_assets.foundation import lake_ends
from butterquant_assets.foundation.calendar import month_range
from butterquant_assets.foundation.contracts import Outcome, Verdict
from butterquant_assets.foundation.errors import DamagedFileError, LakeError
from butterquant_assets.foundation.freshness import Node, Snapshot
from butterquant_assets.foundation.inventory import take_stock
from butterquant_assets.foundation.lake import Footer, Lake, content_hash
from butterquant_assets.foundation.lake_listing import LakeFile
from butterquant_assets.foundation.lake_storage import Storage

FRAME = pd.DataFrame({"x": [1.0, 2.0]})
FOOTER = Footer(content_hash(FRAME), {}, "code-1", "k", Verdict({"schema": Outcome(True)}), len(FRAME))
OTHER = replace(FOOTER, code="code-2")  # of the same length
MONTHS = month_range("2016-01", "2016-12")
NODES = [Node("line/table", MONTHS, (), "c", "k"), Node("other/table", MONTHS, (), "c", "k")]


class Calls:
    """What an object store is asked for, and how many reads were under way at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import s3fs

        self.made: Counter[str] = Counter()
        self.ranges: list[str | None] = []
        self.most = self._running = 0
        ask = s3fs.S3FileSystem._call_s3

        async def counted(fs: Any, method: str, *args: Any, **kwargs: Any) -> Any:
            self.made[method] += 1
            self._running += 1
            self.most = max(self.most, self._running)
            if method == "get_object":
                self.ranges.append(kwargs.get("Range"))
            try:
                return await ask(fs, method, *args, **kwargs)
            finally:
                self._running -= 1

        monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)

    def since(self) -> dict[str, int]:
        """Calls made since this was asked last."""
        made, self.made = dict(self.made), Counter()
        return made


@pytest.fixture
def store(s3_url: str) -> str:
    """A lake of 24 files on an object store; its URL."""
    lake = Lake(s3_url)
    for node in NODES:
        for month in MONTHS:
            lake.write(node.name, month, FRAME, FOOTER)
    return s3_url


def stock(lake: Lake, nodes: Sequence[Node] = NODES) -> Snapshot:
    return take_stock(lake, nodes, {}, Path())


def test_an_unchanged_store_is_listed_once_a_look_and_nothing_in_it_is_read(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_ends, "SIDE_BY_SIDE", 10)
    lake, calls = Lake(store), Calls(monkeypatch)
    first = stock(lake)
    assert calls.since() == {"list_objects_v2": 1, "get_object": 24}
    assert 5 <= calls.most <= 10
    assert all(held.footer == FOOTER for node in NODES for held in first.held[node.name].values())
    for _ in range(2):
        assert stock(lake) == first
        assert calls.since() == {"list_objects_v2": 1}
    assert lake.footer("line/table", MONTHS[0]) == FOOTER  # one by itself is asked about, and not read either
    assert calls.since() == {"head_object": 1}


def test_a_file_replaced_by_another_of_its_size_is_seen_and_alone_is_read(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(store)
    before = {(f.asset, f.partition): f.bytes for f in lake.files()}
    stock(lake)
    Lake(store).write("line/table", "2016-05", FRAME, OTHER)  # by another process
    assert {(f.asset, f.partition): f.bytes for f in lake.files()} == before
    calls = Calls(monkeypatch)
    seen = stock(lake).held["line/table"]
    assert calls.since() == {"list_objects_v2": 1, "get_object": 1}
    assert {key for key, held in seen.items() if held.footer == OTHER} == {"2016-05"}


def test_a_file_replaced_by_another_of_its_size_is_seen_when_it_is_asked_for_by_itself(lake: Lake) -> None:
    lake.write("line/table", "2016-05", FRAME, FOOTER)
    assert lake.footer("line/table", "2016-05") == FOOTER
    Lake(lake.location).write("line/table", "2016-05", FRAME, OTHER)
    assert lake.footer("line/table", "2016-05") == OTHER


def test_only_the_end_of_a_large_file_is_read(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    large = pd.DataFrame({"x": [f"{number:x}" for number in range(10**9, 10**9 + 60_000)]})
    Lake(s3_url).write("line/table", "2016-05", large, FOOTER)
    (file,) = Lake(s3_url).files()
    assert file.bytes > 100_000
    calls = Calls(monkeypatch)
    assert Lake(s3_url).look(["line/table"]).footer("line/table", "2016-05") == FOOTER
    assert calls.ranges == [f"bytes={file.bytes - 65_536}-{file.bytes - 1}"]


def test_three_who_look_at_once_read_each_file_once(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, calls = Lake(store), Calls(monkeypatch)
    with ThreadPoolExecutor(3) as pool:
        one, two, three = pool.map(lambda _: stock(lake), range(3))
    assert calls.since() == {"list_objects_v2": 3, "get_object": 24}
    assert one == two == three


def disturbed(lake: Lake) -> Snapshot:
    """Two looks at a lake that holds something of everything; what the second saw."""
    for month in ("2015-01", "2015-02", "2015-03", "2015-04"):
        lake.write("line/table", month, FRAME, FOOTER)
    lake.write("line/single", None, FRAME, FOOTER)
    lake.write("elsewhere/table", "2015-01", FRAME, FOOTER)
    lake.quarantine("line/table", "2015-02", FRAME, OTHER)
    lake.quarantine("line/table", "2015-05", FRAME, OTHER)  # never published
    lake.quarantine("line/empty", None, FRAME, OTHER)
    fs = lake._storage.fs
    for month, content in (("2015-03", b"no Parquet"), ("2015-04", b"")):
        fs.pipe_file(lake.path("line/table", month), content)
    fs.pipe_file(lake.path("line/table", "2015-06", quarantine=True), b"")
    fs.pipe_file(lake.path("line/table", ".2015-07").replace(".parquet", ".parquet.x.tmp"), b"half")
    singles = [Node(f"line/{name}", None, (), "c", "k") for name in ("single", "empty")]
    nodes = [Node("line/table", month_range("2015-01", "2015-06"), (), "c", "k"), *singles]
    assert stock(lake, nodes) == stock(lake, nodes)
    return stock(lake, nodes)


def test_what_is_seen_does_not_depend_on_where_the_lake_lies(lake: Lake, tmp_path: Path) -> None:
    local = Lake(tmp_path / "plain")
    plain = disturbed(local)
    assert _without_places(disturbed(lake), lake) == _without_places(plain, local)
    seen = plain.held["line/table"]
    assert {key for key, held in seen.items() if held.damage} == {"2015-03", "2015-04"}
    assert {key for key, held in seen.items() if held.quarantine} == {"2015-02", "2015-05"}


def _without_places(seen: Snapshot, lake: Lake) -> str:
    return repr({name: sorted(keys.items(), key=repr) for name, keys in seen.held.items()}).replace(
        lake._storage.root, "ROOT"
    )


def replaced_before_read(monkeypatch: pytest.MonkeyPatch, change: Callable[[], None]) -> None:
    """Let `change` happen once, after a listing and before what it showed is read."""
    ends, todo = Storage.ends, [change]

    def late(storage: Storage, files: Sequence[LakeFile], most: int) -> list[bytes | Exception]:
        if todo:
            todo.pop()()
        return ends(storage, files, most)

    monkeypatch.setattr(Storage, "ends", late)


@pytest.fixture(params=["memory", "s3"])
def remote(request: pytest.FixtureRequest) -> Lake:
    if request.param == "s3":
        lend: Callable[[str], str] = request.getfixturevalue
        return Lake(lend("s3_url"))
    fsspec.filesystem("memory").rm("/", recursive=True) if fsspec.filesystem("memory").ls("/") else None
    return Lake("memory://lake")


@pytest.mark.parametrize("rows", [1, 2, 50_000])
def test_a_file_replaced_between_listing_and_reading_is_not_taken_for_damaged(
    remote: Lake, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    for month in ("2016-05", "2016-06"):
        remote.write("line/table", month, FRAME, FOOTER)
    values = pd.DataFrame({"x": [float(number**0.5) for number in range(rows)]})
    other = Lake(remote.location)
    replaced_before_read(monkeypatch, lambda: other.write("line/table", "2016-06", values, OTHER))
    for _ in range(2):
        look = remote.look(["line/table"])
        assert look.partitions("line/table") == ["2016-05", "2016-06"]
        assert look.footer("line/table", "2016-05") == FOOTER
        assert look.footer("line/table", "2016-06") == OTHER


def test_a_file_that_goes_between_listing_and_reading_is_not_there(
    remote: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.write("line/table", "2016-05", FRAME, FOOTER)
    (file,) = remote.files()
    replaced_before_read(monkeypatch, lambda: remote.remove(file))
    look = remote.look(["line/table"])
    assert look.partitions("line/table") == []
    assert look.footer("line/table", "2016-05") is None


def test_a_damaged_file_is_named_at_each_look_and_believed_again_when_it_was_made_again(remote: Lake) -> None:
    remote.write("line/table", "2016-05", FRAME, FOOTER)
    content = remote._storage.fs.cat_file(remote.path("line/table", "2016-05"))
    remote._storage.fs.pipe_file(remote.path("line/table", "2016-05"), content[:-20])
    for _ in range(2):
        look = remote.look(["line/table"])
        with pytest.raises(DamagedFileError, match=r"2016-05\.parquet is not a readable Parquet file"):
            look.footer("line/table", "2016-05")
    remote.write("line/table", "2016-05", FRAME, FOOTER)
    assert remote.look(["line/table"]).footer("line/table", "2016-05") == FOOTER


def test_a_store_that_stops_answering_damages_nothing(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(store)

    def refused(storage: Storage, files: Sequence[LakeFile], most: int) -> list[bytes | Exception]:
        return [ConnectionError("reset by peer") for _ in files]

    monkeypatch.setattr(Storage, "ends", refused)
    with pytest.raises(LakeError, match="cannot be reached: reset by peer") as caught:
        stock(lake)
    assert not isinstance(caught.value, DamagedFileError)


def test_a_store_that_tells_no_version_is_read_at_each_look(remote: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    tell = Storage._listed
    monkeypatch.setattr(Storage, "_listed", lambda *args: replace(tell(*args), version=None))
    remote.write("line/table", "2016-05", FRAME, FOOTER)
    assert remote.look(["line/table"]).footer("line/table", "2016-05") == FOOTER
    Lake(remote.location).write("line/table", "2016-05", FRAME, OTHER)
    assert remote.look(["line/table"]).footer("line/table", "2016-05") == OTHER
