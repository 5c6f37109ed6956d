"""What runs inside the sandbox: first limits, then one program, or calls of its functions.

This file is read as text and given to a bare Python, so it imports the standard library only. Its
two parts are two processes: the one that sets the limits says that they hold on a descriptor which
the code never gets, and then becomes the one that runs the code.
"""

from __future__ import annotations

__all__ = ["as_data"]


def as_data(value: object) -> object:
    """Return a value as JSON shows it: tuples as lists, sets as sorted lists, keys as texts.

    Subclasses of plain types are taken for the plain type; an object of a class of its own is no
    data (TypeError): call what gives its content.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, list | tuple):
        return [as_data(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((as_data(item) for item in value), key=repr)
    if isinstance(value, dict):
        pairs = dict.items(value)
        return {k if isinstance(k, str) else str(as_data(k)): as_data(v) for k, v in pairs}
    if isinstance(value, bytes | bytearray | complex | range):
        return repr(value)
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
    if os.geteuid() == 0 and user:
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


def _call(out: int, nonce: str, code: str, cases: list[list[str]]) -> None:
    """Run the code as the module `solution`, then each case, and write its value as one line."""
    import ast
    import asyncio
    import inspect
    import json
    import os
    import sys
    import types

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
        except Exception as error:
            answer = {"raised": type(error).__name__}
        os.write(out, f"{nonce} {json.dumps(answer)}\n".encode())


async def _wait_for(value: object) -> object:
    return await value  # type: ignore[misc]
