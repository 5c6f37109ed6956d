"""What every benchmark writes: numbers, the command, the commit, the seeds and the machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["headline", "shared", "write_result"]

ROOT = Path(__file__).resolve().parent.parent


def shared() -> Path:
    """The folder of shared data, $TRUELINE_SHARED or ../shared."""
    return Path(os.environ.get("TRUELINE_SHARED") or ROOT.parent / "shared")


def headline(what: str, value: Any, *, bar: str, met: bool | None) -> dict[str, Any]:
    """One line of the table of results; `met` is None where there is no bar to meet."""
    return {"what": what, "value": value, "bar": bar, "met": met}


def write_result(
    out: Path,
    numbers: Mapping[str, Any],
    *,
    seeds: Sequence[int],
    headlines: Sequence[Mapping[str, Any]],
) -> None:
    """One JSON file a benchmark; printed too."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", "trueline"], cwd=ROOT, capture_output=True, text=True
    )
    # Headlines made again are of runs measured by the command without that option.
    shown = [argument for argument in sys.argv[1:] if argument != "--again"]
    record = {
        "command": " ".join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *shown]),
        "commit": commit.stdout.strip() + ("+changes" if changed.stdout.strip() else ""),
        "seeds": list(seeds),
        "headlines": list(headlines),
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "torch": version("torch"),
            "numpy": version("numpy"),
        },
        **numbers,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(numbers, indent=1, ensure_ascii=False))
