"""What the plots draw: points, names, bars, labels, and the text around them."""

from __future__ import annotations

import inspect
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

import cfai_nb as cf
from cfai_nb.frame.compare import front
from cfai_nb.plots import (
    boxes,
    clusters,
    compare,
    concurrency,
    confidence,
    confusion,
    cost,
    latency,
    reliability,
    similarity,
)  # fmt: skip
from cfai_nb.plots.axes import DISTINCT, GREY, color_and_marker, for_dark, readable
from cfai_nb.plots.confidence import calibrate, read_confidence
from cfai_nb.plots.cost import amount
from cfai_nb.plots.text import drawable, stamp
from cfai_nb.plots.timing import duration

USD = 0.011 / 1_000
COLUMNS = ["time", "model", "verb", "requests", "rows", "neurons", "exact", "saved_neurons", "origin"]


@pytest.fixture(autouse=True)
def _no_figure_left() -> Iterator[None]:
    yield
    plt.close("all")


def axes(width: float = 7.0, height: float = 5.0) -> Any:
    """An axes of a figure that pyplot knows nothing of."""
    return Figure(figsize=(width, height)).subplots()


def blobs(rows: int, groups: int, width: int = 2) -> tuple[Any, Any]:
    random = np.random.default_rng(2)
    owner = np.arange(rows) % groups
    centres = random.permutation(groups)[:, None] * 9.0 + random.normal(size=(groups, width)) * 6
    return centres[owner] + random.normal(size=(rows, width)), owner


def charges(*rows: tuple[Any, ...]) -> pd.DataFrame:
    """A frame as the ledger gives it; dollars follow from Neurons."""
    frame = pd.DataFrame(list(rows), columns=COLUMNS)
    frame["time"] = pd.to_datetime(frame["time"], utc=True)
    frame["neurons"] = frame["neurons"].astype(float)
    return frame.assign(usd=frame["neurons"] * USD)


LEDGER = charges(
    ("2026-11-20T23:59", "@cf/baai/bge-m3", "embed", 2, 195, 2.8, True, 0.0, "cloudflare"),
    ("2026-11-21T00:01", "@cf/zai-org/glm-4.7-flash", "generate", 187, 187, 220.5, True, 0.0, "cloudflare"),
    ("2026-11-21T10:00", "@cf/zai-org/glm-4.7-flash", "generate", 20, 20, 44.5, False, 100.0, "cloudflare"),
    ("2026-11-22T10:00", "@cf/lab/flux", "image", 4, 4, np.nan, False, 0.0, "cloudflare"),
)


def texts_of(ax: Any) -> list[str]:
    """Every text on the axes, lines joined."""
    words = [text.get_text().replace("\n", " ").replace("\xa0", " ") for text in ax.texts]
    legend = ax.get_legend()
    return words + ([text.get_text().replace("\n", " ") for text in legend.get_texts()] if legend else [])


def extent(text: Any) -> Any:
    """The box of the letters of an annotation, without the line to its anchor."""
    text.get_window_extent()  # brings the position up to date
    return Text.get_window_extent(text)


def drawn(ax: Any) -> int:
    return sum(len(collection.get_offsets()) for collection in ax.collections)


def picture(ax: Any) -> bytes:
    """The axes drawn in full, where a missing glyph or broken markup would be a warning."""
    file = io.BytesIO()
    ax.figure.savefig(file, format="png")
    return file.getvalue()


def test_every_point_is_drawn_and_every_label_written() -> None:
    """Points of shape (n, 2) are drawn as they are, each label once, in as many colors."""
    points, owner = blobs(240, 6)
    names = [f"topic {number}" for number in owner]
    ax = clusters(points, names, ax=axes())
    assert drawn(ax) == 240
    assert set(texts_of(ax)) == set(names)
    offsets = np.concatenate([np.asarray(collection.get_offsets()) for collection in ax.collections])
    assert np.allclose(np.sort(offsets, axis=0), np.sort(points, axis=0))
    assert len({to_hex(face) for collection in ax.collections for face in collection.get_facecolors()}) == 6


def test_the_given_axes_comes_back_and_nothing_else_is_made() -> None:
    """With an `ax` no figure is made, no style changed; without one there is one figure that pyplot shows."""
    before = mpl.rcParams.copy()
    ax = axes()
    assert clusters(blobs(20, 2)[0], blobs(20, 2)[1], ax=ax) is ax
    assert cost(LEDGER, ax=ax) is ax
    assert plt.get_fignums() == []
    assert clusters(blobs(20, 2)[0], [0, 1] * 10).figure is plt.gcf()
    assert len(plt.get_fignums()) == 1
    assert mpl.rcParams == before


def test_a_map_has_no_ticks_and_one_scale() -> None:
    """The axes of a projection mean nothing, so they carry no numbers, and a unit is as long in both directions."""
    ax = clusters(*blobs(50, 2), ax=axes())
    assert len(ax.get_xticks()) == len(ax.get_yticks()) == 0
    assert ax.get_aspect() == 1.0


@pytest.mark.parametrize(("rows", "groups", "width"), [(300, 12, 7.0), (300, 6, 3.0), (2_000, 20, 7.0), (20, 2, 7.0)])
def test_names_do_not_overlap(rows: int, groups: int, width: float) -> None:
    """Names lie inside the axes and on none of the others; those without room stand in the legend."""
    points, owner = blobs(rows, groups)
    ax = clusters(points, [f"a longer name {number}" for number in owner], ax=axes(width))
    boxes = [extent(text) for text in ax.texts]
    frame = ax.get_window_extent()
    for at, box in enumerate(boxes):
        assert frame.x0 <= box.x0 <= box.x1 <= frame.x1
        assert frame.y0 <= box.y0 <= box.y1 <= frame.y1
        assert not any(box.overlaps(other) for other in boxes[:at])
    assert len(texts_of(ax)) == groups


def test_names_without_room_go_to_the_legend() -> None:
    """On a tiny axes the labels that cannot be written on the map are in the legend, and none is lost."""
    points, owner = blobs(300, 12)
    ax = clusters(points, [f"a rather long name {number}" for number in owner], ax=axes(1.6, 1.4))
    assert ax.get_legend() is not None
    assert len(texts_of(ax)) == 12


def test_a_name_lies_at_its_group() -> None:
    """The names of well separated groups are nearer to their own points than to any others."""
    points = np.array([[0.0, 0.0], [100.0, 0.0], [50.0, 80.0]]).repeat(30, axis=0)
    points += np.random.default_rng(0).normal(size=points.shape)
    ax = clusters(points, ["left"] * 30 + ["right"] * 30 + ["top"] * 30, ax=axes())
    anchors = {text.get_text(): np.asarray(text.xy) for text in ax.texts}
    assert np.allclose([anchors["left"], anchors["right"], anchors["top"]], [[0, 0], [100, 0], [50, 80]], atol=3)


def test_missing_vectors_are_left_out_and_counted() -> None:
    """None, NaN and vectors with NaN are not drawn; their labels go with them; the subtitle counts them."""
    vectors = pd.Series(
        [np.array([float(at), 1.0], dtype="f4") for at in range(8)], index=list("abcdefgh"), dtype=object
    )
    vectors["b"], vectors["d"] = None, float("nan")
    vectors["f"] = np.array([np.nan, 1.0])
    labels = pd.Series(["x", "lost", "x", "lost", "y", "lost", "y", "y"], index=vectors.index)
    ax = clusters(vectors, labels, ax=axes())
    assert drawn(ax) == 5
    assert "3 without a vector left out" in texts_of(ax)
    assert not any("lost" in words for words in texts_of(ax))


@pytest.mark.slow
def test_vectors_are_projected_and_grouped() -> None:
    """Without labels groups are found, and the subtitle says how points and groups came about."""
    matrix, _ = blobs(90, 3, width=12)
    ax = clusters(pd.Series(list(matrix)), ax=axes(), method="pca")
    assert ax.get_title(loc="left") == "90 rows, 3 groups"
    assert {"0", "1", "2"} < set(texts_of(ax))
    assert any(words.startswith("PCA of 90 vectors") and "KMeans" in words for words in texts_of(ax))


def test_numbers_get_words_from_texts_or_names() -> None:
    """Groups that are numbers are named by their texts, or by `names`, which win; words stay as they are."""
    points, owner = blobs(40, 2)
    texts = ["refund" if number else "parcel" for number in owner]
    assert set(texts_of(clusters(points, owner, texts=texts, ax=axes()))) == {"refund", "parcel"}
    assert set(texts_of(clusters(points, owner, texts=texts, names={0: "A"}, ax=axes()))) == {"A", "refund"}
    assert set(texts_of(clusters(points, owner, names=["A", "B"], ax=axes()))) == {"A", "B"}
    assert set(texts_of(clusters(points, ["p", "q"] * 20, texts=texts, ax=axes()))) == {"p", "q"}


def test_long_names_stay_distinct() -> None:
    """Names that differ only at their ends are cut in the middle, on a map and beside a field."""
    long = [f"a.path.that.goes.on.and.on.through.many.rooms.to.its.end_{at}" for at in range(3)]
    points = np.eye(3).repeat(9, axis=0)
    written = texts_of(clusters(points, np.repeat(long, 9), method="pca", ax=axes()))
    assert sorted(words[-5:] for words in written if "_" in words) == ["end_0", "end_1", "end_2"]
    field = similarity(np.eye(3), long, ax=axes())
    assert [name[-5:] for name in names(field)] == ["end_0", "end_1", "end_2"]


def test_noise_and_missing_labels_are_grey() -> None:
    """-1 is noise and a missing label is missing: both grey, both in the legend with their share."""
    points, _ = blobs(100, 2)
    ax = clusters(points, [0] * 50 + [-1] * 30 + [None] * 20, ax=axes())
    assert set(texts_of(ax)) == {"0", "noise (30%)", "missing (20%)"}
    greys = [len(part.get_offsets()) for part in ax.collections if to_hex(part.get_facecolors()[0]) == GREY.lower()]
    assert sorted(greys) == [20, 30]


def test_too_many_labels_keep_the_largest() -> None:
    """Of 40 labels the 24 largest have names; the others are grey, and the legend counts them."""
    owner = np.repeat(np.arange(40), np.arange(40, 0, -1))
    points = np.random.default_rng(0).normal(size=(len(owner), 2)) + owner[:, None] * 3
    ax = clusters(points, owner, ax=axes(12, 9))
    rest = f"16 smaller groups ({sum(range(1, 17)) / len(owner):.0%})"
    assert set(texts_of(ax)) == {rest, *map(str, range(DISTINCT))}
    assert ax.get_title(loc="left").endswith("40 groups")


def test_colors_follow_the_order_of_a_categorical() -> None:
    """The color of a label is its place among the labels, not its size: two maps of one column agree."""
    points, _ = blobs(60, 2)
    kinds = pd.Categorical(["b", "a", "a"] * 20, categories=["b", "a", "unused"])
    ax = clusters(points, kinds, ax=axes())
    shades = [to_hex(face) for face in ax.collections[0].get_facecolors()]
    assert shades.count(color_and_marker(0)[0].lower()) == 20
    assert shades.count(color_and_marker(1)[0].lower()) == 40


@pytest.mark.parametrize("given", [[], np.empty((0, 8)), pd.Series([None, None], dtype=object)])
def test_nothing_to_show_is_said(given: Any) -> None:
    """Without a vector the axes say so instead of failing."""
    assert any("no vectors to show" in words for words in texts_of(clusters(given, ax=axes())))


def test_the_mark_is_visible() -> None:
    """A mark is written in a box on the axes, and no name lies on it."""
    ax = clusters(*blobs(200, 6), mark="emulator", ax=axes(3, 3))
    marks = [text for text in ax.texts if text.get_text() == "emulator"]
    assert len(marks) == 1
    assert marks[0].get_bbox_patch() is not None
    others = [extent(text) for text in ax.texts if text is not marks[0]]
    assert not any(extent(marks[0]).overlaps(other) for other in others)


@pytest.mark.slow
def test_what_the_emulator_made_is_stamped_by_itself() -> None:
    """Vectors, points, results, runs and comparisons name the emulator; `mark` gives another word, or none."""
    texts = pd.DataFrame({"text": ["I want my money back", "Where is my parcel?", "Hello"]})
    with cf.connect("emulator", store=False, rate=None, progress=False):
        vectors = texts.cfai.embed("text")
        sure = texts.cfai.check("text", "a refund", probabilities=True)
        found = texts.cfai.compare(cf.Classify(labels=["a", "b"]), "text", models=["clef-flash", "clef"])
        points = vectors.cfai.project(method="pca")
    three, run = {"labels": ["a", "b", "b"]}, cf.last_run()
    made: list[tuple[Any, Any, dict[str, Any]]] = [
        (clusters, vectors, three), (clusters, list(vectors), three), (clusters, points, three),
        (clusters, np.eye(3)[:, :2], {"labels": sure["p"].round()}), (similarity, vectors, {}),
        (similarity, cf.matrix(vectors), {"mark": "emulator"}), (confidence, sure, {}), (confidence, sure["p"], {}),
        (latency, run, {}), (concurrency, run, {}), (compare, found, {}), (compare, found.table, {}),
        (cost, LEDGER.assign(origin="emulator"), {}),
    ]  # fmt: skip
    for draw, data, options in made:
        assert "emulator" in texts_of(draw(data, ax=axes(), **options)), draw
        assert "mine" in texts_of(draw(data, ax=axes(), **{**options, "mark": "mine"}))
        assert "emulator" not in texts_of(draw(data, ax=axes(), **{**options, "mark": ""}))
    assert "emulator" not in texts_of(clusters(np.eye(3)[:, :2], iter("abc"), ax=axes()))


def test_what_all_plots_share_is_in_the_help_of_each() -> None:
    """`help` of a plot says what `ax`, `title` and `mark` are."""
    for name in cf.plots.__all__:
        listed = re.findall(r"^(\w[\w, ]*) : ", inspect.getdoc(getattr(cf.plots, name)) or "", re.MULTILINE)
        assert {"ax", "title", "mark"} <= {each for names in listed for each in names.split(", ")}, name


@pytest.mark.slow
@pytest.mark.parametrize(
    "hostile", ["$x_{broken", "返品と交換", "a\nb\tc", "🚚" * 30, "x" * 500, "<b>&amp;</b>", "\x00\x07", ""]
)
def test_any_label_is_drawn_without_a_warning(hostile: str) -> None:
    """Broken math, scripts without a font, control characters and endless words are drawn as far as they can be."""
    ax = clusters(blobs(30, 2)[0], [hostile, "plain"] * 15, title=hostile, mark=hostile, ax=axes())
    assert picture(ax)[1:4] == b"PNG"
    for ax in (
        cost(LEDGER.assign(model=hostile), title=hostile, ax=axes()),
        similarity(np.eye(2), [hostile, "plain"], title=hostile, mark=hostile, ax=axes()),
        confidence(pd.Series([0.5], name=hostile), ax=axes()),
        compare(models(("plain", 0.5, 1.0, "exact", 1.0), (hostile, 0.6, 2.0, "exact", 1.0)), title=hostile, ax=axes()),
    ):
        assert picture(ax)[1:4] == b"PNG"


def test_letters_look_in_other_fonts_first() -> None:
    """A character that the chosen font lacks comes from another one that is installed; only then is it a box."""
    with mpl.rc_context({"font.family": ["cmss10"]}):
        text, families = drawable("Größe 𒀀 →")
    assert text == "Größe □ →"
    assert families == ["cmss10", "DejaVu Sans"]


def test_names_are_dark_enough_and_colors_distinct() -> None:
    """Every color of the palette, as text, has a contrast of 4.5 with white; color and shape are never the same."""
    looks = [color_and_marker(position) for position in range(DISTINCT)]
    assert len(set(looks)) == DISTINCT
    for shade, _ in looks:
        parts = np.array(mpl.colors.to_rgb(readable(shade)))
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        assert 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) >= 4.45


def test_text_can_be_read_on_a_dark_figure() -> None:
    """In a dark style every text, and every name in the color of its group, has a contrast of 4.5 with the figure."""
    with plt.style.context("dark_background"):
        made = [
            clusters(*blobs(100, 24)), cost(LEDGER), cost(LEDGER, "time"), similarity(np.eye(20), title="twenty"),
            confidence(sure(), ["a", "b", None, "b"]), latency(np.arange(1, 101) / 100),
            compare(models(("a", 0.5, 1.0, "exact", 1.0), ("b", 0.6, 2.0, "estimated", 1.0))),
        ]  # fmt: skip
        for ax in made:
            legend, ticks = ax.get_legend(), [*ax.get_xticklabels(), *ax.get_yticklabels()]
            written = [ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.texts, *ticks]
            for text in [*written, *(legend.get_texts() if legend else [])]:
                assert readable(text.get_color(), "#000000") == to_hex(text.get_color()), text
            assert picture(ax)[1:4] == b"PNG"
    ground = Figure(facecolor="#101418").subplots()
    legend = clusters(*blobs(60, 3), legend=True, ax=ground).get_legend()
    ground_of_names = to_hex(legend.get_frame().get_facecolor())
    assert all(readable(to_hex(text.get_color()), ground_of_names) == to_hex(text.get_color()) for text in legend.texts)


@pytest.mark.parametrize(
    ("given", "labels", "message"),
    [
        (np.ones((3, 2)), ["a"], "1 values for 3 rows"),
        (["a", "b"], None, "row 0 is not a vector but str"),
        ([[1.0, 2.0], [1.0]], None, "all of one length"),
        ([1, 2, 3], None, "row 0 is not a vector but int"),
        (pd.Series([[1.0, 2.0]] * 2), pd.Series(["a", "b"], index=[5, 6]), "its index differs"),
    ],
)
def test_what_is_not_a_map_is_refused(given: Any, labels: Any, message: str) -> None:
    """Labels that do not fit, words, ragged vectors and foreign indexes are errors that say what is wrong."""
    with pytest.raises(ValueError, match=message):
        clusters(given, labels, ax=axes())


def bars(ax: Any) -> list[tuple[float, float]]:
    """(left, width) of every bar in order."""
    return [(bar.get_x(), bar.get_width()) for bar in ax.patches]


def names(ax: Any) -> list[str]:
    return [tick.get_text() for tick in ax.get_yticklabels()]


def test_bars_are_exact_then_estimated_then_saved() -> None:
    """A bar is what the service counted, then the estimate, then what the store saved; the dearest model first."""
    ax = cost(LEDGER, unit="neurons", ax=axes())
    assert names(ax) == ["glm-4.7-flash", "bge-m3", "flux"]
    exact, estimated, saved = bars(ax)[:3], bars(ax)[3:6], bars(ax)[6:]
    assert exact == [(0, 220.5), (0, 2.8), (0, 0)]
    assert estimated[0] == (220.5, 44.5)
    assert saved == [(265.0, 100.0)]
    assert ax.patches[3].get_hatch() == "////"
    assert ax.patches[0].get_hatch() is None
    assert ax.patches[6].get_facecolor()[3] == 0


def test_dollars_are_written_at_the_bar_ends() -> None:
    """Labels carry the amounts with as many digits as matter, and the subtitle their sums."""
    words = texts_of(cost(LEDGER, ax=axes()))
    assert "$0.0029, $0.0011 saved" in words
    assert "$0.000031" in words
    assert any("$0.0029 in all, $0.00049 of it estimated" in line for line in words)


def test_unknown_prices_are_words_and_never_zero() -> None:
    """Calls of unknown price are counted in words, at their bar and in the subtitle; $0 is a call known to be free."""
    ax = cost(LEDGER[LEDGER["model"] == "@cf/lab/flux"], ax=axes())
    assert texts_of(ax) == ["4 calls of unknown price"] * 2
    assert not ax.patches
    assert len(ax.get_xticks()) == 0
    free = charges(("2026-11-20", "m", "embed", 1, 1, 0.0, True, 0.0, "cloudflare"))
    assert texts_of(cost(free, ax=axes())) == ["$0", "$0 in all"]


def test_days_are_in_order_and_in_utc() -> None:
    """By day the bars follow the calendar, split at midnight UTC."""
    ax = cost(LEDGER, "day", unit="neurons", ax=axes())
    assert names(ax) == ["2026-11-20", "2026-11-21", "2026-11-22"]
    assert bars(ax)[:2] == [(0, 2.8), (0, 220.5)]


def test_an_emulator_bills_nothing_and_says_so() -> None:
    """Charges of the emulator alone change the title and the line below it."""
    ax = cost(LEDGER.assign(origin="emulator"), ax=axes())
    assert ax.get_title(loc="left") == "What it would have cost, by model"
    assert any("emulator: nothing was billed; what it would have cost" in words for words in texts_of(ax))


def test_real_money_and_an_emulators_are_never_added() -> None:
    """Side by side each has its own bar, named as such, and the total is the real one."""
    mixed = pd.concat([LEDGER.iloc[:1], LEDGER.iloc[:2].assign(origin="emulator")])
    ax = cost(mixed, unit="neurons", ax=axes())
    assert names(ax) == ["glm-4.7-flash (emulator)", "bge-m3", "bge-m3 (emulator)"]
    assert any(words.startswith("2.8 Neurons in all · emulator: nothing was billed") for words in texts_of(ax))


def test_models_of_one_short_name_keep_their_paths() -> None:
    """Two models with paths that end alike are written with the whole path."""
    twins = pd.concat([LEDGER.iloc[:1], LEDGER.iloc[:1].assign(model="@cf/other/bge-m3"), LEDGER.iloc[1:2]])
    assert names(cost(twins, ax=axes())) == ["glm-4.7-flash", "@cf/baai/bge-m3", "@cf/other/bge-m3"]


def test_many_models_share_a_last_bar() -> None:
    """Of 30 models eleven have bars of their own; the others are one bar, and no Neuron is lost."""
    many = charges(
        *[("2026-11-20", f"@cf/a/m{at}", "embed", 1, 1, 2.0**at, True, 0.0, "cloudflare") for at in range(30)]
    )
    ax = cost(many, unit="neurons", ax=axes())
    assert len(names(ax)) == 12
    assert names(ax)[-1] == "19 others"
    assert sum(width for _, width in bars(ax)) == 2.0**30 - 1


@pytest.mark.parametrize("empty", [LEDGER.iloc[:0], pd.DataFrame()])
def test_an_empty_ledger_is_said(empty: pd.DataFrame) -> None:
    """Without a charge the axes say "nothing charged yet"."""
    assert texts_of(cost(empty, ax=axes())) == ["nothing charged yet"]


def test_labels_end_inside_the_axes() -> None:
    """The axis is long enough for the labels, also on a narrow axes."""
    for width in (8.0, 4.0):
        ax = cost(LEDGER, ax=axes(width))
        labels = [text for text in ax.texts if "unknown" in text.get_text() or "$" in text.get_text()]
        assert labels
        assert max(extent(label).x1 for label in labels) <= ax.get_window_extent().x1 + 1


def test_a_frame_of_other_things_is_refused() -> None:
    """Missing columns, and words that mean nothing, are errors with what there should be."""
    with pytest.raises(ValueError, match="usd missing"):
        cost(LEDGER.drop(columns="usd"), ax=axes())
    with pytest.raises(ValueError, match="'model', 'verb', 'day', 'hour' or 'time'"):
        cost(LEDGER, "week", ax=axes())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'usd' or 'neurons'"):
        cost(LEDGER, unit="eur", ax=axes())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "$0"), (0.000031, "$0.000031"), (0.0042, "$0.0042"), (0.13, "$0.13"), (0.999, "$1.00"), (1, "$1.00"),
        (12.3, "$12.30"), (1234.5, "$1,234.50"), (-0.5, "-$0.50"), (3e-15, "$0.000000000001"), (0.0999, "$0.10"),
    ],
)  # fmt: skip
def test_amounts_read_as_money(value: float, written: str) -> None:
    """Two decimals from a dollar up, two significant digits below, and never an exponent."""
    assert amount(value, "usd") == written


def test_a_name_hides_no_lone_point() -> None:
    """The only point of a group stays visible beside its name."""
    ax = clusters([[0.0, 0.0]], ["one"], ax=axes())
    point = ax.transData.transform([0.0, 0.0])
    (name,) = (text for text in ax.texts if text.get_text() == "one")
    assert not extent(name).contains(*point)


def test_hours_have_bars_and_words_cut_to_fit() -> None:
    """By hour a bar is an hour in UTC; a name without end is cut and does not push the bars away."""
    assert names(cost(LEDGER, "hour", ax=axes()))[:2] == ["2026-11-20 23:00", "2026-11-21 00:00"]
    (name,) = names(cost(LEDGER.iloc[:1].assign(model="x" * 500), ax=axes()))
    assert len(name) <= 32
    assert name.endswith("…")


def test_a_sum_of_the_last_days_says_so() -> None:
    """Only the last 31 days have bars, and their sum does not claim to be that of the whole ledger."""
    days = [f"2026-{month}-{day:02}" for month in ("09", "10") for day in range(1, 31)]
    ax = cost(charges(*[(day, "m", "embed", 1, 1, 1.0, True, 0.0, "cloudflare") for day in days]), "day",
              unit="neurons", ax=axes())  # fmt: skip
    assert len(names(ax)) == 31
    assert "31.0 Neurons in the last 31 days with charges" in texts_of(ax)


def test_costs_add_up_over_time() -> None:
    """By time the areas end at the sums, the line of savings above them; unknown prices are crosses and words."""
    ax = cost(LEDGER, "time", unit="neurons", ax=axes())
    tops = [max(path.vertices[:, 1].max() for path in area.get_paths()) for area in ax.collections]
    assert tops == pytest.approx([223.3, 267.8])
    assert ax.lines[0].get_ydata()[-1] == pytest.approx(367.8)
    assert len(ax.lines[1].get_xdata()) == 1
    assert {"exact", "estimated", "saved by stored answers", "4 calls of unknown price"} <= set(texts_of(ax))


def test_costs_of_a_short_run_fill_the_picture() -> None:
    """The last step is as short as the run asks for: ten seconds of charges are not a corner of a minute."""
    moments = pd.date_range("2026-01-01", periods=len(LEDGER), freq=pd.Timedelta(10 / (len(LEDGER) - 1), "s"), tz="UTC")
    low, high = cost(LEDGER.assign(time=moments), "time", ax=axes()).get_xlim()
    assert (high - low) * 86_400 == pytest.approx(10.2, abs=0.01)
    for seconds in (3, 8, 45, 400, 1_500, 40_000):
        moments = pd.date_range("2026-01-01T00:00:03", periods=len(LEDGER), freq=f"{seconds}s", tz="UTC")
        ax = cost(LEDGER.assign(time=moments), "time", ax=axes())
        low, high = ax.get_xlim()
        assert 3 <= sum(low <= tick <= high for tick in ax.get_xticks()) <= 8, seconds
        picture(ax)
        if seconds < 1_000:  # bare seconds or minutes say nothing; at midnight a date stands instead
            assert all(":" in label.get_text() for label in ax.get_xticklabels() if label.get_text()), seconds


@pytest.mark.parametrize("by", ["model", "time"])
def test_costs_of_an_emulator_are_stamped(by: Any) -> None:
    """A plot of an emulator's charges alone carries the stamp; with real ones beside them the bars say it."""
    emulated = LEDGER.assign(origin="emulator")
    assert "emulator" in texts_of(cost(emulated, by, ax=axes()))
    assert "emulator" not in texts_of(cost(pd.concat([LEDGER, emulated]), by, ax=axes()))


@pytest.mark.parametrize("rows", [1, 3])
def test_costs_over_time_of_few_charges(rows: int) -> None:
    """One charge, and charges of unknown price alone, are drawn; an unknown price is not drawn as zero."""
    ax = cost(LEDGER.iloc[-rows:], "time", ax=axes())
    assert "4 calls of unknown price" in texts_of(ax)
    assert bool(len(ax.get_yticks())) == (rows > 1)


def test_similarities_of_few_rows_have_names_and_numbers() -> None:
    """Vectors are compared by cosine in their own order; labels stand at both sides, numbers in the cells."""
    vectors = pd.Series([np.array([1.0, 0.0]), None, np.array([3.0, 4.0])], index=["a", "b", "c"], dtype=object)
    ax = similarity(vectors, ax=axes())
    assert np.allclose(ax.images[0].get_array(), [[1, 0.6], [0.6, 1]])
    assert names(ax) == [tick.get_text() for tick in ax.get_xticklabels()] == ["a", "c"]
    assert {"0.60", "cosine · 1 without a vector left out"} <= set(texts_of(ax))


def test_many_rows_are_ordered_by_likeness() -> None:
    """Beyond 40 rows neighbors are alike, whatever order they came in, and no labels are written."""
    points = np.eye(3).repeat(20, axis=0)[np.random.default_rng(0).permutation(60)]
    ax = similarity(points, ax=axes())
    field = np.asarray(ax.images[0].get_array())
    assert np.count_nonzero(np.diff(field[0])) + np.count_nonzero(np.diff(np.diag(field, 1))) <= 6
    assert names(ax) == []


def test_similarities_are_taken_as_they_are() -> None:
    """A symmetric square with ones on its diagonal is similarities already; `metric` says otherwise."""
    given = np.array([[1.0, 0.2], [0.2, 1.0]])
    assert np.allclose(similarity(given, ax=axes()).images[0].get_array(), given)
    assert similarity(given, metric="cosine", ax=axes()).images[0].get_array()[0, 1] == pytest.approx(0.3846, abs=1e-4)


@pytest.mark.parametrize(
    ("given", "metric", "message"),
    [
        (np.ones((2_001, 2)), "auto", r"vectors.sample\(2000\).*plots.clusters"),
        (np.ones((3, 2)), "precomputed", "a square"),
        (np.ones((3, 2)), "euclidean", "metric must be"),
    ],
)
def test_what_is_not_a_matrix_is_refused(given: Any, metric: Any, message: str) -> None:
    """Too many rows, no square, and an unknown metric are errors that say what to do."""
    with pytest.raises(ValueError, match=message):
        similarity(given, metric=metric, ax=axes())


def sure(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"label": ["a", "a", "b", "b"], "confidence": [0.9, 0.8, 0.7, np.nan], **columns})


def test_confidence_is_a_histogram() -> None:
    """Rows are counted by confidence; those without a number are left out and counted."""
    ax = confidence(sure(), ax=axes())
    assert sum(bar.get_height() for bar in ax.patches) == 3
    assert any("1 without a number left out" in words for words in texts_of(ax))


def test_confidence_is_the_probability_of_the_answer() -> None:
    """What ``classify`` calls confidence is the probability of the label given, in histogram and curve."""
    cf.connect("emulator", rate=None, store=False)
    got = pd.Series(["refund my invoice", "the app crashes"]).cfai.classify(["billing", "bug"], probabilities=True)
    own = [row[f"p__{row['label']}"] for _, row in got.iterrows()]
    assert got["confidence"].tolist() == own
    both = sure(confidence=[0.95, 0.9, 0.85, 0.5])
    ax = confidence(both, ["a", "b", "b", "b"], ax=axes())
    assert ax.get_xlabel() == confidence(both, ax=axes()).get_xlabel() == "probability of the answer given"
    assert any(words.startswith("ECE 0.375 · Brier 0.271") for words in texts_of(ax))
    asked = both.rename(columns=lambda name: {"label": "kind"}.get(name, f"kind__{name}"))
    assert texts_of(confidence(asked, ["a", "b", "b", "b"], ax=axes())) == texts_of(ax)


def test_reliability_has_its_scores() -> None:
    """With a truth ECE and Brier score are written, and rows whose truth is unknown are left out."""
    ax = confidence(sure(), ["a", "b", None, "b"], ax=axes())
    assert any(words.startswith("ECE 0.450 · Brier 0.325 · 2 rows") for words in texts_of(ax))
    assert any("1 without truth left out" in words for words in texts_of(ax))
    found = calibrate(np.array([0.05, 0.95, 0.95, 1.0]), np.array([False, True, True, True]))
    assert found.count.tolist() == [1, 3]
    assert found.ece == pytest.approx((0.05 + 3 * (1 - 2.9 / 3)) / 4)
    assert found.brier == pytest.approx(3 * 0.05**2 / 4)


def test_answers_of_ask_are_chosen_by_question() -> None:
    """``<name>__p`` and ``<name>__confidence`` are found; of several one has to be named."""
    frame = pd.DataFrame(
        {"late": [True, False], "late__p": [0.9, 0.2], "team": ["a", "b"], "team__confidence": [0.6, 0.7]}
    )
    with pytest.raises(ValueError, match="question='late' or another of late, team"):
        confidence(frame, ax=axes())
    assert confidence(frame, [True, False], question="late", ax=axes()).get_xlabel() == "probability of yes"
    team = frame[["team", "team__confidence"]]
    assert confidence(team, ax=axes()).get_xlabel() == "probability of the answer given"
    assert confidence(frame["team__confidence"], ax=axes()).get_xlabel() == "confidence"
    check = pd.DataFrame({"check": [True], "p": [0.9]})
    assert confidence(check, [True], ax=axes()).get_title(loc="left") == "Reliability of check"


@pytest.mark.parametrize(
    ("given", "truth", "message"),
    [
        (pd.DataFrame({"label": ["a"]}), None, "probabilities=True"),
        (pd.Series([1.5]), None, "between 0 and 1"),
        (pd.Series([0.5]), ["a"], "True or False"),
        (pd.DataFrame({"score": [1.2], "confidence": [0.5]}), [1], "place on a scale"),
        (sure(), ["a"], "1 values for 4 rows"),
    ],
)
def test_what_is_not_a_confidence_is_refused(given: Any, truth: Any, message: str) -> None:
    """Frames without probabilities, numbers that are none, and truths that do not fit are errors."""
    with pytest.raises(ValueError, match=message):
        confidence(given, truth, ax=axes())


def test_no_confidence_is_said() -> None:
    """Where no answer has a confidence the axes say so."""
    empty = sure(confidence=[np.nan] * 4)
    assert any("no row has a confidence" in words for words in texts_of(confidence(empty, ax=axes())))
    assert texts_of(confidence(sure().iloc[:0], ax=axes())) == ["no rows to show"]


def test_latency_writes_its_percentiles() -> None:
    """p50 and p95 are written; a run without requests is empty; spread-out times have a logarithmic scale."""
    ax = latency(np.arange(1, 101) / 100, ax=axes())
    assert {"p50 505 ms", "p95 950 ms"} <= set(texts_of(ax))
    assert sum(bar.get_height() for bar in ax.patches) == 100
    assert latency(np.geomspace(0.01, 100, 50), ax=axes()).get_xscale() == "log"
    assert texts_of(latency([], ax=axes())) == ["no requests"]


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0"),
        (0.0123, "12.3 ms"),
        (0.9999, "1 s"),
        (1.25, "1.2 s"),
        (42, "42 s"),
        (150, "2.5 min"),
        (7_200, "120 min"),
    ],
)
def test_durations_read_as_time(seconds: float, written: str) -> None:
    """Times are written in the unit people would use."""
    assert duration(seconds) == written


def test_durations_have_no_more_digits_than_asked_for() -> None:
    """Two digits where a name and a time stand together, and never an exponent."""
    assert [duration(0.000738, 2), duration(0.4256, 2)] == ["0.74 ms", "430 ms"]


def test_a_run_is_drawn_by_itself() -> None:
    """Without an argument it is the last run; the emulator's is stamped; from the store there is nothing to time."""
    with cf.connect("emulator", rate=None):
        texts = pd.Series(["I want my money back", "Where is my parcel?"], name="text")
        texts.cfai.check("a refund", progress=False)
        ax = latency(ax=axes())
        assert {"emulator"} <= set(texts_of(ax))
        assert sum(bar.get_height() for bar in ax.patches) == 2
        ax = concurrency(ax=axes())
        assert ax.lines[0].get_ydata()[-1] == 0
        assert "emulator" in texts_of(ax)
        texts.cfai.check("a refund", progress=False)
        assert (
            texts_of(latency(ax=axes()))
            == texts_of(concurrency(ax=axes()))
            == ["no requests: 2 rows came from the store"]
        )


def models(*rows: tuple[Any, ...]) -> pd.DataFrame:
    """A table as ``df.cfai.compare`` makes it."""
    frame = pd.DataFrame(list(rows), columns=["model", "accuracy", "usd_per_1k", "price", "p50"]).set_index("model")
    return frame.assign(judged=50, on_front=front(frame, "accuracy"))


def test_models_are_drawn_with_their_front() -> None:
    """Names carry the latency; the front joins unbeaten models; unknown prices have a strip of their own."""
    table = models(
        ("@cf/a/cheap", 0.7, 0.01, "exact", 0.2), ("@cf/a/beaten", 0.6, 0.02, "estimated", 0.5),
        ("@cf/a/best", 0.9, 0.05, "exact", 2.0), ("@cf/a/new", 0.8, np.nan, "unknown", np.nan),
    )  # fmt: skip
    assert table["on_front"].tolist() == [True, False, True, False]
    ax = compare(table, ax=axes())
    assert {"cheap 200 ms", "beaten 500 ms", "best 2 s", "new", "unknown"} <= set(texts_of(ax))
    assert max(ax.get_xticks()) < 0.06  # none among the unknown
    assert max(ax.get_yticks()) <= 1
    assert set(ax.lines[0].get_xdata()) == {0.01, 0.05}
    hollow = [len(part.get_facecolors()) and to_hex(part.get_facecolors()[0]) == "#ffffff" for part in ax.collections]
    assert sum(map(bool, hollow)) == 1
    assert any("cross: all from the store" in words for words in texts_of(ax))


def test_models_without_answers_or_columns() -> None:
    """An empty comparison is written in the middle; a frame of other things is refused."""
    assert texts_of(compare(models().astype({"accuracy": float}), ax=axes())) == ["no answers to compare"]
    with pytest.raises(ValueError, match="agreement, usd_per_1k, p50, on_front missing"):
        compare(pd.DataFrame({"price": []}), ax=axes())


def test_completion_shows_plots_only() -> None:
    """``cf.plots.<TAB>`` offers the plots and nothing else, in the order of the alphabet."""
    assert dir(cf.plots) == sorted(cf.plots.__all__)
    assert len(dir(cf.plots)) >= 10
    for name in dir(cf.plots):
        assert {"ax", "title", "mark"} <= set(inspect.signature(getattr(cf.plots, name)).parameters), name


@pytest.mark.slow
def test_plots_pick_no_backend_for_a_given_axes() -> None:
    """Drawing on a given axes does not load pyplot."""
    code = (
        "import sys, numpy as np; from matplotlib.figure import Figure; from cfai_nb.plots import clusters;"
        "clusters(np.eye(2), ['a', 'b'], ax=Figure().subplots()); print('matplotlib.pyplot' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"


def test_confusion_counts_and_names_the_rows() -> None:
    """Counts and shares of each pair, a column for rows without an answer, and the rows behind a cell."""
    guess = pd.Series(["a", "a", "b", "b", None, "a", "c"], index=list("tuvwxyz"))
    truth = pd.Series(["a", "a", "a", "b", "b", "b", None], index=guess.index)
    ax = confusion(guess, truth, ax=axes())
    assert sorted(text.get_text() for text in ax.texts if "\n" in text.get_text()) == [
        "1\n33%", "1\n33%", "1\n33%", "1\n33%", "2\n67%",
    ]  # fmt: skip
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["a", "b", "c", "no answer"]
    assert ax.rows_of("a", "b") == ["v"]
    assert ax.rows_of("b", None) == ["x"]
    words = " ".join(texts_of(ax)) + ax.get_title(loc="left")
    assert "0.6, " in words
    assert "1 without truth left out" in words
    assert confusion(guess, [None] * 7, ax=axes()).get_title(loc="left") == ""
    with pytest.raises(ValueError, match="more than 60 cannot be read"):
        confusion([f"label {at}" for at in range(61)], [f"label {at}" for at in range(61)])
    for cell in (["a"], {"a": 1}, np.zeros(2), (["a"],)):
        with pytest.raises(ValueError, match="a label is one value a row, such as a text, and here one is"):
            confusion(pd.Series(["a", "b"]), pd.Series([cell, None], dtype=object))


def test_a_truth_in_another_case_is_right() -> None:
    """A truth "Refund" is the answer "refund" in every plot, as it is for ``cf.quality``."""
    frame = pd.DataFrame({"classify": pd.Categorical(["refund", "bug"]), "confidence": [0.9, 0.8]})
    assert read_confidence(frame, ["Refund ", "BUG"], None)[2].tolist() == [True, True]  # type: ignore[union-attr]
    ax = confusion(frame["classify"], ["Refund ", "BUG"], ax=axes())
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["bug", "refund"]
    assert (ax.rows_of("Refund ", "refund"), ax.rows_of("bug", "refund")) == ([0], [])


def test_reliability_compares_models() -> None:
    """A curve for each model, with its scores in the legend; hostile names are drawn as they are."""
    truth = ["a", "b", "b", "b"]
    ax = reliability({"one $x$": sure(), "two": sure(confidence=[0.9, 0.9, 0.9, 0.9])}, truth, ax=axes())
    words = texts_of(ax)
    assert any(word.startswith("one $x$: ECE ") and word.endswith("3 rows") for word in words)
    assert any(word.startswith("two: ECE ") and word.endswith("4 rows") for word in words)
    assert len(ax.containers) == 2
    assert reliability(sure(), truth, ax=axes()).get_title(loc="left") == "Reliability"
    with pytest.raises(ValueError, match="probabilities=True"):
        reliability({}, truth)


def _street(size: tuple[int, int] = (200, 100)) -> pd.DataFrame:
    """Three rows: a picture with two boxes, one with none, and one without an answer."""
    from PIL import Image

    sides = {"xmin": 20.0, "ymin": 10.0, "xmax": 60.0, "ymax": 90.0}
    found = [
        [{"label": "$dog^2$", "score": 0.9, **sides}, {"label": "car", "score": 0.2, **sides, "xmax": 900.0}],
        [],
        None,
    ]
    pictures = [np.asarray(Image.new("RGB", size, color)) for color in ("#336699", "#ffffff", "#000000")]
    return pd.DataFrame({"photo": pd.Series(pictures, dtype=object), "boxes": pd.Series(found, dtype=object)})


def test_boxes_lie_where_the_model_saw_them() -> None:
    """A box is drawn in the pixels of its picture, with label and score; what reaches out ends at the edge."""
    ax = boxes(_street(), "photo", "boxes", ax=axes())
    assert ax.get_title(loc="left") == "2 boxes in 2 pictures"
    assert {"$dog^2$ 0.90", "car 0.20", "1 without an answer"} <= set(texts_of(ax))
    x, y, x1, y1 = ax.images[0].get_extent()[0], ax.images[0].get_extent()[3], *ax.images[0].get_extent()[1:3]
    drawn = {
        tuple(np.round([(b.x0 - x) / (x1 - x), (b.y0 - y) / (y1 - y), (b.x1 - x) / (x1 - x), (b.y1 - y) / (y1 - y)], 3))
        for b in (patch.get_bbox() for patch in ax.patches)
    }
    assert drawn == {(0.1, 0.1, 0.3, 0.9), (0.1, 0.1, 1.0, 0.9)}
    weak = boxes(_street(), "photo", "boxes", min_score=0.5, ax=axes())
    assert "1 below a score of 0.5 left out · 1 without an answer" in texts_of(weak)
    assert not any("car" in words for words in texts_of(weak))
    picture(ax)


def test_boxes_of_many_things_have_a_legend_and_files_keep_their_boxes(tmp_path: Any) -> None:
    """Where a picture has many boxes a legend names the colors; boxes out of a parquet file are drawn as before."""
    sides = {"ymin": 1, "xmax": 9, "ymax": 9}
    many = [{"label": f"thing {at % 2}", "score": None, "xmin": at, **sides} for at in range(9)]
    street = _street().assign(boxes=pd.Series([many, [], None], dtype=object))
    street[["boxes"]].to_parquet(tmp_path / "boxes.parquet")
    street["boxes"] = pd.read_parquet(tmp_path / "boxes.parquet")["boxes"]
    ax = boxes(street, "photo", "boxes", ax=axes())
    assert {"thing 0", "thing 1"} <= set(texts_of(ax))
    assert len(ax.patches) == 2 * 9
    picture(ax)


@pytest.mark.parametrize(
    ("cell", "message"),
    [("car", "row 0: not a list of boxes"), ([{"label": "car", "xmin": "x", "ymin": 0, "xmax": 1, "ymax": 1}], "'x'")],
)
def test_what_is_not_a_box_is_refused(cell: Any, message: str) -> None:
    """A column of other things is refused with its row; a picture that cannot be read has its reason in its place."""
    street = _street().head(1)
    with pytest.raises(ValueError, match=message):
        boxes(street.assign(boxes=pd.Series([cell], dtype=object)), "photo", "boxes", ax=axes())
    with pytest.raises(cf.ColumnError, match="boxes"):
        boxes(street, "photo", "boxs", ax=axes())
    broken = boxes(street.assign(photo=pd.Series([b"no picture"], dtype=object)), "photo", "boxes", ax=axes())
    assert any("not a picture" in words for words in texts_of(broken))
    assert "no row has a picture and boxes" in texts_of(boxes(street.head(0), "photo", "boxes", ax=axes()))


def test_pictures_keep_their_colors_in_a_dark_theme() -> None:
    """A notebook shows a plot with light ink in dark themes, but a photograph as it is."""
    import base64
    import re

    from PIL import Image

    ax = boxes(_street().head(2), "photo", "boxes")
    light, dark = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(found))).convert("RGB")).astype(int)
        for found in re.findall('base64,([^"]+)', ax.figure._repr_html_())
    )
    same = (light == dark).all(axis=2)
    blue = (abs(light - [0x33, 0x66, 0x99]) < 12).all(axis=2)
    assert same[blue].mean() > 0.99
    assert not same.all()


def test_the_stamp_is_legible_in_both_themes() -> None:
    """What says that no model answered has a contrast of 4.5 on its ground, also as a dark theme shows it."""
    shown = stamp(Figure().subplots(), "emulator")
    colors = [shown.get_bbox_patch().get_facecolor(), to_rgba(shown.get_color())]
    light = (np.array([colors]) * 255).astype(np.uint8)
    for pixels in (light, for_dark(light)):
        ground, ink = (to_hex(pixel[:3] / 255) for pixel in pixels[0])
        assert readable(ink, ground) == ink
