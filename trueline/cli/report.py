"""`trueline report`: one self-contained HTML page from one run folder or several."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from trueline.reports import write_report

__all__ = ["Report"]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write the report of a run; further runs are shown beside the first.

    trueline report runs/demo runs/demo-unassisted --out report.html
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, the main one first."""
    out: Path | None = None
    """The page; report.html in the first run folder if not given."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object on standard output and nothing else there."""

    def execute(self, console: Console) -> dict[str, Any]:
        """Write the page; returns where it is."""
        page = write_report(list(self.runs), self.out or self.runs[0] / "report.html")
        console.print(f"report: {page}")
        return {"report": str(page), "runs": [str(run) for run in self.runs]}
