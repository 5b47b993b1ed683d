"""``cfai-nb emulator``: the emulator on a port of this machine."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from .screen import Usage


def emulate(args: argparse.Namespace) -> int:
    """Serve the emulator on a port until interrupted."""
    from .. import emulator

    given = {"latency": args.latency, "rate": args.rate, "capacity": args.capacity, "neurons_per_day": args.neurons}
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if settings.get("rate") == "none":
        settings["rate"] = None
    settings |= {"faults": dict(args.fault or ()), "quirks": args.quirk or (), "terms_accepted": args.terms_accepted}
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how it ends
        try:
            emulator.serve(args.port, hosts=args.host or (), **settings)
        except ValueError as error:
            raise Usage(str(error)) from None
    return 0


def fault(text: str) -> tuple[str, float]:
    kind, equals, share = text.partition("=")
    try:
        return kind, float(share) if equals else 1.0
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: give KIND=PROBABILITY, such as 503=0.05") from None


def rate(text: str) -> str | int:
    if text in ("none", "catalogue"):
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r}: give requests per minute, "catalogue" or "none"') from None
