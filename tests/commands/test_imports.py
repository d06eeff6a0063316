"""What a run does not import: each of these takes longer than a small analysis does without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from analyzer.errors import EXIT_OK
from tests.commands import ROOT, SAMPLE, TOKENIZER, flags

HEAVY = ("pandas", "scipy", "sklearn", "transformers", "sympy", "torch", "numpy.testing")


def test_a_run_whose_tokenizer_is_known_imports_no_library_that_it_does_not_use(tmp_path: Path) -> None:
    values = {"rollouts": SAMPLE, "model_path": TOKENIZER, "output_dir": tmp_path / "out", "n_jobs": 1}
    words = flags(**values, cache_dir=tmp_path / "cache", overwrite=True)
    code = (
        "import atexit, runpy, sys\n"
        f"heavy = {HEAVY}\n"
        "atexit.register(lambda: print('loaded', [n for n in heavy if n in sys.modules], file=sys.stderr))\n"
        f"sys.argv = {['analyze_rollouts.py', *words]!r}\n"
        f"runpy.run_path({str(ROOT / 'scripts' / 'analyze_rollouts.py')!r}, run_name='__main__')\n"
    )
    for _ in range(2):  # a first run, and one that scores nothing
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.splitlines()[-1]) == (EXIT_OK, "loaded []"), done.stderr
