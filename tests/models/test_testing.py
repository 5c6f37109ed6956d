"""The stand-ins: they play their parts, repeat exactly, and need no torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trueline.errors import DataError
from trueline.protocols import Helper, Rater
from trueline.records import Flaw, Preference, Prompt, Response
from trueline.testing import FakeTrunk, ScriptedHelper, ScriptedRater

PROMPT = Prompt.of("q")


def rows(num: int = 200) -> list[Response]:
    return [Response(prompt=PROMPT, text=f"{'good' if i % 2 else 'bad'} {i}") for i in range(num)]


def test_planted_direction_is_there_and_nowhere_else() -> None:
    trunk = FakeTrunk(planted={"good": 2.0}, seed=1)
    readings = trunk.read(rows())
    signs = np.tile([-1.0, 1.0], 100)
    along = readings.latents @ trunk.direction("good").astype(np.float32)
    gaps = np.array(
        [[(along[:, x, p] * signs).mean() for p in range(2)] for x in range(len(trunk.layers))]
    )
    np.testing.assert_allclose(gaps[trunk.layer], 2.0, atol=0.3)
    np.testing.assert_allclose(np.delete(gaps, trunk.layer, 0), 0.0, atol=0.3)
    noise = FakeTrunk(seed=1).read(rows()).latents
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02


def test_it_repeats_differs_by_seed_and_refuses_what_a_trunk_does() -> None:
    a, b = FakeTrunk(surprisals=True).read(rows()), FakeTrunk(surprisals=True).read(rows()[::-1])
    np.testing.assert_array_equal(b.take(b.rows(a.keys)).latents, a.latents)
    assert a.surprisals is not None and (a.surprisals[:, 2] >= a.surprisals[:, 3]).all()
    assert not np.array_equal(FakeTrunk(seed=1).read(rows()).latents, a.latents)
    assert FakeTrunk(seed=1).fingerprint() != FakeTrunk().fingerprint()
    with pytest.raises(DataError, match="at least one response"):
        FakeTrunk().read([])


def test_scripted_parts() -> None:
    rng = np.random.default_rng(0)
    helper = ScriptedHelper(lambda r: None if r.text == "no" else (Flaw(kind="wrong_step"),))
    rater = ScriptedRater(lambda r: len(r.text))
    assert isinstance(helper, Helper) and isinstance(rater, Rater)
    yes, no = (Response(prompt=PROMPT, text=text) for text in ("yes", "no"))
    assert rater.compare(yes, no, rng=rng).preference is Preference.FIRST
    assert rater.compare(no, yes, rng=rng).preference is Preference.SECOND
    assert rater.compare(no, no, rng=rng).preference is Preference.UNDECIDED
    first, second = helper.critique([yes, no], rng=rng)
    assert first.flaws == (Flaw(kind="wrong_step"),) and second.flaws is None


def test_fakes_need_no_torch() -> None:
    code = (
        "import sys; sys.modules['trueline'] = type(sys)('trueline');"
        f"sys.modules['trueline'].__path__ = [{str(Path(__file__).parents[2] / 'trueline')!r}];"
        "import trueline.testing; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
