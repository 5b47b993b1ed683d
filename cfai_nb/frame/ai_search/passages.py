"""Search an instance of AI Search, and have it answer questions: ``search(instance=)`` and ``answer``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from ...tasks import AnswerFrom
from ...tasks.dialects.ai_search import instance_path, retrieval, source
from .. import rows
from ..call import Call
from ..steps import Steps, requested
from ..vector_input import refuse_needless
from ..vectorize.index import Match
from ..vectorize.stored import STOPPED, as_filter, rows_found, service
from .instance import NEEDLESS, Instance


def passages_in(
    data: rows.Frame, instance: str, query: Any, top_k: int, on: Any, *, mode: str | None,
    filter: Mapping[str, Any] | None, namespace: str | None, metadata: bool, id: Any, join: bool,
    options: Mapping[str, Any],
) -> Steps[pd.DataFrame]:  # fmt: skip
    """Look for passages in an instance of AI Search; see ``search``."""
    here, space = service("AI Search"), "default" if namespace is None else namespace
    instance_path(instance, space)
    if on is not None:
        raise ValueError(f"on={on!r}: {NEEDLESS}, so on= would have no effect. Leave it out.")
    refuse_needless(options, NEEDLESS)
    texts = _texts(query)
    wanted = retrieval(mode, top_k, as_filter(filter))
    merged = here.options({name: value for name, value in options.items() if name != "model"})

    async def look(job: Any) -> list[list[Match]]:
        there, answers = Instance(job, instance, space), [list[Match]() for _ in texts]

        async def one(question: tuple[int, str]) -> None:
            at, text = question
            for each in map(source, await there.search(text, wanted)):
                more = {**(each["metadata"] if metadata else {}), "passage": each["text"]}
                answers[at].append(Match(each["id"], each["score"], more))

        await job.each(one, enumerate(texts))
        return answers

    found = yield from requested("search", here.engine(cache=False), look, merged, STOPPED)
    frame = rows.as_frame(data)
    frame = frame.drop(columns="passage", errors="ignore") if join else frame.iloc[:0, :0]
    names, what = None if isinstance(query, str) else texts, f"The instance {instance!r}"
    return lambda: rows_found(frame, names, found, id if join else None, what, lower=True)


def _texts(query: Any) -> list[str]:
    several = isinstance(query, (list, tuple, pd.Series))
    cells: Sequence[Any] = list(query) if several else [query]
    for at, text in enumerate(cells):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"query {at}: an instance of AI Search is searched with a text, or a list of them.")
    return list(cells)


def answer(
    data: rows.Frame, /, on: Any = None, *, instance: str, mode: Literal["vector", "keyword", "hybrid"] | None = None,
    top_k: int = 10, filter: Mapping[str, Any] | None = None, namespace: str = "default", **options: Any,
) -> Steps[pd.DataFrame]:  # fmt: skip
    """Answer questions from the documents of an instance of AI Search.

    The instance looks for passages and writes an answer from them, with the model of its own settings;
    ``to_ai_search`` uploads the documents.

    Parameters
    ----------
    on : str, optional
        Column of questions, or a template with ``{column}`` in it.  A Series needs none:
        ``pd.Series(["When do you deliver?"]).cfai.answer(instance="handbook")``.
    instance : str
        Its name.
    mode : {"vector", "keyword", "hybrid"}, optional
        How passages are looked for: by meaning, by words, or by both.  Default: as the instance is set.
    top_k : int, default 10
        Passages to answer from, 50 at most.
    filter : dict, optional
        Only documents whose metadata fit; see ``search``.
    namespace : str
        Where the instance lies.

    Returns
    -------
    DataFrame
        On the index of the frame: ``answer``, and ``sources``, the passages it was written from, best first, each with
        ``id`` (that of the row, where ``to_ai_search`` uploaded it), ``score``, ``text`` and ``metadata``.  Where no
        passage was found, ``answer`` is missing and ``sources`` empty.

    Raises
    ------
    ValueError
        An option has an invalid value.
    AccessError
        There is no such instance, or the token has no *AI Search: Run*.

    Notes
    -----
    Answers are kept until the documents or the settings of the instance change: the call asks for its state first.
    AI Search publishes no price, so the charge is unknown; a budget needs ``cf.Budget(..., allow_unknown=True)``.

    Examples
    --------
    >>> questions.cfai.answer("question", instance="handbook", filter={"topic": "returns"})
    """
    here, wanted = service("AI Search"), as_filter(filter)
    own: dict[str, Any] = {name: options.pop(name) for name in ("model", "gateway") if name in options}
    refuse_needless(own, "an instance of AI Search answers with the model and the gateway of its own settings")
    task: dict[str, Any] = {"mode": mode, "top_k": top_k, "filter": wanted, "namespace": namespace}
    unread = "not read yet"  # the state of the instance; a plan does not ask for it
    merged = dataclasses.replace(here.options(options), gateway=None)  # that of ``connect`` is for models
    # It refuses what is wrong before anything is asked.
    Call(AnswerFrom(instance=instance, as_of=unread, **task), None, data, on, merged)

    async def look(job: Any) -> str:
        return await Instance(job, instance, namespace).changed()

    engine = here.engine(cache=False)
    state = yield from requested("answer", engine, look, merged, "Stopped. Nothing was asked yet.", skippable=True)
    answers = yield Call(AnswerFrom(instance=instance, as_of=state or unread, **task), None, data, on, merged)
    return lambda: answers
