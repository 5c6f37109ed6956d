"""Rewards: one file, one idea, one verb `fit(readings, comparisons, *, rng) -> FittedReward`.

bayesian      Bradley–Terry with its doubt: the default head
conservative  a lower bound around any head
Beside them: `fitted` and `scorer` (what a fit returns, on readings and on texts), `evaluate`
(cross-validation), `selfcheck`, and what a fit is made of: `training`, `features`, `search`,
`evidence`, `laplace`, `raters`, `crowd`, `storage`.
"""

__all__: list[str] = []
