"""A saved reward as an HTTP server, for trainers written by others (extra: `trueline[serve]`).

`batcher` joins requests into batches, `dialogue` tells prompts from responses, `formats` holds what
each trainer sends and expects, `app` answers, `page` shows people how it goes, `listening` runs it.
"""

from trueline.serving.app import Service, create_app
from trueline.serving.batcher import Batcher
from trueline.serving.listening import listen

__all__ = ["Batcher", "Service", "create_app", "listen"]
