"""Reading a streamed answer: both dialects, which may meet in one stream."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import pydantic_core

from ...errors import AnswerError
from ...models import Usage
from ..task import reported
from .reply import read
from .request import Answer, Json, from_json
from .values import amount


class StreamReader:
    """Takes the lines of a stream one by one and hands out its text.

    Attributes
    ----------
    ended : bool
        The stream said that it is complete; one that just stops was cut.
    cut : bool
        The token limit ended it.
    """

    def __init__(self) -> None:
        self.ended = self.cut = False
        self._pieces: list[str] = []
        self._others: list[bytes] = []  # lines before the first frame: a server that does not stream answers with JSON
        self._total: Mapping[str, Any] | None = None  # of the closing frame
        self._sum: dict[str, float] = {}  # of ordinary frames, whose usage counts that frame alone

    def feed(self, line: bytes) -> str:
        """Return the text a line adds.

        Raises
        ------
        AnswerError
            The line is no frame of a stream.
        """
        if not line.startswith(b"data:"):  # blank lines between frames, comments, event names
            if not self._pieces:
                self._others.append(line)
            return ""
        data = line[5:].strip()
        if data == b"[DONE]":
            self.ended = True
            return ""
        try:
            frame = from_json(data)
            return self._frame(frame) if isinstance(frame, Mapping) else ""
        except (AttributeError, LookupError, TypeError, ValueError):
            raise AnswerError("the stream broke off within a frame", "broken", again=True) from None

    def _frame(self, frame: Mapping[str, Json]) -> str:
        text = frame.get("response")
        for choice in (frame.get("choices") or ())[:1]:
            text = (choice.get("delta") or {}).get("content", text)
            if choice.get("finish_reason"):
                self.ended, self.cut = True, choice["finish_reason"] == "length"
        text = "" if text is None else str(text)  # a token that looks like a number arrives as one
        self._pieces.append(text)
        usage = frame.get("usage")
        if isinstance(usage, Mapping):
            if not text and not frame.get("choices"):
                self._total = usage  # the closing frame holds the totals
            else:
                for name, count in usage.items():
                    if isinstance(count, (int, float)):  # what cannot be an amount spoils the sum, so none is reported
                        found = amount(count)
                        self._sum[name] = self._sum.get(name, 0) + (math.nan if found is None else found)
        return text

    def usage(self) -> Usage | None:
        """Return what the stream reported: the closing totals, or the sum of its frames, or nothing."""
        usage = self._total if self._total is not None else self._sum or None
        return None if usage is None else reported(Answer(pydantic_core.to_json({"usage": usage})))

    def unstreamed(self, seconds: float) -> Answer | None:
        """Return the answer of a server that did not stream and sent all of it as JSON; None where it streamed."""
        content = b"\n".join(self._others).strip()
        if self._pieces or not content.startswith(b"{"):
            return None
        answer = Answer(content, seconds=seconds)
        try:
            return answer if isinstance(answer.json, Mapping) else None
        except AnswerError:
            return None

    def rest(self) -> str:
        """Return the text of an answer that was not streamed, after the last line; "" where it was."""
        whole = self.unstreamed(0.0)
        if whole is None:
            return ""
        said = read(whole, sys.maxsize)[0]
        self.ended, self.cut, self._pieces = True, said.cut, [said.text]
        usage = whole.json.get("usage")
        self._total = usage if isinstance(usage, Mapping) else None
        return said.text

    def answer(self, seconds: float) -> Answer:
        """Return what the whole stream says, in the form of an answer that came in one piece."""
        message = {"content": "".join(self._pieces)}
        document: dict[str, Json] = {
            "choices": [{"message": message, "finish_reason": "length" if self.cut else "stop"}]
        }
        usage = self._total if self._total is not None else self._sum
        return Answer(pydantic_core.to_json(document | ({"usage": usage} if usage else {})), seconds=seconds)

    def finish(self, settings_words: str) -> None:
        """Check that the stream came to its end.

        Raises
        ------
        AnswerError
            It broke off, or was cut at the token limit.
        """
        if not self.ended:
            raise AnswerError("the stream broke off before its end", "broken", again=True)
        if self.cut:
            raise AnswerError(f"the reply was cut at {settings_words}; raise it", "length")
