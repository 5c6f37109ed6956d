"""Record what a result depends on besides its configuration: versions, machine and commit.

Versions are read from the packages' metadata, so that nothing heavy is imported to find them out;
no host name, user or path is recorded, so that a result may be published as it is.

>>> sorted(environment())
['commit', 'num_cpus', 'packages', 'platform', 'python', 'trueline']
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["environment"]

PACKAGES = (
    *("accelerate", "numpy", "pandas", "peft", "safetensors", "scikit-learn", "scipy"),
    *("sqlalchemy", "tokenizers", "torch", "transformers"),
)


def environment() -> dict[str, Any]:
    """Return the facts as plain data; None for what could not be determined."""
    return {
        "trueline": _version("trueline"),
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "num_cpus": os.cpu_count(),
        "packages": {package: _version(package) for package in PACKAGES},
    }


def _version(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def _commit() -> str | None:
    """Return the package's git commit, `+changes` if edited; None where it is no checkout."""
    here = Path(__file__).resolve()
    try:
        # An installed copy may lie inside somebody else's repository: that is not our commit.
        _git(here.parent, "ls-files", "--error-unmatch", here.name)
        head = _git(here.parent, "rev-parse", "HEAD")
        edited = _git(here.parent, "status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+changes" if edited else "")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10)
    return done.stdout.strip()
