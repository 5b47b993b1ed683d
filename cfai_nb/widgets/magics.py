"""``%load_ext cfai_nb``: a cell whose text is a prompt.

    %%cfai -m glm-4.7-flash -o answer
    Explain what this does: {source}

    %%cfai --df tickets -o summary
    Summarize in five words: {text}

In: the options of the first line, and the cell.  Out: an answer that is printed while it is written, or a Series of
answers.  Braces mean what they mean in ``generate``: ``{name}`` is a column of the frame of ``--df``, or else a
variable of the notebook, and ``{{name}}`` is the text ``{name}``.  Braces around anything that cannot be a name stay
as they are, so that JSON can be pasted.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any

import pandas as pd
from IPython import get_ipython
from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher
from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from ..frame.verb import BoundVerb, TaskVerb
from ..models import catalogue
from ..session.requests import stream
from ..tasks import Generate
from ..tasks.dialects.chat import FAMILIES
from .progress import bar

_BRACES = re.compile(r"\{\{([^{}]*)\}\}|\{([^{}]+)\}")
#: Characters in a model's answer that a terminal would act on.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_OPTIONS = ("--model", "--output", "--df", "--system", "--max-tokens", "--temperature")


@magics_class
class CfaiMagics(Magics):  # type: ignore[misc, unused-ignore]
    """``%cfai`` and ``%%cfai``."""

    @no_var_expand
    @magic_arguments()
    @argument("-m", "--model", help="a name from cf.models()")
    @argument("-o", "--output", help="the variable to store the answer in")
    @argument("--df", help="the frame whose rows fill {column}")
    @argument("--system", help="the system prompt")
    @argument("--max-tokens", type=int, help="the longest answer, in tokens")
    @argument("--temperature", type=float, help="randomness; 0 gives the most likely words")
    @argument("prompt", nargs="*", help="the prompt of a line magic")
    @line_cell_magic
    def cfai(self, line: str, cell: str | None = None) -> Any:
        """Ask a model: the cell is the prompt.

        ``{name}`` is a column of the frame of ``--df``, or else a variable of the notebook; ``{{name}}`` is the text
        ``{name}``.  Braces around anything that cannot be a name stay as they are.  A single answer is printed while
        it is written.  With ``--df`` the answers are a Series: the value of the cell, or of the variable of ``-o``.
        """
        try:
            given = parse_argstring(self.cfai, line)
        except UsageError as error:
            usage = " ".join(self.cfai.parser.format_usage().replace("::", "").split())
            raise UsageError(f"%%cfai: {error}; {usage}. Nothing was sent.") from None
        if cell is not None and given.prompt:
            raise UsageError(
                f"%%cfai: unexpected {' '.join(given.prompt)!r}. The prompt goes below; options begin with -."
            )
        prompt = " ".join(map(_unquoted, given.prompt)) if cell is None else cell.strip("\n")
        if not prompt.strip():
            raise UsageError("%%cfai: the prompt is empty. Write it into the cell.")
        if given.output is not None and not given.output.isidentifier():
            raise UsageError(f"%%cfai: -o {given.output!r} is not a valid variable name.")
        named = {"model": given.model, "max_tokens": given.max_tokens, "temperature": given.temperature}
        named["system"] = None if given.system is None else _unquoted(given.system)
        options = {name: value for name, value in named.items() if value is not None}
        if given.df is None:
            answer: Any = self._stream("".join(text for text, _ in self._pieces(prompt, [])), options)
        else:
            answer = self._rows(given.df, prompt, options)
        if given.output is None:
            return None if given.df is None else answer
        self._names[given.output] = answer
        return None

    @property
    def _names(self) -> dict[str, Any]:
        assert self.shell is not None
        names: dict[str, Any] = self.shell.user_ns
        return names

    def _pieces(self, prompt: str, columns: list[str]) -> Iterator[tuple[str, bool]]:
        """Yield the pieces of a prompt, each with whether it is a column in braces."""
        at = 0
        for found in _BRACES.finditer(prompt):
            yield prompt[at : found.start()], False
            at = found.end()
            literal, name = found[1], found[2]
            if literal is not None:
                yield f"{{{literal}}}", False
            elif name in columns or name.partition(":")[0] in columns:
                yield found[0], True
            elif name.isidentifier() or difflib.get_close_matches(name, columns, n=1, cutoff=0.8):
                yield self._variable(name, columns), False
            else:
                yield found[0], False
        yield prompt[at:], False

    def _variable(self, name: str, columns: list[str]) -> str:
        """Return the text of a variable; a name close to that of a column is taken for a typing error."""
        names = self._names
        near = difflib.get_close_matches(name, columns, n=1, cutoff=0.8)
        if near or name not in names:
            known = [*columns, *(each for each in names if not each.startswith("_"))]
            near = near or difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {{{near[0]}}}?" if near else ""
            what = "column or variable" if columns else "variable"
            raise UsageError(
                f"%%cfai: there is no {what} {name!r}.{hint} Write {{{{{name}}}}} for literal braces. Nothing was sent."
            )
        value = names[name]
        if not isinstance(value, (str, int, float)):
            raise UsageError(
                f"%%cfai: {name!r} is a {type(value).__name__}, not text; convert it first"
                + (f", or send its rows with --df {name}." if isinstance(value, (pd.DataFrame, pd.Series)) else ".")
            )
        return str(value)

    def _stream(self, prompt: str, options: dict[str, Any]) -> str:
        pieces = []
        try:
            for piece in stream(prompt, **options):
                pieces.append(piece)
                print(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", piece), end="", flush=True)
        finally:
            if pieces:
                print()
        return "".join(pieces)

    def _rows(self, name: str, prompt: str, options: dict[str, Any]) -> Any:
        data = self._names.get(name)
        if not isinstance(data, (pd.DataFrame, pd.Series)):
            what = "is not a DataFrame or Series" if name in self._names else "does not exist"
            raise UsageError(f"%%cfai: --df {name} {what}.")
        columns = [str(c) for c in data.columns] if isinstance(data, pd.DataFrame) else [str(data.name), "value"]
        pieces = self._pieces(prompt, columns)
        template = "".join(text if column else text.replace("{", "{{").replace("}", "}}") for text, column in pieces)
        return BoundVerb(TaskVerb(Generate), data, bar)(template, **options)


def _unquoted(text: str) -> str:
    """Remove the quotes around an argument, which IPython keeps."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


@context_matcher(identifier="cfai_nb")
def _matcher(context: CompletionContext) -> Any:
    """Complete the first line of a ``%%cfai`` cell: models after ``-m``, frames after ``--df``, and the options."""
    line = context.text_until_cursor
    typed, offered = _offered(line) if context.cursor_line == 0 else ("", [])
    found = [SimpleCompletion(text=name, type="cfai_nb") for name in sorted(offered) if name.startswith(typed)]
    # Suppress Python's own completions, which do not apply here.
    return {"completions": found, "matched_fragment": typed, "suppress": bool(offered), "ordered": True}


def _offered(line: str) -> tuple[str, list[str]]:
    """Return the incomplete word at the cursor, and all completions of its place."""
    words = line.split()
    if not words or words[0] not in ("%cfai", "%%cfai") or (len(words) == 1 and not line[-1].isspace()):
        return "", []
    typed = "" if line[-1].isspace() else words.pop()
    if words[-1] in ("-m", "--model"):
        models = [m for m in catalogue().values() if m.family in FAMILIES and m.status != "retired"]
        return typed, [m.id for m in models] if typed.startswith("@") else [m.name for m in models]
    if words[-1] == "--df":
        shell = get_ipython()
        names = {} if shell is None else shell.user_ns
        frames = (pd.DataFrame, pd.Series)
        return typed, [n for n, value in names.items() if isinstance(value, frames) and not n.startswith("_")]
    return typed, list(_OPTIONS) if typed.startswith("-") else []


def load_ipython_extension(shell: Any) -> None:
    """Register ``%%cfai`` and its completion; called by ``%load_ext cfai_nb``."""
    shell.register_magics(CfaiMagics)
    if _matcher not in shell.Completer.custom_matchers:
        shell.Completer.custom_matchers.append(_matcher)
