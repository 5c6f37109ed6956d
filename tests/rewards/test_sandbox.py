"""Unit tests in the sandbox, attacked: by code that wants to pass without being right, and by code
that breaks out."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.rewards.hostile import FORGERIES, FUNCTIONS, RIGHT, TESTS
from trueline.errors import InputError, SetupError
from trueline.records import Prompt
from trueline.rewards import sandbox
from trueline.rewards.rules_code import UnitTest
from trueline.rewards.sandbox import SandboxLimits, run_calls, run_program

QUICK = SandboxLimits(cpu_s=1, wall_s=20.0)


@pytest.fixture(scope="module", autouse=True)
def bubblewrap() -> None:
    """Without bubblewrap nothing here can be tested; where data is required, so is bubblewrap."""
    if shutil.which("bwrap") is None:
        reason = "needs bubblewrap: apt-get install bubblewrap"
        if os.environ.get("TRUELINE_REQUIRE_SHARED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


def grade(code: str, tests: Any = TESTS, limits: SandboxLimits = QUICK) -> float | str:
    (grade,) = grades([code], tests, limits)
    return grade


def grades(codes: list[str], tests: Any, limits: SandboxLimits = QUICK) -> list[float | str]:
    scores = UnitTest(limits=limits).score([Prompt.of("?", tests=tests)] * len(codes), codes)
    return [str(s.reason) if s.mean is None else s.mean for s in scores]


def test_right_code_passes_and_wrong_code_fails() -> None:
    prompts, texts = [], []
    for name, (right, wrong, tests) in FUNCTIONS.items():
        for body in (right, wrong):
            prompts.append(Prompt.of(f"write {name}", tests=tests))
            texts.append(f"Sure:\n```python\ndef {name}(n):\n    {body}\n```\nThat is it.")
    scores = UnitTest().score(prompts, texts)
    np.testing.assert_array_equal(scores.mean, [1.0, 0.0] * len(FUNCTIONS))


def test_code_cannot_pass_without_being_right() -> None:
    assert grades([RIGHT, *FORGERIES], TESTS) == [1.0] + [0.0] * len(FORGERIES)


PLAIN = """
from __future__ import annotations
import asyncio
from dataclasses import dataclass, field

print("noise", flush=True)

@dataclass
class Point:
    x: int
    tags: list[str] = field(default_factory=list)

class Stack:
    def __init__(self): self.items = []
    def push(self, item): self.items.append(item)

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
        {"call": "Point(1).x", "expected": 1},
        {"call": "[Point(2), Point(2)][0] == Point(2)", "expected": True},
        {"setup": "s = Stack(); s.push(1)", "call": "s.items", "expected": [1]},
        {"call": "slow(1)", "expected": 2},
        {"call": "[await slow(1), await slow(2)]", "expected": [2, 3]},
        {"call": "list(count(3))", "expected": (0, 1, 2)},
        {"call": "stop()", "raises": "StopIteration"},
        {"call": "deep()", "raises": "RecursionError"},
        {"call": "{1: {3, 2}, 'a': (None, 0.1 + 0.2)}", "expected": {1: [2, 3], "a": [None, 0.3]}},
    ]
    assert grade(PLAIN, cases) == 1.0
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


@pytest.mark.parametrize(
    ("tests", "why"),
    [
        (None, "holds no 'tests'"), ("assert add(1, 2) == 3", "holds no 'tests'"),
        ([{"call": "add(", "expected": 1}], "cannot be read"),
        ([{"call": "add(1, 2)"}], "must hold 'call'"), ([{"expected": 1}], "must hold 'call'"),
        ([{"stdin": "1", "raises": "ValueError"}], "must hold 'call'"),
        ([{"call": "1", "expected": object()}], "no data"),
    ],
)  # fmt: skip
def test_tests_that_are_none_give_no_grade(tests: Any, why: str) -> None:
    assert why in str(grade(RIGHT, tests))


def test_no_code_is_wrong() -> None:
    assert grades(["", "```sh\nls\n```"], TESTS) == [0.0, 0.0]


LIMITED = [
    "while True: pass",
    "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n"
    "    except (OSError, ValueError): pass\nwhile True: pass",
    "x = bytearray(1 << 30)",
    "x = []\nwhile True: x.append(bytearray(1 << 20))",
    "import os\nwhile True: os.fork()",
    "import ctypes\nctypes.string_at(0)",
    "while True: print('x' * 100_000)",
    "import os\nfor i in range(9): open(f'/tmp/{i}', 'wb').write(b'x' * (1 << 24))",
    "import os\npid = os.fork()\nimport time\ntime.sleep(99)",
]


@pytest.mark.parametrize("code", LIMITED)
def test_limits_hold(code: str) -> None:
    started = time.monotonic()
    limits = SandboxLimits(cpu_s=1, wall_s=5.0, memory_mb=256)
    assert grade(code + "\n" + RIGHT, limits=limits) == 0.0
    output, ended = run_program(code, stdin="", limits=limits)
    assert ended != 0 and len(output) <= limits.output_bytes + 1
    assert time.monotonic() - started < 60


def test_nobody_outlives_the_sandbox() -> None:
    mark = f"{os.getpid()}{time.time_ns()}"
    code = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; "
    code += f"time.sleep(60)', '{mark}'], start_new_session=True)\n{RIGHT}"
    assert grade(code) == 1.0
    alive = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if _there(p)]
    assert not any(mark.encode() in line for line in alive)


def _there(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


BREAKOUTS = {
    "files": "open({secret!r}).read()",
    "home": "os.listdir({home!r})",
    "write": "open('/usr/x', 'w')",
    "root": "open('/x', 'w')",
    "device": "open('/dev/shm/x', 'w').write('x')",
    "python": "open(os.__file__, 'a')",
    "mount": "__import__('ctypes').CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, None) and 1 / 0",
    "kill": "os.kill({pid}, 0)",
    "become": "os.setuid(0)",
    "loopback": "socket.create_connection(('127.0.0.1', {port}), timeout=1)",
    "more": "resource.setrlimit(resource.RLIMIT_NPROC, (99, 99))",
}


def test_nothing_outside_can_be_had(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("kept")
    os.environ["TRUELINE_TEST_SECRET"] = "1"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heard: list[object] = []
        listener.settimeout(3)
        thread = threading.Thread(target=lambda: _accept(listener, heard))
        thread.start()
        places = {
            "secret": str(secret), "home": str(Path(__file__).parent), "pid": os.getpid(),
            "port": listener.getsockname()[1],
        }  # fmt: skip
        calls = [("", act.format(**places)) for act in BREAKOUTS.values()]
        calls += [("", "sorted(os.environ)"), ("", "os.listdir('.')")]
        answers = run_calls("import os, socket, resource", calls, limits=QUICK)
        thread.join()
    del os.environ["TRUELINE_TEST_SECRET"]
    assert answers and not heard
    for name, answer in zip(BREAKOUTS, answers, strict=False):
        assert "raised" in answer, f"{name}: {answer}"
    left = answers[len(BREAKOUTS) :]
    assert set(left[0]["value"]) <= {"LC_CTYPE", "PWD"} and left[1]["value"] == []
    assert secret.read_text() == "kept"


def _accept(listener: socket.socket, heard: list[object]) -> None:
    try:
        heard.append(listener.accept())
    except TimeoutError:
        return


def test_without_a_sandbox_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    with pytest.raises(SetupError, match="apt-get install bubblewrap"):
        UnitTest().score([Prompt.of("?", tests=TESTS)], [RIGHT])
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: "/usr/bin/false")
    why = str(grade(RIGHT))
    assert "must be allowed user namespaces" in why and "\n" not in why
    with pytest.raises(InputError, match="positive"):
        SandboxLimits(memory_mb=-1)
