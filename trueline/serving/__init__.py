"""A saved reward as an HTTP server, for trainers written by others (extra: `trueline[serve]`).

`batcher` joins requests into batches, `formats` reads what each trainer sends, `app` answers and
listens.
"""

__all__: list[str] = []
