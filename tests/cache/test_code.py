"""The digest of the scoring code: it changes with whatever a worker runs, and with nothing that runs after it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from analyzer.cache.code import AFTER_SCORING, PACKAGE, scoring_code_digest
from tests.commands import SAMPLE, Outcome


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package."""
    return Path(shutil.copytree(PACKAGE, tmp_path / "analyzer", ignore=shutil.ignore_patterns("__pycache__")))


def fingerprint_of(package: Path) -> str:
    """The fingerprint that the program in that copy gives to the same parts: its own modules, in its own process."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from analyzer.cache import code, runs; assert str(code.PACKAGE.parent) == sys.argv[1];"
        "print(runs.fingerprint({'scoring_code': code.scoring_code_digest()}))"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", script, str(package.parent)], capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


CHANGES = {
    "a status is added": (
        "schema.py",
        '    GOLD_ERROR = "gold_error"',
        '    NEW = "new"\n    GOLD_ERROR = "gold_error"',
    ),
    "tokens": ("tokens.py", "_PART_CHARS = 4 << 20", "_PART_CHARS = 8 << 20"),
    "schema": ("schema.py", "PASS_THRESHOLD = 0.5", "PASS_THRESHOLD = 0.6"),
    "how rows are read": ("rollouts/dataset.py", "BATCH_ROWS = 8192", "BATCH_ROWS = 4096"),
    "scoring": ("scoring/grades.py", "from __future__", "# changed\nfrom __future__"),
    "a reward": ("rewards/gsm8k.py", "from __future__", "# changed\nfrom __future__"),
    "the cut into shards": ("planning/sharding.py", "128 << 20", "64 << 20"),
    "the files of scores": ("cache/score_files.py", "EXAMPLES = 2", "EXAMPLES = 3"),
    "how an input is identified": ("files/inputs.py", "from __future__", "# changed\nfrom __future__"),
    "what a parser has precomputed": ("rewards/math_verify/precomputed.json", '"grammar":"', '"grammar":"0'),
    "how a worker is started": ("workers/backends/loky.py", "from __future__", "# changed\nfrom __future__"),
}


def change(package: Path, name: str, old: str, new: str) -> None:
    source = (package / name).read_text()
    assert old in source
    (package / name).write_text(source.replace(old, new, 1))


def test_a_change_of_what_scores_is_another_fingerprint(package: Path) -> None:
    """Of the program that is changed; the next test has the digest that decides it."""
    before = fingerprint_of(package)
    change(package, *CHANGES["a status is added"])
    assert fingerprint_of(package) != before


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_what_scores_is_another_digest(package: Path, what: str) -> None:
    before = scoring_code_digest(package)
    change(package, *CHANGES[what])
    scoring_code_digest.cache_clear()
    assert scoring_code_digest(package) != before


def test_a_new_module_or_folder_counts_without_being_listed(package: Path) -> None:
    before = scoring_code_digest(package)
    (package / "dialects_of_tomorrow").mkdir()
    (package / "dialects_of_tomorrow" / "__init__.py").touch()
    scoring_code_digest.cache_clear()
    assert scoring_code_digest(package) != before


def test_what_the_digest_leaves_out_is_there() -> None:
    """A module that is renamed or becomes a package would count again, and cost users their scores for nothing."""
    assert [name for name in AFTER_SCORING if not (PACKAGE / name).exists()] == []


def test_what_comes_after_scoring_costs_no_scores(package: Path) -> None:
    before = scoring_code_digest(package)
    (package / "buckets" / "pass_rate.py").write_text("# changed")
    scoring_code_digest.cache_clear()
    assert scoring_code_digest(package) == before


def test_a_worker_loads_no_module_that_the_digest_leaves_out() -> None:
    """Whatever the entry of a worker imports, at the top or inside a function it has called."""
    script = (
        "import json, sys; from analyzer import rewards; from analyzer.stages import score;"
        "from analyzer.workers import executor; rewards.names();"
        "print(json.dumps([m.__file__ for n, m in sys.modules.items() if n.startswith('analyzer')]))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = [Path(file).relative_to(PACKAGE).as_posix() for file in json.loads(run.stdout)]
    assert "stages/score.py" in loaded
    assert [name for name in loaded if name.startswith(AFTER_SCORING)] == []


def test_the_run_s_fingerprint_holds_the_digest(analyze: Callable[..., Outcome], tmp_path: Path) -> None:
    analyze(SAMPLE, limit=2)
    parts = json.loads(next((tmp_path / "cache").glob("runs/*/run.json")).read_bytes())
    assert parts["scoring_code"] == scoring_code_digest()
