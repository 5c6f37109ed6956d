"""Readings kept on disk: found again, never wrong, whoever writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trueline.errors import SetupError
from trueline.models.trunk import Trunk
from trueline.records import Prompt, Response


class Counter:
    """Counts a trunk's forward passes."""

    def __init__(self, trunk: Trunk) -> None:
        self.passes = 0
        trunk.model.register_forward_pre_hook(self._count)

    def _count(self, *_: object) -> None:
        self.passes += 1


@pytest.fixture(params=["chat", "minilm"])
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(f"{request.param}_folder")
    return path


def test_a_hit_is_equal_and_makes_no_pass(
    folder: Path, responses: list[Response], tmp_path: Path
) -> None:
    plain = Trunk.load(folder).read(responses)
    Trunk.load(folder, cache_dir=tmp_path).read(responses)
    again = Trunk.load(folder, cache_dir=tmp_path)
    counter = Counter(again)
    kept = again.read(responses)
    assert counter.passes == 0
    np.testing.assert_array_equal(kept.latents, plain.latents)
    if plain.surprisals is not None:
        np.testing.assert_array_equal(kept.surprisals, plain.surprisals)
    assert kept.keys == plain.keys and kept.trunk == plain.trunk
    assert kept.responses == plain.responses == tuple(responses)


def test_only_what_is_new_is_read_and_other_layers_are_other_rows(
    chat_folder: Path, responses: list[Response], tmp_path: Path
) -> None:
    trunk = Trunk.load(chat_folder, cache_dir=tmp_path)
    counter = Counter(trunk)
    trunk.read(responses[:5])
    seen: list[int] = []
    whole = trunk.read(responses, progress=lambda done, total: seen.append(total))
    new = trunk.codec.encode(responses[5:])
    assert counter.passes == 2 and seen == [sum(len(e.ids) for e in new)]
    expected = Trunk.load(chat_folder).read(responses)
    np.testing.assert_allclose(whole.latents, expected.latents, atol=1e-4)
    fewer = Trunk.load(chat_folder, cache_dir=tmp_path, layers=(1,))
    counter = Counter(fewer)
    assert fewer.read(responses).latents.shape[1] == 1
    assert counter.passes == 1


@pytest.mark.parametrize("how", ["torn", "flipped", "rubbish"])
def test_a_damaged_file_is_read_again_with_a_warning(
    chat_folder: Path, responses: list[Response], tmp_path: Path, how: str
) -> None:
    expected = Trunk.load(chat_folder, cache_dir=tmp_path).read(responses)
    (shard,) = tmp_path.glob("*.safetensors")
    content = bytearray(shard.read_bytes())
    if how == "torn":
        content = content[: len(content) // 2]
    elif how == "flipped":
        content[-5] ^= 0xFF
    else:
        content = bytearray(b"rubbish")
    shard.write_bytes(bytes(content))
    trunk = Trunk.load(chat_folder, cache_dir=tmp_path)
    counter = Counter(trunk)
    with pytest.warns(UserWarning, match="read again"):
        readings = trunk.read(responses)
    assert counter.passes == 1
    np.testing.assert_array_equal(readings.latents, expected.latents)
    # It was written anew: the next reader finds it whole.
    healed = Trunk.load(chat_folder, cache_dir=tmp_path)
    counter = Counter(healed)
    np.testing.assert_array_equal(healed.read(responses).latents, expected.latents)
    assert counter.passes == 0


WRITER = """
import sys
from trueline.models.trunk import Trunk
from trueline.records import Prompt, Response
rows = [Response(prompt=Prompt.of("a b"), text=f"{i % 20} + {i // 20}") for i in range(120)]
if sys.argv[3] == "back":
    rows = rows[::-1]
trunk = Trunk.load(sys.argv[1], cache_dir=sys.argv[2], batch_tokens=80)
for n in range(10, 121, 10):
    trunk.read(rows[:n])
"""


def test_two_processes_write_one_cache(chat_folder: Path, tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": root, "PYTHONWARNINGS": "error::UserWarning:trueline"}
    command = [sys.executable, "-c", WRITER, str(chat_folder), str(tmp_path)]
    running = [
        subprocess.Popen([*command, way], env=env, stderr=subprocess.PIPE)
        for way in ("forth", "back")
    ]
    for process in running:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()
    assert not list(tmp_path.glob("*.tmp"))
    rows = [Response(prompt=Prompt.of("a b"), text=f"{i % 20} + {i // 20}") for i in range(120)]
    trunk = Trunk.load(chat_folder, cache_dir=tmp_path)
    counter = Counter(trunk)
    kept = trunk.read(rows)
    assert counter.passes == 0
    np.testing.assert_allclose(kept.latents, Trunk.load(chat_folder).read(rows).latents, atol=1e-4)


def test_a_full_disk_leaves_nothing_behind(
    chat_folder: Path, responses: list[Response], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    trunk = Trunk.load(chat_folder, cache_dir=tmp_path)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        trunk.read(responses)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_is_no_folder_is_refused(chat_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SetupError, match="folder that can be written"):
        Trunk.load(chat_folder, cache_dir=tmp_path / "file")
