"""An emulator of Workers AI's REST interface: no key, no network, no model.

It speaks the wire format (envelopes, OpenAI objects, server-sent events, error codes, rates, quotas) and refuses what
the service refuses, so that real clients run against it unchanged. Its answers are stand-ins made of letters: vectors
are hashes of words, labels follow lexical similarity, texts begin with ``[emulator]``. Token counts are an estimate,
UTF-8 bytes over four. Pictures show the shapes and colours the prompt names, marked "emulator", and speech is a tune;
what they hold is kept in the file's own metadata, where the models that look and listen find it. Of other pictures and
recordings only what can be measured is said.

On a port it answers for both public hosts: ``/client/v4`` is api.cloudflare.com, ``/v1`` is gateway.ai.cloudflare.com.

>>> from cfai_nb.emulator import running
>>> with running(rate=None) as service:
...     service.url
'http://127.0.0.1:…/client/v4'
"""

from __future__ import annotations

from .app import Emulator
from .book import Book, Call
from .faults import Dropped
from .server import Running, running, serve

__all__ = ["Book", "Call", "Dropped", "Emulator", "Running", "running", "serve"]
