"""Readings kept on disk: found again, never wrong, whoever writes."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from trueline.errors import SetupError
from trueline.models.trunk import Trunk
from trueline.records import Prompt, Response


def counted(folder: Path, **settings) -> tuple[Trunk, list[int]]:
    """A trunk, and a list that grows by one item a forward pass."""
    trunk, passes = Trunk.load(folder, **settings), []
    trunk.model.register_forward_pre_hook(lambda *_: passes.append(1))
    return trunk, passes


@pytest.mark.parametrize("name", ["chat_folder", "minilm_folder"])
def test_a_hit_is_equal_and_makes_no_pass(name, request, responses, tmp_path):
    folder = request.getfixturevalue(name)
    plain = Trunk.load(folder).read(responses)
    Trunk.load(folder, cache_dir=tmp_path).read(responses)
    again, passes = counted(folder, cache_dir=tmp_path)
    kept = again.read(responses)
    assert not passes
    np.testing.assert_array_equal(kept.latents, plain.latents)
    if plain.surprisals is not None:
        np.testing.assert_array_equal(kept.surprisals, plain.surprisals)
    assert kept.keys == plain.keys and kept.trunk == plain.trunk
    assert kept.responses == plain.responses == tuple(responses)


def test_only_what_is_new_is_read_and_some_layers_of_all_too(chat_folder, responses, tmp_path):
    trunk, passes = counted(chat_folder, cache_dir=tmp_path)
    trunk.read(responses[:5])
    whole = trunk.read(responses)
    assert len(passes) == 2
    expected = Trunk.load(chat_folder).read(responses)
    np.testing.assert_allclose(whole.latents, expected.latents, atol=1e-4)
    other = Response(prompt=Prompt.of("a b"), text="c d e")
    fewer, passes = counted(chat_folder, cache_dir=tmp_path, layers=(1,))
    np.testing.assert_array_equal(fewer.read(responses).latents, whole.at([1]).latents)
    few = fewer.read([other], layers=(0, 2))
    assert len(passes) == 1 and few.layers == (0, 2)
    # What was kept at two layers does not serve all three.
    every, passes = counted(chat_folder, cache_dir=tmp_path)
    np.testing.assert_allclose(every.read([other]).at((2, 0)).latents, few.latents, atol=1e-4)
    assert len(passes) == 1
    surprisals = every.read([*responses, other], layers=())
    assert len(passes) == 1 and surprisals.latents.shape == (len(responses) + 1, 0, 2, every.width)
    assert surprisals.logp[:-1].tolist() == whole.logp.tolist()


def test_reading_cut_short_goes_on_to_the_last_bit(chat_folder, responses, tmp_path):
    how = {"batch_tokens": 40}
    whole, passes = counted(chat_folder, cache_dir=tmp_path / "whole", **how)
    expected, num = whole.read(responses), len(passes)
    killed, passes = counted(chat_folder, cache_dir=tmp_path / "killed", **how)

    def kill(*_: object) -> None:
        if len(passes) == num // 2 + 1:
            raise KeyboardInterrupt

    killed.model.register_forward_pre_hook(kill)
    with pytest.raises(KeyboardInterrupt):
        killed.read(responses)
    again, passes = counted(chat_folder, cache_dir=tmp_path / "killed", **how)
    np.testing.assert_array_equal(again.read(responses).latents, expected.latents)
    assert num > 3 and len(passes) == num - num // 2


@pytest.mark.parametrize("how", ["torn", "flipped"])
def test_a_damaged_file_is_read_again_with_a_warning(chat_folder, responses, tmp_path, how):
    expected = Trunk.load(chat_folder, cache_dir=tmp_path).read(responses)
    (shard,) = tmp_path.glob("*.safetensors")
    content = bytearray(shard.read_bytes())
    if how == "torn":
        del content[len(content) // 2 :]
    else:
        content[-5] ^= 0xFF
    shard.write_bytes(content)
    # It is written anew: the next reader finds it whole.
    for warned, again in ((pytest.warns(UserWarning, match="read again"), 1), (nullcontext(), 0)):
        trunk, passes = counted(chat_folder, cache_dir=tmp_path)
        with warned:
            np.testing.assert_array_equal(trunk.read(responses).latents, expected.latents)
        assert len(passes) == again


WRITER = """
import sys
from trueline.models.trunk import Trunk
from trueline.records import Prompt, Response
rows = [Response(prompt=Prompt.of("a b"), text=f"{i % 20} + {i // 20}") for i in range(120)]
trunk = Trunk.load(sys.argv[1], cache_dir=sys.argv[2], batch_tokens=80)
for n in range(10, 121, 10):
    trunk.read(rows[:: int(sys.argv[3])][:n])
"""


def test_two_processes_write_one_cache(chat_folder, tmp_path):
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": root, "PYTHONWARNINGS": "error::UserWarning:trueline"}
    command = [sys.executable, "-c", WRITER, str(chat_folder), str(tmp_path)]
    running = [
        subprocess.Popen([*command, step], env=env, stderr=subprocess.PIPE) for step in ("1", "-1")
    ]
    for process in running:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()
    assert not list(tmp_path.glob("*.tmp"))
    rows = [Response(prompt=Prompt.of("a b"), text=f"{i % 20} + {i // 20}") for i in range(120)]
    trunk, passes = counted(chat_folder, cache_dir=tmp_path)
    kept = trunk.read(rows)
    assert not passes
    np.testing.assert_allclose(kept.latents, Trunk.load(chat_folder).read(rows).latents, atol=1e-4)


def test_a_full_disk_leaves_nothing_behind(chat_folder, responses, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    trunk = Trunk.load(chat_folder, cache_dir=tmp_path)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        trunk.read(responses)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_is_no_folder_is_refused(chat_folder, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SetupError, match="folder that can be written"):
        Trunk.load(chat_folder, cache_dir=tmp_path / "file")
