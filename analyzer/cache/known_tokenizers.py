"""What is known of a tokenizer is kept in the cache, so that a rerun, and each part of many, need not load it again.

<cache_dir>/tokenizers/51952fffeb3e7cd3.tokenizer.json     what workers count with
                      /8c0f....spec.json                   which of them a folder of a model stands for
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
from collections.abc import Sequence
from pathlib import Path

import orjson

from analyzer import tokens
from analyzer.files import storage
from analyzer.tokens import TokenizerSpec
from analyzer.workers.processes import call_apart

LIBRARIES = ("gigatoken", "tokenizers", "transformers")


def find(model_path: str, trust_remote_code: bool, cache_dir: str, sample: Sequence[str]) -> TokenizerSpec:
    """The tokenizer of a folder or hub name, its counts proven on `sample`; loaded in a process apart where it is new.

    What may run comes from these arguments alone, whatever a cached file says. Raises TokenizerError; StorageError and
    OutputError where the cache cannot be written.
    """
    folder = Path(cache_dir) / "tokenizers"
    with storage.storage_errors(folder):
        storage.make_below(folder)
    key = _key(model_path, trust_remote_code, sample)
    known = folder / f"{key}.spec.json"
    if key is not None and storage.is_trusted(known, cache_dir):
        with contextlib.suppress(OSError, ValueError, TypeError):  # a damaged one is made anew
            spec = tokens.spec_from(orjson.loads(known.read_bytes()))
            # What is loaded comes from the arguments, never from a file in a cache that others may write to: with
            # trust_remote_code it is code.
            source = (
                os.path.abspath(model_path) if spec.engine == tokens.TRANSFORMERS else tokens.json_path(folder, spec)
            )
            spec = spec._replace(source=source, trust_remote_code=trust_remote_code)
            if spec.engine == tokens.TRANSFORMERS or tokens.is_whole(spec):
                return spec
    spec = call_apart(tokens.prepare, model_path, trust_remote_code, str(folder), list(sample))
    if key is not None:
        storage.write_bytes(known, orjson.dumps(spec, default=list))
    return spec


def _key(model_path: str, trust_remote_code: bool, sample: Sequence[str]) -> str | None:
    """All that the answer depends on; None for a hub name, which may stand for something else tomorrow."""
    if not os.path.isdir(model_path):
        return None
    # Sizes and times instead of contents: a folder of a model holds its weights, too. ctime cannot be set back.
    found = [(entry.name, entry.stat()) for entry in os.scandir(model_path) if entry.is_file()]
    files = sorted((name, status.st_size, status.st_mtime_ns, status.st_ctime_ns) for name, status in found)
    versions = [importlib.metadata.version(name) for name in LIBRARIES]
    told = [os.path.abspath(model_path), trust_remote_code, files, versions, list(sample)]
    return hashlib.sha256(orjson.dumps(told)).hexdigest()[:32]
