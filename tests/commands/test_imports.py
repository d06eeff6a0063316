"""What a run does not import: each of these takes longer than a small analysis does without it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from analyzer.errors import EXIT_OK
from tests.commands import ROOT, SAMPLE, TOKENIZER, flags

HEAVY = ("pandas", "scipy", "sklearn", "transformers", "sympy", "torch", "numpy.testing")


def loaded(script: str, *words: str) -> list[str]:
    """Run a script in a process of its own; which of the heavy libraries it had imported at its end."""
    code = (
        "import atexit, runpy, sys\n"
        f"heavy = {HEAVY}\n"
        "atexit.register(lambda: print('loaded', *(n for n in heavy if n in sys.modules), file=sys.stderr))\n"
        f"sys.argv = {[f'{script}.py', *words]!r}\n"
        f"runpy.run_path({str(ROOT / 'scripts' / f'{script}.py')!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == EXIT_OK, done.stderr
    return done.stderr.splitlines()[-1].split()[1:]


def test_no_command_imports_a_library_that_it_does_not_use(tmp_path: Path) -> None:
    values = {"rollouts": SAMPLE, "model_path": TOKENIZER, "output_dir": tmp_path / "out", "n_jobs": 1}
    words = flags(**values, cache_dir=tmp_path / "cache", overwrite=True)
    for _ in range(2):  # a first run, and one that scores nothing
        assert loaded("analyze_rollouts", *words) == []
    analysis = flags(analysis=tmp_path / "out")
    assert loaded("view_analysis", *analysis, "--show", "hard", "-n", "2") == []
    assert loaded("view_analysis", *analysis, "--report_only") == []
    assert (
        loaded("select_problems", *analysis, *flags(where="0 < pass_rate < 1", output=tmp_path / "train.parquet")) == []
    )
    shutil.copytree(tmp_path / "out", tmp_path / "same")
    two = ["--analyses", str(tmp_path / "out"), str(tmp_path / "same"), *flags(output_dir=tmp_path / "compared")]
    assert loaded("compare_analyses", *two) == []
