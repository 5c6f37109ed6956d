"""The online loop, read from `online` down: its steps, labels, gate, evaluation and resumption."""

__all__: list[str] = []
