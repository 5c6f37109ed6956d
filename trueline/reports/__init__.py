"""Reports: what happened in one or several runs, read from their folders and never from a model.

`write_report` makes one HTML file that needs nothing else, neither network nor server; `summary`
is the table a terminal shows when a run ends.

Names are imported when first used: a run needs no plotting until it writes its report.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trueline.reports.folder import Run, read_run
    from trueline.reports.html import write_report
    from trueline.reports.judging import write_judging
    from trueline.reports.tables import summary

__all__ = ["Run", "read_run", "summary", "write_judging", "write_report"]

_HOMES = {
    "Run": "folder",
    "read_run": "folder",
    "summary": "tables",
    "write_judging": "judging",
    "write_report": "html",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'trueline.reports' has no attribute {name!r}")
    return getattr(import_module(f"trueline.reports.{_HOMES[name]}"), name)
