"""What editors and type checkers see of the accessor; made by ``python tests/freeze.py``, not by hand."""
# fmt: off

import datetime as dt
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, Unpack

import pandas as pd

from ._engine.plan import Plan
from ._engine.run_options import GivenOptions
from .frame.call import Call
from .frame.cascades import Cascade, CascadePlan
from .frame.compare import Comparison
from .frame.enrich.enrich_report import EnrichPlan, EnrichReport
from .frame.extract_call import ExtractCall
from .frame.steps import Plans
from .frame.tune import Tuned
from .frame.upload import Written
from .models import Model
from .tasks import Task
from .tasks.dialects import schema
from .tasks.dialects.extraction import Fields
from .tasks.dialects.question_types import Question
from .widgets import Gallery, Playground, Preview, Review
from .widgets.map import Map
from .widgets.table import Failures

P = ParamSpec("P")
R = TypeVar("R")

class EmbeddingOptions(GivenOptions, total=False):
    """The run options of a verb, and its model."""

    model: str | Model | Cascade | None

class Form(Generic[P, R]):
    """A verb on a frame: call it, await ``.aio``, or price it with ``.plan``."""

    __name__: str
    def __init__(self, definition: Callable[Concatenate[Any, P], R]) -> None: ...
    def __call__(self, *args: P.args, **options: P.kwargs) -> R: ...
    async def aio(self, *args: P.args, **options: P.kwargs) -> R: ...
    def plan(self, *args: P.args, **options: P.kwargs) -> Plan | Plans | CascadePlan: ...

class DecidingForm(Form[P, R]):
    """A task on a frame that a cascade can do, too."""

    def plan(self, *args: P.args, **options: P.kwargs) -> Plan | CascadePlan: ...
    def call(self, *args: P.args, **options: P.kwargs) -> Call | ExtractCall: ...

class TaskForm(DecidingForm[P, R]):
    """A task on a frame."""

    def plan(self, *args: P.args, **options: P.kwargs) -> Plan: ...

class Accessor:
    """Verbs of Workers AI on a DataFrame or Series."""

    def __init__(self, data: pd.DataFrame | pd.Series[Any]) -> None: ...
    @TaskForm
    def embed(
        self, on: Any = None, *, pooling: Literal['mean', 'cls'] | None = None,
        role: Literal['document', 'query'] | None = None, instruction: str | None = None, truncate: bool = False,
        **options: Unpack[EmbeddingOptions],
    ) -> pd.Series[Any]:
        """Turn texts into vectors that are close to each other when the texts mean similar things."""
    @DecidingForm
    def classify(
        self, on: Any = None, labels: Sequence[str] | Mapping[str, Any] | None = None, *,
        instructions: str = "Which label fits the text best?", multiple: bool = False, threshold: float = 0.5,
        uncertain: float | None = None, probabilities: bool = False, truth: Any = None,
        **options: Unpack[EmbeddingOptions],
    ) -> Any:
        """Give each row one of the labels."""
    @TaskForm
    def generate(
        self, on: Any = None, *, system: str | None = None, examples: Any = (), max_tokens: int = 512,
        temperature: float | None = None, seed: int | None = None, n: int = 1, reasoning: bool | str | None = None,
        lora: str | None = None, raw: bool = False, schema: schema.Schema | None = None,
        tools: Sequence[Callable[..., Any]] = (), max_turns: int = 8, thinking: bool = False,
        **options: Unpack[EmbeddingOptions],
    ) -> Any:
        """Fill a prompt template with each row and return what the model writes."""
    @DecidingForm
    def ask(
        self, on: Any = None, questions: Mapping[str, Question] = ..., *, probabilities: bool = False,
        threshold: float | Mapping[str, float] = 0.5, truth: Any = None, **options: Unpack[EmbeddingOptions],
    ) -> pd.DataFrame:
        """Ask up to 64 questions about each row, in one call per distinct row."""
    @DecidingForm
    def check(
        self, on: Any = None, condition: str = ..., *, probabilities: bool = False, threshold: float = 0.5,
        truth: Any = None, **options: Unpack[EmbeddingOptions],
    ) -> Any:
        """Say for each row whether a condition holds."""
    @TaskForm
    def score(
        self, on: Any = None, levels: Sequence[str] = ..., *, probabilities: bool = False,
        instructions: str = "Which level fits the text best?", **options: Unpack[EmbeddingOptions],
    ) -> Any:
        """Place each row on a scale: a number that counts levels from 0, between two levels where the model is ..."""
    @DecidingForm
    def sentiment(
        self, on: Any = None, *, probabilities: bool = False, truth: Any = None, **options: Unpack[EmbeddingOptions],
    ) -> Any:
        """Tell negative, neutral and positive texts apart."""
    @DecidingForm
    def filter(
        self, on: Any = None, condition: str = ..., *, probabilities: bool = False, threshold: float = 0.5,
        truth: Any = None, recall: float | None = None, precision: float | None = None,
        **options: Unpack[EmbeddingOptions],
    ) -> Any:
        """Keep the rows for which a condition holds; rows without an answer are left out."""
    @TaskForm
    def extract(
        self, on: Any = None, fields: Fields = ..., *, details: bool = False,
        reference_date: str | dt.date | None = None, max_tokens: int = 512, **options: Unpack[EmbeddingOptions],
    ) -> pd.DataFrame:
        """Find named fields in each text."""
    @TaskForm
    def summarize(
        self, on: Any = None, *, max_tokens: int = 512, max_words: int = 30, **options: Unpack[EmbeddingOptions],
    ) -> pd.Series[Any]:
        """Summarize each text in a few words, in its own language."""
    @TaskForm
    def translate(
        self, on: Any = None, to: str = ..., *, max_tokens: int = 512, source: str | None = None,
        **options: Unpack[EmbeddingOptions],
    ) -> pd.Series[Any]:
        """Translate each text."""
    @TaskForm
    def fix_grammar(
        self, on: Any = None, *, max_tokens: int = 512, **options: Unpack[EmbeddingOptions],
    ) -> pd.Series[Any]:
        """Correct spelling and grammar, and leave everything else as it is."""
    @TaskForm
    def mask(
        self, on: Any = None, labels: Sequence[str] = ..., *, max_tokens: int = 512,
        **options: Unpack[EmbeddingOptions],
    ) -> pd.Series[Any]:
        """Replace what is named by its label in brackets, such as ``[person]``."""
    @TaskForm
    def image(
        self, on: Any = None, *, size: int | tuple[int, int] | None = None, steps: int | None = None,
        seed: int | None = None, guidance: float | None = None, negative_prompt: str | None = None,
        strength: float | None = None, n: int = 1, **options: Unpack[EmbeddingOptions],
    ) -> pd.Series[Any]:
        """Draw a picture of each row: fill the template, and return the picture the model makes."""
    @TaskForm
    def caption(
        self, on: Any = None, question: str | None = None, *, length: Literal['short', 'normal', 'long'] | None = None,
        max_tokens: int = 512, **options: Unpack[EmbeddingOptions],
    ) -> pd.Series[Any]:
        """Describe each picture, or answer a question about it."""
    @TaskForm
    def detect(
        self, on: Any = None, target: str | None = None, *, max_boxes: int = 50, **options: Unpack[EmbeddingOptions],
    ) -> pd.Series[Any]:
        """Find things in each picture, with a box around each."""
    @TaskForm
    def transcribe(
        self, on: Any = None, *, language: str | None = None, translate_to_english: bool = False,
        prompt: str | None = None, speakers: bool = False, details: bool = False, **options: Unpack[EmbeddingOptions],
    ) -> Any:
        """Transcribe each recording."""
    @TaskForm
    def speak(
        self, on: Any = None, *, voice: str | None = None, language: str | None = None, format: str | None = None,
        **options: Unpack[EmbeddingOptions],
    ) -> pd.Series[Any]:
        """Convert each text to speech."""
    @TaskForm
    def to_markdown(
        self, on: Any = None, *, css: str | None = None, output: Literal['markdown', 'text'] = "markdown",
        metadata: bool | None = None, language: str | None = None, max_images: int | None = None,
        details: bool = False, **options: Unpack[EmbeddingOptions],
    ) -> Any:
        """Turn documents (PDF, Office, HTML, pictures, ...) into Markdown."""
    @DecidingForm
    def moderate(
        self, on: Any = None, *, categories: Sequence[str] | Mapping[str, str | None] = ..., threshold: float = 0.5,
        probabilities: bool = False, truth: Any = None, **options: Unpack[EmbeddingOptions],
    ) -> pd.DataFrame:
        """Say for each row whether it is safe, and which categories make it unsafe."""
    @TaskForm
    def rank(
        self, on: Any = None, query: str = ..., *, top_k: int | None = None, column: str = "score",
        **options: Unpack[EmbeddingOptions],
    ) -> pd.DataFrame:
        """Order the rows by how well they answer a query."""
    @Form
    def run(
        self, task: Task, on: Any = None, *, model: str | Model | Cascade | None = None, truth: Any = None,
        **options: Unpack[GivenOptions],
    ) -> Any:
        """Run any task, also one written in a cell, in the same three forms as every verb."""
    @Form
    def compare(
        self, task: Task, on: Any = None, *, models: Sequence[str | Model | Cascade] = (), sample: int | None = 50,
        truth: Any = None, margin: float | None = None, random_state: int = 0, **options: Unpack[GivenOptions],
    ) -> Comparison:
        """Put one task to several models, on a sample of the rows."""
    @Form
    def tune(
        self, task: Task, on: Any = None, *, truth: Any = None, variants: Any = (), model: str | Model | None = None,
        random_state: int = 0, **options: Unpack[GivenOptions],
    ) -> Tuned:
        """Find the wording of a task that is right most often, and say whether it really beats yours."""
    @Form
    def verify(
        self, claim: str, source: str, *, probabilities: bool = False, model: str | Model | Cascade | None = None,
        truth: Any = None, **options: Unpack[GivenOptions],
    ) -> Any:
        """Say of each claim whether a source supports it, contradicts it, or does not mention it."""
    @Form
    def as_vectors(self, on: Any = None, *, model: str, origin: str, form: str = "") -> pd.Series[Any]:
        """Record where plain vectors come from, so that they can be compared."""
    @Form
    def search(
        self, query: Any, top_k: int = 5, on: Any = None, *, index: str | None = None, instance: str | None = None,
        mode: Literal['vector', 'keyword', 'hybrid'] | None = None, filter: Mapping[str, Any] | None = None,
        namespace: str | None = None, metadata: bool = True, id: Any = None, join: bool = True,
        **options: Unpack[EmbeddingOptions],
    ) -> pd.DataFrame:
        """Return the rows closest to a text or vector."""
    @Form
    def similarity(self, on: Any = None, other: Any = None, **options: Unpack[EmbeddingOptions]) -> pd.Series[Any]:
        """Compare each row with a text, a vector, or another column row by row."""
    @Form
    def sim_join(
        self, other: pd.DataFrame | pd.Series[Any], left_on: Any = None, right_on: Any = None, top_k: int = 1,
        threshold: float | None = None, *, how: Literal['inner', 'left'] = "inner",
        suffixes: tuple[str | None, str | None] = ('_x', '_y'), **options: Unpack[EmbeddingOptions],
    ) -> pd.DataFrame:
        """Join two frames by what their rows mean: each row with the closest of the other frame."""
    @Form
    def dedupe(
        self, on: Any = None, threshold: float = 0.95, keep: Literal['first', 'last'] = "first", *,
        groups: bool = False, **options: Unpack[EmbeddingOptions],
    ) -> Any:
        """Keep one row of each group of near duplicates."""
    @Form
    def cluster(
        self, on: Any = None, n_clusters: Literal['auto'] | int = "auto", *,
        method: Literal['kmeans', 'hdbscan'] = "kmeans", min_cluster_size: int | None = None, random_state: int = 0,
        **options: Unpack[EmbeddingOptions],
    ) -> pd.Series[Any]:
        """Give each row the number of its cluster."""
    @Form
    def label_clusters(
        self, text: Any = None, clusters: Any = None, *, on: Any = None, model: str | Model | None = None,
        labels: Mapping[Any, str] | None = None, n: int = 3, **options: Unpack[GivenOptions],
    ) -> pd.Series[Any]:
        """Name clusters: a categorical Series of labels, one a row."""
    @Form
    def discover(
        self, text: Any = None, k: int = 8, *, sample: int = 500, model: str | Model | None = None,
        random_state: int = 0, **options: Unpack[GivenOptions],
    ) -> dict[str, str]:
        """Propose categories for texts: a sample is embedded and clustered, and a chat model names the clusters."""
    @Form
    def project(
        self, on: Any = None, *, method: Literal['auto', 'tsne', 'pca', 'umap'] = "auto", random_state: int = 0,
        **options: Unpack[EmbeddingOptions],
    ) -> pd.DataFrame:
        """Lay the rows out on a plane, so that similar rows lie close together."""
    @Form
    def outliers(
        self, on: Any = None, n_neighbors: int = 10, *, contamination: float | None = None, random_state: int = 0,
        **options: Unpack[EmbeddingOptions],
    ) -> pd.Series[Any]:
        """Measure how far each row lies from the rows most similar to it."""
    @Form
    def to_vectorize(
        self, index: str, vectors: Any = None, *, id: Any = None, metadata: Any = None, filterable: Any = None,
        namespace: str | None = None, create: bool | Literal['cosine', 'euclidean', 'dot-product'] = False,
        wait: bool | float = False, **options: Unpack[EmbeddingOptions],
    ) -> Written:
        """Write vectors into an index of Vectorize, the service's store of vectors, or bring what is there up to ..."""
    @Form
    def to_ai_search(
        self, instance: str, on: Any = None, *, id: Any = None, metadata: Any = None, filterable: Any = None,
        namespace: str = "default", create: bool = False, wait: bool | float = False,
        **options: Unpack[EmbeddingOptions],
    ) -> Written:
        """Upload texts to an instance of AI Search, the service's search over documents, or bring it up to date."""
    @Form
    def answer(
        self, on: Any = None, *, instance: str, mode: Literal['vector', 'keyword', 'hybrid'] | None = None,
        top_k: int = 10, filter: Mapping[str, Any] | None = None, namespace: str = "default",
        **options: Unpack[EmbeddingOptions],
    ) -> pd.DataFrame:
        """Answer questions from the documents of an instance of AI Search."""
    @Form
    def map(
        self, on: Any = None, *, color: Hashable | None = None, hover: Hashable | Sequence[Hashable] | None = None,
        text: Hashable | None = None, method: Literal['auto', 'tsne', 'pca', 'umap'] = "auto", random_state: int = 0,
        points: pd.DataFrame | None = None, model: str | Model | None = None, **options: Unpack[GivenOptions],
    ) -> Map:
        """Lay rows out on a map, similar rows close together, to explore, select, label and describe them."""
    @Form
    def playground(
        self, /, on: str | None = None, *, n: int = 5, rows: Sequence[Hashable] | None = None,
        truth: Hashable | None = None, name: str | None = None, **draft: Any,
    ) -> Playground:
        """Prompts, models and settings tried on a few sample rows, until they are a line of code."""
    @Form
    def review(
        self, on: Any = None, guess: Any = None, *, n: int = 60, name: str = "review",
        labels: Sequence[Any] | None = None, random_state: int = 0, files: Any = None,
    ) -> Review:
        """Judge a model's answers with single keys; every key is kept, and gives gold and an accuracy with its ..."""
    @Form
    def preview(
        self, columns: Hashable | Sequence[Hashable] = None, n: int = 12, page: int = 0, *, filter: str = "",
        failures: Failures = None, sound: int = 1500000, files: Any = None,
    ) -> Preview:
        """Rows of a frame as a table with thumbnails, sound players and bars, a page at a time."""
    @Form
    def gallery(
        self, column: Hashable = None, caption: Hashable | Sequence[Hashable] = None, n: int = 12, page: int = 0, *,
        transcript: Hashable = None, filter: str = "", sound: int = 1500000, files: Any = None,
    ) -> Gallery:
        """Pictures or sounds of a column with captions, a page at a time, to pick rows from."""
    @Form
    def player(
        self, column: Hashable = None, caption: Hashable | Sequence[Hashable] = None, n: int = 12, page: int = 0, *,
        transcript: Hashable = None, filter: str = "", sound: int = 1500000, files: Any = None,
    ) -> Gallery:
        """Pictures or sounds of a column with captions, a page at a time, to pick rows from."""

class EnrichForm:
    """``cf.enrich``: call it, await ``.aio``, or price it with ``.plan``."""

    def __call__(self,
        source: Any,
        target: str | Path,
        columns: Mapping[str, Any],
        *,
        memory: int = 512000000,
        overwrite: bool = False,
        **options: Unpack[GivenOptions],
    ) -> EnrichReport: ...
    async def aio(self,
        source: Any,
        target: str | Path,
        columns: Mapping[str, Any],
        *,
        memory: int = 512000000,
        overwrite: bool = False,
        **options: Unpack[GivenOptions],
    ) -> EnrichReport: ...
    def plan(self,
        source: Any,
        target: str | Path,
        columns: Mapping[str, Any],
        *,
        memory: int = 512000000,
        overwrite: bool = False,
        **options: Unpack[GivenOptions],
    ) -> EnrichPlan: ...

enrich: EnrichForm

def on(data: pd.DataFrame | pd.Series[Any]) -> Accessor:
    """Return the accessor of a frame as a typed call."""

def register() -> None:
    """Give DataFrame and Series their ``cfai``."""
