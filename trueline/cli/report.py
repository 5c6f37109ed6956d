"""`trueline report`: one self-contained HTML page from one run folder or several."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from trueline import reports
from trueline.errors import InputError
from trueline.runs import RunFolder

__all__ = ["ReportVerb"]


@dataclass(frozen=True, kw_only=True)
class ReportVerb:
    """Write the report of a run; further runs are shown beside the first.

    trueline report runs/demo runs/demo-unassisted --out report.html

    A folder of `trueline judge` gets its own page anew.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, the main one first."""
    out: Path | None = None
    """The page; report.html in the first run folder if not given."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object on standard output and nothing else there."""

    def execute(self, console: Console) -> dict[str, Any]:
        """Write the page; return where it is."""
        page = self._judged() or reports.write_report(
            list(self.runs), self.out or self.runs[0] / "report.html"
        )
        console.print(f"report: {page}")
        return {"report": str(page), "runs": [str(run) for run in self.runs]}

    def _judged(self) -> Path | None:
        """The page of a folder that `trueline judge` made; None if it is none."""
        views = [RunFolder.view(run) for run in self.runs]
        judged = [view for view in views if view.config.get("verb") == "judge"]
        if not judged:
            return None
        if len(self.runs) > 1 or self.out is not None:
            raise InputError(
                "the page of judgements is written beside them, one folder at a time",
                got=f"{len(self.runs)} folders, --out {self.out}",
                do="name one folder, without --out",
            )
        if judged[0].result is None:
            raise InputError(
                "judging must be over to be shown",
                got=f"no result in {self.runs[0]}",
                do="give the command that began it again: it goes on",
            )
        return reports.write_judging(self.runs[0])
