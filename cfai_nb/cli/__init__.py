"""The command ``cfai-nb``: which commands it has, with which options.

Arguments come in; each command is a function that prints and returns an exit code: 0 success, 1 a problem (printed on
one line), 2 wrong usage, or nothing may be spent without ``--yes``, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

from .. import __version__
from ..errors import CfaiError
from .commands import Usage, conformance, doctor, enrich_files, fault, list_models, rate, serve_emulator
from .demo import demo
from .verbs import list_verbs

__all__ = ["main", "parser"]

_Command: TypeAlias = Callable[[str, Callable[[argparse.Namespace], int]], argparse.ArgumentParser]


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="cfai-nb", description="DataFrame verbs for Cloudflare Workers AI.")
    top.add_argument("--version", action="version", version=f"cfai_nb {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, does: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=does.__doc__, description=does.__doc__)
        made.set_defaults(does=does)
        return made

    _about_frames(command)
    _about_the_service(command)
    return top


def _about_frames(command: _Command) -> None:
    """Add the commands that work on rows."""
    add = command("demo", demo).add_argument
    add("--csv", metavar="FILE", help="your own file instead of the sample: CSV, TSV, parquet, Feather, Excel")
    add("--text", metavar="COLUMN", help="its column of text; without it the columns are listed")
    add("--sep", metavar="CHAR", help="its separator, such as ; or tab (default: found)")
    add("--encoding", metavar="NAME", help="its encoding (default: UTF-8, else Windows-1252)")
    add("--labels", metavar="A,B,C", help="what to classify into (default for the tickets: their topics)")
    add("--out", metavar="DIR", default="cfai-demo", help="where to save (default: ./cfai-demo)")
    add("--model", help="what writes the summaries (default: see `cfai-nb models`)")
    add("--yes", action="store_true", help="charge it to the account without asking")
    add("--base-url", metavar="URL", help="everything up to and including /client/v4, for a proxy or an emulator")
    add = command("enrich", enrich_files).add_argument
    add("source", metavar="IN", help="a parquet file, a glob in quotes, or a folder")
    add("target", metavar="OUT", help="a folder of its own")
    add(
        "--embed", metavar="COLUMN", action="append", help="vectors, as COLUMN_vector; may be repeated, as the next two"
    )
    add("--classify", metavar="COLUMN=A,B,C", action="append", help="one of these labels, as COLUMN_label")
    add("--generate", metavar="NAME=TEMPLATE", action="append", help='text: summary="In ten words: {text}"')
    add("--model", help="what answers --generate (default: see `cfai-nb models`)")
    add("--budget", type=float, metavar="USD", help="the most that may be spent, in dollars")
    add("--memory", type=float, default=512, metavar="MB", help="for the rows that are worked on at a time (512)")
    add("--overwrite", action="store_true", help="make parts again that answer another question")
    add("--plan", action="store_true", help="print the price and send nothing")
    add("--json", action="store_true", help="for scripts: the plan, or what was done")
    add("--yes", action="store_true", help="charge it to the account without asking")
    add("--base-url", metavar="URL", help="everything up to and including /client/v4, for a proxy or an emulator")


def _about_the_service(command: _Command) -> None:
    """Add the commands that emulate, list or check."""
    add = command("emulator", serve_emulator).add_argument
    add("--port", type=int, default=8787, help="default 8787; 0 takes a free one")
    add(
        "--host", action="append", metavar="NAME", help="a Host header to answer beside this machine's; may be repeated"
    )
    add("--latency", type=float, metavar="S", help="seconds every call takes")
    add("--rate", type=rate, metavar="N", help="requests per minute, catalogue (default) or none")
    add("--capacity", type=int, metavar="N", help="calls at once; one more is refused with 3040")
    add("--neurons", type=float, metavar="N", help="Neurons a day, then calls are refused with 4006")
    add("--terms-accepted", action="store_true", help="every account has accepted all licences and may use every model")
    add("--quirk", action="append", metavar="NAME", help="such as null-content, string-codes; may be repeated")
    add("--fault", type=fault, action="append", metavar="KIND=P", help="such as 503=0.05, reset=0.01; may be repeated")
    add = command("models", list_models).add_argument
    add("name", nargs="?", help="part of a model's id, such as llama")
    add("--task", help="part of the task's name, such as embed")
    add("--refresh", action="store_true", help="ask the service first (needs an account)")
    add("--retired", action="store_true", help="also those that are gone, with what replaces them")
    add("--json", action="store_true", help="for scripts, with every column of cf.models()")
    add = command("verbs", list_verbs).add_argument
    add("--markdown", action="store_true", help="as the documentation has it, with every example")
    add("--json", action="store_true", help="for scripts")
    add = command("doctor", doctor).add_argument
    add("--offline", action="store_true", help="do not try the credentials")
    add("--json", action="store_true", help="for scripts; the exit code says whether all is fine, too")
    add("--base-url", metavar="URL", help="everything up to and including /client/v4")
    add = command("conformance", conformance).add_argument
    add("target", nargs="?", choices=("cloudflare", "emulator"), default="cloudflare", help="default: your account")
    add("--only", metavar="A,B", help="families of statements, such as embed,chat")
    add("--budget", metavar="N", help="stop at so many Neurons, or at today's free ones: free")
    add("--write", action="store_true", help="also those that make something in the account")
    add("--list", action="store_true", help="show the statements and send nothing")
    add("--json", metavar="FILE", help="save the report, without secrets, to attach to an issue")
    add("--record", metavar="FILE", help="save the answers, scrubbed, to hold the emulator against")
    add("--yes", action="store_true", help="charge it to the account without asking")
    add("--base-url", metavar="URL", help="everything up to and including /client/v4, for a proxy or an emulator")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    top = parser()
    args = top.parse_args(argv)
    if args.command is None:
        top.print_help()
        return 0
    try:
        code: int = args.does(args)
        return code
    except Usage as error:
        print(f"cfai-nb {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:  # the message of Stopped counts the rows that are done
        kept = str(error).split(" are done")[0]
        print(f"\n{kept} are done and kept; the same command again sends only the rest." if kept else "\nStopped.")
        return 130
    except BrokenPipeError:  # the reader, such as `| head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (CfaiError, OSError, OverflowError, ValueError) as error:
        words = str(error)
        if isinstance(error, OSError) and error.filename is not None:
            words = f"{error.filename}: {error.strerror}"
        print(f"cfai-nb {args.command}: {words}", file=sys.stderr)
        return 1
