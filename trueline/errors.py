"""Every error Trueline raises on purpose.

    TruelineError
    ├── InputError           what the caller gave cannot be used (exit code 2)
    │   ├── DataError        a file or row of data is wrong
    │   └── SetupError       a model folder, run folder or environment is wrong
    ├── JudgeError           a rater, helper or judge gave nothing usable
    ├── BudgetSpent          the label or call budget is used up
    └── InvalidExperiment    it would run and mean nothing

A message says three things in one line: what must hold, what was got, what to do.

>>> str(InputError("layer must be one of 0..4", got="9", do="pass --layer 4"))
'layer must be one of 0..4; got 9; pass --layer 4'
"""

__all__ = [
    "BudgetSpent",
    "DataError",
    "InputError",
    "InvalidExperiment",
    "JudgeError",
    "SetupError",
    "TruelineError",
]


class TruelineError(Exception):
    """Root of the tree. `must`: what has to hold; `got`: what was found; `do`: the mend."""

    def __init__(self, must: str, *, got: str | None = None, do: str | None = None) -> None:
        self.must, self.got, self.do = must, got, do
        parts = [must, f"got {got}" if got is not None else None, do]
        super().__init__("; ".join(part for part in parts if part))


class InputError(TruelineError):
    """What the caller gave cannot be used."""


class DataError(InputError):
    """A file or a row of data is wrong."""


class SetupError(InputError):
    """A model folder, a run folder or the environment is wrong."""


class JudgeError(TruelineError):
    """A rater, a helper or a judge gave nothing that can be used as a verdict."""


class BudgetSpent(TruelineError):
    """The label or call budget is used up."""


class InvalidExperiment(TruelineError):
    """The experiment would run and mean nothing (leaked prompts, unrandomised order, …)."""
