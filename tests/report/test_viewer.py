"""The viewer: it answers to this machine and with the token alone; what `--show` prints moves no terminal."""

from __future__ import annotations

import contextlib
import html
import http.client
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import pytest

from tests import processes
from tests.commands import ROOT, parquet
from tests.processes import PIPE, Process

SCRIPT = ROOT / "scripts" / "view_analysis.py"
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How many FOXES are there?"}]
LONG = "x" * 1_000_000


class Running(NamedTuple):
    """A viewer in a process of its own, as a user starts it."""

    url: str
    err: str
    process: Process

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        """Ask for a path with the token; headers replace those of a browser."""
        parts = urlsplit(self.url)
        assert parts.port is not None
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", parts.port, timeout=30)) as connection:
            connection.request("GET", path.replace("TOKEN", parts.query), headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def json(self, path: str) -> Any:
        status, body = self.get(path)
        assert status == 200, body
        return json.loads(body)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An analysis of chat prompts, one response of a megabyte, and a problem with a hundred responses."""
    import analyzer

    rows = [
        {
            "prompt": CHAT if p == 1 else [{"role": "user", "content": f"What is {p}?\u202e\x1b]0;owned\x07"}],
            "response": f"{LONG if (p, s) == (2, 0) else s}\x1b[2J\n#### {p if s % 2 else 'no'}",
            "data_idx": f"<b>{p}</b>",
            "sample_idx": s,
            "original_data_source": "openai/gsm8k",
            "original_reward_model": {"style": "rule", "ground_truth": str(p)},
        }
        for p in range(5)
        for s in range(100 if p == 3 else 4)
    ]
    place = tmp_path_factory.mktemp("viewer")
    analyzer.analyze(
        rollouts=parquet(place / "r.parquet", rows),
        model_path=ROOT / "examples" / "sample" / "tokenizer",
        output_dir=place / "out",
        cache_dir=place / "cache",
        backend="sequential",
    )
    return place / "out"


@pytest.fixture(scope="module")
def viewer(folder: Path) -> Iterator[Running]:
    process = Process(
        [SCRIPT, "--analysis", folder],
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, "SSH_CONNECTION": "10.1.2.3 5000 10.4.5.6 22"},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    url = process.stdout.readline().strip()
    yield Running(url, process.stderr.readline(), process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err


def test_the_printed_address_answers_as_it_is(viewer: Running) -> None:
    assert viewer.url.startswith("http://127.0.0.1:")
    with urlopen(viewer.url, timeout=30) as answer:
        assert answer.status == 200
        page = html.unescape(answer.read().decode())
    assert "connect-src 'self'" in page
    port = urlsplit(viewer.url).port
    assert f"ssh -N -L {port}:127.0.0.1:{port} " in viewer.err
    assert "@10.4.5.6`" in viewer.err


@pytest.mark.parametrize("path", ["/", "/problem?number=0", "/search?text=a", "/response?number=0&sample=0"])
def test_without_the_token_or_with_a_wrong_one_nothing_is_answered(viewer: Running, path: str) -> None:
    joint = "&" if "?" in path else "?"
    for token in ("", "token=", "token=wrong", "token=%ff", "other=1"):
        status, body = viewer.get(path + joint + token)
        assert (status, b"token" in body) == (403, True)
    assert viewer.get(path + joint + "TOKEN")[0] == 200


def test_another_host_and_another_page_are_refused(viewer: Running) -> None:
    port = urlsplit(viewer.url).port
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", f"localhost.evil:{port}", ""):
        assert viewer.get("/?TOKEN", Host=host)[0] == 403, host
    for host in (f"localhost:{port}", "localhost:9999", "127.0.0.1"):  # a tunnel may have another port
        assert viewer.get("/problem?number=0&TOKEN", Host=host)[0] == 200, host
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{port}", "http://127.0.0.1:1"):
        assert viewer.get("/problem?number=0&TOKEN", Origin=origin)[0] == 403, origin
    assert viewer.get("/problem?number=0&TOKEN", Origin=f"http://127.0.0.1:{port}")[0] == 200


def test_what_is_not_there_is_not_found(viewer: Running) -> None:
    for path in ("/summary.json", "/../../etc/passwd", "/problem?number=99", "/problem?number=-1"):
        assert viewer.get(path + ("&" if "?" in path else "?") + "TOKEN")[0] == 404, path
    assert viewer.get("/response?number=0&sample=77&TOKEN")[0] == 404
    for number in ("x", "", "1e3", "nan"):
        assert viewer.get(f"/problem?number={number}&TOKEN")[0] == 400, number


def test_all_responses_are_there_however_many_and_however_long(viewer: Running) -> None:
    text = viewer.json("/problem?number=3&TOKEN")
    assert (text["total"], len(text["samples"]), text["ground_truth"]) == (100, 64, "3")
    rest = viewer.json("/problem?number=3&first=64&TOKEN")["samples"]
    seen = [sample["head"].split("\x1b")[0] for sample in [*text["samples"], *rest]]
    assert seen == [str(s) for s in range(100)]
    long = viewer.json("/problem?number=2&TOKEN")["samples"][0]
    assert (len(long["head"]), len(long["tail"]), long["length"]) == (20_000, 20_000, 1_000_012)
    assert viewer.json("/response?number=2&sample=0&TOKEN")["text"] == LONG + "\x1b[2J\n#### no"


def test_search_looks_in_all_prompts_and_all_messages(viewer: Running) -> None:
    assert viewer.json(f"/search?text={quote('foxes')}&TOKEN") == [1]
    assert viewer.json(f"/search?text={quote('WHAT IS 4')}&TOKEN") == [4]
    assert viewer.json("/search?text=nowhere&TOKEN") == []


def run(*words: str) -> tuple[int, str, str]:
    done = processes.run([SCRIPT, *words])
    return done.returncode, done.stdout, done.stderr


def test_show_prints_problems_and_nothing_that_moves_a_terminal(folder: Path) -> None:
    code, out, err = run("--analysis", str(folder), "--show", "all", "-n", "5")
    assert (code, err) == (0, "")
    assert all(character == "\n" or character.isprintable() for character in out)
    assert len(out) < 60_000
    assert "<U+001B>]0;owned<U+0007>" in out
    assert "data_idx <b>2</b>: " in out
    assert "ground truth: 2\n" in out
    assert "reward 1, answer 4" in out
    assert "(84 more responses)" in out
    assert run("--analysis", str(folder), "--show", "all", "-n5")[1] == out


def test_report_only_writes_the_page_anew(folder: Path) -> None:
    before = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    assert run("--analysis", str(folder), "--report_only") == (0, f"Written: {folder / 'report.html'}\n", "")
    assert (folder / "report.html").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--show", "hrd"], "did you mean 'hard'?"),
        (["--port", "70000"], "--port 70000: must be from 0 to 65535"),
        (["--n", "0", "--show", "hard"], "--n 0: must be 1 or more"),
    ],
)
def test_what_does_not_fit_is_one_line(folder: Path, words: list[str], message: str) -> None:
    code, out, err = run("--analysis", str(folder), *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_folder_without_an_analysis_is_named(tmp_path: Path) -> None:
    code, _, err = run("--analysis", str(tmp_path))
    assert (code, err.count("\n")) == (2, 1)
    assert "name an output folder of analyze_rollouts" in err
