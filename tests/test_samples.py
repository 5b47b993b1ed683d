"""The samples: real rows, right answers, no download."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb.data import sample

TOPICS = {"account", "billing", "bug", "other", "returns", "shipping"}


@pytest.fixture(scope="module")
def tickets() -> pd.DataFrame:
    return sample("tickets")


@pytest.fixture(scope="module")
def docstrings() -> pd.DataFrame:
    return sample("docstrings")


def test_tickets_have_the_promised_shape(tickets: pd.DataFrame) -> None:
    """There are 606 tickets with the documented columns and ids that occur once."""
    columns = ["id", "text", "product", "channel", "priority", "topic", "mood", "language", "ambiguous"]
    assert list(tickets.columns) == columns
    assert len(tickets) == 606
    assert tickets["id"].is_unique
    assert tickets["id"].str.fullmatch(r"T-\d{4}").all()
    assert set(tickets["channel"]) == {"email", "chat", "phone", "web"}
    assert set(tickets["priority"]) == {"low", "normal", "high", "urgent"}


def test_every_text_has_an_answer(tickets: pd.DataFrame) -> None:
    """Five texts are missing; every other row has one of six topics, each with ninety rows or more, and a mood."""
    assert tickets["text"].isna().sum() == 5
    assert tickets["topic"].isna().equals(tickets["text"].isna())
    assert tickets["mood"].isna().equals(tickets["text"].isna())
    sizes = tickets["topic"].value_counts()
    assert set(sizes.index) == TOPICS
    assert sizes.min() >= 90
    assert set(tickets["mood"].dropna()) == {"negative", "neutral", "positive"}


def test_what_may_be_read_two_ways_is_marked(tickets: pd.DataFrame) -> None:
    """Some texts fit a second topic as well; it is named, and it is another than the gold one."""
    marked = tickets.dropna(subset=["ambiguous"])
    assert 30 <= len(marked) <= 60
    assert set(marked["ambiguous"]) <= TOPICS
    assert (marked["ambiguous"] != marked["topic"]).all()


def test_texts_are_no_variations_of_a_template(tickets: pd.DataFrame) -> None:
    """Few texts begin with the same four words, and no two different ones are the same but for a word."""
    texts = tickets["text"].dropna().drop_duplicates()
    openings = texts[texts.str.split().str.len() >= 6].str.lower().str.split().str[:4].str.join(" ")
    assert openings.value_counts().max() <= 3


def test_equal_texts_have_equal_answers(tickets: pd.DataFrame) -> None:
    """Eight rows repeat an earlier text exactly, and never with another topic."""
    said = tickets.dropna(subset=["text"])
    assert said["text"].duplicated().sum() == 8
    assert said.groupby("text")[["topic", "mood"]].nunique().max().max() == 1


def test_tickets_hold_the_awkward_cases(tickets: pd.DataFrame) -> None:
    """Quotes, commas, newlines, braces, markup, emoji, one word and long paragraphs come through the file whole."""
    said = tickets["text"].dropna()
    for awkward in ('"', ",", "\n", "{name}", "<script>", "🔥", "返品"):
        assert said.str.contains(awkward, regex=False).any(), awkward
    lengths = said.str.split().str.len()
    assert lengths.min() <= 3
    assert lengths.max() >= 120
    assert said.eq(said.str.strip()).all()


def test_tickets_speak_several_languages(tickets: pd.DataFrame) -> None:
    """English is the most frequent; German, Spanish, French, Portuguese and Japanese are there too."""
    counts = tickets["language"].value_counts()
    assert counts.index[0] == "en"
    assert {"de", "es", "fr", "pt", "ja"} <= set(counts.index)
    assert tickets["language"].dropna().str.fullmatch("[a-z]{2}").all()


@pytest.mark.slow
def test_docstrings_are_balanced_and_distinct(docstrings: pd.DataFrame) -> None:
    """No package has more than its share, the share is nearly filled, and no text or name occurs twice."""
    assert list(docstrings.columns) == ["name", "package", "module", "text"]
    sizes = docstrings["package"].value_counts()
    assert set(sizes.index) == {"matplotlib", "numpy", "pandas", "scipy", "sklearn"}
    assert sizes.max() <= 200
    assert sizes.min() >= 150
    assert docstrings["text"].is_unique
    assert docstrings["name"].is_unique


def test_docstrings_are_readable(docstrings: pd.DataFrame) -> None:
    """Texts have 80 to 600 characters, no section underlines, and belong to public names of their module."""
    assert docstrings["text"].str.len().between(80, 600).all()
    assert not docstrings["text"].str.contains(r"^-{3,}$", regex=True).any()
    pairs = zip(docstrings["name"], docstrings["module"], strict=True)
    assert all(name.startswith(f"{module}.") for name, module in pairs)
    assert not docstrings["name"].str.rsplit(".", n=1).str[-1].str.startswith("_").any()


def test_a_docstring_is_what_the_library_says(docstrings: pd.DataFrame) -> None:
    """A text is found again in the docstring of the object it is named after."""
    import importlib

    row = docstrings[docstrings["module"] == "scipy.linalg._basic"].iloc[0]
    found = getattr(importlib.import_module(row["module"]), row["name"].rsplit(".", 1)[-1])
    squeezed = " ".join((found.__doc__ or "").split())
    assert " ".join(row["text"].removesuffix(" …").split()) in squeezed


@pytest.mark.slow
def test_docstrings_are_the_same_everywhere_and_import_nothing(docstrings: pd.DataFrame) -> None:
    """Another process reads the same rows, without a warning, and loads none of the big libraries for it."""
    code = (
        "import sys, warnings; from pandas.util import hash_pandas_object as h; from cfai_nb.data import sample;"
        "warnings.simplefilter('error');"
        "print(int(h(sample('docstrings')).sum()));"
        "print([m for m in ('sklearn', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:2] == [str(int(pd.util.hash_pandas_object(docstrings).sum())), "[]"]


def test_products_have_pictures_of_what_they_are() -> None:
    """Twelve products of four categories, each with a picture of its own that shows it, in its color."""
    made = sample("products")
    assert list(made.columns) == ["id", "name", "category", "color", "price", "description", "picture"]
    assert made["category"].value_counts().to_dict() == dict.fromkeys(("kettle", "lamp", "watch", "vacuum"), 3)
    assert made["picture"].map(hash).is_unique
    with cf.connect("emulator", store=False):
        found = made.cfai.caption("picture")
    named = [f"a {color} {kind} on" for color, kind in zip(made["color"], made["category"], strict=True)]
    assert [name in text for name, text in zip(named, found, strict=True)] == [True] * 12
    assert sum(map(len, made["picture"])) < 200_000


@pytest.mark.parametrize("name", ["tickets", "products", "docstrings"])
def test_samples_are_never_shared(name: str, docstrings: pd.DataFrame) -> None:
    """What a caller does to a frame reaches no other caller."""
    first = sample(name)
    column = "name" if name == "products" else "text"
    first[column] = "changed"
    assert not sample(name)[column].eq("changed").any()


@pytest.mark.parametrize(
    ("name", "meant"), [("ticket", "tickets"), ("Tickets", "tickets"), ("docstring", "docstrings")]
)
def test_a_near_miss_is_answered_with_the_name(name: str, meant: str) -> None:
    """An unknown name is refused with all names and the one that was probably meant."""
    with pytest.raises(ValueError, match=rf"'tickets', 'products', 'docstrings'\. Did you mean '{meant}'\?"):
        sample(name)


def test_a_far_miss_gets_no_guess() -> None:
    """A name that resembles none is refused without a guess."""
    with pytest.raises(ValueError, match=r"'tickets', 'products', 'docstrings'\.$"):
        sample("zzz")
