"""What the tests of the main job share: small rollouts, their files in every format, and the command run on them."""

from __future__ import annotations

import functools
import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tests import processes

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "examples" / "sample" / "rollouts.parquet"
TOKENIZER = ROOT / "examples" / "sample" / "tokenizer"
SCRIPT = ROOT / "scripts" / "analyze_rollouts.py"

OF_THE_RUN = ("timings.json", "provenance.json", "report.html")
"""Outputs that are of a run and not of its input and settings."""

Row = dict[str, Any]


class Outcome(NamedTuple):
    """How a command ended, what it said, and where its outputs are."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def errors(self) -> list[str]:
        """The lines on stderr that are errors."""
        return [line for line in self.err.splitlines() if line.startswith("error:")]

    def json(self, name: str) -> Any:
        """An output file that is JSON."""
        return json.loads((self.folder / name).read_bytes())

    def table(self, name: str = "rollouts_with_rewards") -> pa.Table:
        """An output file that is parquet."""
        return pq.read_table(self.folder / f"{name}.parquet")

    def files(self) -> dict[str, bytes]:
        """Every output that is a pure function of input and settings: file name -> bytes."""
        names = sorted(path.name for path in self.folder.iterdir() if not path.name.startswith("."))
        return {name: (self.folder / name).read_bytes() for name in names if name not in OF_THE_RUN}


def rollouts(problems: int = 3, samples: int = 4) -> list[Row]:
    """Rollouts of sums; of problem number p the first p samples are right."""
    return [
        {
            "prompt": f"What is {p} + {p}?",
            "response": f"{p} + {p} = {2 * p}\n#### {2 * p if s < p else 2 * p + 1}",
            "data_idx": p,
            "sample_idx": s,
            "original_data_source": "openai/gsm8k",
            "original_reward_model": {"style": "rule", "ground_truth": str(2 * p)},
        }
        for p in range(problems)
        for s in range(samples)
    ]


def changed(rows: Sequence[Row], at: int, **values: Any) -> list[Row]:
    """The rows with other values in one of them."""
    return [{**row, **values} if number == at else row for number, row in enumerate(rows)]


def parquet(path: Path, rows: Sequence[Row] | pa.Table, **options: Any) -> Path:
    """Write a parquet file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows)), path, **options)
    return path


def analyzed(folder: Path, rows: Sequence[Row], **settings: Any) -> Path:
    """Analyze rows in this process, all of it in one folder; returns the output folder."""
    import analyzer

    analyzer.analyze(
        rollouts=parquet(folder / "r.parquet", rows),
        output_dir=folder / "out",
        cache_dir=folder / "cache",
        backend="sequential",
        **settings,
    )
    return folder / "out"


def jsonl(path: Path, rows: Sequence[Row | str | bytes], end: bytes = b"\n") -> Path:
    """Write a jsonl file, compressed as its name says; a row given as text is a line as it stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        row if isinstance(row, bytes) else (row if isinstance(row, str) else json.dumps(row)).encode() for row in rows
    ]
    path.write_bytes(compressed(path.name, b"\n".join(lines) + end))
    return path


def compressed(name: str, data: bytes) -> bytes:
    """The bytes of a file of that name with this content."""
    if name.endswith(".gz"):
        return gzip.compress(data)
    if name.endswith(".zst"):
        return bytes(pa.Codec("zstd").compress(data, asbytes=True))
    return data


def flags(**values: Any) -> list[str]:
    """Flags as words: None leaves one out, True is a switch."""
    words: list[str] = []
    for name, value in values.items():
        if value is True:
            words.append(f"--{name}")
        elif value is not None and value is not False:
            words += [
                f"--{name}",
                value if isinstance(value, str) else os.fspath(value) if isinstance(value, Path) else json.dumps(value),
            ]
    return words


@functools.cache
def _known_tokenizer() -> dict[str, bytes]:
    from analyzer.cache import known_tokenizers
    from analyzer.stages import read

    with tempfile.TemporaryDirectory() as cache:
        sample = read.sample_texts(read.open_files(str(SAMPLE), cache))
        known_tokenizers.find(str(TOKENIZER), False, cache, sample)
        return {path.name: path.read_bytes() for path in Path(cache, "tokenizers").iterdir()}


def known_tokenizer(cache: Path, model: Path = TOKENIZER) -> Path:
    """Put into a new cache what an earlier run would have left there of the sample's tokenizer; returns the cache.

    A command need not start a process then that loads it with transformers, which takes over a second. model: the
    place by which the command names it, if it is another.
    """
    from analyzer.cache import known_tokenizers

    key, here = (str(known_tokenizers._key(str(path), False)) for path in (TOKENIZER, model))
    folder = cache / "tokenizers"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, content in _known_tokenizer().items():
        (folder / name.replace(key, here)).write_bytes(content)
    return cache


def real_command(
    tmp_path: Path, words: Sequence[str], env: Mapping[str, str] | None = None, started: bool = False
) -> Outcome:
    """The script in a process of its own, as a user runs it; outputs in tmp_path/out, cache in tmp_path/cache.

    Forked from one that has all imported, see tests/processes.py, with a cache that knows the sample's tokenizer;
    `started`: by a Python that starts for it, with an empty cache.
    """
    if not started and "--cache_dir" in words:
        known_tokenizer(tmp_path / words[words.index("--cache_dir") + 1])
    given = {**os.environ, "HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(tmp_path / "xdg"), **(env or {})}
    if started:
        line = [sys.executable, str(SCRIPT), *words]
        done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path, env=given)
    else:
        done = processes.run([SCRIPT, *words], cwd=tmp_path, env=given)
    return Outcome(done.returncode, done.stdout, done.stderr, tmp_path / "out")
