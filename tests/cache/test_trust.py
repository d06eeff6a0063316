"""A cache that others can write to: what they put there is not trusted, and decides nothing about what runs.

The other user is uid 65534; giving files to it, and running as it, takes root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from analyzer import tokens
from analyzer.cache import known_tokenizers, place, score_files
from analyzer.errors import EXIT_OK, EXIT_USER
from tests.commands import ROOT, TOKENIZER, Outcome, flags, jsonl, parquet, rollouts

Analyze = Callable[..., Outcome]
OTHER = 65534
REUSED = "rollouts are already scored; nothing is scored again"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return parquet(tmp_path / "rollouts.parquet", rollouts(6, 5))


def give(path: Path, uid: int) -> None:
    for each in [path, *path.rglob("*")]:
        os.chown(each, uid, uid)


def cheat(cache: Path) -> None:
    """Turn every reward in the files of scores round."""
    for path in cache.glob("runs/*/shards/*.parquet"):
        scores, footer = score_files.read(str(path))
        score_files.write(str(path), footer, scores._replace(rewards=np.asarray(1 - scores.rewards)))


# ---------------------------------------------------------------- modes


def test_the_cache_and_all_that_is_in_it_is_this_user_s_alone(analyze: Analyze, tmp_path: Path) -> None:
    before = os.umask(0)  # the laxest
    try:
        analyze(jsonl(tmp_path / "rollouts.jsonl", rollouts(6, 5)))
    finally:
        os.umask(before)
    cache = tmp_path / "cache"
    found = {path: path.stat().st_mode & 0o777 for path in [cache, *cache.rglob("*")]}
    assert {mode for path, mode in found.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in found.items() if path.is_file()} == {0o600}
    assert any(path.match("shards/*.parquet") for path in found)
    assert any(path.match("inputs/*/*.parquet") for path in found)
    assert any(path.match("tokenizers/*.json") for path in found)
    assert (tmp_path / "out" / "summary.json").stat().st_mode & 0o777 == 0o666  # outputs follow the umask


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o772])
def test_a_folder_that_others_may_write_to_is_used_only_where_that_is_asked_for(
    analyze: Analyze, data: Path, tmp_path: Path, mode: int
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(mode)
    refused = analyze(data)
    assert (refused.code, len(refused.errors)) == (EXIT_USER, 1)
    assert f"--cache_dir {cache}: other users may write to it" in refused.errors[0]
    assert "--shared_cache" in refused.errors[0]
    assert analyze(data, shared_cache=True).code == EXIT_OK


def test_a_folder_of_the_user_s_own_group_alone_is_no_danger(
    analyze: Analyze, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A umask of 002 makes such folders on systems with a group for each user."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o775)
    monkeypatch.setattr(place, "_is_private", lambda gid: True)
    assert analyze(data).code == EXIT_OK
    monkeypatch.setattr(place, "_is_private", lambda gid: False)
    assert analyze(data, overwrite=True).code == EXIT_USER


# ---------------------------------------------------------------- files of others


@needs_root
def test_a_cache_of_another_user_is_read_only_where_that_is_asked_for(
    analyze: Analyze, data: Path, tmp_path: Path
) -> None:
    analyze(data)
    give(tmp_path / "cache", OTHER)
    refused = analyze(data)
    assert (refused.code, len(refused.errors)) == (EXIT_USER, 1)
    assert "belongs to user nobody, and scores of other users are not trusted" in refused.errors[0]
    shared = analyze(data, shared_cache=True)
    assert (shared.code, REUSED in shared.err) == (EXIT_OK, True)


@needs_root
@pytest.mark.parametrize("part", ["runs/*", "runs/*/shards/*.parquet"])
def test_scores_that_somebody_else_put_into_a_shared_cache_are_not_believed(
    analyze: Analyze, data: Path, tmp_path: Path, part: str
) -> None:
    expected = analyze(data).files()
    cheat(tmp_path / "cache")
    for path in (tmp_path / "cache").glob(part):
        give(path, OTHER)
    again = analyze(data, shared_cache=True)
    assert (again.code, REUSED in again.err) == (EXIT_OK, False)
    assert again.files() == expected


@needs_root
@pytest.mark.parametrize("part", ["inputs", "inputs/*", "inputs/*/*.parquet"])
def test_a_converted_input_that_somebody_else_put_there_is_not_read(
    analyze: Analyze, tmp_path: Path, part: str
) -> None:
    data = jsonl(tmp_path / "rollouts.jsonl", rollouts(6, 5))
    analyze(data)
    for path in (tmp_path / "cache").glob(part):
        os.chown(path, OTHER, OTHER)
    again = analyze(data, shared_cache=True)
    assert (again.code, len(again.errors)) == (EXIT_USER, 1)
    assert "belongs neither to you nor to the owner of the cache" in again.errors[0]


# ---------------------------------------------------------------- what may run


def test_a_cached_file_never_turns_trust_remote_code_on_nor_names_what_is_loaded(
    analyze: Analyze, data: Path, tmp_path: Path
) -> None:
    """Even where the file is this user's own: what may run comes from the call alone."""
    analyze(data)
    for known in (tmp_path / "cache" / "tokenizers").glob("*.spec.json"):
        spec = tokens.spec_from(orjson.loads(known.read_bytes()))
        planted = spec._replace(engine=tokens.TRANSFORMERS, path="/somewhere/evil", trust_remote_code=True)
        known.write_bytes(orjson.dumps(planted, default=list))
    found = find_again(data, tmp_path)
    assert (found.trust_remote_code, found.path) == (False, str(TOKENIZER))


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"[1,2,3,4,5]", b'["gigatoken", "x", [], "00", false]', b"\xff"], ids=str
)
def test_a_damaged_file_of_a_tokenizer_is_made_anew(
    analyze: Analyze, data: Path, tmp_path: Path, damage: bytes
) -> None:
    expected = analyze(data).files()
    known = {path: path.read_bytes() for path in (tmp_path / "cache" / "tokenizers").glob("*.spec.json")}
    for path in known:
        path.write_bytes(damage)
    again = analyze(data)
    assert (again.code, again.files()) == (EXIT_OK, expected)
    assert {path: path.read_bytes() for path in known} == known


def test_another_tokenizer_json_in_its_place_is_not_counted_with(analyze: Analyze, data: Path, tmp_path: Path) -> None:
    expected = analyze(data).files()
    (held,) = (tmp_path / "cache" / "tokenizers").glob("*.tokenizer.json")
    before = held.read_bytes()
    held.write_bytes(before.replace(b'"special":true', b'"special":false'))
    shutil.rmtree(tmp_path / "cache" / "runs")
    again = analyze(data)
    assert (again.code, again.files(), held.read_bytes()) == (EXIT_OK, expected, before)


def find_again(data: Path, tmp_path: Path) -> tokens.TokenizerSpec:
    from analyzer.stages import read

    sample = read.sample_texts(read.open_files(str(data), str(tmp_path / "cache")))
    return known_tokenizers.find(str(TOKENIZER), False, str(tmp_path / "cache"), sample)


# ---------------------------------------------------------------- as another user


PYTHON = f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"  # the other user may run it, too


def python_as(uid: int, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    home.mkdir(exist_ok=True)
    os.chown(home, uid, uid)
    env = {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *(path for path in sys.path if "-packages" in path)]),
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "HF_HUB_OFFLINE": "1",
    }
    options: dict[str, Any] = {"user": uid, "group": uid, "extra_groups": [], "cwd": "/", "env": env}
    return subprocess.run([PYTHON, *words], capture_output=True, text=True, check=False, timeout=120, **options)


def as_user(uid: int, tmp_path: Path, **values: Any) -> subprocess.CompletedProcess[str]:
    """The command, run by a user."""
    words = flags(model_path=TOKENIZER, n_jobs=1, no_report=True, **values)
    return python_as(uid, tmp_path / "home", str(ROOT / "scripts" / "analyze_rollouts.py"), *words)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may look into. That of pytest is closed to them, by each run that starts meanwhile."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.slow  # of the test of a cache of another user above, the way it is in life
@needs_root
def test_a_read_only_cache_of_a_colleague_that_holds_the_whole_run_is_enough(data: Path, open_folder: Path) -> None:
    tmp_path = open_folder
    if not Path(PYTHON).exists() or python_as(OTHER, tmp_path / "home", "-c", "import numpy, analyzer").returncode:
        pytest.skip(f"user {OTHER} cannot run {PYTHON} with the packages of this environment")
    data = Path(shutil.copy(data, tmp_path))
    mine = {"rollouts": data, "cache_dir": tmp_path / "cache", "output_dir": tmp_path / "out"}
    assert as_user(0, tmp_path, **mine).returncode == EXIT_OK
    for path in [tmp_path / "cache", *(tmp_path / "cache").rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    out = tmp_path / "theirs"
    out.mkdir()
    os.chown(out, OTHER, OTHER)
    given = {**mine, "output_dir": out}
    refused = as_user(OTHER, tmp_path, **given)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (EXIT_USER, 1)
    assert "belongs to user root, and scores of other users are not trusted" in refused.stderr
    shared = as_user(OTHER, tmp_path, **given, shared_cache=True)
    assert (shared.returncode, REUSED in shared.stderr) == (EXIT_OK, True), shared.stderr
    assert Outcome(0, "", "", out).files() == Outcome(0, "", "", tmp_path / "out").files()
