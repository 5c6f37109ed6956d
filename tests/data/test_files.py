"""Files: every ending reads the same rows; every fault is one line that names file and line."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

import datasets
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline.data.files import read_records, write_jsonl
from trueline.errors import DataError

ROWS = [
    {"prompt": "What is 2 + 2?\nSay it, briefly.", "chosen": 'four, "4"', "rejected": "5"},
    {"prompt": "naïve – 日本語 \u2028 ok", "chosen": "a,b", "rejected": "c"},
]


def fields(path: Path) -> list[dict[str, object]]:
    return [dict(record.fields) for record in read_records(path)]


def as_lines(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def put(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_every_ending_gives_the_same_rows(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", as_lines(ROWS))
    put(tmp_path / "a.jsonl.gz", gzip.compress(as_lines(ROWS).encode()))
    put(tmp_path / "a.json", json.dumps(ROWS, indent=2))
    put(tmp_path / "lines.json", as_lines(ROWS))
    put(tmp_path / "bom.jsonl", b"\xef\xbb\xbf" + as_lines(ROWS).replace("\n", "\r\n").encode())
    pd.DataFrame(ROWS).to_csv(tmp_path / "a.csv", index=False)
    pd.DataFrame(ROWS).to_parquet(tmp_path / "a.parquet")
    for path in sorted(tmp_path.iterdir()):
        assert fields(path) == ROWS, path.name


def test_data_sets_of_local_folders_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = datasets.Dataset.from_list(ROWS)
    rows.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict(train=rows, test=rows.select([1])).save_to_disk(tmp_path / "splits")
    for name in ("parquet", "json"):
        (tmp_path / name).mkdir()
    rows.to_parquet(tmp_path / "parquet" / "train.parquet")
    rows.to_json(tmp_path / "json" / "rows.jsonl")
    for name in ("saved", "splits:train", "parquet", "parquet:train", "json"):
        assert fields(tmp_path / name) == ROWS, name
    assert [row.where for row in read_records(tmp_path / "splits:test")] == [
        f"{tmp_path}/splits:test:1"
    ]
    for name, why in (
        ("splits", "train, test"),
        ("splits:dev", "train, test"),
        ("json", "can load"),
    ):
        if name == "json":
            put(tmp_path / "json" / "rows.jsonl", gzip.compress(b"{}")[:-3])
        with pytest.raises(DataError, match=why):
            read_records(tmp_path / name)


def test_rows_know_their_line(tmp_path: Path) -> None:
    csv = put(tmp_path / "a.csv", 'p,r\n"two\nlines",x\nq,y\n')
    listed = put(tmp_path / "a.json", '[\n {"p": 1},\n\n {"p":\n 2}]')
    spaced = put(tmp_path / "a.jsonl", '\n{"p": 1}\n\n{"p": 2}\n')
    for path, lines in ((csv, [3, 4]), (listed, [1, 2]), (spaced, [2, 4])):
        assert [r.where for r in read_records(path)] == [f"{path}:{line}" for line in lines]


GOOD = '{"p": 1}\n'


@pytest.mark.parametrize("line", ['{"p": "a', "[" * 100_000, "3", r'{"p": "\ud800"}'])
def test_a_line_that_is_no_row_is_a_fault_of_its_own(tmp_path: Path, line: str) -> None:
    path = put(tmp_path / "a.jsonl", f"{GOOD}{line}\n{GOOD}")
    assert [row.fault is None for row in read_records(path, strict=False)] == [True, False, True]
    with pytest.raises(DataError, match=r"a\.jsonl:1"):
        read_records(put(tmp_path / "a.jsonl", f"{line}\n{line}"), strict=False)


FAULTS = {
    "empty.jsonl": (b"", "at least one row", ""),
    "notes.docx": (b"x", "end in one of", ""),
    "cut.jsonl": (GOOD + '{"p": "a', "valid JSON", ":2"),
    "deep.jsonl": (GOOD + "[" * 100_000, "valid JSON", ":2"),
    "long.jsonl": (GOOD + "5" * 5000, "valid JSON", ":2"),
    "latin.jsonl": (GOOD.encode() + '{"p": "é"}'.encode("latin-1"), "UTF-8", ":2"),
    "latin.csv": ("p\na\né\n".encode("latin-1"), "UTF-8", ":3"),
    "half.jsonl": (GOOD + r'{"p": "\ud800"}', "valid Unicode", ":2"),
    "comma.json": ('[\n{"p": 1}\n{"p": 1}]', "valid JSON", ": Expecting ',' delimiter: line 3"),
    "number.json": ('[\n{"p": 1},\n3]', "JSON object", ":2"),
    "ragged.csv": ("p,q\na,b\na\n", "2 cells", ":3"),
    "quote.csv": ('p,q\na,b\n"a,b\n', "valid", ":3"),
    "cut.jsonl.gz": (gzip.compress(GOOD.encode() * 500)[:-12], "whole", ""),
    "damaged.jsonl.gz": (b"\x1f\x8b\x08" + b"\x00" * 7 + b"\xff" * 40, "whole", ""),
    "cut.parquet": (b"PAR1", "valid", ""),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_said_in_one_line(tmp_path: Path, name: str) -> None:
    content, must, line = FAULTS[name]
    path = put(tmp_path / name, content)
    with pytest.raises(DataError) as caught:
        read_records(path)
    assert must in caught.value.must
    assert f"{path}{line}" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(DataError):
        read_records(tmp_path / "none.jsonl")


def test_cells_that_pandas_leaves_empty_are_missing(tmp_path: Path) -> None:
    frame = pd.DataFrame({"p": ["a", None], "q": [1.0, float("nan")]})
    for na_rep in ("", "nan"):
        frame.to_csv(tmp_path / "a.csv", index=False, na_rep=na_rep)
        assert fields(tmp_path / "a.csv")[1] == {"p": None, "q": None}


@given(st.lists(st.dictionaries(st.text(), st.text()), min_size=1))
def test_written_rows_read_back_equal(rows: list[dict[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.jsonl", "a.jsonl.gz"):
            write_jsonl(Path(folder) / name, rows)
            assert fields(Path(folder) / name) == rows


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_jsonl(path, [{"p": 1}])
    with pytest.raises(DataError):
        write_jsonl(path, [{"p": 2}, {"p": float("nan")}])
    assert fields(path) == [{"p": 1}]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.jsonl"]
