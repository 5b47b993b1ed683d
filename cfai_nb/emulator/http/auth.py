"""Who may call: account, method and token of a request, and the licence of the model it names.

``app`` checks account, method and token before anything else; ``http.routing`` checks the licence once the model is
known. Both raise the service's error. Accepting a licence is also answered with 403 and a thank-you text (observed), so
a client has to read the text.
"""

from __future__ import annotations

import re

from starlette.requests import Request

from ..error_codes import refuse
from ..families.family import ModelRequest

_ACCOUNT = re.compile(r"[0-9a-f]{32}", re.I)
_TOKEN = re.compile(r"[A-Za-z0-9_\-]{32,}")


class Auth:
    """Checks account, method and token.

    Parameters
    ----------
    token, account : str, optional
        The only ones accepted; by default every nonempty token (or the older pair of email and key) and every
        well-formed account.
    """

    def __init__(self, token: str | None, account: str | None) -> None:
        self._token, self._account = token, account

    def admit(self, request: Request, methods: str) -> None:
        """Refuse a malformed account (7003), another method (7001), a malformed token (9106), a wrong one (10000)."""
        account = request.path_params["account"]
        if not _ACCOUNT.fullmatch(account):
            raise refuse(7003, path=request.url.path)
        if request.method not in methods.split():
            raise refuse(7001, method=request.method)
        secret = _secret(request)
        if not secret:
            raise refuse(9106)
        if self._token is not None and secret != self._token:
            raise refuse(10000 if _TOKEN.fullmatch(secret) else 9106)
        if self._account is not None and account.casefold() != self._account.casefold():
            raise refuse(10000, status=403)


def _secret(request: Request) -> str:
    """Return the bearer token, or the key of the older pair of headers, or an empty text.

    Anthropic's own client sends ``x-api-key``, and is documented to work at its address.
    """
    headers = request.headers
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    if scheme.casefold() == "bearer":
        return bearer.strip()
    if "x-api-key" in headers and request.url.path.endswith("/ai/v1/messages"):
        return headers["x-api-key"].strip()
    return headers.get("x-auth-key", "").strip() if headers.get("x-auth-email") else ""


#: Models with a licence to accept, and models that an account has to apply for.
GATED = frozenset({"@cf/meta/llama-3.2-11b-vision-instruct"})
APPLIED = frozenset({"@cf/swiss-ai/apertus-v1.5-8b", "@cf/utter-project/eurollm-9b-it"})

_PROMPT = "agree"
_THANKS = "Thank you for agreeing to this model's license and acceptable use policy. You may now use the model."


class Licences:
    """The licences that accounts have accepted.

    Parameters
    ----------
    accepted : bool
        Whether every account has accepted all licences and has access to every model.
    """

    def __init__(self, accepted: bool = False) -> None:
        self._all, self._accepted = accepted, set[tuple[str, str]]()

    def admit(self, account: str, request: ModelRequest) -> None:
        """Refuse a model without access (5018) or without an accepted licence (5016), and the call that accepts it."""
        if request.model.id in APPLIED and not self._all:
            raise refuse(5018)
        key = (account.casefold(), request.model.id)
        if request.model.id not in GATED:
            return
        if request.body.get("prompt") == _PROMPT and request.route == "run":
            self._accepted.add(key)
            raise refuse(5016, text=_THANKS)
        if not self._all and key not in self._accepted:
            raise refuse(5016)
