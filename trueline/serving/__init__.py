"""A saved reward as an HTTP server, for trainers written by others (extra: `trueline[serve]`).

`batcher` joins requests into batches, `dialogue` tells prompts from responses, `formats` holds what
each trainer sends, `app` answers and listens.
"""

from trueline.serving.app import Service, create_app, listen
from trueline.serving.batcher import Batcher

__all__ = ["Batcher", "Service", "create_app", "listen"]
