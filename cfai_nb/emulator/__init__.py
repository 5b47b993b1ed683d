"""An emulator of Workers AI's REST interface: no key, no network, no model.

It speaks the wire format (envelopes, OpenAI objects, server-sent events, error codes, rates, quotas) and refuses what
the service refuses, so that real clients run against it unchanged. Its answers are stand-ins: vectors are hashes of
words, labels follow lexical similarity, texts begin with ``[emulator]``. Token counts are an estimate, UTF-8 bytes over
four. Pictures show the shapes and colors that the prompt names, marked "emulator", and speech is a tune; their content
is kept in the file's own metadata, where the vision and speech models find it. Of other pictures and recordings only
measurable facts are reported.

Rooms, from the top down: ``server`` · ``app`` · ``search_namespaces`` and ``search_instance`` (AI Search) ·
``vectorize`` · ``service`` (requests, responses, limits, faults, gateway) · ``families`` · ``standins`` ·
``json_schema`` · ``model_catalogue`` and ``error_codes``.

On a port it answers for both public hosts: ``/client/v4`` is api.cloudflare.com, ``/v1`` is gateway.ai.cloudflare.com.

>>> from cfai_nb.emulator import running
>>> with running(rate=None) as service:
...     service.url
'http://127.0.0.1:…/client/v4'
"""

from __future__ import annotations

from .app import Emulator
from .server import Running, running, serve
from .service.request_log import LoggedRequest, RequestLog
from .service.responses import Dropped

__all__ = ["Dropped", "Emulator", "LoggedRequest", "RequestLog", "Running", "running", "serve"]
