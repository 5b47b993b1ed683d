"""Admission: whose call it is. Account, method and token are looked at before anything else."""

from __future__ import annotations

import re

from starlette.requests import Request

from .errors import refuse

_ACCOUNT = re.compile(r"[0-9a-f]{32}", re.I)
_TOKEN = re.compile(r"[A-Za-z0-9_\-]{32,}")


class Admission:
    """Knows who may call.

    Parameters
    ----------
    token, account : str, optional
        The only ones accepted; by default every nonempty token (or the older pair of email and key) and every
        well-formed account.
    """

    def __init__(self, token: str | None, account: str | None) -> None:
        self._token, self._account = token, account

    def admit(self, request: Request, methods: str) -> None:
        """Refuse a malformed account (7003), another method (7001), a junk token (9106) and a wrong one (10000)."""
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
    """Return the bearer token, or the key of the older pair of headers; empty for neither.

    Anthropic's own client sends it as ``x-api-key``, and is documented to work at its address.
    """
    headers = request.headers
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    if scheme.casefold() == "bearer":
        return bearer.strip()
    if "x-api-key" in headers and request.url.path.endswith("/ai/v1/messages"):
        return headers["x-api-key"].strip()
    return headers.get("x-auth-key", "").strip() if headers.get("x-auth-email") else ""
