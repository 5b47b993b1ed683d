"""``%load_ext cfai_nb``: prompt cells, their braces, and the completion of model names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

import cfai_nb as cf


@pytest.fixture
def shell() -> Iterator[Any]:
    """An IPython with the extension, a frame, and variables."""
    made = InteractiveShell.instance()
    made.run_line_magic("load_ext", "cfai_nb")
    made.user_ns.update(
        df=pd.DataFrame({"text": ["It rains.", "It snows."], "n": [1, 2]}), name="river", code="f = {1: {2}}", many=[1]
    )
    with cf.connect("emulator", store=False):
        yield made
    InteractiveShell.clear_instance()


class Heard:
    """Stands in for the model, and keeps what it was asked."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def stream(self, prompt: str, **options: Any) -> Iterator[str]:
        """As cf.stream."""
        self.prompts.append(prompt)
        yield from ("a\x1b[2J", "b")


@pytest.mark.parametrize(
    ("cell", "sent"),
    [
        ("Tell of {name}s", "Tell of rivers"),
        (
            "for (;;) { x = {a: {b: 1}}; }  f'{{name}}' {{}} {{ 1 }} {} {not a name}",
            "for (;;) { x = {a: {b: 1}}; }  f'{name}' {} { 1 } {} {not a name}",
        ),
        ('{"a": {"b": 1}} $name', '{"a": {"b": 1}} $name'),
        ("{code} and {name}", "f = {1: {2}} and river"),
    ],
)
def test_braces_are_safe(shell: Any, monkeypatch: pytest.MonkeyPatch, cell: str, sent: str) -> None:
    """A name in braces is filled in, doubled braces are braces as in generate, and all others stay."""
    heard = Heard()
    monkeypatch.setattr("cfai_nb.widgets.magics.stream", heard.stream)
    shell.run_cell_magic("cfai", "", cell)
    assert heard.prompts == [sent]


def test_a_prompt_cell(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer is shown as it is written, and kept in the variable of -o; the charge is in the ledger."""
    options = "-m llama-3.2-3b-instruct -o answer --max-tokens 50"
    assert shell.run_cell_magic("cfai", options, "What is {{x}}?\n") is None
    assert shell.user_ns["answer"] == "[emulator] What is {x}?"
    assert capsys.readouterr().out == "[emulator] What is {x}?\n"
    assert cf.ledger()["model"].tolist() == ["@cf/meta/llama-3.2-3b-instruct"]
    shell.run_line_magic("cfai", '--system "Be short" -m glm-4.7-flash "Why {{so}}?"')
    assert "Why {so}?" in capsys.readouterr().out


def test_control_characters_do_not_reach_the_terminal(
    shell: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a terminal would obey is shown as a replacement character; the variable has the answer as it came."""
    monkeypatch.setattr("cfai_nb.widgets.magics.stream", Heard().stream)
    shell.run_cell_magic("cfai", "-o answer", "Hello")
    assert capsys.readouterr().out == "a\N{REPLACEMENT CHARACTER}[2Jb\n"
    assert shell.user_ns["answer"] == "a\x1b[2Jb"


def test_a_frame_of_prompts(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """With --df columns fill the template, then variables; doubled braces mean in it what they mean in generate."""
    shell.run_cell_magic("cfai", "--df df -o out", 'JSON {"a": {n:.1f}} {name} {{rows}} of {text}')
    assert shell.user_ns["out"].index.tolist() == [0, 1]
    assert cf.last_run().run.plan.inputs[0] == 'JSON {"a": 1.0} river {rows} of It rains.'
    answers = shell.run_cell_magic("cfai", "--df df", "Say {text}")
    assert answers.str.contains("It").all()


@pytest.mark.parametrize(
    ("line", "cell", "words"),
    [
        ("", "Tell of {nam}", "Did you mean {name}"),
        ("--df df", "Say {text} and {txt}", "Did you mean {text}"),
        ("--df df", "Say {text} and {rows}", "Write {{rows}} for literal braces"),
        ("--df df", "Say {text} and {texts}", "Did you mean {text}"),
        ("", "Look: {df}", "--df df"),
        ("", "Look: {many}", "is a list"),
        ("", "  \n", "the prompt is empty"),
        ("--df nothing", "Say {text}", "does not exist"),
        ("--df name", "Say {text}", "is not a DataFrame or Series"),
        ("-o 1x", "Say", "not a valid variable name"),
        ("what is this", "Say", "'what is this'"),
        ("--df df", "Say it", "names no column"),
        ("-m glm-4.7-flush", "Say it", "Did you mean"),
    ],
)
def test_mistakes_send_nothing(shell: Any, line: str, cell: str, words: str) -> None:
    """A mistake says what to do, and nothing is sent."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - IPython's UsageError, or one of ours
        shell.run_cell_magic("cfai", line, cell)
    assert words in str(caught.value)
    assert len(cf.ledger()) == 0


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("%%cfai -m glm-4.", ["%%cfai -m glm-4.7-flash"]),
        ("%%cfai -o x -m @cf/zai-org/glm-4", ["%%cfai -o x -m @cf/zai-org/glm-4.7-flash"]),
        ("%cfai --model gpt-oss-1", ["%cfai --model gpt-oss-120b"]),
        ("%%cfai --df d", ["%%cfai --df df"]),
        ("%%cfai --te", ["%%cfai --temperature"]),
    ],
)
def test_names_are_completed(shell: Any, line: str, offered: list[str]) -> None:
    """Models after -m, frames after --df, options after a hyphen; and nothing of Python's own among them."""
    with provisionalcompleter():
        found = [line[: c.start] + c.text for c in shell.Completer.completions(line, len(line))]
    assert found == offered


@pytest.mark.slow
def test_completion_leaves_other_lines_alone(shell: Any) -> None:
    """The prompt below, and other cells, complete as ever."""
    with provisionalcompleter():
        text = "%%cfai -m glm-4.7-flash\nna"
        assert "name" in [c.text for c in shell.Completer.completions(text, len(text))]
        assert "name" in [c.text for c in shell.Completer.completions("na", 2)]
