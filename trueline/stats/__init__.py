"""The statistics everything is measured with: every answer with its interval.

resampling      mean, accuracy, difference, bootstrap   (clustered where asked)
ranking         best_of_n; length_controlled, the win rate at equal length
calibration     calibration_error, reliability
conformal       conformal_limit, and the coverage of intervals against verdicts
betting         BettingTest and confidence_sequence: valid whenever one stops looking
"""

from trueline.stats.betting import BettingTest, confidence_sequence
from trueline.stats.calibration import Bin, calibration_error, reliability
from trueline.stats.conformal import Coverage, conformal_limit, coverage
from trueline.stats.ranking import best_of_n, length_controlled
from trueline.stats.resampling import accuracy, bootstrap, difference, mean

__all__ = ["BettingTest", "Bin", "Coverage", "accuracy", "best_of_n", "bootstrap"]
__all__ += ["calibration_error", "confidence_sequence", "conformal_limit", "coverage"]
__all__ += ["difference", "length_controlled", "mean", "reliability"]
