"""The harness of all benchmarks: options, checkpoints of cells, rows with intervals, the result.

A benchmark is a module with a function `measure(options, cells) -> Measured`, where the first row
is the one that README.md shows, and ends with

    if __name__ == "__main__":
        run(measure, Options)

`python -m benchmarks.NAME` then writes results/NAME.json: the command, the commit, the seeds, the
machine, the rows and the numbers behind them. A cell that is finished is a line of
results/NAME.cells.jsonl until the result is written, so that a killed benchmark goes on where it
was; cells of another commit are measured again. `--quick` measures a tiny setting and writes
nothing unless `--out` is given.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tyro

from trueline.records import Estimate

__all__ = [
    "ROOT", "Cells", "Measured", "Options", "Row", "median_ratio", "run", "shared", "timed",
]  # fmt: skip

ROOT = Path(__file__).resolve().parent.parent
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every benchmark can be asked; a benchmark adds its own."""

    seeds: tuple[int, ...] = (0, 1, 2)
    threads: int = 1
    """Of torch, in this process."""
    quick: bool = False
    """Measure a tiny setting, to see that it runs; nothing is written unless --out is given."""
    out: Path | None = None
    """The result file; results/NAME.json by default."""


@dataclass(frozen=True)
class Row:
    """One line of the table of results; `met` is None where no bar was set."""

    what: str
    value: Any
    """An estimate, a number, or words."""
    bar: str | None = None
    met: bool | None = None

    @classmethod
    def least(cls, what: str, value: Any, bar: float) -> Row:
        """Return a row whose value should be at least `bar`."""
        return cls(what, value, f"≥ {bar:g}", bool(_number(value) >= bar))

    @classmethod
    def most(cls, what: str, value: Any, bar: float) -> Row:
        """Return a row whose value should be at most `bar`."""
        return cls(what, value, f"≤ {bar:g}", bool(_number(value) <= bar))

    @classmethod
    def positive(cls, what: str, value: Estimate) -> Row:
        """Return a row whose whole interval should lie above 0."""
        return cls(what, value, "interval above 0", value.lower is not None and value.lower > 0)

    def as_dict(self) -> dict[str, Any]:
        """Return the row as results/*.json holds it."""
        value = self.value.as_dict() if isinstance(self.value, Estimate) else self.value
        return {"what": self.what, "value": value, "bar": self.bar, "met": self.met}


@dataclass(frozen=True)
class Measured:
    """What a benchmark found: rows for the tables, and any numbers behind them (JSON)."""

    rows: list[Row]
    numbers: dict[str, Any] = field(default_factory=dict)


class Cells:
    """Finished parts of a measurement, kept as lines of a JSONL file (or in memory only)."""

    def __init__(self, path: Path | None = None) -> None:
        self.path, self.commit = path, commit()
        self._done: dict[str, Any] = {}
        if path is not None and path.is_file():
            for line in path.read_text().splitlines():
                cell = json.loads(line)
                if cell["commit"] == self.commit:
                    self._done[json.dumps(cell["cell"], sort_keys=True)] = cell["result"]

    def get(self, compute: Callable[[], T], **cell: Any) -> T:
        """Return what `compute` gives for this cell (JSON), computed once and then kept."""
        key = json.dumps(cell, sort_keys=True)
        if key not in self._done:
            result = json.loads(json.dumps(compute()))
            self._done[key] = result
            self._append({"cell": cell, "commit": self.commit, "result": result})
            print(time.strftime("%X"), key, flush=True)
        return self._done[key]

    def _append(self, line: dict[str, Any]) -> None:
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def forget(self) -> None:
        """Delete the file: the result is written."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def run(measure: Callable[[Any, Cells], Measured], options_type: type[Options]) -> None:
    """Parse the command line, measure, print the rows, and write the result."""
    options = tyro.cli(options_type, description=sys.modules["__main__"].__doc__)
    _set_threads(options.threads)
    name = Path(sys.argv[0]).stem
    out = options.out or (None if options.quick else ROOT / "results" / f"{name}.json")
    cells = Cells(out and out.with_suffix(".cells.jsonl"))
    started = time.perf_counter()
    measured = measure(options, cells)
    for row in measured.rows:
        print(row.as_dict())
    if out is not None:
        seconds = round(time.perf_counter() - started, 1)
        out.parent.mkdir(parents=True, exist_ok=True)
        record = {**_made_by(name, options), "wall_s": seconds}
        record |= {"headlines": [row.as_dict() for row in measured.rows], **measured.numbers}
        out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        cells.forget()


def shared() -> Path:
    """Return the folder of shared data, $TRUELINE_SHARED or ../shared."""
    return Path(os.environ.get("TRUELINE_SHARED") or ROOT.parent / "shared")


def commit() -> str:
    """Return the short name of the current commit, with "+changes" where the package has some."""
    head = _git("rev-parse", "--short", "HEAD")
    return head + ("+changes" if _git("status", "--porcelain", "--", "trueline") else "")


def timed(act: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """Return what `act` gives, and the processor and wall seconds of this process."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    result = act()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return result, {"cpu_s": cpu, "wall_s": wall}


def median_ratio(slow: Sequence[float], fast: Sequence[float]) -> Estimate:
    """Return the median of the neighbours' ratios; its interval is the range of several."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    ends = (min(ratios), max(ratios)) if len(ratios) > 1 else (None, None)
    return Estimate(float(np.median(ratios)), *ends, len(ratios))


def _number(value: Any) -> float:
    return float(value.value if isinstance(value, Estimate) else value)


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def _set_threads(threads: int) -> None:
    """One pool of threads: torch's; NumPy's own would wait by spinning beside it."""
    from trueline.cli.common import set_threads

    set_threads(threads)


def _made_by(name: str, options: Options) -> dict[str, Any]:
    # Paths of one machine say nothing on another.
    shown = ["FOLDER" if "/" in word else word for word in sys.argv[1:]]
    return {
        "command": " ".join(["python -m", f"benchmarks.{name}", *shown]),
        "commit": commit(),
        "seeds": list(options.seeds),
        "options": {k: v for k, v in asdict(options).items() if not isinstance(v, Path)},
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "torch": version("torch"),
            "transformers": version("transformers"),
        },
    }
