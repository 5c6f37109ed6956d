"""The frozen records that everything else passes around.

A `Prompt` is what a policy is asked, a `Response` what it answered. A `Comparison` says which of
two responses to one prompt a rater preferred. A `Case` is put before a judge, a `Critique` is what
a helper says about a response of it, a `Verdict` the outcome of one act of judging, with its
transcript of `Turn`s and its `Cost`. `Scores` are a reward's scores of N responses, each a `Score`
with its uncertainty. An `Estimate` is a measured number with its interval; a `Finding` an estimate
that answers a question.
"""

from trueline.records.judging import (
    Case,
    Cost,
    Critique,
    Flaw,
    Preference,
    Quote,
    Reply,
    Turn,
    Verdict,
)
from trueline.records.scores import Estimate, Finding, Outcome, Score, Scores, Stance
from trueline.records.texts import Comparison, Message, Prompt, Response

__all__ = ["Case", "Comparison", "Cost", "Critique", "Estimate", "Finding", "Flaw", "Message"]
__all__ += ["Outcome", "Preference", "Prompt", "Quote", "Reply", "Response", "Score", "Scores"]
__all__ += ["Stance", "Turn", "Verdict"]
