"""Where requests go, with which credentials and to which model: from the arguments of ``connect`` and the environment.

Nothing here shows a token: it is a ``Secret`` from the start, and no message contains it.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from .._engine.wire import Secret
from ..errors import ModelError, SetupError
from ..models import Model, default, external_model, find
from ..tasks import Task
from ..vectors.vector import stand_in

_EMULATED_ACCOUNT = "0" * 32
SERVICE = "https://api.cloudflare.com/client/v4"
#: Environment variables in use, the documented one first.
ACCOUNT_NAMES = ("CLOUDFLARE_ACCOUNT_ID", "CF_ACCOUNT_ID", "CF_AI_ACCOUNT_ID")
TOKEN_NAMES = (
    "CLOUDFLARE_API_TOKEN", "CLOUDFLARE_AUTH_TOKEN", "CF_API_TOKEN", "CF_AI_API_TOKEN", "CLOUDFLARE_AI_API_TOKEN",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where requests go."""

    base: str  # the address up to and including ``/client/v4``; for another server, without its ``/v1``
    account: str  # its id; empty for another server
    token: Secret
    origin: str  # what answers, as shown: "cloudflare", "emulator", "local stand-in: ...", or another server's address
    app: Any = None  # an ASGI application that answers in this process, without a network

    @property
    def is_server(self) -> bool:
        """Whether it is an OpenAI-compatible server rather than Workers AI."""
        return not self.account

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine or network, where requests are free of charge."""
        host = urlsplit(self.base).hostname or ""
        try:
            return ipaddress.ip_address(host).is_private
        except ValueError:
            return "." not in host or host.endswith((".local", ".lan", ".internal", ".home.arpa", ".localhost"))

    @property
    def server(self) -> str:
        """What answers, as part of store keys: the origin, or the whole address of another server."""
        return self.origin if self.origin == "cloudflare" or self.app is not None else self.base

    def origin_of(self, task: str, family: str) -> str:
        """Return what answers a task with a model of this family; a local stand-in does not answer for all."""
        known = getattr(self.app, "understands", None)
        return self.origin if known is None or task == "summarize" or known(family) else "emulator"

    @property
    def root(self) -> str:
        """The prefix of every path."""
        return self.base if self.is_server else f"{self.base}/accounts/{self.account}"


def resolve_endpoint(
    target: Any, account_id: str | None, api_token: str | None, base_url: str | None, *, allow_http: bool = False,
    standins: str | None = None,
) -> Endpoint:  # fmt: skip
    """Return the endpoint for the arguments of ``connect``; missing credentials are taken from the environment."""
    if target == "emulator" or callable(target):
        from .. import emulator

        if base_url is not None:
            raise SetupError('The emulator answers in this process: remove base_url=, or give it without "emulator".')
        # Without limits, unless an Emulator with limits is passed: an emulated minute is not worth waiting for.
        if callable(target) and standins is not None:
            raise SetupError('standins= is for connect("emulator"); give it to the Emulator instead.')
        wanted: Any = standins or os.environ.get("CFAI_STANDINS", "").strip() or "auto"
        try:
            app = target if callable(target) else emulator.Emulator(rate=None, standins=wanted)
        except ValueError as error:
            raise SetupError(str(error)) from None
        token = Secret(api_token or "emulator")
        account = account_id or _EMULATED_ACCOUNT
        origin = stand_in(getattr(app, "origin", "")) or "emulator"
        return Endpoint(base="http://emulator/client/v4", account=account, token=token, origin=origin, app=app)
    if standins is not None:
        raise SetupError(f'standins={standins!r} only works with connect("emulator"); remove it.')
    if target not in (None, "cloudflare"):
        raise SetupError(f'connect({target!r}): give "cloudflare", "emulator", "auto" or an Emulator.')
    base = _checked(base_url or SERVICE)
    if base.endswith("/v1") and base.startswith(SERVICE.partition("/client")[0]):
        raise SetupError(f"base_url={base!r}: remove it for Workers AI, which is not called through its /v1 address.")
    if base.endswith("/v1"):  # Ollama, llama.cpp, vLLM, ...: often without a key
        account, token, base = "", _token(api_token or "none"), base.removesuffix("/v1")
    else:
        account, token = credentials(account_id, api_token)
    shown = base.removesuffix("/client/v4").partition("://")[2]
    endpoint = Endpoint(base=base, account=account, token=token, origin="cloudflare" if base == SERVICE else shown)
    if base.startswith("http:") and not (allow_http or endpoint.is_local) and (account or api_token):
        raise SetupError(
            f"The token would be sent to {shown} unencrypted. Give an https address, or allow_http=True if the "
            "connection is protected otherwise (a VPN, a tunnel)."
        )
    return endpoint


def _checked(base_url: str) -> str:
    """Return an address in normal form: scheme and host in lower case, without a default port or a final slash.

    SetupError: it is not an address, or contains a user or a query, which may be secret and are not shown.
    """
    bare = base_url.rpartition("@")[2].partition("?")[0].partition("#")[0]
    try:
        parts = urlsplit(base_url.strip().rstrip("/"))
        port = parts.port
    except ValueError:
        raise SetupError(f"base_url={bare!r} is not an address.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SetupError(f"base_url={bare!r} is not an address; give all of it, up to /client/v4 or /v1.")
    if parts.username is not None or parts.password is not None:
        raise SetupError(f"base_url={bare!r} has a user before the host: remove it, and give api_token=.")
    if parts.query or parts.fragment:
        raise SetupError(f"base_url={bare!r} has a query or fragment: remove it, and give api_token=.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}{'' if port in (None, usual) else f':{port}'}{parts.path.rstrip('/')}"


def from_environment(names: tuple[str, ...]) -> str | None:
    """Return the value of the first of these variables that is set."""
    return next((value.strip() for name in names if (value := os.environ.get(name, "")).strip()), None)


def credentials(account_id: str | None, api_token: str | None) -> tuple[str, Secret]:
    """Return account id and token, from the arguments or else the environment; an error shows neither."""
    account = account_id or from_environment(ACCOUNT_NAMES)
    token = api_token or from_environment(TOKEN_NAMES)
    if not account or not token:
        missing = " and ".join(n for n, v in ((ACCOUNT_NAMES[0], account), (TOKEN_NAMES[0], token)) if not v)
        raise SetupError(
            f"{missing} not set. Create a token with Workers AI Read and Edit in the Cloudflare dashboard and set both "
            'CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN, or go without an account: cf.connect("emulator").'
        )
    if not re.fullmatch(r"[A-Za-z0-9_-]+", account):
        raise SetupError("The account id must be 32 hexadecimal characters; see the dashboard's Workers AI page.")
    return account, _token(token)


def _token(text: str) -> Secret:
    if not text.isascii() or not text.isprintable():
        raise SetupError("The API token contains characters that are not allowed in a token; copy it again.")
    return Secret(text)


def store_path(store: str | os.PathLike[str] | Literal[False] | None) -> Path | None:
    """Return the path of the store: as given, ``CFAI_STORE``, or in the user's cache folder; None for False."""
    if store is False:
        return None
    given = store or os.environ.get("CFAI_STORE")
    if given:
        return Path(given).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("cfai_nb", appauthor=False)) / "store.sqlite"


def select_model(
    task: Task, wanted: str | Model | None, endpoint: Endpoint, *, gateway: bool, list_models: Callable[[], list[str]]
) -> Model:
    """Return the model that a task will use.

    ``wanted`` is the value of ``model=``.  ``gateway``: one is set, which gives access to other providers' models.
    ``list_models`` lists the models of an OpenAI-compatible server; it is called only if no model is named.
    """
    if isinstance(task.default_model, Model):
        return task.default_model
    if isinstance(wanted, Model):
        return wanted
    if wanted is not None and not isinstance(wanted, str):
        raise ModelError(f"model={wanted!r}: give a name such as 'bge-m3'.")
    embeds = "openai-embedding" in task.families
    if endpoint.is_server:
        names = [wanted] if wanted else list_models()
        if len(names) != 1:
            raise ModelError(f"Give model=: {endpoint.origin} has {', '.join(names[:20]) or 'no model'}.")
        return external_model(names[0], "server", embeds=embeds, free=endpoint.is_local)
    if wanted is None:
        return default(task.default_model)
    if "/" in wanted and not wanted.startswith("@"):
        if not gateway:
            raise ModelError(f"{wanted} is another provider's model: set gateway=, here or in connect.")
        return external_model(wanted, "gateway", embeds=embeds)
    return find(wanted)
