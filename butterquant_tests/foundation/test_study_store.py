"""The journal of a study: half a line is cut, damage is refused, one process at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from butterquant_assets.foundation.errors import ModelStoreError
from butterquant_assets.foundation.study_store import mend_journal, open_journal

LINES = b'{"op_code":0}\n{"op_code":4}\n'


@pytest.mark.parametrize("tail", [b"{", b'{"op_code":5,"tri', b'{"op_code":5}', b"\x00\x00\x00", b"\xff"])
def test_a_half_written_last_line_is_cut(tmp_path: Path, tail: bytes) -> None:
    journal = tmp_path / "study.jsonl"
    journal.write_bytes(LINES + tail)
    assert mend_journal(journal) == len(tail)
    assert journal.read_bytes() == LINES
    assert mend_journal(journal) == 0


def test_a_journal_that_ends_in_a_whole_line_or_is_not_there_is_left_alone(tmp_path: Path) -> None:
    journal = tmp_path / "study.jsonl"
    assert mend_journal(journal) == 0
    assert not journal.exists()
    for content in (b"", LINES):
        journal.write_bytes(content)
        assert mend_journal(journal) == 0
        assert journal.read_bytes() == content


@pytest.mark.parametrize("damaged", [b"nonsense\n", b"[1]\n", b"\xff\xfe\n", b"\n"])
def test_a_damaged_line_is_refused_and_the_file_left_as_it_is(tmp_path: Path, damaged: bytes) -> None:
    journal = tmp_path / "study.jsonl"
    content = LINES + damaged + LINES + b"{"
    journal.write_bytes(content)
    with pytest.raises(ModelStoreError, match=r"line 3 of .*study\.jsonl is no journal record"), open_journal(journal):
        pass
    assert journal.read_bytes() == content


def test_what_was_written_is_there_after_reopening_as_json_lines(tmp_path: Path) -> None:
    import optuna

    journal = tmp_path / "deep" / "study.jsonl"
    with open_journal(journal) as storage:
        study = optuna.create_study(storage=storage, study_name="s")
        study.tell(study.ask({"x": optuna.distributions.FloatDistribution(0, 1)}), 0.25)
        x = study.trials[0].params["x"]
    with open_journal(journal) as storage:
        found = optuna.load_study(storage=storage, study_name="s", sampler=optuna.samplers.RandomSampler(0))
        assert [(trial.value, trial.params) for trial in found.trials] == [(0.25, {"x": x})]
    assert sorted(path.name for path in journal.parent.iterdir()) == ["study.jsonl", "study.jsonl.lock"]


HOLD = """
import sys
from pathlib import Path
from butterquant_assets.foundation.study_store import open_journal
with open_journal(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_gone_even_if_it_was_killed(tmp_path: Path) -> None:
    journal = tmp_path / "study.jsonl"
    command = [sys.executable, "-c", HOLD, str(journal)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ModelStoreError, match="open in another process"), open_journal(journal):
            pass
        holder.kill()
        holder.wait()
    with open_journal(journal) as storage:
        assert storage.get_all_studies() == []
