"""Pictures and sound on the wire: what is drawn is found again, what is spoken is heard, and each has its price."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
import wave
import zlib
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from cfai_nb.emulator.families import audio_models as sound
from cfai_nb.emulator.model_catalogue import models
from cfai_nb.emulator.standins import image_reading as sight
from cfai_nb.emulator.standins.image_drawing import Order, draw

NAMES = {model.short: model.id for model in models().values()}
SHAPES = "two blue squares and a red circle"
SAID = "Grüße aus Köln! The quick brown fox jumps."
VISION = "llama-3.2-11b-vision-instruct"


@pytest.fixture(scope="module")
def drawn() -> bytes:
    """A PNG with two blue squares and a red circle."""
    return draw(Order(SHAPES, 400, 400))


@pytest.fixture(scope="module")
def photo() -> bytes:
    """A picture the emulator did not draw."""
    out = io.BytesIO()
    Image.new("RGB", (64, 48), (10, 160, 40)).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture(scope="module")
def spoken() -> bytes:
    """A WAV file that says something."""
    return sound.speak(SAID, sound.FORMATS["linear16"], 16000)[0]


@pytest.fixture(scope="module")
def hum() -> bytes:
    """Two seconds of a recording the emulator did not make."""
    out = io.BytesIO()
    soundfile.write(out, np.sin(np.arange(32000) / 9) / 2, 16000, format="WAV")
    return out.getvalue()


def uri(raw: bytes, kind: str = "image/png") -> str:
    """Return bytes as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(raw).decode()}"


def form(fields: dict[str, Any], **files: bytes) -> dict[str, Any]:
    """Return the arguments of a multipart request."""
    parts: dict[str, Any] = {name: (None, str(value)) for name, value in fields.items()}
    return {"files": {**parts, **{name: (name, raw, "image/png") for name, raw in files.items()}}}


def post(here: Any, short: str, **arguments: Any) -> Any:
    """Call a model by the last part of its name."""
    return here.ask("POST", f"/run/{NAMES[short]}", **arguments)


def picture(answer: Any) -> Image.Image:
    """Return the picture of an answer, in either of its forms."""
    assert answer.status_code == 200, answer.text
    bare = answer.headers["content-type"].startswith("image/")
    raw = answer.content if bare else base64.b64decode(answer.json()["result"]["image"], validate=True)
    found = Image.open(io.BytesIO(raw))
    if bare:
        assert answer.headers["content-type"] == Image.MIME[found.format or ""]
    return found


def refusal(answer: Any) -> tuple[int, int, str]:
    """Return status, code and text of a refusal."""
    error = answer.json()["errors"][0]
    return answer.status_code, error["code"], error["message"]


# -- what a prompt says --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "things"),
    [
        (SHAPES, ["blue square", "blue square", "red circle"]),
        ("A Yellow star, 3 small green triangles; no hearts.", ["yellow star", *["green triangle"] * 3]),
        ("a violet heart without a circle or a square", ["purple heart"]),
        ("a traffic light beside a teddy bear", ["traffic light", "teddy bear"]),
        ("people with knives", ["person", "knife"]),
        ("a red sky", []),
        ("0 circles", []),
        ("999 dots", ["circle"] * 40),
        ("\ud800 ☃ a ring", ["ring"]),
    ],
)
def test_a_prompt_names_things(prompt: str, things: list[str]) -> None:
    """Numbers, colors and names are read, what is denied is not, and there is an end to how many."""
    wanted = sight.read_prompt(prompt).wanted
    assert [f"{wish.color} {wish.label}".strip() for wish in wanted for _ in range(wish.count)] == things


# -- text to image -------------------------------------------------------------------------------------------------

DEV, KLEIN, SMALL = "flux-2-dev", "flux-2-klein-4b", {"width": 512, "height": 256}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "arguments", "size", "neurons"),
    [
        ("flux-1-schnell", {"json": {"prompt": SHAPES}}, (1024, 1024), 172.8),
        ("flux-1-schnell", {"json": {"prompt": SHAPES, "steps": 8}}, (1024, 1024), 4 * (4.8 + 8 * 9.6)),
        ("lucid-origin", {"json": {"prompt": SHAPES, "steps": 15}}, (1120, 1120), 3904.6875),
        ("phoenix-1.0", {"json": {"prompt": SHAPES, "num_steps": 25}}, (1024, 1024), 3120),
        (DEV, form({"prompt": SHAPES, "width": 1024, "height": 1024, "steps": 50}), (1024, 1024), 7500),
        (DEV, form({"prompt": SHAPES, **SMALL, "steps": 2}), (512, 256), 0.5 * 37.5 * 2),
        (KLEIN, form({"prompt": SHAPES, "width": 1024, "height": 1024}), (1024, 1024), 104.2),
        ("flux-2-klein-9b", form({"prompt": SHAPES, "width": 1024, "height": 1536}), (1024, 1536), 1363.64 + 90.91),
        ("flux-2-klein-9b", form({"prompt": SHAPES}), (1024, 768), 1363.64),
        ("stable-diffusion-xl-base-1.0", {"json": {"prompt": SHAPES, **SMALL}}, (512, 256), None),
        ("stable-diffusion-xl-lightning", {"json": {"prompt": SHAPES, **SMALL}}, (512, 256), None),
        ("dreamshaper-8-lcm", {"json": {"prompt": SHAPES}}, (512, 512), None),
        ("stable-diffusion-v1-5-inpainting", {"json": {"prompt": SHAPES}}, (512, 512), 0),
    ],
)
def test_every_painter_draws_what_is_asked_at_its_price(
    door: Any, model: str, arguments: Any, size: tuple[int, int], neurons: float | None
) -> None:
    """The picture has the size asked for, shows the prompt's things, and costs what the price list and API.md say."""
    here = door()
    answer = post(here, model, **arguments)
    found = picture(answer)
    assert found.size == size
    out = io.BytesIO()
    found.save(out, "PNG")  # without its notes it is a picture like any other
    assert sight.read_image(out.getvalue()).prompt is None
    assert here.emulator.calls[-1].charged
    assert here.emulator.calls[-1].neurons == pytest.approx(neurons or 0)
    told = None if neurons is None or model == "phoenix-1.0" else neurons
    header = answer.headers.get("cf-ai-neurons")
    assert header is None if told is None else float(header) == pytest.approx(told)


def test_drawing_repeats_and_a_seed_changes_it(door: Any) -> None:
    """The same prompt and seed give the same bytes, another seed gives others."""
    here, body = door(), {"prompt": SHAPES, "width": 256, "height": 256}
    one, same, other = (
        post(here, "stable-diffusion-xl-base-1.0", json={**body, "seed": seed}).content for seed in (1, 1, 2)
    )
    assert one == same != other


@pytest.mark.parametrize("label", sorted(sight.SHAPES))
def test_a_shape_is_where_it_is_said_to_be(label: str) -> None:
    """The box of every shape touches it on all four sides."""
    seen, image = sight.open_image(draw(Order(f"a huge purple {label} on a white background", 500, 500)))
    (thing,) = seen.find(f"purple {label}s")
    inked = np.asarray(image).sum(axis=2, dtype=int) < 600
    inked[:60], inked[400:] = False, False  # the lettering
    rows, columns = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    assert np.allclose((columns[0], rows[0], columns[-1], rows[-1]), thing.box, atol=4)


def test_a_picture_to_start_from_stays_visible(door: Any, drawn: bytes) -> None:
    """Picture to picture keeps the size and the things of the start; as numbers and as base64 it is the same."""
    body = {"prompt": "a green star", "strength": 0.5}
    here = door()
    answers = [
        post(here, "stable-diffusion-xl-base-1.0", json={**body, **start})
        for start in ({"image": list(drawn)}, {"image_b64": base64.b64encode(drawn).decode()})
    ]
    assert answers[0].content == answers[1].content
    seen, image = sight.open_image(answers[0].content)
    assert image.size == (400, 400)
    assert [thing.named() for thing in seen.things] == ["blue square", "blue square", "red circle", "green star"]
    (circle,) = seen.find("circle")
    plain = np.asarray(sight.open_image(draw(Order("a green star", 400, 400)))[1]).astype(int)
    spot = (circle.box[1] + circle.box[3]) // 2, (circle.box[0] + circle.box[2]) // 2
    assert np.abs(np.asarray(image)[spot] - plain[spot]).sum() > 50


def test_a_mask_bounds_what_is_painted_over(door: Any, drawn: bytes) -> None:
    """Outside of the white part of the mask the picture stays as it was, lettering apart."""
    mask = Image.new("L", (400, 400), 0)
    mask.paste(255, (200, 0, 400, 400))
    out = io.BytesIO()
    mask.save(out, "PNG")
    body = {"prompt": "a green star", "image": list(drawn), "mask": list(out.getvalue())}
    answer = post(door(), "stable-diffusion-v1-5-inpainting", json=body)
    seen, image = sight.open_image(answer.content)
    (star,) = seen.find("star")
    assert star.box[0] >= 200
    before, after = np.asarray(sight.open_image(drawn)[1]), np.asarray(image)
    assert (before[60:300, :200] == after[60:300, :200]).all()
    assert (before[60:300, 200:] != after[60:300, 200:]).any()


def test_pictures_to_refer_to_are_shown_and_charged(door: Any, drawn: bytes) -> None:
    """FLUX.2 shows its input pictures; each costs its tiles (and steps, where the model counts them)."""
    here = door()
    fields = {"prompt": "a green star", "width": 512, "height": 512, "steps": 10}
    answer = post(here, DEV, **form(fields, input_image_0=drawn, input_image_3=drawn))
    raw = base64.b64decode(answer.json()["result"]["image"])
    assert len(sight.read_image(raw).find("blue squares")) == 4
    assert here.emulator.calls[-1].neurons == pytest.approx(10 * (37.5 + 2 * 400 * 400 / 512**2 * 18.75))


# -- looking -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("How many squares are there?", "2"),
        ("What colour is the circle?", "red"),
        ("Is there a green star?", "no"),
        ("Is there a circle?", "yes"),
        ("What text is written on it?", SHAPES),
        ("What do you see?", "two blue squares and a red circle"),
    ],
)
def test_questions_about_a_drawing_are_answered_from_it(door: Any, drawn: bytes, question: str, said: str) -> None:
    """Moondream, LLaVA and a chat model that can see say the same."""
    here, base = door(terms_accepted=True), base64.b64encode(drawn).decode()
    parts = [{"type": "text", "text": question}, {"type": "image_url", "image_url": {"url": uri(drawn)}}]
    talk = {"messages": [{"role": "user", "content": parts}]}
    moon = post(here, "moondream3.1-9B-A2B", json={"question": question, "image": uri(drawn)}).json()["result"]
    llava = post(here, "llava-1.5-7b-hf", json={"prompt": question, "image": list(drawn)}).json()["result"]
    chat = post(here, "llama-4-scout-17b-16e-instruct", json=talk).json()["result"]
    gemma = here.ask("POST", "/v1/chat/completions", json={**talk, "model": NAMES["gemma-4-26b-a4b-it"]}).json()
    old = post(here, VISION, json={"prompt": question, "image": base}).json()["result"]
    answers = [moon["answer"], llava["description"], chat["response"], old["response"]]
    for answer in [*answers, gemma["choices"][0]["message"]["content"]]:
        assert answer.startswith("[emulator] ")
        assert said in answer


def test_detection_points_and_labels_agree(door: Any, drawn: bytes) -> None:
    """Boxes and points are shares of the sides and are on the things; labels name the largest thing first."""
    here = door()
    ask = {"image": uri(drawn), "target": "blue square"}
    boxes = post(here, "moondream3.1-9B-A2B", json={"task": "detect", **ask}).json()["result"]["objects"]
    points = post(here, "moondream3.1-9B-A2B", json={"task": "point", **ask}).json()["result"]["points"]
    image = sight.open_image(drawn)[1]
    assert len(boxes) == len(points) == 2
    for box, point in zip(boxes, points, strict=True):
        assert 0 <= box["x_min"] < point["x"] < box["x_max"] <= 1
        assert image.getpixel((round(point["x"] * 400), round(point["y"] * 400))) == sight.COLORS["blue"]
    one = post(here, "moondream3.1-9B-A2B", json={"task": "detect", **ask, "max_objects": 1}).json()["result"][
        "objects"
    ]
    assert one == boxes[:1]
    kinds = {"content-type": "image/png"}, {"content-type": "application/x-www-form-urlencoded"}
    raw, curl = (post(here, "resnet-50", content=drawn, headers=kind).json()["result"] for kind in kinds)
    listed = post(here, "resnet-50", json={"image": list(drawn)}).json()["result"]
    assert raw == curl == listed
    assert [one["label"] for one in raw] == ["square", "circle"]
    assert raw[0]["score"] > raw[1]["score"]


def test_the_detector_of_old_is_refused(door: Any, drawn: bytes) -> None:
    """DETR is missing from the service's list of models."""
    assert refusal(post(door(), "detr-resnet-50", content=drawn, headers={"content-type": "image/png"}))[1] == 5007


def test_a_foreign_picture_is_measured_and_nothing_is_made_up(door: Any, photo: bytes) -> None:
    """Size, format and the commonest color are reported; nothing is detected in it."""
    here, image = door(), uri(photo, "image/jpeg")
    said = post(here, "moondream3.1-9B-A2B", json={"task": "caption", "image": image}).json()["result"]["caption"]
    assert said == "[emulator] a picture of 64 x 48 pixels, mostly green (100%), JPEG"
    found = post(here, "moondream3.1-9B-A2B", json={"task": "detect", "image": image}).json()["result"]
    assert found["objects"] == []
    label = post(here, "resnet-50", json={"image": list(photo)}).json()["result"][0]["label"]
    assert label == "green picture"


def test_a_drawing_saved_again_keeps_its_colors(door: Any, drawn: bytes) -> None:
    """Resized, it is another picture: its colors are seen in the pixels, its things are not claimed."""
    out = io.BytesIO()
    Image.open(io.BytesIO(drawn)).convert("RGB").resize((120, 90)).save(out, "JPEG")
    here, image = door(), uri(out.getvalue(), "image/jpeg")
    asked = {"task": "query", "question": "Which colours are there?", "image": image}
    assert post(here, "moondream3.1-9B-A2B", json=asked).json()["result"]["answer"] == "[emulator] white, blue, red"
    caption = post(here, "moondream3.1-9B-A2B", json={"task": "caption", "image": image}).json()["result"]["caption"]
    assert "120 x 90 pixels, mostly white" in caption
    assert "with blue, red, JPEG" in caption


def test_a_streamed_caption_adds_up(door: Any, drawn: bytes) -> None:
    """The pieces make the caption of the call that does not stream; the stream ends with the metrics and [DONE]."""
    here, ask = door(), {"task": "caption", "image": uri(drawn)}
    whole = post(here, "moondream3.1-9B-A2B", json=ask).json()["result"]
    lines = post(here, "moondream3.1-9B-A2B", json={**ask, "stream": True}).text.split("\n\n")
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    assert "".join(event.get("text", "") for event in events) == whole["caption"]
    assert events[-1]["metrics"] == whole["metrics"]
    assert lines[-2] == "data: [DONE]"


def test_decisions_take_pictures_and_recordings_into_account(door: Any, drawn: bytes) -> None:
    """A choice follows what a drawing shows and, with Clef-omni, what a recording says."""
    question = {"type": "choice", "instructions": "What is it about?", "criteria": {"circle": None, "parcel": None}}
    here = door()
    said = sound.speak("My parcel has not arrived", sound.FORMATS["mp3"], 24000)[0]
    body = {"model": "clef-omni", "state": "", "questions": {"q": question}}
    media = [
        {"images": [uri(drawn)]},
        {"audio": [{"content_type": "audio/mpeg", "base64": uri(said).partition(",")[2]}]},
    ]
    chosen = [post(here, "clef-omni", json={**body, **one}).json()["result"]["answers"]["q"]["choice"] for one in media]
    assert chosen == ["circle", "parcel"]


def test_a_chat_model_fills_a_form_from_a_picture(door: Any, drawn: bytes) -> None:
    """JSON mode sees the picture too, and pictures cost input tokens."""
    parts = [{"type": "text", "text": "Is it there?"}, {"type": "image_url", "image_url": {"url": uri(drawn)}}]
    schema = {"type": "object", "properties": {"shape": {"enum": ["triangle", "circle"]}}, "required": ["shape"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = {"messages": [{"role": "user", "content": parts}], "response_format": wanted}
    answer = post(door(), "gemma-4-26b-a4b-it", json=body).json()["result"]
    assert json.loads(answer["choices"][0]["message"]["content"]) == {"shape": "circle"}
    assert answer["usage"]["prompt_tokens"] > 64


def test_terms_are_asked_for_once_by_account(door: Any) -> None:
    """Without agreement 5016; the call that agrees is a 403 too, and thanks; then that account may."""
    here = door()
    before, agreeing = (post(here, VISION, json={"prompt": said}) for said in ("Hello.", "agree"))
    assert refusal(before)[:2] == refusal(agreeing)[:2] == (403, 5016)
    assert "Thank you" in refusal(agreeing)[2]
    assert "Thank you" not in refusal(before)[2]
    assert post(here, VISION, json={"prompt": "Hello."}).status_code == 200
    here.account = "b" * 32
    assert post(here, VISION, json={"prompt": "Hello."}).status_code == 403


# -- speaking and hearing ------------------------------------------------------------------------------------------

SIGNS = {"mp3": b"ID3", "linear16": b"RIFF", "flac": b"fLaC", "opus": b"OggS", "mulaw": b"RIFF", "alaw": b"RIFF"}


@pytest.mark.parametrize("encoding", [None, *SIGNS])
def test_what_is_spoken_is_heard(door: Any, encoding: str | None) -> None:
    """In every encoding the file is what it says, lasts as long as the text, can be heard, and gives it back."""
    here, ask = door(), {"text": SAID, "speaker": "apollo"}
    answer = post(here, "aura-2-en", json={**ask, **({"encoding": encoding} if encoding else {})})
    assert answer.content.startswith(SIGNS[encoding or "mp3"])
    assert answer.headers["content-type"].startswith("audio/")
    assert float(answer.headers["cf-ai-neurons"]) == pytest.approx(len(SAID) * 2.72727)
    samples, rate = soundfile.read(io.BytesIO(answer.content))
    assert rate == 24000
    assert len(samples) / rate == pytest.approx(len(SAID) / 15, abs=0.15)
    assert np.sqrt((samples**2).mean()) > 0.02
    kind = {"content-type": answer.headers["content-type"]}
    options = {"punctuate": "true", "keyterm": ["fox", "dog"]}
    heard = post(here, "nova-3", content=answer.content, headers=kind, params=options)
    best = heard.json()["result"]["results"]["channels"][0]["alternatives"][0]
    assert best["transcript"] == SAID
    assert [word["word"] for word in best["words"]] == SAID.split()
    assert float(heard.headers["cf-ai-neurons"]) == pytest.approx(472.73 * len(samples) / rate / 60, rel=0.01)


def test_melotts_says_mp3_and_is_wav(door: Any) -> None:
    """Base64 of a 44.1 kHz mono 16 bit WAV file, charged by its true length."""
    answer = post(door(), "melotts", json={"prompt": SAID})
    with wave.open(io.BytesIO(base64.b64decode(answer.json()["result"]["audio"], validate=True))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (44100, 1, 2)
        seconds = file.getnframes() / 44100
    assert float(answer.headers["cf-ai-neurons"]) == pytest.approx(18.63 * seconds / 60)


@pytest.mark.parametrize("text", ["x", "Привет, 世界 🙂", "long " * 600, "!"])
def test_any_text_can_be_spoken_and_heard(text: str) -> None:
    """Other scripts, long texts and texts without a letter come back as they were, from WAV and from MP3."""
    for encoding in ("linear16", "mp3"):
        raw, _ = sound.speak(text, sound.FORMATS[encoding], 8000)
        assert sound.listen(raw).text == text


def test_every_whisper_gives_words_with_their_times(door: Any, spoken: bytes) -> None:
    """Raw bytes, numbers and base64 are the same recording; words go forward within its length."""
    here = door()
    raw = post(here, "whisper", content=spoken, headers={"content-type": "audio/wav"}).json()["result"]
    tiny = post(here, "whisper-tiny-en", json={"audio": list(spoken)}).json()["result"]
    answer = post(here, "whisper-large-v3-turbo", json={"audio": base64.b64encode(spoken).decode(), "language": "de"})
    turbo = answer.json()["result"]
    assert raw == tiny
    assert raw["text"] == turbo["text"] == SAID
    assert raw["word_count"] == turbo["word_count"] == len(SAID.split())
    assert [word for part in turbo["segments"] for word in part["words"]] == raw["words"]
    times = [time for word in raw["words"] for time in (word["start"], word["end"])]
    seconds = turbo["transcription_info"]["duration"]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= seconds == pytest.approx(len(SAID) / 15, abs=0.01)
    assert turbo["transcription_info"]["language"] == "de"
    assert re.match(r"WEBVTT\n\n00:00\.000 --> 00:0\d\.\d{3}\nGrüße aus Köln!\n\n00:01", raw["vtt"])
    assert float(answer.headers["cf-ai-neurons"]) == pytest.approx(46.63 * seconds / 60, rel=1e-3)


def test_a_foreign_recording_is_measured_and_nothing_is_made_up(door: Any, hum: bytes) -> None:
    """Its length is reported, and charged."""
    answer = post(door(), "whisper", content=hum, headers={"content-type": "audio/wav"})
    assert answer.json()["result"]["text"] == "[emulator: 2.0 s of audio]"
    assert float(answer.headers["cf-ai-neurons"]) == pytest.approx(41.14 * 2 / 60)


# -- what is refused -----------------------------------------------------------------------------------------------


def _png(wide: int, high: int) -> bytes:
    """Return a PNG that claims a size and holds nothing."""
    head = struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


M4A = {"content": b"\0\0\0\x20ftypM4A ", "headers": {"content-type": "audio/mp4"}}
BOMB = {"content": _png(30000, 30000), "headers": {"content-type": "image/png"}}


@pytest.mark.parametrize(
    ("model", "arguments", "code", "word"),
    [
        ("flux-1-schnell", {"json": {"prompt": "x", "seed": 1}}, 5006, "seed"),
        ("flux-1-schnell", {"json": {"prompt": "x" * 2049}}, 5006, "/prompt"),
        ("flux-1-schnell", {"json": {"prompt": "x", "steps": 9}}, 5006, "/steps"),
        (DEV, {"json": {"prompt": "x"}}, 5006, "multipart"),
        (DEV, form({"width": 512}), 5006, "prompt"),
        (DEV, form({"prompt": "x", "width": 200}), 5006, "/width"),
        (DEV, form({"prompt": "x", "width": "wide"}), 5006, "/width"),
        (DEV, form({"prompt": "x", "input_image_0": "a.png"}), 5006, "must be a file"),
        (DEV, form({"prompt": "x"}, input_image_0=b"x"), 8001, "not a picture"),
        (DEV, form({"prompt": "x"}, input_image_0=draw(Order("x", 512, 64))), 5006, "not under 512 x 512"),
        (DEV, {"content": b"--x", "headers": {"content-type": "multipart/form-data"}}, 5006, "multipart"),
        ("lucid-origin", {"json": {"prompt": "x", "width": 2501}}, 5006, "/width"),
        ("stable-diffusion-xl-base-1.0", {"json": {"prompt": "x", "image": [1, 2]}}, 8001, "not a picture"),
        ("stable-diffusion-xl-base-1.0", {"json": {"prompt": "x", "image_b64": "?"}}, 5004, "base64"),
        ("stable-diffusion-xl-lightning", {"json": {"prompt": "x", "image": [300]}}, 5006, "0 to 255"),
        ("resnet-50", {"json": {"image": [256]}}, 5006, "/image/0"),
        ("resnet-50", {"content": b"x", "headers": {"content-type": "image/png"}}, 8001, "not a picture"),
        ("resnet-50", BOMB, 3006, "pixels"),
        ("moondream3.1-9B-A2B", {"json": {"task": "caption"}}, 5006, "image"),
        ("moondream3.1-9B-A2B", {"json": {"image": "https://example.com/a.png"}}, 5006, "fetches no addresses"),
        ("nova-3", {"json": {"audio": "QUJD"}}, 5006, "raw bytes"),
        ("nova-3", {"content": b"x", "headers": {"content-type": "audio/wav"}}, 8001, "not a recording"),
        ("nova-3", {**M4A, "params": {"mode": "loud"}}, 5006, "/mode"),
        ("nova-3", M4A, 5007, "emulator: MP4"),
        ("whisper-large-v3-turbo", {"json": {"audio": [1]}}, 5006, "/audio"),
        ("aura-2-en", {"json": {"text": "x", "speaker": "angus"}}, 5006, "/speaker"),
        ("aura-2-en", {"json": {"text": "x", "encoding": "aac"}}, 5007, "emulator: aac"),
        ("aura-1", {"json": {"text": "x", "sample_rate": 7}}, 5006, "sample_rate"),
        ("melotts", {"json": {"prompt": ""}}, 5006, "/prompt"),
        ("flux", {"json": {"encoding": "linear16"}}, 5007, "WebSocket"),
        ("smart-turn-v2", {"json": {"audio": ""}}, 5007, "emulator:"),
    ],
)
def test_what_the_service_refuses_is_refused(door: Any, model: str, arguments: Any, code: int, word: str) -> None:
    """Each with its code and a text that names the fault, and nothing is charged."""
    here = door()
    status, found, text = refusal(post(here, model, **arguments))
    assert (found, status) == (code, 413 if code == 3006 else 400)
    assert word in text
    assert not here.emulator.calls[-1].charged


def test_notes_in_a_picture_are_not_believed(photo: bytes) -> None:
    """A comment that is broken, hostile or of another size leaves a picture a picture."""
    good = sight.open_image(draw(Order(SHAPES, 64, 64), "JPEG"))
    assert good[0].prompt == SHAPES
    for note in ('{"emulator": 1}', "[" * 9000, "null", '{"emulator": 1, "things": [{"box": [1]}]}', "\x00"):
        out = io.BytesIO()
        Image.open(io.BytesIO(photo)).save(out, "JPEG", comment=note.encode())
        assert sight.read_image(out.getvalue()).prompt is None
    out = io.BytesIO()
    good[1].resize((32, 32)).save(out, "JPEG", comment=draw(Order(SHAPES, 64, 64), "JPEG")[24:400])
    assert sight.read_image(out.getvalue()).prompt is None


def test_the_log_tells_pictures_apart(door: Any, drawn: bytes, photo: bytes) -> None:
    """The same bytes are the same input whatever the form, other bytes are another, and nothing is kept whole."""
    here = door()
    for image in (drawn, drawn, photo):
        post(here, "llava-1.5-7b-hf", json={"image": uri(image), "prompt": "What is it?"})
    counts = sorted(here.emulator.billed_inputs.values())
    assert counts == [1, 2]
    assert all(len(text) < 100 for _, text in here.emulator.billed_inputs)


@pytest.mark.parametrize("fault", ["garbage", "cut"])
def test_bytes_can_arrive_damaged(door: Any, fault: str) -> None:
    """The faults on the way out strike bare bytes too, and the work is charged."""
    here = door(faults=[fault])
    body = {"json": {"prompt": SHAPES, **SMALL}}
    if fault == "cut":
        with pytest.raises(ConnectionResetError):
            post(here, "stable-diffusion-xl-base-1.0", **body)
    else:
        raw = post(here, "stable-diffusion-xl-base-1.0", **body).content
        with pytest.raises(OSError, match="image"):
            Image.open(io.BytesIO(raw)).load()
    assert here.emulator.calls[0].charged
