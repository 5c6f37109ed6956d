"""Code for the sandbox: small functions, right and wrong, and code that would pass without being
right."""

from __future__ import annotations

from typing import Any

FUNCTIONS: dict[str, tuple[str, str, list[dict[str, Any]]]] = {
    "fib": (
        "a, b = 0, 1\n    for _ in range(n): a, b = b, a + b\n    return a",
        "return n",
        [{"call": "[fib(i) for i in range(8)]", "expected": [0, 1, 1, 2, 3, 5, 8, 13]}],
    ),
    "words": (
        "from collections import Counter\n    return Counter(n.split())",
        "return {}",
        [{"call": "words('a b a')", "expected": {"a": 2, "b": 1}}],
    ),
    "pairs": (
        "return {(x, y) for x in n for y in x}",
        "return [n]",
        [{"call": "pairs(['ab'])", "expected": [("ab", "a"), ("ab", "b")]}],
    ),
    "root": (
        "import math\n    return math.sqrt(n)",
        "return n / 2",
        [{"call": "root(2)", "expected": 1.41421356}, {"call": "root(-1)", "raises": "ValueError"}],
    ),
}
"""Name: a right body, a wrong one, and tests."""

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
    "import os\nos._exit(0)",
    "def add(a, b):\n    import os\n    os._exit(0)",
    "import sys\nsys.exit(0)",
    "def add(a, b):\n    raise SystemExit(0)",
    "def add(a, b): raise StopIteration",
    "import threading, os\nthreading.Timer(0.01, os._exit, [0]).start()\n"
    "def add(a, b):\n    while 1: pass",
    "class Yes:\n    def __eq__(self, other): return True\ndef add(a, b): return Yes()",
    "class Yes(int):\n    def __eq__(self, other): return True\ndef add(a, b): return Yes(7)",
    "class Yes(dict):\n    def items(self): return iter([])\ndef add(a, b): return Yes(a=1)",
    "import json\njson.dumps = lambda *a, **k: '{\"value\": 3}'\ndef add(a, b): return 0",
    "def add(a, b): return '3'",
    "raise AssertionError('passed')",
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
    "def",
]
"""Answers to `TESTS`, all of them wrong, or right and forged as well."""
