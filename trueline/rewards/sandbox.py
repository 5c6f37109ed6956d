"""Runs code that a model wrote, in bubblewrap (github.com/containers/bubblewrap).

The code gets the system's and Python's own files read-only and a small empty folder, no network, no
other process and no variable of ours, and limits of time, memory, processes and output that it
cannot raise. What it can read holds no expected value: `run_calls` compares nothing. It shares a
process with what writes the values, each on a line under a fresh nonce, so it can forge lines; but
a forger has to know the right value, and who knows it may return it.

Where the sandbox cannot be made (no bubblewrap: `SetupError`; user namespaces refused: `NotRun`),
nothing runs: there is no weaker mode. It needs no root.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from inspect import getsource
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from trueline.errors import SetupError

__all__ = ["NotRun", "as_data", "needs_bubblewrap", "run_calls", "run_program"]

MOST_PROCESSES, MOST_BYTES = 16, 1 << 20
"""Processes and threads at a time; bytes of output, and of each file."""
_SYSTEM = ("/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin", "/etc/ld.so.cache")
_APART = (
    f"--proc /proc --dev /dev --remount-ro /dev --size {16 << 20} --perms 1777 --tmpfs /tmp "
    "--chdir /tmp --unshare-ipc --unshare-pid --unshare-net --unshare-uts --unshare-cgroup-try "
    "--die-with-parent --new-session --cap-drop ALL"
).split()
_NUMBERS = {
    "x86_64": (0xC000003E, 56, 272, 29, 68, 64, 248, 249, 250, 425, 101, 298, 308, 321, 323),
    "aarch64": (0xC00000B7, 220, 97, 194, 186, 190, 217, 218, 219, 425, 117, 241, 268, 280, 282),
}
"""Of the architecture, and of the calls clone, unshare, shmget, msgget, semget, add_key,
request_key, keyctl, io_uring_setup, ptrace, perf_event_open, setns, bpf and userfaultfd."""


class NotRun(RuntimeError):
    """The code was not started with all limits in force; says why, in one line."""


def needs_bubblewrap() -> str:
    """Return where bubblewrap is."""
    path = shutil.which("bwrap")
    if path is None:
        do = "apt-get install bubblewrap"
        raise SetupError("running code needs bubblewrap", got="none", do=do)
    return path


def run_calls(code: str, calls: Sequence[tuple[str, str]], **limits: Any) -> list[dict[str, Any]]:
    """Evaluate expressions on what code defines, each after its set-up statements.

    For each (setup, call) `{"value": ...}` as JSON shows it or `{"raised": name}`; nothing at all
    where any is missing, forged or unreadable.
    """
    nonce = secrets.token_hex(16)
    program = getsource(as_data) + getsource(_wait_for) + getsource(_call) + "_call()\n"
    output, _ = run_program(program, stdin=json.dumps([nonce, code, list(calls)]), **limits)
    lines, start = output.splitlines(), nonce.encode() + b" "
    if len(lines) != len(calls) or not all(line.startswith(start) for line in lines):
        return []
    try:
        answers = [json.loads(line[len(start) :]) for line in lines]
    except (ValueError, RecursionError):
        return []
    return answers if all(isinstance(answer, dict) for answer in answers) else []


def run_program(
    code: str, *, stdin: str, cpu_s: int, wall_s: float, memory_mb: int
) -> tuple[bytes, int | None]:
    """Run code as a script; return what it prints, and its exit code (None: time was up).

    `cpu_s`, `memory_mb`: of a process; `wall_s`: until all is ended.
    """
    python = [os.path.realpath(getattr(sys, "_base_executable", sys.executable)), "-I", "-S"]
    # A user of its own for each sandbox: the kernel counts a user's processes together.
    user = (1 << 20) + secrets.randbelow(1 << 30)
    most = [cpu_s, memory_mb << 20, MOST_PROCESSES, MOST_BYTES, user]
    with ExitStack() as stack:
        source, asked, rules, printed, errors, ready = (
            stack.enter_context(TemporaryFile()) for _ in range(6)
        )
        texts = (text.encode("utf-8", "replace") for text in (code, stdin))
        for file, content in zip((source, asked, rules), (*texts, _filter()), strict=True):
            file.write(content)
            file.seek(0)
        then = [*python, "/run/program.py"]
        first = f"{getsource(_limit)}_limit({ready.fileno()}, {most}, {then})"
        program = ["--perms", "0444", "--ro-bind-data", str(source.fileno()), "/run/program.py"]
        program += ["--seccomp", str(rules.fileno())]
        process = subprocess.Popen(
            [*_bubblewrap(), *program, "--remount-ro", "/", *python, "-c", first],
            stdin=asked, stdout=printed, stderr=errors, env={},
            pass_fds=[source.fileno(), rules.fileno(), ready.fileno()],
        )  # fmt: skip
        try:
            ended: int | None = process.wait(wall_s)
        except subprocess.TimeoutExpired:
            # With bubblewrap ends all that runs in it (--die-with-parent, its own pids).
            process.kill()
            process.wait()
            ended = None
        for file in (printed, errors, ready):
            file.seek(0)
        if not ready.read():
            why = " ".join(errors.read(2_000).decode("utf-8", "replace").split())[:300]
            must = "this user must be allowed user namespaces"
            raise NotRun(f"the sandbox could not be made ({why or 'no reason given'}); {must}")
        return printed.read(MOST_BYTES + 1), ended


def _bubblewrap() -> list[str]:
    """Return the command that makes the sandbox, up to what runs in it."""
    base = Path(sys.base_prefix).resolve()
    command = [needs_bubblewrap(), "--ro-bind", "/usr", "/usr", "--dir", "/run"]
    for parent in reversed(base.parents):
        command += ["--dir", str(parent)]  # else they are closed to all users but one
    command += ["--ro-bind", str(base), str(base)]
    for path in _SYSTEM:
        command += ["--ro-bind-try", path, path]
    if os.geteuid() == 0:
        # To become a user without rights, which the limits on processes hold for.
        return [*command, *_APART, "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return [*command, *_APART, "--unshare-user"]


def _filter() -> bytes:
    """Return a seccomp filter that refuses what gives memory which no limit counts.

    That is a user namespace, in which code may mount, System V's shared memory and queues, keys and
    rings; and what else right code has no use for.
    """
    if (machine := os.uname().machine) not in _NUMBERS:
        raise NotRun(f"the numbers of system calls must be known, got a processor {machine}")
    arch, clone, *refused = _NUMBERS[machine]
    no, missing, yes = ((0x06, 0, 0, value) for value in (0x50001, 0x50026, 0x7FFF0000))
    steps = [(0x20, 0, 0, 4), (0x15, 1, 0, arch), no, (0x20, 0, 0, 0), (0x35, 0, 1, 1 << 30), no]
    for number in refused:
        steps += [(0x15, 0, 1, number), no]
    steps += [(0x15, 0, 1, 435), missing]  # clone3 hides its flags; C libraries then use clone
    steps += [(0x15, 1, 0, clone), yes, (0x20, 0, 0, 16), (0x45, 0, 1, 0x10000000), no, yes]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


# The rest runs inside, as text given to a bare Python: it imports the standard library only.


def as_data(value: object) -> object:
    """Return a value as JSON shows it: tuples as lists, sets as sorted lists, keys as texts.

    A dataclass gives a dict, an iterator a list, a date its ISO text, a Decimal or Fraction a
    float. An object of another class is no data (TypeError): call what gives its content.
    """
    import dataclasses

    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple):
        return [as_data(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(as_data, value), key=repr)
    if isinstance(value, dict):
        pairs = value.items()
        return {k if isinstance(k, str) else str(as_data(k)): as_data(v) for k, v in pairs}
    if isinstance(value, bytes | bytearray | complex | range):
        return repr(value)
    if dataclasses.is_dataclass(value):
        return {f.name: as_data(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "__next__"):
        return [as_data(item) for item in value]  # type: ignore[attr-defined]
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if hasattr(value, "__float__"):
        return float(value)
    raise TypeError(f"{type(value).__name__} is no data")


def _limit(ready: int, limits: list[int], command: list[str]) -> None:
    """Set limits that nothing can raise again, give up root, and become the command."""
    import os
    import resource

    cpu_s, memory, processes, output, user = limits
    for name, most in (
        (resource.RLIMIT_AS, memory), (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_FSIZE, output), (resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        resource.setrlimit(name, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    if os.geteuid() == 0:
        # The kernel counts no processes of root's.
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    os.set_inheritable(ready, False)
    os.write(ready, b"ready")
    try:
        os.execv(command[0], command)
    except OSError:
        os.ftruncate(ready, 0)
        raise


def _call() -> None:
    """Run the code as the module `solution`, then each case, and write its value as one line."""
    import ast
    import asyncio
    import inspect
    import json
    import os
    import sys
    import types

    nonce, code, cases = json.loads(sys.stdin.readline())
    out = os.dup(1)
    os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
    module = types.ModuleType("solution")
    sys.modules["solution"] = module  # dataclasses look their module up
    exec(compile(code, "solution.py", "exec"), module.__dict__)
    for setup, call in cases:
        try:
            exec(compile(setup, "<setup>", "exec"), module.__dict__)
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            value = eval(compile(call, "<call>", "eval", flags), module.__dict__)
            while inspect.isawaitable(value):
                value = asyncio.run(_wait_for(value))
            answer = {"value": as_data(value)}
        except BaseException as error:
            answer = {"raised": type(error).__name__}
        os.write(out, f"{nonce} {json.dumps(answer)}\n".encode())
    os._exit(0)  # threads may be left


async def _wait_for(value: object) -> object:
    return await value  # type: ignore[misc]
