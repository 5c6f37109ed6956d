"""Rewards: one file, one idea, one verb `fit(readings, comparisons, *, rng) -> FittedReward`.

bayesian      Bradley–Terry with its doubt: the default head
conservative  a lower bound around any head
Beside them: `fitted` (what a fit returns), `evaluate` (cross-validation), `selfcheck`, and the
mathematics: `laplace`, `evidence`, `features`, `raters`, `crowd`, `storage`.
"""
