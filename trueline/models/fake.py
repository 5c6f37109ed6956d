"""Stand-ins with a known truth: a trunk with planted directions, a policy that chooses among texts.

    latents[n, l, p] = eps(text_n, l, p) + [l = planted layer] * sum_w  s_w * (+1 or -1) * v_w

eps is standard Gaussian noise seeded by the text, v_w a unit vector of word w, and the sign says
whether the word stands in the response. They need no network, no torch and no transformers, are
fast and repeat exactly: for our tests and for yours.

>>> from trueline.records import Prompt, Response
>>> trunk = FakeTrunk(planted={"good": 3.0})
>>> r = trunk.read([Response(prompt=Prompt.of("q"), text="a good one")])
>>> r.latents.shape, trunk.verify_frozen() == trunk.fingerprint()
((1, 4, 2, 16), True)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from trueline.errors import DataError, InputError
from trueline.models.reading import HasResponses, Readings
from trueline.records import Prompt, Response

__all__ = ["FakeTrunk", "ScriptedPolicy"]


class FakeTrunk:
    """Reads like a `Trunk`: Gaussian latents of a text's hash, plus planted directions.

    `planted` maps a word to its strength; `layer` is where it is planted (the last but one if
    None); `surprisals` adds the five columns, drawn from the text's hash, one token a word.
    """

    is_encoder = False

    def __init__(
        self,
        *,
        width: int = 16,
        num_layers: int = 3,
        seed: int = 0,
        planted: Mapping[str, float] | None = None,
        layer: int | None = None,
        surprisals: bool = False,
    ) -> None:
        self.width, self.num_layers, self.seed = width, num_layers, seed
        self.planted = dict(planted or {})
        self.layer = max(0, num_layers - 1) if layer is None else layer
        if not 0 <= self.layer <= num_layers:
            raise InputError(f"layer must be one of 0..{num_layers}", got=str(layer))
        self.layers = tuple(range(num_layers + 1))
        self.surprisals = surprisals
        self.num_read = 0
        """Responses read so far, for tests that count passes."""

    def direction(self, word: str) -> np.ndarray:
        """The unit vector [D] that a planted word lies along, in every pool of its layer."""
        vector = self._noise("direction", word).standard_normal(self.width)
        return np.asarray(vector / np.linalg.norm(vector))

    def read(
        self,
        responses: Sequence[Response] | HasResponses,
        *,
        eval_prompt: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Readings:
        """One row per distinct response, in order of first appearance."""
        given = responses.responses if hasattr(responses, "responses") else responses
        unique = list({r.key: r for r in given}.values())
        if not unique:
            raise DataError("there must be at least one response to read", got="none")
        self.num_read += len(unique)
        pools = ("last", "mean") if eval_prompt is None else ("last", "mean", "eval")
        shape = (len(self.layers), len(pools), self.width)
        latents = np.stack(
            [self._noise("text", r.key, eval_prompt or "").standard_normal(shape) for r in unique]
        )
        for word, strength in self.planted.items():
            signs = np.array([1.0 if word in r.text else -1.0 for r in unique])
            latents[:, self.layer] += (
                strength * signs[:, None, None] * self.direction(word)[None, None]
            )
        if progress is not None:
            progress(len(unique), len(unique))
        return Readings(
            keys=tuple(r.key for r in unique),
            latents=latents.astype(np.float32),
            layers=self.layers,
            poolings=pools,
            surprisals=np.stack([self._columns(r) for r in unique]) if self.surprisals else None,
            trunk=self.fingerprint(),
            responses=tuple(unique),
        )

    def fingerprint(self) -> str:
        """Hash of what it was made with."""
        made = [self.width, self.num_layers, self.seed, self.planted, self.layer, self.surprisals]
        return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()

    def verify_frozen(self) -> str:
        """It cannot change."""
        return self.fingerprint()

    def _columns(self, response: Response) -> np.ndarray:
        count = len(response.text.split()) + 1
        values = np.sort(self._noise("surprisal", response.key).exponential(1.0, count))[::-1]
        second = values[1] if count > 1 else 0.0
        return np.array([values.sum(), values.mean(), values[0], second, count], dtype=np.float32)

    def _noise(self, *names: str) -> np.random.Generator:
        digest = hashlib.sha256(json.dumps([self.seed, *names]).encode()).digest()
        return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))


class ScriptedPolicy:
    """Answers each prompt's text with one of the given answers, all equally likely."""

    def __init__(self, answers: Mapping[str, Sequence[str]]) -> None:
        self.answers = {text: tuple(given) for text, given in answers.items()}

    def sample(
        self,
        prompts: Sequence[Prompt],
        *,
        num_samples: int,
        rng: np.random.Generator,
        temperature: float = 1.0,
    ) -> list[list[Response]]:
        """K answers to each prompt; `temperature` changes nothing, as all are equally likely."""
        out = []
        for prompt in prompts:
            answers = self.answers.get(prompt.text, ())
            if not answers:
                raise InputError(
                    "a scripted policy must have an answer to every prompt",
                    got=repr(prompt.text[:40]),
                )
            picked = [answers[i] for i in rng.integers(len(answers), size=num_samples)]
            out.append(
                [
                    Response(
                        prompt=prompt,
                        text=text,
                        logp=float(np.log(answers.count(text) / len(answers))),
                        num_tokens=len(text.split()),
                    )
                    for text in picked
                ]
            )
        return out
