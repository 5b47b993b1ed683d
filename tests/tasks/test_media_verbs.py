"""Verbs on pictures, sound and documents, over the wire to the emulator: what comes back, and what it costs."""

from __future__ import annotations

import base64
import io
import json
import signal
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from inputs import picture
from PIL import Image

import cfai_nb as cf
from cfai_nb.emulator import Emulator
from cfai_nb.emulator.families import audio_models as tune
from cfai_nb.emulator.standins.image_drawing import Order, draw
from cfai_nb.media.source import of_bytes
from cfai_nb.models import catalogue, find, price
from cfai_nb.tasks import Answer, ToMarkdown
from cfai_nb.tasks.dialects import media
from cfai_nb.tasks.markdown import CONVERTER

RED, BLUE = "a red circle", "two blue squares"
LLAMA = "llama-3.2-11b-vision-instruct"


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    """An emulator that is the current session."""
    made = Emulator(rate=None, terms_accepted=True)
    with cf.connect(made, store=tmp_path / "s.sqlite", rate=None):
        yield made


@pytest.fixture(scope="module")
def red() -> bytes:
    """A picture with a red circle."""
    return draw(Order(RED, 200, 160))


@pytest.fixture(scope="module")
def blue() -> bytes:
    """A picture with two blue squares."""
    return draw(Order(BLUE, 160, 200))


@pytest.fixture(scope="module")
def spoken() -> bytes:
    """A recording that says something."""
    return tune.speak("Hello from Cologne.", tune.FORMATS["linear16"], 16000)[0]


def film() -> bytes:
    """Return the beginning of a film, which is all a stand-in looks at."""
    return b"\0\0\0\x18ftypisom" + bytes(400)


# -- drawing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "size"), [
    ({}, None), ({"model": "flux-1-schnell", "steps": 8}, (1024, 1024)),
    ({"model": "flux-2-klein-4b", "size": (512, 256)}, (512, 256)), ({"model": "flux-2-dev", "steps": 2}, (1024, 768)),
    ({"model": "lucid-origin", "size": 256, "guidance": 3.0}, (256, 256)),
    ({"model": "phoenix-1.0", "size": 256, "negative_prompt": "fog"}, (256, 256)),
    ({"model": "stable-diffusion-xl-base-1.0", "size": (256, 320), "seed": 7}, (256, 320)),
], ids=str)  # fmt: skip
def test_what_is_asked_for_is_drawn(emulator: Emulator, options: dict[str, Any], size: tuple[int, int] | None) -> None:
    """JSON, forms and raw bytes come to the same: a picture of the size asked for, in which the thing is found."""
    frame = pd.DataFrame({"what": [RED, None, BLUE, RED]}, index=[5, 5, 6, 7])
    drawn = frame.cfai.image("{what} on white", **options)
    assert list(drawn.index) == [5, 5, 6, 7]
    assert [type(cell).__name__ for cell in drawn] == ["Image", "NoneType", "Image", "Image"]
    assert emulator.requests == 2
    first = drawn.iloc[0]
    assert first.size == size or size is None
    assert "circle" in pd.Series([first]).cfai.caption()[0]
    assert drawn.iloc[3] is first


def test_a_seed_gives_the_same_picture(emulator: Emulator) -> None:
    """The seed is sent: another one draws something else, the same one the same."""
    what = pd.Series([RED])
    one, again, other = (what.cfai.image("{value}", model="flux-2-klein-4b", size=256, seed=seed, cache=False)[0]
                         for seed in (1, 1, 2))  # fmt: skip
    assert one == again != other


def test_several_pictures_of_a_row(emulator: Emulator, tmp_path: Any) -> None:
    """`n=3` gives a list a row: a request and a seed each, priced and reserved so; store and parquet keep them."""
    frame = pd.DataFrame({"motif": ["a red circle", None, "a red circle"]})
    options: dict[str, Any] = {"model": "lucid-origin", "size": 64}
    one = frame.cfai.image.plan("{motif}", **options).estimate
    plan = frame.cfai.image.plan("{motif}", n=3, seed=7, **options).estimate
    assert (plan.requests, plan.cost.neurons) == (3, pytest.approx(3 * one.cost.neurons))
    price, path = one.cost.neurons, tmp_path / "made.sqlite"
    assert price is not None
    with pytest.raises(cf.BudgetError, match="Nothing was sent"):
        frame.cfai.image("{motif}", n=3, seed=7, neurons=2.9 * price, **options)
    poor = Emulator(rate=None, terms_accepted=True, neurons_per_day=1.5 * price)
    with cf.connect(poor, store=path, rate=None), pytest.raises(cf.QuotaExhausted):
        frame.cfai.image("{motif}", n=3, seed=7, **options)
    with cf.connect(emulator, store=path, rate=None):  # what was paid for is not made again
        made = frame.cfai.image("{motif}", n=3, seed=7, neurons=3.001 * price, **options)
    assert emulator.requests == 1
    first, missing, same = made
    assert missing is None
    assert first == same
    assert [type(each) for each in first] == [cf.Image] * 3
    assert len(set(first)) == 3
    alone = [frame.head(1).cfai.image("{motif}", seed=seed, **options)[0] for seed in (7, 8, 9)]
    assert first == alone
    with cf.connect(emulator, store=path, rate=None):
        again = frame.cfai.image("{motif}", n=3, seed=7, **options)
    assert emulator.requests == 1 + 3  # those alone
    assert again[0] == first
    assert isinstance(again[0][0], cf.Image)
    made.to_frame("made").to_parquet(tmp_path / "made.parquet")
    assert list(pd.read_parquet(tmp_path / "made.parquet")["made"][0]) == first
    assert len(made.to_frame("made").explode("made")) == 7
    frame.to_parquet(tmp_path / "in.parquet")
    task = cf.GenerateImage(n=3, seed=7, size=64)
    with cf.connect(emulator, store=path, rate=None):
        cf.enrich(tmp_path / "in.parquet", tmp_path / "out", {"p": (task, "{motif}", {"model": "lucid-origin"})})
    assert list(pd.read_parquet(tmp_path / "out")["p"][2]) == first
    with pytest.raises(ValueError, match="n=0"):
        frame.cfai.image("{motif}", n=0)


@pytest.mark.parametrize(("model", "most"), [("flux-2-dev", 4), ("stable-diffusion-xl-base-1.0", 2),
                                             ("stable-diffusion-v1-5-inpainting", 2)])  # fmt: skip
def test_pictures_to_start_from(emulator: Emulator, red: bytes, blue: bytes, model: str, most: int) -> None:
    """Pictures named in the template are sent in its order; one too many fails its row, which others do not notice."""
    frame = pd.DataFrame({f"p{at}": [red, blue] for at in range(most + 1)} | {"what": ["a green star", None]})
    drawn = frame.cfai.image("{p0} with {what}", model=model, size=256)
    assert drawn.notna().tolist() == [True, False]
    seen = pd.Series([drawn[0]]).cfai.detect("green star", model="moondream3.1-9B-A2B")[0]
    assert len(seen) == 1
    columns = " ".join(f"{{p{at}}}" for at in range(most + 1))
    with pytest.raises(cf.RowsFailed, match=rf"takes {most} pictures, and the row holds {most + 1}"):
        frame.cfai.image(columns + " and {what}", model=model)
    with pytest.raises(cf.RowsFailed, match="no words to draw from"):
        frame.cfai.image("{p0}", model=model)


def test_inpainting_changes_what_the_mask_shows(emulator: Emulator, red: bytes) -> None:
    """The second picture is the mask: outside of its white part the first one stays as it is."""
    mask = np.zeros((160, 200), dtype=np.uint8)
    mask[:, 100:] = 255
    frame = pd.DataFrame({"photo": [red], "mask": pd.Series([mask], dtype=object), "what": ["a yellow star"]})
    (cell,) = frame.cfai.image("{photo}{mask}{what}", model="stable-diffusion-v1-5-inpainting")
    was, now = (np.asarray(Image.open(io.BytesIO(one)).convert("RGB"), dtype=int) for one in (red, cell))
    assert now.shape == was.shape
    assert np.abs(now - was)[20:140, :90].max() < 60
    assert np.abs(now - was)[:, 110:].max() > 100


def test_pictures_given_to_flux_are_small_and_upright(emulator: Emulator) -> None:
    """FLUX.2 gets less than 512 pixels a side, turned as the camera was; a picture cut short fails its own row."""
    out, photo = io.BytesIO(), Image.new("CMYK", (1200, 600))
    photo.putpixel((0, 0), (0, 255, 255, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    photo.save(out, "JPEG", exif=exif)
    whole = out.getvalue()
    frame = pd.DataFrame({"photo": [whole, whole[: len(whole) // 2]]})
    with pytest.warns(cf.CfaiWarning, match="cannot be read to its end"):
        assert frame.cfai.image("{photo} in blue", model="flux-2-klein-4b").notna().tolist() == [True, False]
    media = cf.media.source.of_bytes(whole)
    small = Image.open(io.BytesIO(media.resized(511)))
    assert (small.size, small.mode, small.format) == ((256, 511), "RGB", "PNG")


# -- refused before anything is sent -----------------------------------------------------------------------------------

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("image", {"model": "flux-1-schnell", "size": 512}, "has no size to choose; leave size= out, or use flux-2-dev"),
    ("image", {"model": "flux-1-schnell", "seed": 1}, "has no seed"),
    ("image", {"model": "flux-1-schnell", "steps": 9}, "takes whole numbers from 1 to 8"),
    ("image", {"model": "flux-2-klein-4b", "steps": 4}, "has no steps"),
    ("image", {"model": "lucid-origin", "negative_prompt": "fog"}, "has no negative"),
    ("image", {"model": "lucid-origin", "guidance": 11}, "from 0 to 10|takes 0 to 10"),
    ("image", {"model": "lucid-origin", "seed": -1}, "seed=-1"),
    ("image", {"model": "flux-2-dev", "strength": 0.5}, "has no strength to choose"),
    ("image", {"model": "flux-2-dev", "size": 100}, "takes whole numbers from 256 to 1920"),
    ("image", {"model": "flux-2-dev", "size": (512,)}, "give a number of pixels, or"),
    ("image", {"model": "flux-2-dev", "size": "512x512"}, "give a number of pixels, or"),
    ("image", {"model": "flux-2-dev", "size": (512, 51.2)}, "height=51.2"),
    ("image", {"model": "flux-2-dev", "size": True}, "True"),
    ("image", {"model": "dreamshaper-8-lcm", "strength": 2}, "strength=2"),
    ("image", {"model": "dreamshaper-8-lcm", "negative_prompt": ["fog"]}, "say in words"),
    ("image", {"model": "clef"}, "cannot use"),
    ("caption", {"model": "gpt-oss-20b"}, "takes no pictures. These do: .*llava"),
    ("caption", {"model": LLAMA, "length": "short"}, "length= is for descriptions by moondream"),
    ("caption", {"length": "tiny"}, 'give "short"'),
    ("detect", {}, "give target="),
    ("detect", {"target": " "}, "give target="),
    ("detect", {"target": "x", "max_boxes": 0}, "max_boxes=0"),
    ("classify", {}, "at least two labels"),
    ("classify", {"model": "resnet-50", "labels": ["a", "b"]}, "has its own 1,000 labels"),
    ("transcribe", {"model": "whisper", "language": "de"}, "has no language"),
    ("transcribe", {"model": "nova-3", "translate_to_english": True}, "has no translate_to_english"),
    ("transcribe", {"model": "whisper-large-v3-turbo", "speakers": True}, "has no speakers; .*nova-3"),
    ("speak", {"model": "melotts", "voice": "luna"}, "one voice"),
    ("speak", {"model": "aura-2-en", "language": "fr"}, "speaks one language"),
    ("speak", {"model": "aura-2-en", "voice": "stella"}, "has amalthea, andromeda, .*zeus"),
    ("speak", {"model": "aura-2-es", "voice": "luna"}, "has alvaro, aquila"),
    ("speak", {"model": "aura-1", "voice": "thalia"}, "has angus, arcas"),
    ("speak", {"model": "aura-1", "format": "aac"}, "give one of mp3, wav, flac, ogg"),
    ("translate", {"to": None}, "give a language"),
    ("translate", {"to": " "}, "give a language"),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "options", "why"), REFUSED, ids=str)
def test_what_a_model_lacks_is_refused_before_sending(
    emulator: Emulator, verb: str, options: dict[str, Any], why: str
) -> None:
    """Options a model does not have, or not so far, raise at once, name what there is, and send nothing."""
    on = "{value}" if verb == "image" else None
    with pytest.raises(ValueError, match=why):
        getattr(pd.Series(["a"]).cfai, verb)(on, **options)
    assert emulator.requests == 0


def test_voices_are_those_of_the_emulator() -> None:
    """Two lists, written down apart from each other, agree."""
    from cfai_nb.emulator.families.audio_models import _VOICES

    theirs = {model.rpartition("/")[2]: set(names.split()) for model, names in _VOICES.items()}
    assert theirs == {model: set(names) for model, names in catalogue().voices.items()}


# -- looking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["moondream3.1-9B-A2B", "llava-1.5-7b-hf", LLAMA, "gemma-4-26b-a4b-it"])
def test_captions_and_answers(emulator: Emulator, red: bytes, blue: bytes, model: str) -> None:
    """Every model that sees says of each picture what is in it, and answers a question about it."""
    photos = pd.Series([red, None, blue, red], index=list("abac"), dtype=object, name="photo")
    said = photos.cfai.caption(model=model)
    assert list(said.index) == list("abac")
    assert said.isna().tolist() == [False, True, False, False]
    assert "circle" in said.iloc[0] and "square" in said.iloc[2]  # noqa: PT018
    assert said.iloc[3] == said.iloc[0]
    assert photos.cfai.caption("Is there a circle?", model=model).notna().sum() == 3
    assert emulator.requests == 4
    assert "1 without content" in cf.last_run().receipt


def test_things_are_found_where_they_are(emulator: Emulator, red: bytes, blue: bytes) -> None:
    """Boxes are in pixels, hold the thing, and are none where it is not."""
    found = pd.Series([red, blue], dtype=object).cfai.detect("red circle")
    assert found[1] == []
    (box,) = found[0]
    pixels = np.asarray(Image.open(io.BytesIO(red)).convert("RGB")).astype(int)
    reddish = (pixels[..., 0] > 150) & (pixels[..., 1] < 100) & (pixels[..., 2] < 100)
    rows, columns = np.nonzero(reddish)
    assert (box["label"], box["score"]) == ("red circle", None)
    assert np.allclose([box["xmin"], box["xmax"]], [columns.min(), columns.max()], atol=4)
    assert np.allclose([box["ymin"], box["ymax"]], [rows.min(), rows.max()], atol=4)
    assert len(pd.Series([blue], dtype=object).cfai.detect("blue square", max_boxes=1)[0]) == 1


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        (None, ["carrot", "teddy bear", "Car"]), (" ", ["carrot", "teddy bear", "Car"]), ("car", ["Car"]),
        (" Teddy  Bear. ", ["teddy bear"]), ("bear", []), ("carrot", ["carrot"]), ("!", []),
    ],
)  # fmt: skip
def test_a_kind_is_found_by_its_whole_name(red: bytes, target: str | None, kept: list[str]) -> None:
    """detr-resnet-50 finds every kind; a target keeps the one of this name, and none whose name holds it as a part."""
    found = [{"label": each, "score": 0.9, "box": {"xmin": 1, "ymin": 1, "xmax": 9, "ymax": 9}}
             for each in ("carrot", "teddy bear", "Car")]  # fmt: skip
    answer = Answer(json.dumps(found).encode())
    boxes = media.Detection(target, 50).parse(answer, of_bytes(red), find("detr-resnet-50"))
    assert [box["label"] for box in boxes] == kept


@pytest.mark.parametrize("model", [None, "clef", "clef-omni", "moondream3.1-9B-A2B", "llava-1.5-7b-hf", LLAMA])
def test_pictures_are_classified(emulator: Emulator, red: bytes, blue: bytes, model: str | None) -> None:
    """Decision models, models that answer in words and chat models that see give pictures one of our labels."""
    photos = pd.Series([red, blue, None], dtype=object)
    labels = photos.cfai.classify(["red circle", "blue squares"], model=model)
    assert labels[:2].tolist() == ["red circle", "blue squares"]
    assert pd.isna(labels[2])
    decided = model is None or model.startswith("clef")
    if decided:
        sure = photos.cfai.classify(["red circle", "blue squares"], model=model, probabilities=True)
        assert sure["confidence"].notna().sum() == 2
    assert emulator.requests == 2


def test_resnet_knows_labels_of_its_own(emulator: Emulator, red: bytes) -> None:
    """resnet-50 is given no labels, and says what it sees with a score."""
    seen = pd.Series([red], dtype=object).cfai.classify(model="resnet-50", probabilities=True)
    assert seen["label"][0] == "circle"
    assert 0 < seen["confidence"][0] <= 1


def test_verbs_on_text_and_pictures_together(emulator: Emulator, red: bytes, blue: bytes) -> None:
    """ask, check, filter, score, moderate, extract and generate take a column of both, and templates of both."""
    frame = pd.DataFrame({"photo": pd.Series([red, blue, "a red circle in words", None], dtype=object),
                          "text": ["first", "second", "third", "fourth"]})  # fmt: skip
    asked = frame.cfai.ask("{text} {photo}", {"circle": cf.yes_no("Is there a red circle?")}, probabilities=True)
    assert asked["circle__p"].notna().tolist() == [True, True, True, False]
    assert asked["circle__p"][0] > asked["circle__p"][1]
    assert frame.cfai.check("photo", "There is a red circle.").isna().tolist() == [False, False, False, True]
    assert 0 in frame.cfai.filter("photo", "There is a red circle.").index
    assert frame.cfai.score("photo", ["none", "some", "many"]).notna().sum() == 3
    assert frame.cfai.moderate("photo")["safe"].notna().sum() == 3
    assert len(frame.cfai.extract("photo", ["colour", "shape"])) == 4
    said = frame.cfai.generate("Caption {text}: {photo}", model=LLAMA)
    assert said.notna().tolist() == [True, True, True, False]
    assert "circle" in said[0]
    with pytest.warns(cf.CfaiWarning, match="2 of 4 rows failed.*text alone"):
        frame.cfai.generate("Caption {text}: {photo}", model="gpt-oss-20b")


def test_sound_and_film_for_a_model_that_takes_them(emulator: Emulator, spoken: bytes, red: bytes) -> None:
    """clef-omni is asked about recordings and films; for other models of its kind these cells fail, and no other."""
    frame = pd.DataFrame({"what": pd.Series([spoken, film(), red, "hello"], dtype=object)})
    asked = {"greets": cf.yes_no("Is there a greeting?")}
    assert frame.cfai.ask("what", asked, model="clef-omni")["greets"].notna().all()
    with pytest.warns(cf.CfaiWarning, match="2 of 4 rows failed.*audio/wav, by its first bytes.*take image"):
        assert frame.cfai.ask("what", asked)["greets"].notna().tolist() == [False, False, True, True]


def test_a_stand_in_that_does_not_see_is_shown_no_pictures(red: bytes) -> None:
    """Where the default model is not open and a chat model answers instead, its pictures fail and its texts do not."""
    emulator = Emulator(rate=None, faults=lambda number, name: "5018" if "clef" in name else None)
    column = pd.Series([red, "hello"], dtype=object)
    with cf.connect(emulator, store=False), pytest.warns(cf.CfaiWarning) as told:
        assert column.cfai.check("It is a greeting.").notna().tolist() == [False, True]
    assert "answers in its place" in str(told[0].message)
    assert "text alone" in str(told[1].message)


def test_order_index_and_errors_of_a_mixed_column(emulator: Emulator, red: bytes, blue: bytes) -> None:
    """Of 20 texts, pictures, missing and bad cells each row gets its own answer or error, on an index with doubles."""
    kinds: list[Any] = [
        red,
        "a red circle",
        None,
        b"rubbish",
        blue,
        np.zeros((4, 4, 4, 4)),
        "",
        red,
        7,
        Path("gone.png"),
    ]
    column = pd.Series(kinds + kinds[::-1], index=[at % 3 for at in range(20)], dtype=object)
    with pytest.warns(cf.CfaiWarning, match="6 of 20 rows failed"):
        found = column.cfai.check("There is a red circle.", probabilities=True)
    errors = cf.last_run().errors
    assert found.index.equals(column.index)
    assert sorted(errors) == [3, 5, 9, 10, 14, 16]
    assert found["p"].isna().tolist() == [at in errors or column.iloc[at] in (None, "") for at in range(20)]
    assert found["p"].tolist()[::-1] == pytest.approx(found["p"].tolist(), nan_ok=True)
    assert emulator.requests == 4
    assert found["p"].iloc[0] == found["p"].iloc[7] > found["p"].iloc[4]
    assert "gone.png" in str(errors[9])
    assert cf.last_run().failures["row"].tolist() == [at % 3 for at in sorted(errors)]


# -- hearing and speaking ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "options"), [
    ("whisper", {}), ("whisper-large-v3-turbo", {"language": "en", "prompt": "Cologne"}),
    ("nova-3", {"prompt": "Cologne Rome", "speakers": True}),
])  # fmt: skip
def test_what_is_said_is_written_down(
    emulator: Emulator, tmp_path: Path, spoken: bytes, model: str, options: dict[str, Any]
) -> None:
    """Recordings in files and in the frame become text; words and times are kept, and shown later without a call."""
    (tmp_path / "a.bin").write_bytes(spoken)
    frame = pd.DataFrame({"call": pd.Series([tmp_path / "a.bin", spoken, None, b"no sound"], dtype=object)})
    with pytest.warns(cf.CfaiWarning, match="1 of 4 rows failed.*audio or video"):
        said = frame.cfai.transcribe("call", model=model, **options)
    assert said[:2].tolist() == ["Hello from Cologne."] * 2
    assert said[2:].isna().all()
    with pytest.warns(cf.CfaiWarning):
        told = frame.cfai.transcribe("call", model=model, details=True, **options)
    assert list(told) == ["text", "language", "seconds", "words", "segments"]
    assert told["seconds"][0] == pytest.approx(cf.Audio(spoken).seconds, abs=0.1)
    words = told["words"][0]
    assert [word["word"].strip(" .").lower() for word in words] == ["hello", "from", "cologne"]
    assert all(word["start"] < word["end"] for word in words)
    assert emulator.requests == 1


@pytest.mark.parametrize(("model", "options", "format"), [
    ("melotts", {"language": "fr"}, "WAV"), ("melotts", {}, "WAV"), ("aura-1", {"voice": "luna"}, "MP3"),
    ("aura-2-en", {"format": "wav"}, "WAV"), ("aura-2-en", {"format": "flac"}, "FLAC"),
    ("aura-2-es", {"format": "ogg", "voice": "aquila"}, "OGG"),
])  # fmt: skip
def test_texts_are_spoken(emulator: Emulator, model: str, options: dict[str, Any], format: str) -> None:
    """Bytes or base64: the format of a sound is read from its bytes, and it can be transcribed again."""
    spoken = pd.Series(["Good morning.", "", None, "Good morning."]).cfai.speak(model=model, **options)
    assert [type(cell).__name__ for cell in spoken] == ["Audio", "NoneType", "NoneType", "Audio"]
    assert spoken[0].format == format
    assert spoken[0].seconds > 0.3
    assert spoken.cfai.transcribe(model="whisper")[0] == "Good morning."
    assert emulator.requests == 2


# -- documents ---------------------------------------------------------------------------------------------------------


def docx() -> bytes:
    """Return a document of one paragraph."""
    out = io.BytesIO()
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    with zipfile.ZipFile(out, "w") as archive:
        text = f'<w:document xmlns:w="{space}"><w:body><w:p><w:r><w:t>Total 7</w:t></w:r></w:p></w:body></w:document>'
        archive.writestr("word/document.xml", text)
    return out.getvalue()


def test_documents_become_markdown(emulator: Emulator, tmp_path: Path) -> None:
    """Files by path and bytes are converted each by what it is; one that cannot be read fails alone."""
    files = {"a.html": b"<h1>Hi</h1>", "BMI.csv": b"BMI,weight\n21,70\n", "c.docx": docx(), "d.pdf": b"%PDF-1.7\n",
             "e.docx": b"PK\x03\x04 broken", "f.xyz": b"what", "g.txt": b"BMI,weight\n21,70\n"}  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    cells = [str(tmp_path / name) for name in files] + [b"<!DOCTYPE html><p>Yes", None, str(tmp_path / "gone.md")]
    frame = pd.DataFrame({"file": pd.Series(cells, dtype=object)})
    with pytest.warns(cf.CfaiWarning, match="3 of 10 rows failed"):
        said = frame.cfai.to_markdown("file", details=True, files=tmp_path)
    assert said["markdown"].notna().tolist() == [True, True, True, True, False, False, True, True, False, False]
    assert said["markdown"][0] == "# Hi"
    assert "| BMI | weight |" in said["markdown"][1]
    assert said["markdown"][2] == f"[emulator: DOCX of {len(docx())} bytes]"
    assert said["markdown"][6] == "BMI,weight\n21,70\n"  # the same bytes, by another name another document
    assert said["mime"][:4].str.rpartition("/")[2].tolist()[:2] == ["html", "csv"]
    assert said["tokens"].dtype == "Int64"
    failed = cf.last_run().failures.set_index("row")["message"]
    assert "e.docx" in failed[4]
    assert "f.xyz" in failed[5]
    assert "there is no file" in failed[9]


# -- prices ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "size", "steps", "pictures", "neurons"), [
    ("flux-1-schnell", (1024, 1024), 4, 0, 172.8), ("lucid-origin", (1120, 1120), 15, 0, 3904.69),
    ("phoenix-1.0", (1024, 1024), 25, 0, 3120), ("flux-2-dev", (1024, 1024), 50, 0, 7500),
    ("flux-2-klein-4b", (1024, 1024), 4, 0, 104.2), ("flux-2-klein-9b", (1024, 1024), 4, 0, 1363.64),
    ("stable-diffusion-xl-base-1.0", (1024, 1024), 20, 0, None),
    ("stable-diffusion-v1-5-inpainting", (512, 512), 20, 2, 0),
    ("flux-2-klein-4b", (1024, 1024), 4, 2, 104.2 + 2 * 5.37),
])  # fmt: skip
def test_pictures_cost_what_was_measured(
    model: str, size: Any, steps: int, pictures: int, neurons: float | None
) -> None:
    """The formula gives the measured bills; an unpublished price stays unknown."""
    settings = {"width": size[0], "height": size[1], "steps": steps}
    found = catalogue().find(model)
    cost = price(media.image_usage(settings, pictures, found), found).neurons
    assert cost == (None if neurons is None else pytest.approx(neurons, abs=0.01))


@pytest.mark.parametrize(("verb", "options", "words"), [
    ("image", {"model": "flux-1-schnell"}, "2 requests, 8 tiles, 32 steps of a tile, "),
    ("image", {"model": "lucid-origin"}, "2 requests, 9.6 tiles, 144 steps of a tile, "),
    ("image", {"model": "flux-2-klein-9b"}, "2 requests, 2 pictures, "),
    ("image", {"model": "stable-diffusion-xl-base-1.0"}, "2 requests, no known rate limit\n  price unknown"),
    ("speak", {"model": "aura-2-en"}, "2 requests, 28 characters, "),
    ("speak", {"model": "melotts"}, "2 requests, 0.03 minutes of sound, "),
])  # fmt: skip
def test_a_plan_says_what_is_counted(emulator: Emulator, verb: str, options: dict[str, Any], words: str) -> None:
    """Units that are priced are named; tokens are not where nothing is counted in them; the charge agrees."""
    texts = pd.Series([RED, BLUE])
    on = ("{value}",) if verb == "image" else ()
    plan = getattr(texts.cfai, verb).plan(*on, **options)
    assert words in repr(plan)
    assert "tokens" not in repr(plan)
    getattr(texts.cfai, verb)(*on, **options)
    spent, expected = cf.last_run().event.spent, plan.estimate.cost.neurons
    assert spent.neurons == (None if expected is None else pytest.approx(expected, rel=1 if verb == "speak" else 1e-9))
    assert "0 requests\n  nothing to send, nothing to pay" in repr(getattr(texts.cfai, verb).plan(*on, **options))


def test_media_plans_and_receipts(emulator: Emulator, red: bytes, spoken: bytes) -> None:
    """Sound is counted in minutes, pictures for models of words in tokens; rows lack content, and text elsewhere."""
    sounds, photos = pd.Series([spoken, None], dtype=object), pd.Series([red, None], dtype=object)
    minutes = cf.Audio(spoken).seconds / 60  # type: ignore[operator]
    assert f"{minutes:.2f} minutes of sound" in repr(sounds.cfai.transcribe.plan())
    assert sounds.cfai.transcribe.plan(model="nova-3").estimate.cost.neurons == pytest.approx(472.73 * minutes)
    assert sounds.cfai.transcribe.plan(model="whisper-tiny-en").estimate.cost.neurons is None
    assert "tokens at most" in repr(photos.cfai.caption.plan())
    for plan in (photos.cfai.caption.plan(), photos.cfai.classify.plan(["a", "b"]), sounds.cfai.transcribe.plan()):
        assert "2 rows (1 without content), 1 distinct" in repr(plan)
    assert "(1 without text)" in repr(pd.Series(["a", None]).cfai.classify.plan(["a", "b"]))
    photos.cfai.classify(["a", "b"])
    assert "1 without content" in cf.last_run().receipt


def test_phoenix_is_estimated(emulator: Emulator) -> None:
    """phoenix says nothing of its bill: the charge is an estimate, and marked as one."""
    pd.Series([RED]).cfai.image("{value}", model="phoenix-1.0")
    spent = cf.last_run().event.spent
    assert (spent.neurons, spent.exact) == (3120, False)
    assert "~3,120 Neurons" in cf.last_run().receipt


# -- stop, budget, resume ----------------------------------------------------------------------------------------------


def pictures(count: int) -> pd.Series:
    """Return small pictures, all different."""
    return pd.Series([draw(Order(f"a red circle {at}", 64, 64)) for at in range(count)], dtype=object)


def test_stop_keeps_what_came_and_a_re_run_sends_the_rest(tmp_path: Path) -> None:
    """An interrupt ends a run of pictures, keeps its answers, and the same call again asks for the others only."""
    emulator = Emulator(rate=None, latency=0.05)
    photos = pictures(30)
    with cf.connect(emulator, store=tmp_path / "s.sqlite", concurrency=2):

        def press() -> None:
            while emulator.requests < 4:
                time.sleep(0.005)
            signal.raise_signal(signal.SIGINT)

        threading.Thread(target=press).start()
        with pytest.raises(cf.Stopped, match="rows are done and kept"):
            photos.cfai.caption()
        done = cf.last_run().event.done
        assert 0 < done < 30
        assert cf.last_run().frame().notna().sum() == done
        emulator.latency = 0
        assert photos.cfai.caption().notna().all()
        assert emulator.requests == 30


@pytest.mark.parametrize(("verb", "options"), [("image", {}), ("speak", {"model": "aura-1"})])
def test_a_budget_holds_and_a_larger_one_resumes(tmp_path: Path, verb: str, options: dict[str, Any]) -> None:
    """What cannot fit is refused before sending; within a budget nothing goes beyond it; an unknown price blocks."""
    emulator = Emulator(rate=None)
    texts = pd.Series([f"a red circle {at}" for at in range(6)])
    on = ("{value}",) if verb == "image" else ()
    with cf.connect(emulator, store=tmp_path / "s.sqlite"):
        do = getattr(texts.cfai, verb)
        whole = do.plan(*on, **options).estimate.cost.neurons
        with pytest.raises(cf.BudgetError, match=r"About the first 3 of 6 distinct"):
            do(*on, neurons=whole * 0.6, **options)
        assert emulator.requests == 0
        assert do(*on, neurons=whole * 1.001, **options).notna().all()
        assert emulator.billed <= whole * 1.001
    with cf.connect(emulator, store=False), pytest.raises(cf.BudgetError, match="publishes no price"):
        pictures(1).cfai.caption(model="llava-1.5-7b-hf", budget=1)


@pytest.mark.parametrize(
    ("size", "form", "sent"),
    [
        ((1000, 900), "JPEG", ("JPEG", (1000, 900))),
        ((2400, 1800), "JPEG", ("PNG", (1024, 768))),
        ((300, 200), "GIF", ("PNG", (300, 200))),
        ((300, 200), "BMP", ("PNG", (300, 200))),
    ],
)
@pytest.mark.parametrize("verb", ["ask", "extract"])
def test_a_picture_that_would_be_refused_is_sent_as_a_smaller_copy(
    verb: str, size: tuple[int, int], form: str, sent: tuple[str, tuple[int, int]]
) -> None:
    """A photograph beyond 2 megapixels and a format they do not take go as PNG; what fits goes as it is."""
    raw = picture(form=form, size=size)
    frame = pd.DataFrame({"photo": [cf.Image(raw)]})
    asks = {"ask": {"red": cf.yes_no("Is it red?")}, "extract": {"colour": str}}
    with cf.connect(Emulator(rate=None), store=False, progress=False):
        price = getattr(frame.cfai, verb).plan("photo", asks[verb]).estimate
        assert len(getattr(frame.cfai, verb)("photo", asks[verb])) == 1
        assert cf.last_run().failures.empty
    assert price.usage.amounts["input_tokens"] < 2_000
    task = cf.Ask(questions=asks["ask"]) if verb == "ask" else cf.Extract(fields=asks["extract"])
    (given,) = task.build_request([of_bytes(raw)], find("clef-flash" if verb == "ask" else "clairic")).json["images"]
    shown = Image.open(io.BytesIO(base64.b64decode(given.partition(",")[2])))
    assert (shown.format, shown.size) == sent


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, None),
        ({"css": "article"}, {"html": {"cssSelector": "article"}}),
        ({"output": "text", "language": "de"}, {"output": {"format": "text"}, "image": {"descriptionLanguage": "de"}}),
        ({"metadata": False}, {"pdf": {"metadata": False}}),
        ({"max_images": 0}, {kind: {"images": {"convert": False}} for kind in ("html", "pdf", "docx")}),
    ],
)
def test_options_of_a_conversion_are_sent(options: dict[str, Any], sent: Any) -> None:
    """Only what differs from the service's own is sent, in one field of the form, as JSON."""
    task = ToMarkdown(**options)
    form = task._conversion.form()
    assert (json.loads(form["conversionOptions"]) if form else None) == sent


@pytest.mark.parametrize(
    "options", [{"output": "html"}, {"language": "xx"}, {"max_images": 11}, {"max_images": True}, {"css": " "}]
)
def test_options_that_do_not_exist_are_refused(options: dict[str, Any]) -> None:
    """The error names the option."""
    with pytest.raises(ValueError, match=f"{next(iter(options))}="):
        ToMarkdown(**options).check(CONVERTER)


def test_part_of_a_page_as_text(emulator: Emulator) -> None:
    """The selector and the form of the output reach the service, and the text comes back."""
    page = b"<!DOCTYPE html><html><nav>Menu</nav><article><h1>Title</h1><p>Some <b>bold</b> text</p></article></html>"
    out = pd.Series([page]).cfai.to_markdown(css="article", output="text")
    assert out.tolist() == ["Title\n\nSome bold text"]
