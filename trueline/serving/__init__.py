"""A saved reward as an HTTP server, for trainers written by others (extra: `trueline[serve]`).

`batcher` joins requests into batches, `formats` reads what each trainer sends, `app` answers and
listens.
"""

from trueline.serving.app import Service, create_app, listen
from trueline.serving.batcher import Batcher
from trueline.serving.formats import Splitter

__all__ = ["Batcher", "Service", "Splitter", "create_app", "listen"]
