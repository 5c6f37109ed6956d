"""Reports: what happened in one or several runs, read from their folders and never from a model.

`write_report` makes one HTML page that needs neither network, server nor script; `write_judging`
the page of a folder of verdicts; `summary` the table that a terminal shows when a run ends.
"""

from trueline.reports.judging_page import write_judging
from trueline.reports.run_page import summary, write_report

__all__ = ["summary", "write_judging", "write_report"]
