"""Folders from strangers: no code of theirs runs, and nothing spoiled is taken for whole."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from tests.models.conftest import make_chat_model
from tests.rewards.material import planted
from trueline.data.files import read_records
from trueline.errors import DataError, SetupError
from trueline.models import cache
from trueline.models.adapters import LoraPolicy
from trueline.models.cache import ReadingCache
from trueline.models.trunk import Trunk
from trueline.records import Prompt, Response
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.protocols import load_reward


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat_model(tmp_path_factory.mktemp("models") / "sound")


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "model"))


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def refused(folder: Path) -> str:
    with pytest.raises(SetupError) as refusal:
        Trunk.load(str(folder))
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 500
    return str(refusal.value)


def test_no_code_of_a_folder_runs_whatever_is_said_at_the_terminal(folder: Path) -> None:
    marker = folder / "ran"
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w').write('x')\n")
    names = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    edit(folder / "config.json", auto_map=names, model_type="own")
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.T", None]})
    code = f"from trueline.models.trunk import Trunk; Trunk.load({str(folder)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], input="y\n" * 9, text=True, capture_output=True
    )
    assert "SetupError" in done.stderr and not marker.exists()


def pickled(folder: Path) -> None:
    torch.save(load_pickle(folder), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def load_pickle(folder: Path) -> dict[str, torch.Tensor]:
    return {k: torch.from_numpy(v) for k, v in load_file(folder / "model.safetensors").items()}


def indexed(name: str) -> Any:
    def spoil(folder: Path) -> None:
        torch.save(load_pickle(folder), folder / "w.bin")
        (folder.parent / "outside.safetensors").write_bytes(
            (folder / "model.safetensors").read_bytes()
        )
        weights = dict.fromkeys(load_pickle(folder), name)
        (folder / "model.safetensors").unlink()
        index = {"metadata": {}, "weight_map": weights}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return spoil


def named_pickle(folder: Path) -> None:
    torch.save(load_pickle(folder), folder / "adapter_model.bin")
    edit(folder / "config.json", transformers_weights="adapter_model.bin")


def with_nan(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][3] = np.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def with_nan_in_a_rare_word(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
    tensors["model.embed_tokens.weight"][-1, 3] = np.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    edit(folder / "config.json", tie_word_embeddings=False)


def with_adapter(folder: Path) -> None:
    rng = np.random.default_rng(0)
    LoraPolicy.create(Trunk.load(str(folder)), rank=2, rng=rng).save(folder / "adapter")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(folder / "adapter" / name, folder / name)


BOMB = "{% for i in range(99999) %}" * 2 + "{% endfor %}" * 2


def templated(template: str) -> Any:
    return lambda folder: (folder / "chat_template.jinja").write_text(template)


SPOILED = {
    "a pickle": pickled,
    "a pickle in the index": indexed("w.bin"),
    "a pickle in the configuration": named_pickle,
    "a path out of the folder": indexed("../outside.safetensors"),
    "an absolute path": indexed("/etc/passwd.safetensors"),
    "NaN": with_nan,
    "NaN in a rare word": with_nan_in_a_rare_word,
    "an adapter beside it": with_adapter,
    "a long template": templated("{% for i in range(10**9) %}x{% endfor %}"),
    "a slow template": templated(BOMB),
    "one that knows a trial": templated(
        "{% if raise_exception is defined %}" + BOMB + "{% endif %}"
    ),
    "a large template": templated("{{ 'a' * 10**9 }}"),
    "a text beyond bounds": templated("{{ 'a' * 30000000 }}"),
    "memory and no text": templated("{% set x = messages[0].content * 300000000 %}ok"),
    "a filter's blanks": templated(
        "{% for m in messages %}{{ m.content | center(10**9) }}{% endfor %}"
    ),
    "a doubling template": templated(
        "{% set ns = namespace(x='a') %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}"
        "{% endfor %}{{ ns.x }}"
    ),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_model_is_refused_in_one_line_and_soon(folder: Path, how: str) -> None:
    SPOILED[how](folder)
    start = time.monotonic()
    assert refused(folder)
    assert time.monotonic() - start < 30


def test_a_template_that_calls_itself_is_an_error_in_one_line(folder: Path) -> None:
    templated("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}")(folder)
    with pytest.raises((DataError, SetupError), match="chat template"):
        planted_answers(Trunk.load(str(folder)))


def test_a_template_that_waits_for_a_long_prompt_ends_too(folder: Path) -> None:
    shown = "{% for m in messages %} <user> {{ m.content }}{% endfor %}"
    templated("{% if messages[0].content|length > 60 %}" + BOMB + "{% endif %}" + shown)(folder)
    trunk = Trunk.load(str(folder))
    for _ in range(2):  # the next one finds a process of its own
        assert len(trunk.read([Response(prompt=Prompt.of("a b"), text="c")])) == 1
        with pytest.raises(SetupError, match="chat template"):
            trunk.read([Response(prompt=Prompt.of("a " * 99), text="c")])


def test_no_module_of_the_folder_one_stands_in_runs(folder: Path) -> None:
    marker = folder / "ran"
    for name in ("json", "jinja2", "transformers", "resource"):
        (folder / f"{name}.py").write_text(f"open({str(marker)!r}, 'w').write('x')\n")
    code = "import os; from trueline.models.trunk import Trunk; os.chdir({!r}); Trunk.load('.')"
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-P", "-c", code.format(str(folder))],
        env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True,
    )  # fmt: skip
    assert not marker.exists() and done.returncode == 0, done.stderr


def planted_answers(trunk: Trunk) -> Any:
    return trunk.read(planted(4).comparisons.responses)


ADAPTERS: dict[str, Any] = {
    "a pickle": None,
    "one is missing": lambda tensors: tensors.pop(sorted(tensors)[0]),
    "one too many": lambda tensors: tensors.update(extra=np.zeros(3, np.float32)),
    "NaN": lambda tensors: tensors[sorted(tensors)[0]].__setitem__(0, np.nan),
    "beyond float32": lambda tensors: tensors.update(
        {k: v * 0.0 + np.float64(1e300) for k, v in tensors.items()}
    ),
    "another shape": lambda tensors: tensors.update({sorted(tensors)[0]: np.zeros((3, 3), "f4")}),
}


CONFIGURED: dict[str, tuple[str, Any]] = {
    "another scale": ("adapter_config.json", {"use_rslora": True}),
    "another kind": ("adapter_config.json", {"peft_type": "XLORA"}),
    "a large rank": ("adapter_config.json", {"r": 10**9}),
    "no words": ("adapter_config.json", {"r": "x"}),
    "an endless alpha": ("adapter_config.json", {"lora_alpha": float("inf")}),
    "a note that is none": ("trueline.json", []),
}


@pytest.mark.parametrize("how", CONFIGURED)
def test_an_adapter_is_told_nothing_by_its_folder(sound: Path, tmp_path: Path, how: str) -> None:
    trunk = Trunk.load(str(sound))
    LoraPolicy.create(trunk, rank=2, rng=np.random.default_rng(0)).save(tmp_path)
    file, change = tmp_path / CONFIGURED[how][0], CONFIGURED[how][1]
    known = json.loads(file.read_text())
    file.write_text(json.dumps({**known, **change} if change else change))
    with pytest.raises(SetupError, match="whole"):
        LoraPolicy.load(trunk, tmp_path)


@pytest.mark.parametrize("how", ADAPTERS)
def test_a_spoiled_adapter_is_refused_in_one_line(sound: Path, tmp_path: Path, how: str) -> None:
    trunk = Trunk.load(str(sound))
    LoraPolicy.create(trunk, rank=2, rng=np.random.default_rng(0)).save(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    assert LoraPolicy.load(trunk, tmp_path)
    if ADAPTERS[how] is None:
        pairs = {name: torch.from_numpy(value) for name, value in tensors.items()}
        torch.save(pairs, tmp_path / "adapter_model.bin")
        file.unlink()
    else:
        ADAPTERS[how](tensors)
        save_file(tensors, file)
    with pytest.raises(SetupError, match="whole") as refusal:
        LoraPolicy.load(trunk, tmp_path)
    assert "\n" not in str(refusal.value)


def test_a_gzipped_bomb_is_refused_and_an_honest_file_is_not(tmp_path: Path) -> None:
    bomb, fair = tmp_path / "bomb.jsonl.gz", tmp_path / "fair.jsonl.gz"
    bomb.write_bytes(gzip.compress(b" " * (1 << 28)))
    with pytest.raises(DataError, match="must unpack to at most"):
        read_records(bomb)
    fair.write_bytes(gzip.compress(b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n' * 100_000))
    assert len(read_records(fair)) == 100_000


def test_no_part_of_a_reward_can_be_spoiled_unseen(tmp_path: Path) -> None:
    world = planted(30)
    Bayesian().fit(world.readings, world.comparisons, rng=np.random.default_rng(0)).save(tmp_path)
    arrays, card = load_file(tmp_path / "reward.safetensors"), (tmp_path / "card.json").read_text()
    assert load_reward(tmp_path) and len(arrays) >= 5

    def refuse() -> None:
        with pytest.raises(SetupError, match="whole"):
            load_reward(tmp_path)

    for name, array in arrays.items():
        with_one = np.where(np.arange(array.size).reshape(array.shape) == 0, np.nan, array)
        infinite = np.full_like(array, -np.inf)
        singular = 0 * array if "chol" in name else None
        for other in (with_one, infinite, array[:-1], np.stack([array, array]), None, singular):
            changed = {**arrays, name: other}
            kept = {k: np.ascontiguousarray(v) for k, v in changed.items() if v is not None}
            save_file(kept, tmp_path / "reward.safetensors")
            refuse()
    save_file({**arrays, "more": np.zeros(2)}, tmp_path / "reward.safetensors")
    refuse()
    save_file(arrays, tmp_path / "reward.safetensors")
    fields = json.loads(card)["reward"]["LinearReward"]
    inner = {"features": ("width", 10**11), "training": ("typical", -1.0)}
    for name, (key, value) in inner.items():
        [(kind, held)] = fields[name].items()
        spoiled = {**fields, name: {kind: {**held, key: value}}}
        whole = {**json.loads(card), "reward": {"LinearReward": spoiled}}
        (tmp_path / "card.json").write_text(json.dumps(whole))
        refuse()
    for change in ({"more": 1}, {"trunk_fingerprint": "0" * 64}):
        (tmp_path / "card.json").write_text(json.dumps({**json.loads(card), **change}))
        refuse()
    for name in fields:
        others = ({k: v for k, v in fields.items() if k != name}, {**fields, f"{name}_": 0})
        numbers = [{**fields, name: bad} for bad in (-1.0, 10**400, {"float": "nan"}, "x")]
        for other in (*others, *numbers):
            whole = {**json.loads(card), "reward": {"LinearReward": other}}
            (tmp_path / "card.json").write_text(json.dumps(whole))
            refuse()
    (tmp_path / "card.json").write_text("[" * 50_000)
    refuse()


def test_a_shard_of_other_rows_than_its_name_says_is_read_again(tmp_path: Path) -> None:
    rows = (np.ones((2, 1, 2, 4), np.float32), None)
    ReadingCache(tmp_path).put(["a", "b"], [1], rows)
    (file,) = tmp_path.glob("*.safetensors")
    assert set(ReadingCache(tmp_path).get(["a", "b"], [1])) == {0, 1}
    file.rename(tmp_path / ("0" * 40 + ".safetensors"))
    with pytest.warns(UserWarning, match="not what its name says"):
        assert ReadingCache(tmp_path).get(["a", "b"], [1]) == {}


F4 = np.float32
FORGED: dict[str, tuple[dict[str, Any], Any]] = {
    "of another width": ({"latents": np.ones((1, 3, 2, 5), F4)}, None),
    "without its surprisals": ({"latents": np.ones((1, 3, 2, 32), F4)}, None),
    "with too few": (
        {"latents": np.ones((1, 3, 2, 32), F4), "surprisals": np.ones((0, 6), F4)},
        None,
    ),
    "of strange keys": ({"latents": np.ones((1, 3, 2, 32), F4)}, [["a"]]),
}


@pytest.mark.parametrize("how", FORGED)
@pytest.mark.filterwarnings("ignore:cached readings")
def test_a_forged_shard_is_read_past(sound: Path, tmp_path: Path, how: str) -> None:
    tensors, keys = FORGED[how]
    answer = [Response(prompt=Prompt.of("a b"), text="c d")]
    expected = Trunk.load(sound).read(answer)
    trunk = Trunk.load(sound, cache_dir=tmp_path)
    keys = keys or trunk._row_keys(trunk.codec.encode(answer))
    head = {"keys": json.dumps(keys), "layers": json.dumps(trunk.layers)}
    meta = {**head, "sha256": cache._checksum(tensors)}
    save_file(tensors, tmp_path / cache._name(head), metadata=meta)
    np.testing.assert_array_equal(trunk.read(answer).latents, expected.latents)
