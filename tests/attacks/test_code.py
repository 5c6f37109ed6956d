"""Code that ends badly, forges, or breaks out: 0 every time, and nothing outside is touched."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import pytest

from trueline.records import Prompt, Response
from trueline.rewards.rules_code import UnitTest
from trueline.rewards.sandbox import run_calls

pytestmark = pytest.mark.usefixtures("bubblewrap")
LIMITS: dict[str, Any] = {"cpu_s": 1, "wall_s": 3.0, "memory_mb": 256}
TESTS = [{"call": "f(2)", "expected": 4.0}, {"call": "f(3)", "expected": [9]}]


def grades(codes: Iterable[str], tests: Any = TESTS, limits: Any = LIMITS) -> list[float | str]:
    asked = Prompt.of("?", tests=tests)
    return UnitTest(**limits).grade([Response(prompt=asked, text=code) for code in codes])


WRONG = "def f(x): return 0\n"
ENDINGS = {
    "sys.exit(0)": "import sys\nsys.exit(0)",
    "os._exit(0)": "import os\nos._exit(0)",
    "a code of its own": "import os\nos._exit(137)",
    "atexit": "import atexit, os\natexit.register(os._exit, 0)",
    "abort": "import os\nos.abort()",
    "stop": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "its group": "import os\nos.killpg(0, 9)",
    "its parent": "import os\nos.kill(os.getppid(), 9); os.kill(1, 15); os.kill(-1, 9)",
    "stack": "import sys\nsys.setrecursionlimit(1 << 30)\ndef g(): return g()\ng()",
    "C stack": "import sys\nsys.setrecursionlimit(1 << 30)\nx = ()\n"
    "for _ in range(10**6): x = (x,)\nhash(x)",
    "deep source": "x = " + "(" * 5_000,
    "a long sum": "x = 1" + "+1" * 100_000,
    "a zero byte": "x = '\0'",
    "half a character": "x = '\ud800'",
    "threads": "import threading\nwhile 1: threading.Thread(target=__import__('time').sleep, "
    "args=[99]).start()",
    "a thread that never ends": "import threading\ndef g():\n    while 1: pass\n"
    "threading.Thread(target=g).start()",
    "processes": "import os\nfor _ in range(40): os.fork()",
    "closed fds": "import os\nos.closerange(0, 1024)",
    "a flood of errors": "import os\nwhile 1: os.write(2, b'x' * 65536)",
    "no interpreter": "import os\nos.execv('/bin/false', ['false'])",
}


def test_every_ending_is_a_zero() -> None:
    found = dict(zip(ENDINGS, grades(f"{end}\n{WRONG}" for end in ENDINGS.values()), strict=True))
    assert found == dict.fromkeys(ENDINGS, 0.0)


LINE = 'b\'%s {"value": 4}\\n%s {"value": [9]}\\n\''
FORGERIES = {
    # What is given is compared outside, with what only the right answer equals.
    "a number beyond floats": "def f(x): return 10**400",
    "the least such": "def f(x): return -(10**400)",
    "infinity": "def f(x): return float('inf')",
    "not a number": "def f(x): return float('nan')",
    "all numbers at once": "class X(float):\n  def __new__(c): return float.__new__(c, 0)\n"
    "  def __eq__(s, o): return True\n  __sub__ = __rsub__ = __eq__\ndef f(x): return X()",
    "a list equal to all": "class X(list):\n  def __eq__(s, o): return True\n  def __len__(s): "
    "return 1\ndef f(x): return X()",
    "a text": "def f(x): return '4.0' if x == 2 else '[9]'",
    "truth": "def f(x): return True",
    "a deep list": "def f(x):\n  y = []\n  for _ in range(900): y = [y]\n  return y",
    "itself": "def f(x):\n  y = []\n  y.append(y)\n  return y",
    "a lie about its kind": "class X:\n  __class__ = float\ndef f(x): return X()",
    # The channel.
    "lines without the nonce": f"import os\nos.write(3, {LINE % ('', '')})\n" + WRONG,
    "another program": "import os\nos.execv('/bin/echo', ['echo', '{\"value\": 4}'])",
    "dup2": "import os\nfor i in range(3, 9):\n  try: os.dup2(os.open('/tmp/x', 66), i)\n"
    "  except OSError: pass\n" + WRONG,
    "an earlier end": "import sys\nsys._getframe(1).f_locals['cases'].clear()\n" + WRONG,
    "fewer cases": "import gc\nfor o in gc.get_objects():\n  if type(o) is list and len(o) == 2 "
    "and o[1:] == [['', 'f(3)']]: del o[:]\n" + WRONG,
    "as_data": "import __main__\n__main__.as_data = lambda v: 4\n" + WRONG,
    "the dump": "import json\njson.dumps = lambda *a: '{\"value\": 4}'\n" + WRONG,
    "eval": "import builtins\nbuiltins.eval = lambda *a: 4\n" + WRONG,
    "its own source": "import __main__\nt = open('/run/program.py').read() + repr(vars(__main__))\n"
    "def f(x): return [4.0, [9]][x - 2] if '4.0' in t or 'expected' in t else 0",
}


def test_nothing_forged_is_a_one() -> None:
    found = dict(zip(FORGERIES, grades(FORGERIES.values()), strict=True))
    assert found == dict.fromkeys(FORGERIES, 0.0)


C = "__import__('ctypes').CDLL(None)"
MOUNT = """
import ctypes, os, socket, sys
c = ctypes.CDLL(None, use_errno=True)
def must(result):
    if result < 0: raise OSError(ctypes.get_errno(), "refused")
    return result
def mounted(make):
    uid = os.getuid()
    must(make())
    for name, text in ("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {uid} 1"):
        with open("/proc/self/" + name, "w") as file: file.write(text)
    return must(c.mount(b"x", b"/tmp", b"tmpfs", 0, b"size=1g"))
def shared_memory():
    return must(c.shmget(0, 1 << 26, 0o1600))
"""
ESCAPES = [
    # A namespace of its own, in which all is allowed: memory without a limit, as files.
    "mounted(lambda: c.unshare(0x10020000))",
    "mounted(lambda: c.syscall({clone}, 0x10020011, 0, 0, 0, 0))",
    "must(c.syscall(435, ctypes.create_string_buffer((0x10000000).to_bytes(64, 'little')), 64))",
    # Memory that belongs to no process.
    "shared_memory()",
    "must(c.msgget(0, 0o1600))",
    "must(c.semget(0, 1, 0o1600))",
    "must(c.syscall({key}, b'user', b'x', b'y' * 99, 99, -3))",
    "must(c.syscall(425, 8, ctypes.create_string_buffer(200)))",
    "open('/dev/shm/x', 'wb')",
    "[os.pwrite(os.memfd_create('x'), b'x', 1 << 21)]",
    # Files and places outside.
    "open('/etc/passwd')",
    "open('/proc/1/environ').read() or 1 / 0",
    "open('/proc/1/mem', 'rb')",
    "os.listdir('/proc/1/root/home')",
    "os.listdir('/home')",
    "os.chroot('/tmp')",
    "open('/proc/sys/kernel/core_pattern', 'w')",
    "open('/sys/kernel/mm/ksm/run')",
    "os.mknod('/tmp/disk', 0o60666, os.makedev(8, 0)) or open('/tmp/disk')",
    # Other people.
    "socket.create_connection(('1.1.1.1', 53), 1)",
    "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "must(c.ptrace(16, 1, 0, 0))",
    "os.kill(int(os.readlink('/proc/self')) + 100_000, 0)",
    "os.setpriority(os.PRIO_PROCESS, 0, -5)",
    "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
]


def test_no_escape_works() -> None:
    clone = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    key = {"x86_64": 248, "aarch64": 217}[os.uname().machine]
    named = [e.replace("{clone}", str(clone)).replace("{key}", str(key)) for e in ESCAPES]
    calls = [("", escape) for escape in named]
    answers = run_calls(MOUNT, calls, **LIMITS | {"wall_s": 30.0})
    assert len(answers) == len(calls)
    worked = [call for call, answer in zip(ESCAPES, answers, strict=True) if "raised" not in answer]
    assert not worked


RIGHT = """
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
import threading, time
@dataclass(frozen=True, slots=True)
class Point:
    x: int
    on: date = date(2024, 2, 28)
def price(): return Decimal("1.10") + Decimal("2.20")
def half(): return Fraction(1, 2)
def tomorrow(p): return p.on + timedelta(1)
def squares(n): yield from (i * i for i in range(n))
def leave():
    threading.Thread(target=time.sleep, args=[99]).start()
    return 1
def stop(): raise SystemExit("done")
"""


def test_right_answers_are_ones() -> None:
    tests = [
        {"setup": "p = Point(1)", "call": "p", "expected": {"x": 1, "on": "2024-02-28"}},
        {"call": "tomorrow(p)", "expected": "2024-02-29"},
        {"call": "price()", "expected": 3.3},
        {"call": "half()", "expected": Fraction(1, 2)},
        {"call": "squares(3)", "expected": [0, 1, 4]},
        {"call": "stop()", "raises": "SystemExit"},
        {"call": "leave()", "expected": 1},
    ]
    began = time.monotonic()
    assert grades([RIGHT], tests, LIMITS | {"wall_s": 30.0}) == [1.0]
    assert time.monotonic() - began < 20, "a thread that is left is not waited for"
