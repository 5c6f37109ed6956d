"""The stand-ins: they play their parts, repeat exactly, and need no torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from trueline.records import Prompt, Response
from trueline.testing import FakeTrunk

PROMPT = Prompt.of("q")


def rows(num: int = 200) -> list[Response]:
    return [Response(prompt=PROMPT, text=f"{'good' if i % 2 else 'bad'} {i}") for i in range(num)]


def test_planted_direction_is_there_and_nowhere_else():
    trunk = FakeTrunk(planted={"good": 2.0}, seed=1)
    readings = trunk.read(rows())
    signs = np.tile([-1.0, 1.0], 100)
    along = readings.latents @ trunk.direction("good").astype(np.float32)
    gaps = np.einsum("nlp,n->lp", along, signs) / len(signs)
    np.testing.assert_allclose(gaps[trunk.layer], 2.0, atol=0.3)
    np.testing.assert_allclose(np.delete(gaps, trunk.layer, 0), 0.0, atol=0.3)
    noise = FakeTrunk(seed=1).read(rows()).latents
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02


def test_fakes_need_no_torch():
    code = (
        "import sys; sys.modules['trueline'] = type(sys)('trueline');"
        f"sys.modules['trueline'].__path__ = [{str(Path(__file__).parents[2] / 'trueline')!r}];"
        "import trueline.testing; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
