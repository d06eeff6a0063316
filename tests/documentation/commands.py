"""Runs the commands of README and docs as a reader would: python -m tests.documentation.commands [--fresh] [PAGE ...]

Each page gets a fresh clone of the last commit, with the files its commands name (rollouts in the layout of each
framework, training data, a small OpenAI-compatible server on port 8000). A block of shell or Python runs as it is
written, in the order of the page; so does a command within a sentence or table. The table at the end says of every
command whether it works, or why it cannot be tried here. --fresh creates .venv with `make demo`, as README says;
without it, the environment of this Python is used.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from tests.documentation import files
from tests.documentation.adder import Adder

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*.md")))
PROGRAMS = (
    r"python|make|pip|vllm|sbatch|sysctl|apt|apparmor_parser|cat|docker|jupyter|"
    r"(?:analyze|generate|select|view|compare)-(?:rollouts|problems|analysis|analyses)|filter-difficulty"
)
INLINE = re.compile(rf"(?<!`)`((?:{PROGRAMS}) [^`]+)`")
PORT = 8000


class Command(NamedTuple):
    """What a reader would paste: a block of a page, or a command within a line."""

    page: Path
    line: int
    kind: str  # sh or python
    text: str


class Outcome(NamedTuple):
    command: Command
    verdict: str  # works, fails, or cannot be tried here
    reason: str
    seconds: float
    said: str = ""  # on stdout and stderr


def _slurm(_: Path) -> str | None:
    return None if shutil.which("sbatch") else "no SLURM here (make test-slurm submits it where there is one)"


def _lsm(_: Path) -> str | None:
    return None if Path("/sys/kernel/security/lsm").exists() else "securityfs is not mounted here"


def _module(name: str) -> Callable[[Path], str | None]:
    def why(binaries: Path) -> str | None:
        words = [
            str(binaries / "python"),
            "-c",
            f"import importlib.util as u, sys; sys.exit(not u.find_spec('{name}'))",
        ]
        installed = subprocess.run(words, check=False).returncode == 0
        return None if installed else f"the package {name} is not installed here"

    return why


def _says(reason: str) -> Callable[[Path], str | None]:
    return lambda _: reason


# What cannot be tried here, and why: the first pattern that matches and has a reason counts.
CANNOT: tuple[tuple[str, Callable[[Path], str | None]], ...] = (
    (r"vllm serve|vllm\.entrypoints", _says("needs a GPU and vLLM")),
    (r"verl\.trainer|lm_eval --|inspect eval|gym eval run|vf-eval|ns generate|rllm eval", _says("another program")),
    (r"^(apt|sysctl -w|sysctl kernel|apparmor_parser|docker)\b", _says("changes the machine (root, Docker)")),
    (r"security/lsm", _lsm),
    (r"sbatch|ROLLOUTS=", _slurm),
    (r"judge\(", _says("needs a judge; tests/rewards/test_judged.py runs it with one")),
    (r"judged\.parquet", _says("reads what the judge wrote; tests/rewards/test_judged.py runs it")),
    (r"rollout_5\.pt", _says("needs torch and a pickle that slime wrote")),
    (
        r"make (test|bench|setup|check|pictures|site|format|flags)|bench_\w+\.py|benchmarks/",
        _says("part of development, minutes"),
    ),
    (r"\.venv-server", _says("needs the model of make test-server (some GB)")),
    (r"cache --prune --run", _says("removes a run of your own by its name")),
    (r"dask-scheduler|tcp://host|ray_address", _says("needs a cluster")),
    (r"backend ray", _module("ray")),
    (r"^from datasets import", _module("datasets")),
    (r"if __name__|\bdef |^(_|@register)", _says("a definition, not a command")),
)


def commands(page: Path) -> list[Command]:
    """The commands of a page, in its order."""
    text = page.read_text(encoding="utf-8")
    found = []
    rest = text
    for block in re.finditer(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        rest = _blank(rest, *block.span())
        if block[1] in ("sh", "python"):
            found.append(Command(page, _line(text, block.start()) + 1, block[1], block[2]))
    for indented in re.finditer(r"(?:^ {4}.*\n)+", rest, re.MULTILINE):
        rest = _blank(rest, *indented.span())
        lines = [line[4:] for line in indented[0].splitlines()]
        if re.match(PROGRAMS, lines[0]):
            found.append(Command(page, _line(text, indented.start()), "sh", "\n".join(lines)))
        elif lines[0].startswith("import "):
            found.append(Command(page, _line(text, indented.start()), "python", "\n".join(lines)))
    for inline in INLINE.finditer(rest):
        found.append(Command(page, _line(text, inline.start()), "sh", " ".join(inline[1].split())))
    return sorted(found, key=lambda command: command.line)


def _blank(text: str, start: int, end: int) -> str:
    """The text with spaces for what is between, so that every line keeps its number."""
    return text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


@contextmanager
def server(port: int) -> Iterator[int]:
    """The adder on that port of this machine while the context lasts; yields the port (0 takes a free one)."""
    with ThreadingHTTPServer(("127.0.0.1", port), Adder) as adder:
        thread = threading.Thread(target=adder.serve_forever)
        thread.start()
        try:
            yield adder.server_port
        finally:
            adder.shutdown()
            thread.join()


def run(command: Command, folder: Path, binaries: Path, port: int = PORT, *, fresh: bool = False) -> Outcome:
    """Run one command in the folder, with the programs of an environment first on the path."""
    for pattern, why in CANNOT:
        if re.search(pattern, command.text, re.MULTILINE) and (reason := why(binaries)):
            return Outcome(command, "cannot be tried here", reason, 0.0)
    if not fresh and re.match(r"make demo|pip install", command.text):
        return Outcome(command, "cannot be tried here", "changes the environment: --fresh runs it", 0.0)
    if command.page.stem == "input_formats":  # each command is one way, and all of them write to analysis
        shutil.rmtree(folder / "analysis", ignore_errors=True)
    text = command.text if port == PORT else command.text.replace(f"localhost:{PORT}", f"localhost:{port}")
    words = ["python", "-c", text] if command.kind == "python" else ["bash", "-ec", text]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment |= {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(folder.parent / "cache"),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder.parent / "hf"),
    }
    start = time.monotonic()
    with subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        if "view_analysis" in text and "--show" not in text:  # serves until Ctrl-C
            assert process.stdout is not None
            said = process.stdout.readline()
            os.killpg(process.pid, signal.SIGINT)
            said += process.communicate(timeout=60)[0]
        else:
            said = process.communicate(timeout=1200)[0]
    seconds = time.monotonic() - start
    if process.returncode == 0:
        return Outcome(command, "works", "", seconds, said)
    last = said.strip().splitlines()[-1] if said.strip() else ""
    return Outcome(command, "fails", f"exit {process.returncode}: {last}", seconds, said)


def clone(folder: Path, page: str) -> Path:
    """A fresh clone of the last commit, with what its commands read."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    files.for_page(page, folder)
    return folder


def table(outcomes: list[Outcome]) -> str:
    """The outcomes as a table in Markdown, a row per command."""
    rows = ["| page | command | result | seconds |", "|---|---|---|---|"]
    for outcome in outcomes:
        shown = " ".join(outcome.command.text.split()).replace("|", "\\|")
        shown = shown if len(shown) <= 100 else shown[:97] + "..."
        place = f"{outcome.command.page.relative_to(ROOT)}:{outcome.command.line}"
        result = outcome.verdict + (f": {outcome.reason}" if outcome.reason else "")
        seconds = f"{outcome.seconds:.1f}" if outcome.seconds else ""
        rows.append(f"| {place} | `{shown}` | {result} | {seconds} |")
    return "\n".join(rows)


def main() -> int:
    """Print the table; returns 1 where a command fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("pages", nargs="*", type=Path, default=PAGES)
    parser.add_argument("--fresh", action="store_true", help="in an environment that `make demo` of README creates")
    options = parser.parse_args()
    outcomes = []
    asked = any(str(PORT) in command.text for page in options.pages for command in commands(page))
    with tempfile.TemporaryDirectory(prefix="docs-") as name, server(PORT if asked else 0):
        binaries = Path(sys.prefix) / "bin"
        if options.fresh:
            binaries = Path(name) / "README" / "clone" / ".venv" / "bin"
        for page in options.pages:
            place = page.resolve().relative_to(ROOT).with_suffix("").as_posix().replace("/", "-")
            folder = clone(Path(name) / place / "clone", place.removeprefix("docs-"))
            for command in commands(page.resolve()):
                outcomes.append(run(command, folder, binaries, fresh=options.fresh))
                print(table(outcomes[-1:]).splitlines()[-1], file=sys.stderr)
    print(table(outcomes))
    failed = sum(outcome.verdict == "fails" for outcome in outcomes)
    print(f"\n{len(outcomes)} commands: {sum(o.verdict == 'works' for o in outcomes)} work, {failed} fail")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
