"""What a run does not import: each of these takes longer than a small analysis does without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from analyzer.errors import EXIT_OK
from tests.commands import ROOT, SAMPLE, TOKENIZER, flags

HEAVY = ("pandas", "scipy", "sklearn", "transformers", "sympy", "torch", "numpy.testing")


def test_no_command_imports_a_library_that_it_does_not_use(tmp_path: Path) -> None:
    """One after the other in one new interpreter: where none has been imported in the end, no command did."""
    values = {"rollouts": SAMPLE, "model_path": TOKENIZER, "output_dir": tmp_path / "out", "n_jobs": 1}
    analyze = flags(**values, cache_dir=tmp_path / "cache", overwrite=True)
    analysis = flags(analysis=tmp_path / "out")
    lines = [
        ["analyze_rollouts", *analyze],
        ["analyze_rollouts", *analyze],  # which scores nothing
        ["view_analysis", *analysis, "--show", "hard", "-n", "2"],
        ["view_analysis", *analysis, "--report_only"],
        ["select_problems", *analysis, *flags(where="0 < pass_rate < 1", output=tmp_path / "train.parquet")],
        ["compare_analyses", "--analyses", str(tmp_path / "out"), str(tmp_path / "same"),
         *flags(output_dir=tmp_path / "compared")],
    ]  # fmt: skip
    code = (
        "import runpy, shutil, sys\n"
        f"for name, *words in {lines!r}:\n"
        "    sys.argv = [f'{name}.py', *words]\n"
        "    if name == 'compare_analyses':\n"
        f"        shutil.copytree({str(tmp_path / 'out')!r}, {str(tmp_path / 'same')!r})\n"
        f"    try: runpy.run_path(f'{ROOT}/scripts/{{name}}.py', run_name='__main__')\n"
        "    except SystemExit as end: code = end.code or 0\n"
        f"    print('imported', name, code, *(n for n in {HEAVY} if n in sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if line.startswith("imported ")]
    assert said == [f"imported {name} {EXIT_OK}" for name, *_ in lines], done.stderr


def test_arrow_is_set_to_keep_freed_memory_before_it_and_the_workers_start(tmp_path: Path) -> None:
    """Twice in one new interpreter: the second time with a value of the user's own."""
    code = (
        "import dataclasses, os, sys\n"
        "from contextlib import nullcontext\n"
        "from analyzer.commands.analyze_rollouts import COMMAND\n"
        "def ahead(settings):\n"
        "    print(os.environ['MIMALLOC_PURGE_DELAY'], 'pyarrow' in sys.modules)\n"
        "    return nullcontext()\n"
        "for given in ({}, {'MIMALLOC_PURGE_DELAY': '5'}):\n"
        "    os.environ.pop('MIMALLOC_PURGE_DELAY', None)\n"
        "    os.environ.update(given)\n"
        "    dataclasses.replace(COMMAND, ahead=ahead, call=lambda settings: 0).main(None)\n"
    )
    words = flags(rollouts=SAMPLE, model_path=TOKENIZER, output_dir=tmp_path / "out")
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split()[:3] == ["10000", "False", "5"]
