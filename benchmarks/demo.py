"""What `make demo` costs once it is installed: seconds, and memory of all its processes together.

    python -m benchmarks.demo

Memory is the largest sum over its processes of the proportional set size (a page shared by two
counts half for each), sampled four times a second.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.common import ROOT, headline, write_result


@dataclass
class Arguments:
    out: Path = Path("results/demo.json")


def tree(root: int) -> list[int]:
    """The process and all its descendants."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:  # it has ended since the listing
                continue
            parents[int(entry)] = int(stat.rsplit(")", 1)[1].split()[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def proportional_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def main(arguments: Arguments) -> None:
    subprocess.run(["make", "-s", ".venv/.for-run"], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as folder:
        start, peak = time.monotonic(), 0
        process = subprocess.Popen(
            ["make", "demo", f"DEMO_OUT={folder}/demo"],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None:
            peak = max(peak, sum(proportional_kb(pid) for pid in tree(process.pid)))
            time.sleep(0.25)
        wall = time.monotonic() - start
        if process.returncode:
            raise SystemExit(f"make demo ended with status {process.returncode}")
        report = (Path(folder) / "demo.html").stat().st_size
    write_result(
        arguments.out,
        {"wall_s": round(wall, 1), "peak_mb": peak // 1024, "report_bytes": report},
        seeds=[0],
        headlines=[
            headline(
                "make demo, once installed",
                f"{wall:.0f} s",
                bar="≤ 300 s on two cores",
                met=wall <= 300,
            ),
            headline(
                "make demo, memory of all its processes",
                f"{peak // 1024} MB",
                bar="≤ 2048 MB",
                met=peak // 1024 <= 2048,
            ),
        ],
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments))
