"""Reports: what happened in one or several runs, read from their folders and never from a model.

`write_report` makes one HTML page that needs neither network, server nor script; `write_judging`
the page of a folder of verdicts; `summary` the table that a terminal shows when a run ends.
"""

from trueline.reports.judging_page import write_judging
from trueline.reports.run_page import ReportSection, summary, write_report
from trueline.reports.run_records import RoundRecord, RunRecord, read_run

__all__ = [
    "ReportSection",
    "RoundRecord",
    "RunRecord",
    "read_run",
    "summary",
    "write_judging",
    "write_report",
]
