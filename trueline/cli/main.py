"""Dispatch: one dataclass a verb, one JSON object on request, one line for what went wrong.

Exit codes: 0 done; 2 wrong input, path or permission (what must hold, what was got, what to do); 1
anything else; 130 stopped by Ctrl-C.
With --json, standard output holds exactly one JSON object; all else goes to standard error.
"""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import sys
from collections.abc import Sequence

import tyro
from rich.console import Console

from trueline.cli.common import Verb
from trueline.cli.export import ExportVerb
from trueline.cli.fit import FitVerb
from trueline.cli.judge import JudgeVerb
from trueline.cli.recipe import RecipeVerb
from trueline.cli.report import ReportVerb
from trueline.cli.run import RunVerb
from trueline.cli.score import ScoreVerb
from trueline.cli.serve import ServeVerb
from trueline.errors import InputError, InvalidExperiment, TruelineError
from trueline.progress import Telling

__all__ = ["main"]

VERBS = {
    "run": RunVerb,
    "fit": FitVerb,
    "score": ScoreVerb,
    "judge": JudgeVerb,
    "export": ExportVerb,
    "serve": ServeVerb,
    "report": ReportVerb,
    "recipe": RecipeVerb,
}


_PLACES = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EROFS}
_PLACES |= {errno.ENAMETOOLONG, errno.ELOOP}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command `trueline`."""
    if list(sys.argv[1:] if arguments is None else arguments) == ["--version"]:
        print(f"trueline {importlib.metadata.version('trueline')}")
        return
    verb = tyro.extras.subcommand_cli_from_dict(
        dict(VERBS),
        prog="trueline",
        description="Learn what people want as a light reward, improve against it with caution.\n\n"
        "What models read is kept between commands in $TRUELINE_CACHE, or ~/.cache/trueline.",
        args=arguments,
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes),
    )
    # Under a launcher every process does the same, and one of them says so.
    speaks = os.environ.get("RANK", "0") == "0"
    console = Console(stderr=verb.json, soft_wrap=True, quiet=not speaks)
    sys.exit(_execute(verb, console))


def _execute(verb: Verb, console: Console) -> int:
    quiet, name = console.quiet, next(n for n, kind in VERBS.items() if isinstance(verb, kind))
    errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, quiet=quiet)
    try:
        with Telling(Console(stderr=True, quiet=quiet), name):
            result = verb.execute(console)
    except (InputError, InvalidExperiment) as error:
        errors.print(f"trueline: {error}")
        return 2
    except TruelineError as error:
        errors.print(f"trueline: {error}")
        return 1
    except KeyboardInterrupt:
        errors.print(f"trueline: stopped; {verb.goes_on}")
        return 130
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        if error.errno in _PLACES:
            must, do = (
                "paths must lead to what may be read and written",
                "check path and permissions",
            )
            errors.print(f"trueline: {must}; got: {os.strerror(error.errno)}{where}; {do}")
            return 2
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        errors.print(
            f"trueline: there must be room on the disk to write results; "
            f"got: {os.strerror(error.errno)}{where}; free some and run the same command again"
        )
        return 1
    if verb.json and not quiet:
        print(json.dumps(result, ensure_ascii=False, allow_nan=False))
    return 0
