r"""What a reward must beat: the longer answer wins, and a linear reward on bags of words.

The bag of words is a Bradley–Terry reward r(y) = w·φ(y), fitted by minimising
Σ log(1 + exp(-w·(φ(chosen) - φ(rejected)))) + |w|²/2C, with φ the TF-IDF of the response's words
and neighbouring pairs of words (sublinear, seen in at least two responses). C is chosen inside the
training rows, by log loss on inner folds. A reward that does not pass this floor has read nothing
in the latents that the words do not say.

Bradley & Terry 1952, "Rank analysis of incomplete block designs". Where we differ: every other
difference is turned round with its label, which leaves the likelihood as it is and gives
scikit-learn's logistic regression the two classes that it asks for.

Correctness is 1, 0, or 0.5 for a tie, float [N]. Sees the response alone, never the prompt; where
no word is shared by two responses every test row is a tie.

>>> import numpy as np
>>> from trueline.records import Comparison, Prompt, Response
>>> ask = Prompt.of("2 + 2")
>>> short, long = Response(prompt=ask, text="4"), Response(prompt=ask, text="surely 5")
>>> longer_wins(Comparisons((Comparison(chosen=short, rejected=long),)))
array([0.])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from trueline import stats
from trueline.data.comparisons import Comparisons, make_folds
from trueline.errors import InputError
from trueline.records import Estimate

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

__all__ = ["bag_of_words", "baseline_accuracy", "longer_wins", "word_reward"]

_GRID = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_INNER_FOLDS = 4

Folds = Sequence[tuple[np.ndarray, np.ndarray]]


def baseline_accuracy(
    comparisons: Comparisons, folds: Folds, rng: np.random.Generator
) -> dict[str, Estimate]:
    """Accuracy of `longer` and `bag_of_words` over the test rows of K folds, clustered by group."""
    tested = np.concatenate([test for _, test in folds])
    if len(np.unique(tested)) != len(tested):
        raise InputError("no row may be tested twice", got=f"{len(tested)} test rows with repeats")
    longer = longer_wins(comparisons.take(tested))
    words = [
        bag_of_words(comparisons.take(train), comparisons.take(test), rng=rng)
        for train, test in folds
    ]
    clusters = np.asarray(comparisons.groups)[tested]
    return {
        "longer": stats.accuracy(longer, clusters=clusters, rng=rng),
        "bag_of_words": stats.accuracy(np.concatenate(words), clusters=clusters, rng=rng),
    }


def longer_wins(comparisons: Comparisons) -> np.ndarray:
    """Whether the chosen response has more characters: float [N]."""
    return _correct(
        np.array([len(row.chosen.text) - len(row.rejected.text) for row in comparisons])
    )


def bag_of_words(train: Comparisons, test: Comparisons, *, rng: np.random.Generator) -> np.ndarray:
    """Whether a bag of words fitted on `train` ranks the rows of `test` right: float [N]."""
    reward = word_reward(train, rng=rng)
    chosen = reward([row.chosen.text for row in test])
    return _correct(chosen - reward([row.rejected.text for row in test]))


def word_reward(
    train: Comparisons, *, rng: np.random.Generator
) -> Callable[[Sequence[str]], np.ndarray]:
    """A bag of words fitted on `train`: texts to rewards, float [N]; all 0 where no word helps."""
    # scikit-learn takes a hundred megabytes, which nobody needs who makes no floor.
    from sklearn.feature_extraction.text import TfidfVectorizer

    # Words of one character count: in sums they are the numbers.
    tfidf = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, min_df=2, token_pattern=r"(?u)\b\w+\b"
    )
    try:
        tfidf.fit([response.text for response in train.responses])
    except ValueError:  # scikit-learn's word for "no term is left"
        return lambda texts: np.zeros(len(texts))
    differences = _differences(tfidf, train)
    weights = _fit(differences, _choose(differences, train, rng))
    return lambda texts: np.asarray(tfidf.transform(texts) @ weights)


def _choose(differences: sparse.csr_matrix, train: Comparisons, rng: np.random.Generator) -> float:
    """The grid's C of least log loss on held-out groups of the training rows."""
    num_groups = len(set(train.groups))
    if num_groups < 2:
        return _GRID[1]
    losses = np.zeros(len(_GRID))
    for fit_rows, held_out in make_folds(train.groups, min(_INNER_FOLDS, num_groups), rng):
        for i, strength in enumerate(_GRID):
            margins = differences[held_out] @ _fit(differences[fit_rows], strength)
            losses[i] += np.logaddexp(0, -margins).sum()
    return _GRID[int(np.argmin(losses))]


def _fit(differences: sparse.csr_matrix, strength: float) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    signs = np.where(np.arange(differences.shape[0]) % 2, -1.0, 1.0)
    if len(signs) == 1:
        # One row shows one class only; its mirror image adds nothing but the other.
        differences, signs = sparse.vstack([differences, differences]), np.array([1.0, -1.0])
    turned = sparse.csr_matrix(differences.multiply(signs[:, None]))
    model = LogisticRegression(C=strength, fit_intercept=False, max_iter=1000)
    return np.asarray(model.fit(turned, signs).coef_[0])


def _differences(tfidf: TfidfVectorizer, comparisons: Comparisons) -> sparse.csr_matrix:
    chosen = tfidf.transform([row.chosen.text for row in comparisons])
    return chosen - tfidf.transform([row.rejected.text for row in comparisons])


def _correct(margins: np.ndarray) -> np.ndarray:
    return np.asarray((np.sign(margins) + 1) / 2, dtype=np.float64)
