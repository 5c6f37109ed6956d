r"""What a reward must beat: the longer answer wins, and a linear reward on bags of words.

The bag of words is a Bradley–Terry reward r(y) = w·φ(y) (1952) with a ridge, φ the TF-IDF of the
response's words and neighbouring pairs of words; its strength is chosen by log loss on held-out
groups. A reward that does not beat it has read nothing in the latents that the words do not say.
Correctness is 1, 0, or 0.5 for a tie, float [N].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from trueline import stats
from trueline.data.comparisons import Comparisons, make_folds
from trueline.progress import track
from trueline.records import Estimate
from trueline.rng import Rng

__all__ = ["bag_of_words", "baseline_accuracy", "longer_wins", "word_reward"]

_GRID = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


def baseline_accuracy(
    comparisons: Comparisons, folds: Sequence[tuple[np.ndarray, np.ndarray]], rng: Rng
) -> dict[str, Estimate]:
    """Return both accuracies over the test rows of K folds (train, test), clustered by group."""
    tested = np.concatenate([test for _, test in folds])
    words = [
        bag_of_words(comparisons.take(train), comparisons.take(test), rng=rng)
        for train, test in track(folds, "folds of the floors")
    ]
    correct = {"longer": longer_wins(comparisons.take(tested)), "bag_of_words": np.hstack(words)}
    clusters = np.asarray(comparisons.groups)[tested]
    return {name: stats.accuracy(values, clusters=clusters) for name, values in correct.items()}


def longer_wins(comparisons: Comparisons) -> np.ndarray:
    """Return whether the chosen response has more characters, float [N]."""
    margins = [len(row.chosen.text) - len(row.rejected.text) for row in comparisons]
    return (np.sign(margins) + 1) / 2


def bag_of_words(train: Comparisons, test: Comparisons, *, rng: Rng) -> np.ndarray:
    """Return whether a bag of words fitted on `train` ranks the rows of `test` right, [N]."""
    reward = word_reward(train, rng=rng)
    chosen, rejected = (row.chosen.text for row in test), (row.rejected.text for row in test)
    return np.asarray((np.sign(reward([*chosen]) - reward([*rejected])) + 1) / 2)


def word_reward(train: Comparisons, *, rng: Rng) -> Callable[[Sequence[str]], np.ndarray]:
    """Fit a bag of words; return a function from texts to rewards [N], 0 where no word helps."""
    # scikit-learn takes a hundred megabytes, which nobody needs who makes no baseline.
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    # Words of one character count: in sums they are the numbers.
    tfidf = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, min_df=2, token_pattern=r"(?u)\b\w+\b"
    )
    try:
        tfidf.fit([response.text for response in train.responses])
    except ValueError:  # scikit-learn's word for "no term is left"
        return lambda texts: np.zeros(len(texts))
    chosen = tfidf.transform([row.chosen.text for row in train])
    differences = chosen - tfidf.transform([row.rejected.text for row in train])
    # Each difference stands there both ways round, so that there are two classes; hence C / 2.
    both, wins = sparse.vstack([differences, -differences]), np.repeat([1, 0], len(train))
    model = LogisticRegression(C=_GRID[1] / 2, fit_intercept=False, max_iter=1000)
    if (num_groups := len(set(train.groups))) > 1:
        folds = make_folds(2 * train.groups, min(4, num_groups), rng)
        grid = {"C": [strength / 2 for strength in _GRID]}
        search = GridSearchCV(model, grid, scoring="neg_log_loss", cv=folds)
        model = search.fit(both, wins).best_estimator_
    else:
        model.fit(both, wins)
    return lambda texts: np.asarray(tfidf.transform(texts) @ model.coef_[0])
