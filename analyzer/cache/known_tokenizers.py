"""What is known of a tokenizer is kept in the cache, so that a rerun, and each part of many, need not load it again.

<cache_dir>/tokenizers/51952fffeb3e7cd3.tokenizer.json     what workers count with
                      /8c0f....spec.json                   which of them a folder of a model stands for, for any text
                      /8c0f...-77ab....spec.json           the same, proven on some rollouts
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from analyzer import tokens
from analyzer.cache import place, tokenizer_proof
from analyzer.cache.tokenizer_proof import Proof
from analyzer.files import storage, temporaries
from analyzer.tokens import NO_TOKENIZER, TokenizerSpec
from analyzer.workers import forks
from analyzer.workers.processes import CallApart, CallForked

_PROOF_SECONDS = 10.0
"""Until a known tokenizer is proven on further rollouts, unless they are scored before: a difference is not likely."""
LIBRARIES = ("gigatoken", "tokenizers", "transformers")


class TokenizerDiffers(Exception):
    """Raised when a tokenizer counts otherwise than was begun with; the same search now gives what is right."""


class Search:
    """The search for what counts as the tokenizer of a folder or hub name does.

    A new tokenizer is loaded with transformers in a process apart, which starts at once. Meanwhile `begin` gives what
    the file says; `check` raises TokenizerDiffers as soon as that is known to be wrong.
    """

    def __init__(self, model_path: str | None, trust_remote_code: bool, cache_dir: str) -> None:
        """What may run comes from these arguments alone, whatever a cached file says. Without a model_path it is idle.

        Raises StorageError and OutputError where the cache cannot be written.
        """
        self.model_path = model_path
        self._trust, self._cache_dir = trust_remote_code, cache_dir
        self._folder = Path(cache_dir) / "tokenizers"
        with storage.storage_errors(self._folder):
            storage.make_below(self._folder)
        self._key = None if model_path is None else _key(model_path, trust_remote_code)
        self._of_sample = ""
        self._begun_with: TokenizerSpec | None = None
        self._proven: TokenizerSpec | None = None
        self._apart: CallApart[Proof] | None = None
        if model_path is not None and (self._key is None or not self._path("").exists()):
            self._load()

    def end(self) -> None:
        """End the process, if there is one."""
        if self._apart is not None:
            self._apart.end()
            self._apart = None

    def begin(self, sample: Sequence[str]) -> TokenizerSpec:
        """What to count with, proven on `sample` or not yet. Raises TokenizerError where it cannot be loaded."""
        self._of_sample = "-" + hashlib.sha256(orjson.dumps(list(sample))).hexdigest()[:16]
        self._proven = self._proven or self._read(self._of_sample)
        if self._proven is not None:
            return self._proven
        known = self._read("") if self._apart is None else None
        if known is not None and known.engine != tokens.GIGATOKEN:
            self._proven = known
            return known
        if known is not None:
            self._begun_with = known
            again = (tokenizer_proof.again, known, str(self._folder))
            self._apart = CallForked(_PROOF_SECONDS, *again) if forks.can_call() else CallApart(*again)
            self._apart.go_on(list(sample))
            return known
        if self._key is not None:
            self._begun_with = tokenizer_proof.as_the_file_says(self._named(), self._folder)
        self._load().go_on(str(self._folder), list(sample), self._begun_with)
        return self._begun_with or self.proven()

    def likely(self) -> TokenizerSpec:
        """What `begin` is going to give, where that is known; unchecked, for what is loaded ahead."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            return self._stored("")
        return NO_TOKENIZER

    def _load(self) -> CallApart[Proof]:
        if self._apart is None:
            asked = (self._named(), self._trust)
            self._apart = _early.pop(asked, None) or CallApart(tokenizer_proof.load, *asked)
        return self._apart

    def _named(self) -> str:
        if self.model_path is None:
            raise ValueError("a search without a model_path finds nothing")
        return self.model_path

    def check(self) -> None:
        """Settle it where that takes no waiting."""
        if self._apart is not None and self._apart.done():
            self.settle()

    def hurry(self) -> None:
        """The rollouts are scored: what is left to be proven is proven now."""
        if isinstance(self._apart, CallForked):
            self._apart.hurry()

    def settle(self) -> None:
        """Wait for the proof of what was begun with, if anything was.

        Raises TokenizerDiffers, once, where it was wrong, and TokenizerError where the tokenizer cannot be loaded.
        """
        if self._of_sample:
            self.proven()

    def proven(self) -> TokenizerSpec:
        """What counts as transformers does, waited for. Raises as `settle` does."""
        if self._proven is None:
            assert self._apart is not None
            proof, self._apart = self._apart.result(), None
            self._proven = proof.spec
            if self._key is not None:
                self._write("", proof.any_text)
                self._write(self._of_sample, proof.spec)
            if self._begun_with is not None and self._begun_with != proof.spec:
                raise TokenizerDiffers
        return self._proven

    def _path(self, of_sample: str) -> Path:
        return self._folder / f"{self._key}{of_sample}.spec.json"

    def _read(self, of_sample: str) -> TokenizerSpec | None:
        try:
            spec = self._stored(of_sample)
            return spec if spec.engine == tokens.TRANSFORMERS or tokens.is_whole(spec) else None
        except (OSError, ValueError, TypeError):  # a damaged one is made again
            return None

    def _stored(self, of_sample: str) -> TokenizerSpec:
        """What stands in the cache. Raises OSError, ValueError or TypeError where it is not there, or damaged."""
        path = self._path(of_sample)
        if self._key is None or not storage.is_trusted(path, self._cache_dir):
            raise FileNotFoundError(path)
        spec = tokens.spec_from(orjson.loads(path.read_bytes()))
        # What is loaded comes from the arguments, never from a file in a cache that others may write to: with
        # trust_remote_code it is code.
        if spec.engine == tokens.TRANSFORMERS:
            return spec._replace(path=os.path.abspath(self._named()), trust_remote_code=self._trust)
        return spec._replace(path=tokens.json_path(self._folder, spec), trust_remote_code=False)

    def _write(self, of_sample: str, spec: TokenizerSpec) -> None:
        temporaries.sweep(self._folder)  # of runs that were killed
        storage.write_bytes(self._path(of_sample), orjson.dumps(spec, default=list))


_early: dict[tuple[str, bool], CallApart[Proof]] = {}  # what no search has taken up yet


def is_known(model_path: str, trust_remote_code: bool, cache_dir: str | None) -> bool:
    """Whether an earlier run loaded this tokenizer, unchanged since, with the libraries of now."""
    key = _key(model_path, trust_remote_code)
    return key is not None and (Path(place.path_of(cache_dir)) / "tokenizers" / f"{key}.spec.json").exists()


@contextlib.contextmanager
def loading_early(model_path: str | None, trust_remote_code: bool, cache_dir: str | None) -> Iterator[None]:
    """A context in which a tokenizer that the cache does not hold is being loaded, for the search that asks for it.

    For the very start of a command, before the cache is checked or made.
    """
    asked = None if model_path is None else (model_path, trust_remote_code)
    if asked is not None and not is_known(*asked, cache_dir):
        _early[asked] = CallApart(tokenizer_proof.load, *asked)
    try:
        yield
    finally:
        if asked in _early:
            _early.pop(asked).end()


@contextlib.contextmanager
def searching(model_path: str | None, trust_remote_code: bool, cache_dir: str) -> Iterator[Search]:
    """A search that ends with the context."""
    search = Search(model_path, trust_remote_code, cache_dir)
    try:
        yield search
    finally:
        search.end()


def find(model_path: str, trust_remote_code: bool, cache_dir: str, sample: Sequence[str]) -> TokenizerSpec:
    """The tokenizer of a folder or hub name, its counts proven on `sample`. Raises as `Search` does."""
    with searching(model_path, trust_remote_code, cache_dir) as search:
        search.begin(sample)
        with contextlib.suppress(TokenizerDiffers):
            search.settle()
        return search.proven()


@functools.cache  # 4 ms each, and asked for here and for the run
def version_of(library: str) -> str:
    """The version that is installed. Raises PackageNotFoundError."""
    return importlib.metadata.version(library)


def _key(model_path: str, trust_remote_code: bool) -> str | None:
    """All that the answer depends on; None for a hub name, which may stand for something else tomorrow."""
    if not os.path.isdir(model_path):
        return None
    # Sizes and times instead of contents: a folder of a model holds its weights, too. ctime cannot be set back.
    found = [(entry.name, entry.stat()) for entry in os.scandir(model_path) if entry.is_file()]
    files = sorted((name, status.st_size, status.st_mtime_ns, status.st_ctime_ns) for name, status in found)
    identity = [os.path.abspath(model_path), trust_remote_code, files, list(map(version_of, LIBRARIES))]
    return hashlib.sha256(orjson.dumps(identity)).hexdigest()[:32]
