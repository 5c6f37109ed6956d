"""Every option of `trueline run` that concerns improving reaches its place."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from trueline.cli import main
from trueline.cli.run import Run
from trueline.errors import InputError
from trueline.models.engine import Engine
from trueline.models.trunk import Trunk
from trueline.policy import DPO, GRPO, BestOfN, Limits
from trueline.worlds.sums import trunk_path


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    return Trunk.load(str(trunk_path()))


@pytest.mark.parametrize("kind", [BestOfN, DPO, GRPO])
def test_options_of_the_optimiser(kind):
    name = {BestOfN: "best_of_n", DPO: "dpo", GRPO: "grpo"}[kind]
    plain = Run(optimiser=name)._spec("none").optimiser
    assert plain == kind(), "what is not given is the optimiser's own"
    given = Run(optimiser=name, kl_budget=1.5, length_penalty=0.02, learning_rate=1e-4)
    spec = given._spec("none").optimiser
    assert isinstance(spec, kind)
    assert spec.limits.kl_budget == 1.5 and spec.limits.novelty_limit == Limits().novelty_limit
    assert spec.length_penalty == 0.02 and spec.descent.learning_rate == 1e-4
    assert Run(kl_budget=math.inf)._spec("none").optimiser.limits.kl_budget == math.inf
    assert Run(patience=2)._spec("none").patience == 2


def test_an_engine_samples_for_the_optimiser(trunk):
    task = Run(engine="http://localhost:8000/v1#org/model")._task(trunk)
    assert isinstance(task.sampler, Engine)
    said = task.sampler.endpoint
    assert (said.url, said.model) == ("http://localhost:8000/v1", "org/model")
    assert Run()._task(trunk).sampler is None
    for wrong in ("http://localhost", "#model", "http://localhost#"):
        with pytest.raises(InputError, match="URL#MODEL"):
            Run(engine=wrong)._task(trunk)


def test_the_configuration_names_the_source_and_can_hold_no_limit(tmp_path: Path, trunk):
    with Run(from_=tmp_path / "first", kl_budget=math.inf, out=tmp_path / "run")._folder(
        trunk, {"source": "5d41"}
    ) as folder:
        config = json.loads((folder.folder / "config.json").read_text())
    assert config["from"] == str(tmp_path / "first") and config["kl_budget"] == "inf"
    assert folder.environment["data_hashes"] == {"source": "5d41"}
    # The same options go on with it.
    again = Run(from_=tmp_path / "first", kl_budget=math.inf, out=tmp_path / "run")
    again._folder(trunk, {"source": "5d41"}).close()


def test_a_source_that_cannot_be_continued_is_one_line(tmp_path: Path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", "--from", str(tmp_path / "none"), "--out", str(tmp_path / "run")])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "must hold config.json" in line
    assert not (tmp_path / "run").exists()
