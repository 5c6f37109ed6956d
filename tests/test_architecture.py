"""The layers, the sizes and the manners that DESIGN and STYLE ask for, checked on every module.

Imports count wherever they stand: at the top, inside a function, or for type checking only. The
checker is itself checked, on a small tree that breaks each rule once.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "trueline"

LAYERS = {
    0: "atomic errors progress protocols records registry rng runs stats",
    1: "data models testing worlds",
    2: "oversight policy raters rewards",
    3: "audits loop monitor plugs reports research",
    4: "recipes",
    5: "__init__ __main__ cli serving",
}
LAYER_OF = {part: layer for layer, parts in LAYERS.items() for part in parts.split()}
IDEAS = {"oversight", "policy", "rewards"}
"""These meet through records and protocols alone."""
SHARED_COMPOSITIONS = {"audits", "loop"}
"""The parts of layer 3 that the others of layer 3 may use."""
KNOW_THE_WORLDS = {"audits", "recipes", "worlds"}
"""Who may import trueline.worlds."""
BUDGETS = {
    "ground": (
        "__init__ __main__ atomic errors progress protocols records registry rng runs "
        "stats testing",
        2_460,
    ),
    "models": ("models", 3_970),
    "data": ("data", 2_120),
    "rewards": ("rewards", 4_430),
    "policy": ("policy", 920),
    "oversight": ("oversight", 1_525),
    "raters": ("raters", 390),
    "loop": ("loop", 1_740),
    "recipes": ("recipes", 1_060),
    "audits": ("audits", 800),
    "worlds": ("worlds", 2_500),
    "surfaces": ("cli plugs reports serving", 4_190),
}
"""Lines of .py that a folder may have (docs/decisions/0015 to 0018); who raises one says why."""
WHOLE = 24_960
"""Lines of the package; a folder that is not built yet adds its own budget when it is."""
BESIDE = {"benchmarks": 4_500, "tests/attacks": 1_000, "tests": 0.605}
"""Lines of the benchmarks, of the attacks, and of the other tests for one of the package."""
ERRORS_ARE_VALUES = {"trueline.models.distributed", "trueline.rewards.sandbox"}
"""What judged code raised, and what all processes are to raise, is kept and handed on."""
HEAVY = {"accelerate", "peft", "tokenizers", "torch", "transformers"}
MAX_FILE, MAX_FUNCTION, MAX_PARAMETERS, MAX_LOOP = 380, 60, 7, 240


class Module:
    """One parsed file and the modules it imports."""

    def __init__(self, name: str, text: str, known: frozenset[str], *, package: bool) -> None:
        self.name = name
        self.lines = len(text.splitlines())
        self.tree = ast.parse(text)
        self.inside: set[str] = set()
        """Modules of the package."""
        self.outside: set[str] = set()
        """Top names of everything else."""
        base = name.split(".") if package else name.split(".")[:-1]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._add(alias.name, known)
            elif isinstance(node, ast.ImportFrom):
                start = base[: len(base) - node.level + 1] if node.level else []
                source = ".".join([*start, *([node.module] if node.module else [])])
                for alias in node.names:
                    deep = f"{source}.{alias.name}"
                    self._add(deep if deep in known else source, known)

    def _add(self, target: str, known: frozenset[str]) -> None:
        top = target.split(".")[0]
        if top != self.name.split(".")[0]:
            self.outside.add(top)
        elif target != self.name:
            self.inside.add(target)

    @property
    def part(self) -> str:
        return part_of(self.name)


def part_of(module: str) -> str:
    """What a module belongs to: trueline.data.files -> data, trueline -> __init__."""
    return module.split(".")[1] if "." in module else "__init__"


def read(root: Path) -> dict[str, Module]:
    """Every module under the package's folder, by dotted name."""
    files = {}
    for file in sorted(root.rglob("*.py")):
        dotted = ".".join([root.name, *file.relative_to(root).with_suffix("").parts])
        files[dotted.removesuffix(".__init__")] = file
    known = frozenset(files)
    return {
        name: Module(name, file.read_text("utf-8"), known, package=file.name == "__init__.py")
        for name, file in files.items()
    }


def layer_faults(modules: Mapping[str, Module]) -> Iterator[str]:
    """Imports that point up, sideways between ideas, or to what must not be known."""
    for name, module in modules.items():
        own = LAYER_OF.get(module.part)
        if own is None:
            yield f"{name} is in no layer: give {module.part} a place in LAYERS"
            continue
        for target in sorted(module.inside):
            part = part_of(target)
            fault = _crossing(module.part, part) if part != module.part else None
            if fault:
                yield f"{name} imports {target}: {fault}"
        heavy = sorted(module.outside & HEAVY)
        if heavy and (own == 0 or module.part == "reports"):
            yield f"{name} imports {heavy[0]}: words and reports know no model"


def _crossing(source: str, target: str) -> str | None:
    own, other = LAYER_OF[source], LAYER_OF.get(target, 5)
    if other > own:
        return "imports point down only"
    if {source, target} <= IDEAS:
        return "idea folders never import one another"
    if target == "worlds" and source not in KNOW_THE_WORLDS:
        return f"only {sorted(KNOW_THE_WORLDS)} know the worlds"
    if target == "reports" and own < 4:
        return "nothing below the surfaces imports reports"
    if own == other == 3 and target not in SHARED_COMPOSITIONS:
        return f"compositions share only {sorted(SHARED_COMPOSITIONS)}"
    if source == "reports" and other != 0:
        return "reports read run folders, and know the words only"
    return None


def cycle_faults(modules: Mapping[str, Module]) -> Iterator[str]:
    """Modules that reach themselves."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> Iterator[str]:
        if name in path:
            yield "a cycle: " + " -> ".join([*path[path.index(name) :], name])
        elif name not in done and name in modules:
            for target in sorted(modules[name].inside):
                yield from visit(target, [*path, name])
            done.add(name)

    for name in modules:
        yield from visit(name, [])


def size_faults(modules: Mapping[str, Module]) -> Iterator[str]:
    """Files, functions and parameter lists that ask to be split."""
    for name, module in modules.items():
        limit = MAX_LOOP if name.endswith(".loop.online") else MAX_FILE
        if module.lines > limit:
            yield f"{name} has {module.lines} lines, more than {limit}"
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION:
                yield f"{name}.{node.name} has {length} lines, more than {MAX_FUNCTION}"
            args = node.args
            given = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
            count = sum(arg is not None and arg.arg not in ("self", "cls") for arg in given)
            if count > MAX_PARAMETERS:
                yield f"{name}.{node.name} has {count} parameters, more than {MAX_PARAMETERS}"


def manner_faults(modules: Mapping[str, Module]) -> Iterator[str]:
    """Missing docstrings and `__all__`s, and excepts that swallow."""
    for name, module in modules.items():
        if not ast.get_docstring(module.tree):
            yield f"{name} has no docstring"
        names = [node for node in ast.walk(module.tree) if isinstance(node, ast.Name)]
        if not any(n.id == "__all__" and isinstance(n.ctx, ast.Store) for n in names):
            yield f"{name} has no __all__"
        for node in ast.walk(module.tree):
            swallows = isinstance(node, ast.ExceptHandler) and _catches_all(node)
            if swallows and name not in ERRORS_ARE_VALUES:
                yield f"{name}:{node.lineno} catches everything and does not raise again"


def _catches_all(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught] if caught else []
    broad = not names or any(
        isinstance(name, ast.Name) and name.id in ("Exception", "BaseException") for name in names
    )
    return broad and not any(isinstance(node, ast.Raise) for node in ast.walk(handler))


def name_faults(modules: Mapping[str, Module]) -> Iterator[str]:
    """Class names that mean two things."""
    homes: dict[str, list[str]] = {}
    for name, module in modules.items():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(name)
    for title, places in homes.items():
        if len(places) > 1:
            yield f"class {title} is defined in {' and '.join(places)}: one name, one meaning"


def budget_faults(modules: Mapping[str, Module]) -> Iterator[str]:
    """Folders over their budget of lines."""
    lines: dict[str, int] = {}
    for module in modules.values():
        lines[module.part] = lines.get(module.part, 0) + module.lines
    for name, (parts, budget) in BUDGETS.items():
        total = sum(lines.get(part, 0) for part in parts.split())
        if total > budget:
            yield f"{name} has {total} lines, more than its budget of {budget}"
    if sum(lines.values()) > WHOLE:
        yield f"the package has {sum(lines.values())} lines, more than {WHOLE}"


CHECKS = [layer_faults, cycle_faults, size_faults, manner_faults, name_faults, budget_faults]


@pytest.fixture(scope="module")
def package() -> dict[str, Module]:
    return read(ROOT)


@pytest.mark.parametrize("check", CHECKS)
def test_the_package_keeps_the_rules(check: object, package: dict[str, Module]) -> None:
    faults = list(check(package))  # type: ignore[operator]
    assert not faults, "\n".join(faults)


def test_what_stands_beside_the_package_keeps_its_budget(package: dict[str, Module]) -> None:
    def lines(folder: str) -> int:
        files = (ROOT.parent / folder).rglob("*.py")
        return sum(len(file.read_text("utf-8").splitlines()) for file in files)

    known = {part for parts, _ in BUDGETS.values() for part in parts.split()}
    assert {module.part for module in package.values()} <= known, "a folder without a budget"
    assert lines("benchmarks") <= BESIDE["benchmarks"]
    assert lines("tests/attacks") <= BESIDE["tests/attacks"]
    whole = sum(module.lines for module in package.values())
    assert lines("tests") - lines("tests/attacks") <= BESIDE["tests"] * whole


def test_every_public_name_is_there(package: dict[str, Module]) -> None:
    """At run time too, where names may be looked up lazily."""
    missing = []
    for name in package:
        if not name.endswith("__main__"):
            module = importlib.import_module(name)
            missing += [f"{name}.{p}" for p in module.__all__ if not hasattr(module, p)]
    assert not missing


def test_the_words_do_not_load_torch() -> None:
    """Nor by way of anything else: reports and error messages must come at once."""
    words = [f"trueline.{part}" for part in LAYERS[0].split()]
    code = (
        f"import sys, {', '.join(words)}\n"
        f"print(sorted({HEAVY!r} & {{m.split('.')[0] for m in sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# The checker itself, on a tree that is in order and on trees that are not.

HEAD = '"""A module."""\n\n__all__ = []\n'
GOOD = {
    "__init__.py": HEAD,
    "records.py": HEAD + "import numpy\n",
    "stats/__init__.py": HEAD + "from .means import mean\n",
    "stats/means.py": HEAD + "from trueline import records\nmean = 1\n",
    "models/__init__.py": HEAD,
    "models/trunk.py": HEAD + "import torch\nfrom trueline.records import x\n",
    "data/__init__.py": HEAD,
    "rewards/__init__.py": HEAD,
    "rewards/bayesian.py": HEAD + "from trueline.models.trunk import Trunk\n",
    "policy/__init__.py": HEAD,
    "loop/__init__.py": HEAD,
    "loop/online.py": HEAD + "from trueline import policy, rewards\nimport trueline.stats\n",
    "monitor/__init__.py": HEAD + "import trueline.loop.online\n",
    "reports/__init__.py": HEAD + "from trueline.stats import mean\n",
    "cli.py": HEAD + "import trueline.reports, trueline.loop\n",
}


def faults_of(folder: Path, changes: Mapping[str, str]) -> list[str]:
    root = folder / "trueline"
    for name, text in {**GOOD, **changes}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    modules = read(root)
    return [fault for check in CHECKS for fault in check(modules)]


LAZY = "def f():\n    from trueline.policy import x\n    return x\n"
TYPED = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import trueline.loop.online\n"


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("records.py", "import trueline.models", "imports point down only"),
        ("models/trunk.py", "from trueline.rewards.bayesian import B", "imports point down only"),
        ("models/trunk.py", "from ..rewards import bayesian", "imports point down only"),
        ("models/trunk.py", "import trueline as tl", "imports point down only"),
        ("rewards/bayesian.py", "from trueline.policy import x", "never import one another"),
        ("rewards/bayesian.py", LAZY, "never import one another"),
        ("rewards/bayesian.py", TYPED, "imports point down only"),
        ("monitor/__init__.py", "import trueline.reports", "imports reports"),
        ("loop/online.py", "import trueline.monitor", "compositions share only"),
        ("reports/__init__.py", "import trueline.models.trunk", "know the words only"),
        ("reports/__init__.py", "def f():\n    import torch\n", "know no model"),
        ("stats/means.py", "from torch import nn", "know no model"),
        ("wherever.py", "", "is in no layer"),
        ("records.py", "import trueline.stats.means", "a cycle: trueline."),
        ("stats/means.py", "from trueline.stats import mean", "a cycle: trueline."),
        ("rewards/bayesian.py", "import trueline.worlds.sums", "know the worlds"),
        ("rewards/bayesian.py", "class mean: ...\nclass mean: ...", "one name, one meaning"),
        ("raters/people.py", "x = 1\n" * 410, "more than its budget of 390"),
        ("data/files.py", "x = 1\n" * 380, "has 383 lines, more than 380"),
        ("loop/online.py", "x = 1\n" * 238, "has 241 lines, more than 240"),
        ("data/files.py", "def f():\n" + "    x = 1\n" * 60, "has 61 lines, more than 60"),
        ("data/files.py", "def f(a, /, b, c, d, *e, g, h, **i): ...", "has 8 parameters"),
        ("data/files.py", "try:\n    x = 1\nexcept Exception:\n    pass", "catches everything"),
        ("data/files.py", "try:\n    x = 1\nexcept:\n    pass", "catches everything"),
    ],
)
def test_a_broken_rule_is_found(name: str, text: str, fault: str, tmp_path: Path) -> None:
    faults = faults_of(tmp_path, {name: HEAD + text})
    assert any(fault in found for found in faults), faults


@pytest.mark.parametrize(
    ("text", "fault"), [("__all__ = []\n", "no docstring"), ('"""Doc."""\n', "no __all__")]
)
def test_missing_manners_are_found(text: str, fault: str, tmp_path: Path) -> None:
    assert any(fault in found for found in faults_of(tmp_path, {"data/__init__.py": text}))


def test_a_tree_in_order_passes_and_so_does_what_looks_like_a_fault(tmp_path: Path) -> None:
    text = HEAD + (
        "class A:\n    def f(self, a, b, c, d, e, f, g):\n"
        "        try:\n            pass\n        except BaseException:\n            raise\n"
    )
    assert faults_of(tmp_path, {"data/__init__.py": text}) == []
