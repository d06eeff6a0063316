"""What all tests share: where real rollouts lie when they are there, and the main job in this process.

Properties are tried with the same examples in every run, so that a test that passed passes again, and with few of them;
`make test-slow` tries them with fresh ones, and 25 times as many.
"""

from __future__ import annotations

import fcntl
import functools
import gc
import importlib.metadata
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from analyzer import proc, tokens
from analyzer.cache.tokenizer_proof import Proof
from analyzer.files import storage
from analyzer.rollouts.sizes import Sizes
from analyzer.tokens import TokenizerSpec
from tests.commands import TOKENIZER, Outcome, flags

ROOT = Path(__file__).resolve().parent.parent

USUAL: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", max_examples=40, derandomize=True, **USUAL)
settings.register_profile("fresh", max_examples=1000, **USUAL)
settings.load_profile("same")


_MEMORY, _ENOUGH = "/dev/shm", 4 << 30


def _keep_tmp_path_in_memory() -> None:
    """The folders of `tmp_path`, where there is room; PYTEST_DEBUG_TEMPROOT or --basetemp name another place.

    Some disks take a third of the time of a small analysis to find a place for its files: ext4 without a journal looks
    at everything that was deleted a while ago.
    """
    if os.access(_MEMORY, os.W_OK | os.X_OK):
        there = os.statvfs(_MEMORY)
        if there.f_bavail * there.f_frsize >= _ENOUGH and not there.f_flag & os.ST_NOEXEC:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", _MEMORY)


_keep_tmp_path_in_memory()
gc.disable()  # while modules and tests are collected, of which nothing is garbage: a fifth of the time that takes


_WAITING = ("tests/workers/", "tests/generation/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that mostly wait, for servers and for processes that are killed, come first.

    Other workers of xdist keep the cores busy meanwhile; at the end of the run there would be nothing left for them.
    """
    items.sort(key=lambda item: not item.nodeid.startswith(_WAITING))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:  # also where xdist hands out tests and collects none
    """From here on the collector looks at what tests make, and not at half a million objects that stay."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # Python's own first number is 700: most looks would be at what is still in use
    gc.enable()


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """A function from a name below ../shared to its path; it skips the test, with the reason, where it is absent."""

    def find(name: str) -> Path:
        path = ROOT.parent / "shared" / name
        if not path.exists():
            pytest.skip(f"needs the real rollouts of ../shared/{name}")
        return path

    return find


class CallHere:
    """A CallApart in this process: it is made when its result is asked for."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._call = functools.partial(function, *args)
        self._rest: tuple[Any, ...] = ()

    def go_on(self, *args: Any) -> None:
        self._rest = args

    def done(self) -> bool:
        return True

    def result(self) -> Any:
        return self._call()(*self._rest)

    def end(self) -> None:
        pass


@pytest.fixture(scope="session", autouse=True)
def _tokenizers_are_loaded_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """In this process, where transformers is imported once for all tests; the sample's is proven by the first worker.

    Commands of their own start their process.
    """
    from analyzer.cache import known_tokenizers, tokenizer_proof

    sample, load = (str(TOKENIZER), False), tokenizer_proof.load
    of_the_sample = functools.cache(lambda: load(*sample))
    own = tmp_path_factory.getbasetemp()
    of_all_workers = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    proven_once = functools.cache(lambda: ProvenOnce(of_the_sample, of_all_workers / "proof"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            known_tokenizers,
            "CallApart",
            lambda function, *asked: CallHere(proven_once) if asked == sample else CallHere(function, *asked),
        )
        patch.setattr(tokenizer_proof, "load", lambda *asked: of_the_sample() if asked == sample else load(*asked))
        yield


@pytest.fixture(scope="session", autouse=True)
def _tokenizers_of_the_same_text_are_made_once() -> Iterator[None]:
    """The sample's has 100 KB of JSON, and takes a sixth of the CPU time of a small analysis in this process."""
    import gigatoken

    with pytest.MonkeyPatch.context() as patch:
        made = functools.lru_cache(8)(gigatoken.Tokenizer.from_json)
        patch.setattr(gigatoken, "Tokenizer", SimpleNamespace(from_json=made))
        yield


@pytest.fixture(scope="session", autouse=True)
def _nothing_waits_for_the_disk_nor_gives_memory_back() -> Iterator[None]:
    """An analysis in this process syncs 32 files, half of the time of a small one; no test cuts the power.

    It also gives free memory back six times, 10 ms in a process of this size that takes it again at once.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: None)
        patch.setattr(proc, "give_back_memory", lambda: None)
        yield


class ProvenOnce:
    """What `tokenizer_proof.load` returns: the first proof, of further rollouts, too, in whichever folder.

    The first worker of pytest that needs it leaves it in a file for the others, which need no transformers for it.
    """

    def __init__(self, load: Callable[[], Callable[..., Proof]], file: Path) -> None:
        self._load, self._file = load, file
        self._found: tuple[Proof, bytes] | None = None

    def __call__(self, folder: str, sample: Sequence[str], begun_with: TokenizerSpec | None = None) -> Proof:
        if self._found is None:
            with open(self._file, "a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                if not file.read(1):
                    proof = self._load()(folder, sample, begun_with)
                    file.write(pickle.dumps((proof, Path(proof.spec.path).read_bytes())))
                file.seek(0)
                self._found = pickle.load(file)
        assert self._found is not None
        (spec, any_text), content = self._found
        assert spec == any_text
        here = spec._replace(path=tokens.json_path(folder, spec))
        storage.write_if_changed(here.path, content)
        return Proof(here, here)


@pytest.fixture(scope="session", autouse=True)
def _versions_are_read_once() -> Iterator[None]:
    """An analysis asks for the versions of some libraries, 4 ms each; none is installed while the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.metadata, "version", functools.cache(importlib.metadata.version))
        yield


@pytest.fixture
def warm_zygotes() -> Iterator[None]:
    """Functions of the user's own are loaded in processes that are forked, see tests/grading/warm.py."""
    from tests.grading import warm

    with warm.warm_zygotes():
        yield


@pytest.fixture
def analyze(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """The command analyze_rollouts in this process: rollouts and flags by name -> Outcome.

    Outputs go to tmp_path/out unless output_dir says otherwise, scores to tmp_path/cache; one worker. sizes: of shards,
    windows and spilled files, where they must be small.
    """
    from analyzer.commands import analyze_rollouts, running
    from analyzer.commands.parsing import parse
    from analyzer.config import AnalysisSettings

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    usual = {
        "model_path": TOKENIZER,
        "output_dir": tmp_path / "out",
        "n_jobs": 1,
        "cache_dir": tmp_path / "cache",
        "no_report": True,
    }

    def run(rollouts: Path | str | None, sizes: Sizes | None = None, **settings: Any) -> Outcome:
        values = {"rollouts": rollouts, **usual, **settings}
        words = flags(**values)
        if sizes is None:
            code = analyze_rollouts.analyze_rollouts(words)
        else:
            parsed = functools.partial(parse, AnalysisSettings, words, "analyze_rollouts", "")
            code = running.run(lambda: analyze_rollouts.analyze(parsed(), sizes))
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err, Path(values["output_dir"]))

    return run
