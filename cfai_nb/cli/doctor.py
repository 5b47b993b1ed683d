"""``cfai-nb doctor``: print what an error report needs, without secrets, and check store and credentials."""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import os
import platform
import sys
from typing import Any

from .. import __version__
from .._engine.bridge import bridge
from ..errors import CfaiError, StoreError
from ..models import catalogue
from ..session import Session, connect
from ..session.endpoint import ACCOUNT_NAMES, TOKEN_NAMES
from ..tasks import Request
from .commands import print_table

#: Seconds to wait for an answer.
_PATIENCE = 15
_PACKAGES = ("pandas", "numpy", "httpx", "aiohttp", "scikit-learn", "matplotlib", "ipywidgets")
#: Optional packages, and the command that installs them.
_INSTALL = {"pyarrow": 'pip install "cfai_nb[parquet]"', "jupyterlab": "pip install jupyterlab"}


def doctor(args: argparse.Namespace) -> int:
    """Print versions, store and credentials (never their values), and any problem that would stop calls."""
    nest = "nest-asyncio2" if sys.version_info >= (3, 14) else "nest-asyncio"
    versions = [f"{name} {_version(name) or 'MISSING'}" for name in (*_PACKAGES, nest)]
    store_line, store_fine = _look_at_store()
    access_lines, access_fine = _look_at_access(offline=args.offline, base_url=args.base_url)
    rows = [
        ("cfai_nb", f"{__version__} on Python {platform.python_version()}, {platform.platform()}"),
        ("packages", ", ".join(versions)),
        ("store", store_line),
        *(("account" if at == 0 else "", line) for at, line in enumerate(access_lines)),
        ("catalogue", f"{len(catalogue()):,} models, as of {catalogue().checked_on}"),
        ("loop", f"a background thread; {nest} is only used by cf.use_notebook_loop()"),
        *((name, _version(name) or f"not installed (optional): {line}") for name, line in _INSTALL.items()),
    ]
    print_table(rows)
    return 0 if store_fine and access_fine and not any("MISSING" in version for version in versions) else 1


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _look_at_store() -> tuple[str, bool]:
    session = connect("emulator")
    path = session.store_path
    if path is None or not path.exists():
        return f"{path}: created at the first call (change the path with CFAI_STORE or store=)", True
    try:
        with session:
            store = session.store()
            rows, size = store.size() if store is not None else (0, 0)
    except StoreError as error:
        return f"PROBLEM: {error}", False
    return f"{path}: {rows:,} answers, {size / 2**20:,.1f} MB, writable", True


def _look_at_access(*, offline: bool, base_url: str | None) -> tuple[list[str], bool]:
    names = [name for name in (*ACCOUNT_NAMES, *TOKEN_NAMES) if os.environ.get(name, "").strip()]
    if not names:
        return ['no variable is set; cf.connect("emulator") needs none, the service needs '
                f"{ACCOUNT_NAMES[0]} and {TOKEN_NAMES[0]}"], True  # fmt: skip
    lines = [f"set: {', '.join(names)} (values are never shown)"]
    if offline:
        return [*lines, "not tried (--offline)"], True
    try:
        with connect("cloudflare", store=False, base_url=base_url) as session:
            _check_credentials(session)
    except TimeoutError:
        return [*lines, f"PROBLEM: no answer within {_PATIENCE} s"], False
    except CfaiError as error:
        return [*lines, f"PROBLEM: {error}"], False
    return [*lines, "accepted by the service (a free request)"], True


def _check_credentials(session: Session) -> None:
    """Send a free search that finds nothing, to see whether the credentials are accepted."""
    request = Request(path="models/search", query={"search": "no-model-is-called-like-this", "per_page": "1"})

    async def ask() -> Any:
        async with asyncio.timeout(_PATIENCE):
            return await session.engine(cache=False).wire.send(request, "models/search", method="GET")

    bridge.call(ask)
