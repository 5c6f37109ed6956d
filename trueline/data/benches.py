"""Read reward benches: for one prompt, answers known to be right and answers known to be wrong.

    rewardbench     {"prompt", "chosen": text, "rejected": text, "subset", "id"}      2403.13787
    rewardbench-2   {"prompt", "chosen": [text], "rejected": [text], "subset", "id"}   2506.01937
    rm-bench        {"prompt", "chosen": [text a style], "rejected": [… alike],
                     "domain", "id"}; styles run from plain to fancy                   2410.16184

Lambert et al. 2024; Malik et al. 2025; Liu et al. 2024. The shape is recognised from the rows, and
a file holds one shape. Any other file of preferences is read as the first, one item a comparison
and one subset, `all`. `skipped` counts what holds no answers or was judged equal (see `formats`).

>>> import tempfile, pathlib
>>> path = pathlib.Path(tempfile.mkdtemp()) / "bench.jsonl"
>>> _ = path.write_text('{"prompt": "2 + 2", "chosen": ["4"], "rejected": ["3", "5"]}')
>>> bench = load_bench(path)
>>> bench.kind, bench.items[0].subset, len(bench.items[0].rejected)
('rewardbench-2', 'all', 2)
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from trueline.data.files import FileRecord, read_records
from trueline.data.formats import lists_texts, to_row
from trueline.errors import DataError
from trueline.records import Response

__all__ = ["Bench", "BenchItem", "load_bench"]

Kind = Literal["rewardbench", "rewardbench-2", "rm-bench"]


@dataclass(frozen=True, kw_only=True)
class BenchItem:
    """Answers to one prompt: some are right and some are wrong."""

    chosen: tuple[Response, ...]
    rejected: tuple[Response, ...]
    subset: str
    """Subset, or domain, as the file calls it."""
    id: str


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The items of one file, at least one, all of one shape."""

    kind: Kind
    items: tuple[BenchItem, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Rows, or judgements, that are no item, by reason."""


def load_bench(path: str | os.PathLike[str]) -> Bench:
    """Return the bench in a .jsonl, .jsonl.gz, .json, .csv or .parquet file."""
    items: list[BenchItem] = []
    skipped: Counter[str] = Counter()
    records = read_records(path)
    kind = _kind(records[0])
    for number, record in enumerate(records, start=1):
        if (other := _kind(record)) != kind:
            raise DataError(
                "all rows of a bench must have one shape",
                got=f"{record.where}: {other} after {kind}",
                do="give each bench a file of its own",
            )
        items += _items(record, number, kind, skipped)
    if not items:
        raise DataError("a bench must hold at least one item", got=f"{path}: {dict(skipped)}")
    return Bench(kind=kind, items=tuple(items), skipped=dict(skipped))


def _kind(record: FileRecord) -> Kind:
    fields = record.fields
    if lists_texts(fields):
        return "rm-bench" if "domain" in fields else "rewardbench-2"
    if str(fields.get("chosen")).startswith("[") and {"domain", "num_correct"} & fields.keys():
        must = "`chosen` of a bench's row must be a list of texts"
        do = "save the rows as .jsonl or .parquet"
        raise DataError(must, got=f"{record.where}: a list written as text", do=do)
    return "rewardbench"


def _items(record: FileRecord, number: int, kind: Kind, skipped: Counter[str]) -> list[BenchItem]:
    row, fields = to_row(record), record.fields
    if row.kind == "single":
        must = "a bench's row must hold chosen and rejected"
        raise DataError(must, got=f"{record.where}: neither")
    split = 1 if kind == "rewardbench" else len(fields["chosen"])
    if kind == "rm-bench" and (2 * split != len(row.responses) or split < 2):
        must = "chosen and rejected must hold one answer a style, at least two styles"
        raise DataError(must, got=f"{record.where}: {split} of {len(row.responses)}")
    if kind != "rewardbench" or (row.kind == "pair" and not row.ties):
        # Answers that are equal are an item too, which nothing can rank.
        sides = [(row.responses[:split], row.responses[split:])]
    else:
        sides = [((pair.chosen,), (pair.rejected,)) for pair in row.comparisons]
        skipped.update(row.skipped)
    subset = str(fields.get("domain" if kind == "rm-bench" else "subset") or "all")
    name = str(fields.get("id", number))
    return [BenchItem(chosen=a, rejected=b, subset=subset, id=name) for a, b in sides]
