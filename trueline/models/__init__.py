"""Models: the frozen trunk and its readings, adapters that make it a policy, sampling, chat models
here and behind endpoints. `Readings` (`reading`) needs neither torch nor transformers.
"""

__all__: list[str] = []
