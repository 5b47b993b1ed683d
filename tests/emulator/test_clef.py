"""The decision models: typed questions, probabilities, and two kinds of refusal."""

from __future__ import annotations

import base64
import io
import json
import struct
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from cfai_nb.emulator.standins.image_drawing import Order, draw

FLASH = "@cf/cloudflare/clef-flash"
LABELS = {"billing": None, "bug": None, "shipping": "parcels and couriers", "other": None}


def ask(state: Any, **questions: Any) -> dict[str, Any]:
    """Return a request."""
    return {"model": "clef-flash", "state": state, "questions": questions}


def choice(criteria: dict[str, Any]) -> dict[str, Any]:
    """Return a choice question."""
    return {"type": "choice", "instructions": "What is this about?", "criteria": criteria}


@pytest.mark.parametrize(
    ("state", "label"),
    [
        ("I was charged twice on my card", "billing"),
        ("The app crashes with an error when I press save", "bug"),
        ("My parcel has not arrived", "shipping"),
        ("Lovely weather in June", "other"),
        ({"subject": "Rechnung", "text": "Der Betrag wurde abgebucht"}, "billing"),
    ],
)
def test_a_choice_follows_the_words(door: Any, state: Any, label: str) -> None:
    """Common labels are found by related words, "other" wins when nothing fits, objects are read too."""
    answer = door().result(FLASH, ask(state, topic=choice(LABELS)))["answers"]["topic"]
    assert answer["choice"] == label
    assert set(answer["probabilities"]) == set(LABELS)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=2e-3)
    assert max(answer["probabilities"], key=answer["probabilities"].__getitem__) == label
    assert 0 < answer["confidence"] <= 1


def test_labels_from_a_strange_field_work_too(door: Any) -> None:
    """Labels that are in no lexicon are distinguished by their names and descriptions."""
    criteria = {"cetacean": "whales, dolphins, porpoises", "feline": "cats, lions, tigers"}
    answer = door().result(FLASH, ask("Two tigers and a lion were seen", animal=choice(criteria)))
    assert answer["answers"]["animal"]["choice"] == "feline"


def test_a_noul_is_a_probability(door: Any) -> None:
    """Yes and no criteria pull to their sides; the answer holds nothing but the number."""
    question = {
        "type": "noul",
        "instructions": "Does the customer want money back?",
        "criteria": {"true": "asks for a refund or money back", "false": "asks something else"},
    }
    here = door()
    yes = here.result(FLASH, ask("Please refund me, I want my money back", refund=question))["answers"]["refund"]
    no = here.result(FLASH, ask("What time do you open?", refund=question))["answers"]["refund"]
    assert set(yes) == {"type", "noul"}
    assert 0 <= no["noul"] < 0.5 < yes["noul"] <= 1


def test_a_score_is_the_mean_of_its_levels(door: Any) -> None:
    """Levels are keyed by their place from 0, the legend names them, the score is their expectation."""
    levels = ["terrible, awful, useless", "fine", "wonderful, excellent, perfect"]
    question = {"type": "score", "instructions": "How happy is the customer?", "criteria": levels}
    here = door()
    low = here.result(FLASH, ask("This is awful and useless", mood=question))["answers"]["mood"]
    high = here.result(FLASH, ask("Perfect, an excellent product", mood=question))["answers"]["mood"]
    assert low["score"] < 1 < high["score"]
    assert low["legend"] == {"0": levels[0], "1": levels[1], "2": levels[2]}
    expected = sum(int(place) * share for place, share in low["probabilities"].items())
    assert low["score"] == pytest.approx(expected, abs=1e-3)


def test_only_input_is_charged(door: Any) -> None:
    """Usage counts input tokens, output is 0, and the dollars of the price list become Neurons."""
    answer = door().run(FLASH, ask("hello", topic=choice(LABELS)))
    usage = answer.json()["result"]["usage"]
    assert usage["output_tokens"] == 0
    assert float(answer.headers["cf-ai-neurons"]) == pytest.approx(usage["input_tokens"] * 0.038e-6 / 1.1e-5)


@pytest.mark.parametrize("missing", ["model", "state", "questions"])
def test_a_missing_top_field_is_a_5006(door: Any, missing: str) -> None:
    """Each of the three is required, the short model name too."""
    body = ask("x", topic=choice(LABELS))
    del body[missing]
    answer = door().run(FLASH, body)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 5006)
    assert missing in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    "question",
    [
        {"type": "choice", "instructions": "?", "criteria": {"one": None}},
        {"type": "choice", "criteria": {"a": None, "b": None}},
        {"type": "score", "instructions": "?", "criteria": ["low"]},
        {"type": "guess", "instructions": "?"},
        "what?",
    ],
    ids=["one option", "no instructions", "one level", "no such type", "text"],
)
def test_a_malformed_question_is_a_422_with_json_in_its_message(door: Any, question: Any) -> None:
    """The message is a JSON document as a string that says where the fault lies."""
    answer = door().run(FLASH, ask("x", good=choice(LABELS), bad=question))
    assert answer.status_code == 422
    details = json.loads(answer.json()["errors"][0]["message"])["detail"]
    assert [one["loc"] for one in details] == [["body", "questions", "bad"]]


def test_there_are_1_to_64_questions_with_plain_names(door: Any) -> None:
    """No question, 65 questions and a name with a space are each a 422."""
    here = door()
    many = {f"q{number}": choice(LABELS) for number in range(65)}
    for questions in ({}, many, {"two words": choice(LABELS)}):
        assert here.run(FLASH, ask("x", **questions)).status_code == 422


def test_pictures_are_counted_and_bounded(door: Any) -> None:
    """A picture costs tokens; one beyond 4 MiB is a 413/5021, broken base64 a 5004, a fifth a 5006."""
    here = door()
    body = ask("x", topic=choice(LABELS))
    plain = here.result(FLASH, body)["usage"]["input_tokens"]
    small = "data:image/png;base64," + base64.b64encode(draw(Order("a red circle", 64, 64))).decode()
    assert here.result(FLASH, {**body, "images": [small]})["usage"]["input_tokens"] > plain
    large = {"content_type": "image/png", "base64": base64.b64encode(bytes((4 << 20) + 1)).decode()}
    codes = [
        here.run(FLASH, {**body, "images": images}).json()["errors"][0]["code"]
        for images in ([large], ["data:image/png;base64,?"], [small] * 5)
    ]
    assert codes == [5021, 5004, 5006]


def _long(seconds: int) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.zeros(8000 * seconds, np.int16), 8000, format="FLAC")
    return out.getvalue()


def _wide(pixels: int) -> bytes:
    out = io.BytesIO()
    Image.new("1", (pixels // 1000, 1000)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "items"),
    [
        ("images", lambda: [_wide(16_001_000)]),
        ("images", lambda: [bytes(3 << 20)] * 3),
        ("audio", lambda: [_long(301)]),
        ("audio", lambda: [bytes(6 << 20)] * 3),
        ("videos", lambda: [bytes((16 << 20) + 1)]),
    ],
    ids=["16 megapixels", "8 MiB together", "300 seconds", "16 MiB together", "16 MiB"],
)
def test_media_too_large_is_a_413(door: Any, field: str, items: Any) -> None:
    """Pixels, seconds and the bytes of all together are bounded, each by 5021."""
    kind = {"images": "image/png", "audio": "audio/flac", "videos": "video/mp4"}[field]
    sent = [{"content_type": kind, "base64": base64.b64encode(raw).decode()} for raw in items()]
    body = {**ask("x", topic=choice(LABELS)), "model": "clef-omni", field: sent}
    answer = door().run("@cf/cloudflare/clef-omni", body)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (413, 5021)


def test_a_picture_that_is_none_is_refused(door: Any) -> None:
    """Bytes that are not a picture are an invalid input, not an empty one."""
    body = {**ask("x", topic=choice(LABELS)), "images": ["data:image/png;base64,QUJD"]}
    assert door().run(FLASH, body).json()["errors"][0]["code"] == 8001


def _film(seconds: float, version: int) -> bytes:
    """Return as much of an MP4 as says how long it is, with a header of either version."""
    ticks = int(seconds * 600)
    wide = struct.pack(">QQIQ", 0, 0, 600, ticks) if version else struct.pack(">IIII", 0, 0, 600, ticks)
    return b"\0\0\0\x14ftypisom" + bytes(8) + b"\0\0\0\x6cmvhd" + bytes([version, 0, 0, 0]) + wide


@pytest.mark.parametrize(
    ("field", "raw", "code"),
    [
        ("videos", _film(12, 0), 0),
        ("videos", _film(12, 1), 0),
        ("videos", _film(61, 0), 5021),
        ("videos", _film(61, 1), 5021),
        ("videos", b"\x1aE\xdf\xa3" + bytes(40), 0),
        ("videos", b"no video at all", 8001),
        ("images", b"GIF", 5006),
    ],
    ids=["mp4", "wide mp4", "long mp4", "long wide mp4", "webm", "none", "gif"],
)
def test_videos_are_measured_and_pictures_have_three_formats(door: Any, field: str, raw: bytes, code: int) -> None:
    """A minute of video at most, 256 tokens a second; of pictures PNG, JPEG and WebP."""
    if raw == b"GIF":
        out = io.BytesIO()
        Image.new("RGB", (8, 8)).save(out, "GIF")
        raw = out.getvalue()
    body = {**ask("x", topic=choice(LABELS)), "model": "clef-omni"}
    sent = {"content_type": "video/mp4", "base64": base64.b64encode(raw).decode()}
    here = door()
    answer = here.run("@cf/cloudflare/clef-omni", {**body, field: [sent]})
    if code:
        assert answer.json()["errors"][0]["code"] == code
        return
    plain = here.result("@cf/cloudflare/clef-omni", body)["usage"]["input_tokens"]
    told = answer.json()["result"]["usage"]["input_tokens"] - plain
    assert told == (12 * 256 if b"mvhd" in raw else 1024)


def test_a_long_state_is_cut_to_fit(door: Any) -> None:
    """The call is served, and what was read is the whole context."""
    usage = door().result(FLASH, ask("word " * 30_000, topic=choice(LABELS)))["usage"]
    assert usage["input_tokens"] == 24_576


def test_a_question_of_hazards_is_none_of_mood(door: Any) -> None:
    """An angry customer is not hate, whatever the question calls the hazard."""
    asked = {"type": "noul", "instructions": "Is the text unsafe because of hate?"}
    cross = ask("This is terrible, the worst lamp. I am angry!", a=asked)
    assert door().result(FLASH, cross)["answers"]["a"]["noul"] < 0.5
