"""Reports: what happened in one or several runs, read from their folders and never from a model.

`write_report` makes one HTML file that needs nothing else, neither network nor server; `summary`
is the table a terminal shows when a run ends.
"""

from trueline.reports.folder import Run, read_run
from trueline.reports.html import write_report
from trueline.reports.tables import summary

__all__ = ["Run", "read_run", "summary", "write_report"]
