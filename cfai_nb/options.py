"""Keyword options checked against a signature, so that no call ignores one.

Functions come in through ``takes_options``; lists of names through ``refuse_unknown``.  Every verb, widget, plot and
task uses these two, so that a misspelt option gives the same message everywhere: the name, the nearest known option,
and all options.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
#: What other libraries call an option -> what it may be called here; the first that the call knows is the hint.
_ELSEWHERE: dict[str, tuple[str, ...]] = {
    "n_clusters": ("k",), "num_clusters": ("k",), "n_neighbors": ("k",), "top_k": ("k",), "n_results": ("k",),
    "limit": ("k", "n"), "top_n": ("top_k", "k", "n"), "k": ("top_k", "n"), "rows": ("n",), "head": ("n",),
    "min_cluster_size": ("least",), "min_samples": ("least",), "contamination": ("share",), "fraction": ("share",),
    "random_state": ("seed",), "cutoff": ("threshold",), "min_score": ("threshold",), "eps": ("threshold",),
    "colour": ("color", "colours"), "color": ("colours",), "colors": ("colours",), "palette": ("colours",),
    "hue": ("color", "labels"), "cols": ("columns",), "column": ("on", "columns"), "col": ("column", "on"),
    "batch_size": ("concurrency",), "workers": ("concurrency",), "max_workers": ("concurrency",),
    "api_key": ("api_token",), "token": ("api_token",), "account": ("account_id",), "url": ("base_url",),
    "max_new_tokens": ("max_tokens",), "max_output_tokens": ("max_tokens",), "categories": ("labels",),
    "classes": ("labels",),
}  # fmt: skip


def near(name: str, known: Iterable[str]) -> str:
    """Return the known option that was probably meant; empty where none is near."""
    names = list(known)
    lowered = name.lower()
    foreign = [there for there in _ELSEWHERE.get(lowered, ()) if there in names]
    swapped = [each for each in names if sorted(each) == sorted(lowered)]  # two letters in the other's place
    return next(iter([*foreign, *swapped, *difflib.get_close_matches(lowered, names, n=1, cutoff=0.65)]), "")


def refuse_unknown(what: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Refuse options that do not exist.

    Parameters
    ----------
    what : str
        The call, for the message.
    given, known : iterable of str

    Raises
    ------
    TypeError
        An option is unknown.  The message names it, the nearest one, and all there are.
    """
    unknown = [name for name in given if name not in known]
    if not unknown:
        return
    hints = [f" Did you mean {meant}?" for meant in dict.fromkeys(near(name, known) for name in unknown) if meant]
    several = "s" if len(unknown) > 1 else ""
    listed = ", ".join(known) or "none"
    raise TypeError(f"{what}() has no option{several} {', '.join(unknown)}.{''.join(hints)} Options: {listed}.")


def takes_options(*further: str, name: str = "") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that refuses keyword options the function does not name.

    Parameters
    ----------
    *further : str
        Options that go through the function's ``**`` parameter.
    name : str, optional
        What the call is called in the message; default: the name of the function, or of the class it makes.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        own = [p.name for p in inspect.signature(function).parameters.values() if p.kind in _NAMED]
        known = [each for each in dict.fromkeys([*own, *further]) if each != "self"]

        @functools.wraps(function)
        def checked(*args: P.args, **options: P.kwargs) -> R:
            made = type(args[0]).__name__ if function.__name__ == "__init__" else function.__name__
            refuse_unknown(name or made, options, known)
            return function(*args, **options)

        return checked

    return decorate
