"""A verb holds in memory what it needs: no plotting and no learners before they are used."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = ("pandas", "sklearn", "pyarrow", "fastapi", "trl")


def test_the_command_line_loads_nothing_heavy_before_it_is_needed() -> None:
    code = "import json, sys, trueline.cli; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(json.loads(done.stdout))
