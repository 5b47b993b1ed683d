"""Reviews without a browser: what is drawn, said, undone, kept and found again, and what the card sends and is sent."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hostile_cells import CELLS, SCRIPT, drawn, judged, sound

import cfai_nb as cf
from cfai_nb._engine.store.reviews import Mark
from cfai_nb.frame import gold as golds

LABELS = ["billing", "shipping", "bug"]


@pytest.fixture
def frame(emulator: Any) -> pd.DataFrame:
    """A hundred rows, ten of them twice, with their truth."""
    random = np.random.default_rng(0)
    texts = [f"a secret text, number {at % 90}" for at in range(100)]
    return pd.DataFrame({"text": texts, "truth": [LABELS[at % 90 % 3] for at in range(100)], "x": random.random(100)})


def guessed(frame: pd.DataFrame) -> pd.DataFrame:
    """Answers with probabilities: one in five is wrong, and unsure."""
    p = np.full((len(frame), 3), 0.05)
    for at, truth in enumerate(frame["truth"]):
        number = int(frame["text"].iloc[at].split()[-1])
        right = LABELS.index(truth)
        said = (right + 1) % 3 if number % 5 == 0 else right
        p[at, said] = 0.5 if number % 5 == 0 else 0.9
    found = pd.DataFrame(p, columns=[f"p__{label}" for label in LABELS], index=frame.index)
    found.insert(0, "label", pd.Categorical([LABELS[at] for at in p.argmax(axis=1)], LABELS))
    return found


def reviewed(frame: pd.DataFrame, review: Any, count: int | None = None) -> None:
    """Say what is right for the first cards."""
    for row in review.rows[:count]:
        review.label(row, frame["truth"][row])


def test_labels_become_gold_and_an_accuracy(frame: pd.DataFrame) -> None:
    """Gold lies on all equal rows of the frame, unsure rows are drawn more often, and the accuracy allows for that."""
    guess = guessed(frame)
    review = frame.cfai.review("text", guess, n=45, name="topics")
    assert (len(review.rows), review.accuracy, review.gold.notna().sum()) == (45, None, 0)
    reviewed(frame, review)
    gold = review.gold
    assert gold.index.equals(frame.index)
    assert (gold.dropna() == frame["truth"][gold.notna()]).all()
    assert (gold[:10].notna() == gold[90:].notna().to_numpy()).all()  # equal rows
    alone = (guess["label"].astype(object)[gold.notna()] == gold.dropna()).mean()
    truth = (guess["label"].astype(object) == frame["truth"]).mean()
    assert alone < truth - 0.05  # unsure rows are wrong more often
    assert review.accuracy.low < truth < review.accuracy.high
    assert abs(review.accuracy.estimate - truth) < 0.06
    again = cf.quality.accuracy(guess["label"], gold, review.weights)
    assert (again.estimate, again.low, again.high, again.n) == pytest.approx(
        [getattr(review.accuracy, name) for name in ("estimate", "low", "high", "n")], abs=1e-9
    )
    assert repr(review).startswith("<Review 'topics': 45 of 45 labelled; accuracy 0.")
    assert cf.quality.share(guess["label"], gold, review.weights, of="bug").n == 45 < gold.notna().sum()


def test_the_estimate_is_right_on_average(frame: pd.DataFrame) -> None:
    """Over many draws the estimate is that of all rows, and its interval covers it as often as it says."""
    guess = guessed(frame)
    truth = (guess["label"].astype(object) == frame["truth"]).mean()
    found = []
    for seed in range(150):
        review = frame.cfai.review("text", guess, n=40, name=f"draw {seed}", random_state=seed)
        for place, row in enumerate(review.rows):
            review._state.marks[place] = review._state.marks[place].__class__(
                *(getattr(review._state.marks[place], name) for name in ("row", "place", "chance", "population")),
                state="label", label=frame["truth"][row],
            )  # fmt: skip
        found.append(review.accuracy)
    assert abs(np.mean([each.estimate for each in found]) - truth) < 0.01
    assert np.mean([each.low <= truth <= each.high for each in found]) > 0.93


def test_copies_of_a_row_are_one_row_of_gold() -> None:
    """Over many draws from rows with copies, gold and weights on the frame cover the truth as often as they say."""
    texts, covered = pd.DataFrame({"text": [f"text {at}" for at in range(60)]}), []
    for seed in range(100):
        random = np.random.default_rng(seed)
        right, copies = random.random(60) < 0.7, random.integers(1, 30, 60)
        chosen, chance = cf.quality.draw(copies, 20, seed=seed)
        digest = golds.digests(texts["text"].tolist())
        marks = [Mark(digest[at], place, chance[at], 60, "label", True) for place, at in enumerate(chosen.tolist())]
        frame = texts.loc[np.repeat(np.arange(60), copies)].reset_index(drop=True)
        guess, laid = pd.Series(np.repeat(right, copies)), golds.Gold("copies", marks)
        found = cf.quality.accuracy(guess, laid.match(frame, "text"), laid.weights(frame, "text"))
        assert found.n == 20
        covered.append(found.low <= guess.mean() <= found.high)
    assert np.mean(covered) > 0.93


def test_what_was_said_is_undone_in_turn(frame: pd.DataFrame) -> None:
    """Undo takes back the last key, whatever it was; skipped rows and those that cannot be decided have no gold."""
    review = frame.cfai.review("text", guessed(frame), n=6, name="undo")
    rows = review.rows
    review.label(rows[0], "bug")
    review.skip(rows[1])
    review.cannot_tell(rows[2])
    review.note(rows[2], " two things at once ")
    shown = review.to_frame()
    assert shown["state"].tolist() == ["label", "skipped", "unclear", "open", "open", "open"]
    assert shown["note"].iloc[2] == "two things at once"
    assert shown["blind"].tolist() == [False, False, False, False, True, False]
    assert [review.undo(), review.undo(), review.undo(), review.undo()] == [rows[2], rows[1], rows[0], None]
    assert review.gold.isna().all()


def test_it_goes_on_in_another_notebook(frame: pd.DataFrame, emulator: Any, tmp_path: Path) -> None:
    """Another session finds the rows in a frame of another order, undo reaches back, and the file holds no text."""
    guess = guessed(frame)
    reviewed(frame, frame.cfai.review("text", guess, n=20, name="topics"), 12)
    last = frame.cfai.review("text", guess, n=20, name="topics").rows[11]
    cf.connect(emulator, store=tmp_path / "s.sqlite")
    order = frame.sample(frac=1, random_state=3)
    again = order.cfai.review("text", guess.loc[order.index], n=20, name="topics")
    assert len(again.gold.dropna()) >= 12
    assert (again.gold.dropna() == order["truth"][again.gold.notna()]).all()
    assert order["text"][again.undo()] == frame["text"][last]
    gold = cf.gold("topics")
    assert (len(gold), repr(gold)) == (11, "<gold 'topics': 11 of 20 rows labelled>")
    assert gold.match(frame, "text").dropna().isin(LABELS).all()
    assert gold.weights(frame["text"]).notna().sum() == 20
    assert gold.to_frame()["state"].value_counts().to_dict() == {"label": 11, "open": 9}
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("s.sqlite*"))
    assert b"secret text" not in stored
    assert b"shipping" in stored


def test_a_name_stands_for_one_draw(frame: pd.DataFrame) -> None:
    """Another n, other rows, an unknown name or label, and a row that was not drawn are refused in words."""
    guess = guessed(frame)
    review = frame.cfai.review("text", guess, n=20, name="topics")
    with pytest.raises(ValueError, match="was drawn with n=20"):
        frame.cfai.review("text", guess, n=30, name="topics")
    with pytest.raises(ValueError, match="none of its 20 rows is in this frame"):
        frame.assign(text="x" + frame["text"]).cfai.review("text", guess, n=20, name="topics")
    part = frame.loc[review.rows[:5]]
    assert "15 of its 20 rows are not in this frame" in repr(
        part.cfai.review("text", guess.loc[part.index], n=20, name="topics")
    )
    with pytest.raises(LookupError, match="Did you mean 'topics'"):
        cf.gold("topic")
    with pytest.raises(ValueError, match="Did you mean 'billing'"):
        review.label(review.rows[0], "biling")
    other = next(row for row in frame.index[:90] if row not in review.rows)
    with pytest.raises(LookupError, match="was not drawn"):
        review.label(other, "bug")
    with pytest.raises(ValueError, match="among 2 to 100 different labels"):
        frame.cfai.review("text", frame["text"].str.cat(frame["x"].astype(str)), name="texts", labels=["one"])
    with pytest.raises(TypeError, match="needs the answers"):
        frame.cfai.review("text")


def test_yes_and_no_lists_and_series(frame: pd.DataFrame) -> None:
    """Answers may be truth values, a list, a column, or missing; a Series needs no column."""
    yes = pd.Series([bool(at % 2) for at in range(100)], name="yes")
    review = frame["text"].cfai.review(yes, n=5, name="yes")
    assert review.card.labels == ["yes", "no"]
    review.label(review.rows[0], True)
    assert cf.gold("yes").match(frame["text"]).dropna().unique().tolist() == [True]
    listed = frame.cfai.review("text", [None, *["a", "b"] * 49, "a"], n=100, name="list")
    assert listed.card.labels == ["a", "b"]
    assert {card["guess"] for card in listed.card.about} == {-1, 0, 1}
    assert frame.cfai.review("{text}: {x}", "truth", n=3, name="template").card.labels == sorted(LABELS)
    assert frame.cfai.review("text", "truth", n=3, labels=[*LABELS, "other"], name="more").card.labels[-1] == "other"


def test_the_card_keeps_every_key(frame: pd.DataFrame, tmp_path: Path) -> None:
    """A message of the browser is in the file before it is confirmed; a message from nowhere changes nothing."""
    review = frame.cfai.review("text", guessed(frame), n=10, name="card")
    card = review.card
    assert (card.place, len(card.cards), card.head["stored"]) == (0, 10, True)
    assert [at["blind"] for at in card.about].count(True) == 2
    said = {"client": "c", "place": 0}
    review._received(card, said | {"type": "label", "label": 2, "number": 1}, None)
    review._received(card, said | {"type": "note", "text": SCRIPT, "number": 2}, None)
    with contextlib.closing(sqlite3.connect(tmp_path / "s.sqlite")) as file:
        kept = file.execute("SELECT label, note FROM reviews WHERE name = 'card' AND place = 0").fetchall()
    assert kept == [('"bug"', SCRIPT)]
    assert card.marks["seen"] == {"c": 2}
    assert card.marks["rows"][0]["label"] == 2
    assert card.head["accuracy"].endswith(" %")
    for message in ({}, {"type": "label", "place": 99, "label": 0}, {"type": "label", "place": "0"}):
        review._received(card, message, None)
    review._received(card, said | {"type": "label", "label": 7, "number": 3}, None)
    assert (card.marks["rows"][0]["label"], card.head["error"] != "") == (2, True)
    review._received(card, said | {"type": "undo", "number": 4}, None)
    assert (review.gold.isna().all(), card.head["error"]) == (True, "")


def test_cards_are_sent_ahead_within_bounds(emulator: Any) -> None:
    """Large rows are sent a part at a time, and the card that is asked for comes with those after it."""
    frame = pd.DataFrame({"text": [f"{at} " + "word " * 20_000 for at in range(200)]})
    review = frame.cfai.review("text", ["a", "b"] * 100, n=150, name="large")
    sent: list[Any] = []
    review.card.send = sent.append
    assert 8 <= len(review.card.cards) < 150
    assert sum(map(len, review.card.cards.values())) < 2_000_000
    review._received(review.card, {"type": "want", "place": 120}, None)
    assert {"120", "121"} <= sent[0]["cards"].keys()


def test_hostile_cells_and_media_are_only_shown(emulator: Any) -> None:
    """Every cell becomes HTML of our own, labels and names are text, pictures and sounds are shown."""
    cells = [cf.Image(drawn((60, 40))), cf.Audio(sound(0.05)), *[cell for cell, _ in CELLS.values()]]
    frame = pd.DataFrame({"cell": pd.Series(cells, dtype=object)})
    review = frame.cfai.review("cell", [SCRIPT, "b"] * (len(cells) // 2) + ["b"] * (len(cells) % 2), n=99, name=SCRIPT)
    shown = [judged(page) for page in review.card.cards.values()]
    assert sum(len(each.sources) for each in shown) >= 2
    judged(review._repr_mimebundle_()["text/html"])


def test_it_works_without_a_store(frame: pd.DataFrame, emulator: Any) -> None:
    """Without a store a review lives in the kernel, and says so."""
    cf.connect(emulator, store=False)
    review = frame.cfai.review("text", "truth", n=3, name="here")
    review.label(review.rows[0], "bug")
    assert (review.card.head["stored"], len(review.gold.dropna())) == (False, 1 + (review.rows[0] < 10))
    with pytest.raises(LookupError, match="no store"):
        cf.gold("here")


def test_a_review_is_saved_as_a_page(frame: pd.DataFrame, tmp_path: Path) -> None:
    """The page has a row for each card, with answer, label and note; hostile texts and media do nothing in it."""
    review = frame.cfai.review("text", guessed(frame), n=20, name="topics")
    reviewed(frame, review, 5)
    review.note(review.rows[0], f"{SCRIPT} x")
    page = review.save(tmp_path / "a.html", title=SCRIPT).read_text("utf-8")
    assert page.count("<tr>") == 21
    judge = judged(page.partition("<body")[2].rpartition("<script")[0])
    said = " ".join(judge.words)
    assert f"{SCRIPT} x" in said
    assert "5 of 20 labelled" in said
    assert {"right", "open", "guess"} <= set(judge.words)
    media = pd.DataFrame({"cell": pd.Series([cell for cell, _ in CELLS.values()], dtype=object)})
    review = media.cfai.review("cell", ["a", *["b"] * (len(media) - 1)], n=len(media), name="media")
    page = review.save(tmp_path / "b.html").read_text("utf-8")
    judged(page.partition("<body")[2].rpartition("<script")[0])
