"""Runs code that a model wrote, in bubblewrap (github.com/containers/bubblewrap).

The code gets the system's and Python's own files read-only and a small empty folder, no network, no
other process and no variable of ours, and limits of time, memory, processes and output that it
cannot raise. What it can read holds no expected value: `run_calls` gives it expressions to evaluate
and compares nothing; values come back on a descriptor of their own, each line under a fresh nonce.
The code shares a process with what writes there, so it can forge lines; but a forger has to know
the right value, and who knows it may return it. Anything but one line a call is no answer.

Where the sandbox cannot be made (no bubblewrap: `SetupError`; user namespaces refused: `ran` is
False, with the reason), nothing runs: there is no weaker mode. It needs no root.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from trueline.errors import InputError, SetupError
from trueline.rewards import sandbox_child
from trueline.rewards.storage import stored

__all__ = ["SandboxLimits", "SandboxResult", "needs_bubblewrap", "run_calls", "run_program"]

_CHILD = Path(sandbox_child.__file__).read_text(encoding="utf-8")


@stored
@dataclass(frozen=True, kw_only=True)
class SandboxLimits:
    """What one answer's code may use up."""

    cpu_s: int = 5
    """Processor seconds of a process."""
    wall_s: float = 20.0
    """Seconds until all is ended."""
    memory_mb: int = 512
    """Megabytes of a process."""
    num_processes: int = 16
    """Processes and threads at a time."""
    output_bytes: int = 1 << 20
    """Bytes of output, and of each file."""

    def __post_init__(self) -> None:
        if min(vars(self).values()) <= 0:
            raise InputError("limits must be positive", got=str(self))


@dataclass(frozen=True, kw_only=True)
class SandboxResult:
    """What became of a run."""

    ran: bool
    """Whether the code was started, with all limits in force."""
    output: bytes = b""
    """What a program printed, or the lines of values."""
    code: int | None = None
    """Its exit code; None where time was up."""
    why: str = ""
    """Why it was not started, in one line."""


def needs_bubblewrap() -> str:
    """Return where bubblewrap is."""
    path = shutil.which("bwrap")
    if path is None:
        raise SetupError(
            "running code needs bubblewrap", got="none", do="apt-get install bubblewrap"
        )
    return path


def run_program(code: str, *, stdin: str, limits: SandboxLimits) -> SandboxResult:
    """Run code as a script that reads `stdin`; `output` is what it prints."""
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as out:
        _fill(source, code)
        files = ["--perms", "0444", "--ro-bind-data", str(source.fileno()), "/run/program.py"]
        return _run(["/run/program.py"], files, stdin, (source, out, None), limits)


def run_calls(
    code: str, calls: Sequence[tuple[str, str]], *, limits: SandboxLimits
) -> tuple[SandboxResult, list[dict[str, Any]]]:
    """Evaluate expressions on what code defines, each after its set-up statements.

    Returns:
        The result, and for each (setup, call) `{"value": ...}` as JSON shows it or
        `{"raised": name}`; no answer at all where any is missing, forged or unreadable.
    """
    nonce = secrets.token_hex(16)
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as out:
        _fill(source, f"{_CHILD}\nimport json, sys\n_call(*json.loads(sys.stdin.readline()))\n")
        files = ["--perms", "0444", "--ro-bind-data", str(source.fileno()), "/run/child.py"]
        given = json.dumps([out.fileno(), nonce, code, list(calls)])
        result = _run(["/run/child.py"], files, given + "\n", (source, None, out), limits)
        return result, _answers(result.output, nonce, len(calls))


def _answers(output: bytes, nonce: str, num_calls: int) -> list[dict[str, Any]]:
    lines = output.splitlines()
    start = nonce.encode() + b" "
    if len(lines) != num_calls or not all(line.startswith(start) for line in lines):
        return []
    try:
        answers = [json.loads(line[len(start) :]) for line in lines]
    except (ValueError, RecursionError):
        return []
    return answers if all(isinstance(answer, dict) for answer in answers) else []


def _fill(file: IO[bytes], text: str) -> None:
    file.write(text.encode("utf-8", "replace"))
    file.seek(0)


def _run(
    program: list[str],
    files: list[str],
    stdin: str,
    handles: tuple[IO[bytes], IO[bytes] | None, IO[bytes] | None],
    limits: SandboxLimits,
) -> SandboxResult:
    """Run Python on a file of the sandbox; of standard output and `values` one is given."""
    source, printed, values = handles
    python = [os.path.realpath(getattr(sys, "_base_executable", sys.executable)), "-I", "-S"]
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as ready:
        _fill(asked, stdin)
        most = [limits.cpu_s, limits.memory_mb << 20, limits.num_processes, limits.output_bytes]
        # A user of its own for each sandbox: the kernel counts a user's processes together.
        most.append(random.SystemRandom().randrange(1 << 20, 1 << 30))
        first = f"{_CHILD}\n_limit({ready.fileno()}, {most}, {[*python, *program]})\n"
        keep = [file.fileno() for file in (source, ready, values) if file is not None]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [*_bubblewrap(limits), *files, "--remount-ro", "/", *python, "-c", first],
                stdin=asked, stdout=printed or subprocess.DEVNULL, stderr=errors, pass_fds=keep,
                env={},
            )  # fmt: skip
            try:
                code: int | None = process.wait(limits.wall_s)
            except subprocess.TimeoutExpired:
                # With bubblewrap ends all that runs in it (--die-with-parent, its own pids).
                process.kill()
                process.wait()
                code = None
            why = _read(errors, 2_000).decode("utf-8", "replace").strip()
        output = _read(printed or values, limits.output_bytes + 1)
        ran = bool(_read(ready, 9))
        return SandboxResult(ran=ran, output=output, code=code, why="" if ran else _refusal(why))


def _refusal(why: str) -> str:
    """Return one line that says why there is no sandbox, and what it takes."""
    reason = " ".join(why.split())[:300] or "bubblewrap gave no reason"
    return f"the sandbox could not be made ({reason}); this user must be allowed user namespaces"


def _read(file: IO[bytes] | None, most: int) -> bytes:
    if file is None:
        return b""
    file.seek(0)
    return file.read(most)


def _bubblewrap(limits: SandboxLimits) -> list[str]:
    """Return the command that makes the sandbox, up to what runs in it."""
    system = [f"/{name}" for name in ("lib", "lib32", "lib64", "libx32", "bin", "sbin")]
    base = Path(sys.base_prefix).resolve()
    command = [needs_bubblewrap(), "--ro-bind", "/usr", "/usr", "--dir", "/run"]
    for parent in reversed(base.parents):
        command += ["--dir", str(parent)]  # else they are closed to all users but one
    command += ["--ro-bind", str(base), str(base)]
    for path in system:
        if os.path.islink(path):
            command += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            command += ["--ro-bind", path, path]
    command += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", "--proc", "/proc"]
    command += ["--dev", "/dev", "--remount-ro", "/dev", "--size", str(16 << 20)]
    command += ["--perms", "1777", "--tmpfs", "/tmp", "--chdir", "/tmp"]
    command += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    command += ["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    if os.geteuid() == 0:
        # To become a user without rights, which the limits on processes hold for.
        return [*command, "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return [*command, "--unshare-user"]
