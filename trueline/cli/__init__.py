"""The command line: few, finished verbs. `trueline --help` lists them."""

from trueline.cli.main import main

__all__ = ["main"]
