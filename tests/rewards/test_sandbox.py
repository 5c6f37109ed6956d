"""Unit tests in the sandbox, attacked: by code that wants to pass without being right, and by code
that breaks out."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from trueline.errors import SetupError
from trueline.records import Prompt, Response
from trueline.rewards import sandbox
from trueline.rewards.rules_code import UnitTest
from trueline.rewards.sandbox import run_calls, run_program

pytestmark = pytest.mark.usefixtures("bubblewrap")
QUICK = {"cpu_s": 1, "wall_s": 20.0, "memory_mb": 512}


def grade(code: str, tests: Any, limits: Any = QUICK) -> float | str:
    (grade,) = grades([code], tests, limits)
    return grade


def grades(codes: list[str], tests: Any, limits: Any = QUICK) -> list[float | str]:
    ask = Prompt.of("?", tests=tests)
    return UnitTest(**limits).grade([Response(prompt=ask, text=code) for code in codes])


RIGHT = "def add(a, b):\n    return a + b\n"
TESTS = [{"call": "add(1, 2)", "expected": 3}, {"call": "add(-1, 1)", "expected": 0}]
_WRITE = """
import json, os
{find}
for fd in range(3, 64):
    try: os.write(fd, b'' + nonce + b' ' + json.dumps({{"value": 0}}).encode() + b'\\n')
    except OSError: pass
"""
FORGERIES = [
    "def add(a, b):\n    import os\n    os._exit(0)",
    "def add(a, b):\n    raise SystemExit(0)",
    "import threading, os\nthreading.Timer(0.01, os._exit, [0]).start()\n"
    "def add(a, b):\n    while 1: pass",
    "class Yes(int):\n    def __eq__(self, other): return True\ndef add(a, b): return Yes(7)",
    "class Yes(dict):\n    def items(self): return iter([])\ndef add(a, b): return Yes(a=1)",
    "import json\njson.dumps = lambda *a, **k: '{\"value\": 3}'\ndef add(a, b): return 0",
    "print('{\"value\": 3}')\ndef add(a, b): return 0",
    _WRITE.format(find="nonce = b'x' * 32") + "def add(a, b): return 0",
    "import sys\nnonce = sys._getframe(1).f_locals['nonce'].encode()\n"
    + _WRITE.format(find="")
    + "def add(a, b): return a + b",
    "import os\nos.closerange(0, 64)\ndef add(a, b): return 0",
    "import gc\n"
    "expected = [o['expected'] for o in gc.get_objects() if type(o) is dict and 'expected' in o]\n"
    "def add(a, b): return expected.pop(0)",
    "import os, sys\n"
    "text = open('/proc/self/cmdline').read() + open('/proc/1/environ').read()\n"
    "def add(a, b): return 3 if 'expected' in text else None",
]
"""Answers to `TESTS`, all of them wrong, or right and forged as well."""


def test_code_cannot_pass_without_being_right() -> None:
    wrong = ["", "```sh\nls\n```", *FORGERIES]
    assert grades([RIGHT, *wrong], TESTS) == [1.0] + [0.0] * len(wrong)


PLAIN = """
from __future__ import annotations
import asyncio
from dataclasses import dataclass, field

print("noise", flush=True)

@dataclass
class Point:
    x: int
    tags: list[str] = field(default_factory=list)

async def slow(n):
    await asyncio.sleep(0)
    return n + 1

def count(n):
    print("more noise")
    yield from range(n)

def stop(): raise StopIteration
def deep(): return deep()

if __name__ == "__main__":
    raise SystemExit("an example of use")
"""


def test_what_tests_can_do_with_the_code() -> None:
    cases = [
        {"setup": "p = Point(1); p.tags.append(2)", "call": "p.tags", "expected": [2]},
        {"call": "[await slow(1), await slow(2)]", "expected": [2, 3]},
        {"call": "list(count(3))", "expected": (0, 1, 2)},
        {"call": "stop()", "raises": "StopIteration"},
        {"call": "deep()", "raises": "RecursionError"},
        {"call": "{1: {3, 2}, 'a': (None, 0.1 + 0.2)}", "expected": {1: [2, 3], "a": [None, 0.3]}},
    ]
    assert grade(f"Sure:\n```python{PLAIN}```\nThat is it.", cases) == 1.0
    for case in cases:
        wrong = dict(case)
        wrong["raises" if "raises" in case else "expected"] = "another"
        assert grade(PLAIN, [wrong]) == 0.0, case


def test_programs_are_judged_by_what_they_print() -> None:
    cases = [{"stdin": "1 2\n", "expected": "3\n"}, {"stdin": "5 6", "expected": "11"}]
    program = (
        "import sys\nif __name__ == '__main__':\n    print(sum(map(int, input().split())), ' ')"
    )
    assert grades([program, "print(3)", program + "\nsys.exit(1)"], cases) == [1.0, 0.0, 0.0]


def test_tests_that_are_none_give_no_grade() -> None:
    for tests, why in (
        ("assert add(1, 2) == 3", "holds no 'tests'"),
        ([{"call": "add(", "expected": 1}], "cannot be read"),
        ([{"stdin": "1", "raises": "ValueError"}], "must hold"),
        ([{"call": "1", "expected": object()}], "no data"),
    ):  # fmt: skip
        assert why in str(grade(RIGHT, tests))


LIMITED = [
    "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n"
    "    except (OSError, ValueError): pass\nwhile True: pass",
    "x = []\nwhile True: x.append(bytearray(1 << 20))",
    "import os\nwhile True: os.fork()",
    "import ctypes\nctypes.string_at(0)",
    "while True: print('x' * 100_000)",
    "import os\nfor i in range(9): open(f'/tmp/{i}', 'wb').write(b'x' * (1 << 24))",
]


@pytest.mark.parametrize("code", LIMITED)
def test_limits_hold(code: str) -> None:
    started = time.monotonic()
    limits: Any = {"cpu_s": 1, "wall_s": 5.0, "memory_mb": 256}
    assert grade(code + "\n" + RIGHT, TESTS, limits) == 0.0
    output, ended = run_program(code, stdin="", **limits)
    assert ended != 0 and len(output) <= sandbox.MOST_BYTES + 1
    assert time.monotonic() - started < 60


def test_nobody_outlives_the_sandbox() -> None:
    mark = f"{os.getpid()}{time.time_ns()}"
    code = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; "
    code += f"time.sleep(60)', '{mark}'], start_new_session=True)\n{RIGHT}"
    assert grade(code, TESTS) == 1.0
    alive = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "python" in alive and mark not in alive


BREAKOUTS = {
    "files": "open({secret!r}).read()",
    "home": "os.listdir({home!r})",
    "root": "open('/x', 'w')",
    "device": "open('/dev/shm/x', 'w').write('x')",
    "python": "open(os.__file__, 'a')",
    "mount": "__import__('ctypes').CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, None) and 1 / 0",
    "kill": "os.kill({pid}, 0)",
    "become": "os.setuid(0)",
    "loopback": "socket.create_connection(('127.0.0.1', {port}), timeout=1)",
    "more": "resource.setrlimit(resource.RLIMIT_NPROC, (99, 99))",
}


def test_nothing_outside_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("kept")
    monkeypatch.setenv("TRUELINE_TEST_SECRET", "1")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        places = {
            "secret": str(secret), "home": str(Path(__file__).parent), "pid": os.getpid(),
            "port": listener.getsockname()[1],
        }  # fmt: skip
        calls = [("", act.format(**places)) for act in BREAKOUTS.values()]
        calls += [("", "sorted(os.environ)"), ("", "os.listdir('.')")]
        answers = run_calls("import os, socket, resource", calls, **QUICK)
        with pytest.raises(BlockingIOError):
            listener.accept()
    for name, answer in zip(BREAKOUTS, answers[:-2], strict=True):
        assert "raised" in answer, f"{name}: {answer}"
    environ, here = (answer["value"] for answer in answers[-2:])
    assert set(environ) <= {"LC_CTYPE", "PWD"} and here == []
    assert secret.read_text() == "kept"


def test_without_a_sandbox_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    with pytest.raises(SetupError, match="apt-get install bubblewrap"):
        UnitTest().score([Prompt.of("?", tests=TESTS)], [RIGHT])
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: "/usr/bin/false")
    why = str(grade(RIGHT, TESTS))
    assert "must be allowed user namespaces" in why and "\n" not in why
