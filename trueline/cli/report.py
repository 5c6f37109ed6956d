"""`trueline report`: one self-contained HTML page from one run folder or several."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from trueline import reports
from trueline.cli.common import Verb
from trueline.errors import InputError
from trueline.runs import RunFolder

__all__ = ["ReportVerb"]


@dataclass(frozen=True, kw_only=True)
class ReportVerb(Verb):
    """Write the report of a run; further runs are shown beside the first.

    trueline report runs/demo runs/demo-unassisted --out report.html

    A folder of `trueline judge` gets its own page anew.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, the main one first."""
    out: Path | None = None
    """The page; report.html in the first run folder if not given."""

    def execute(self, console: Console) -> dict[str, Any]:
        """Write the page; return where it is."""
        judged = [RunFolder.view(run).config.get("verb") == "judge" for run in self.runs]
        if not any(judged):
            page = reports.write_report(self.runs, self.out)
        elif len(judged) == 1 and self.out is None:
            page = reports.write_judging(self.runs[0])
        else:
            raise InputError(
                "the page of judgements is written beside them, one folder at a time",
                got=f"{len(self.runs)} folders, --out {self.out}",
                do="name one folder, without --out",
            )
        console.print(f"report: {page}")
        return {"report": str(page), "runs": [str(run) for run in self.runs]}
