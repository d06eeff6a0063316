"""Measure the program beside its peers and print the table of ratios; exits with 1 where a measure failed.

    python benchmarks/run.py [--quick] [--only NAME ...] [--cores N] [--repeats N] [--verl_python PYTHON]
                             [--folder FOLDER] [--write docs/performance.md]

All is run on the same cores in one go. --only with --write keeps the lines of the other measures.
--quick takes smaller inputs and one round, and under three minutes.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path

import inputs
import measures
import processes
import report
import scaling
from bench import Bench, Row, Settings

MEASURES = {
    "short": measures.short_rollouts,
    "long": measures.long_rollouts,
    "math": measures.numeric_maths,
    "math10": measures.many_numeric_maths,
    "symbolic": measures.symbolic_maths,
    "later": measures.later_checkpoint,
    "first": measures.first_run,
    "memory": scaling.memory,
    "workers": scaling.workers,
    "metrics": scaling.metrics,
    "analysis": scaling.analysis,
    "sizes": scaling.sizes,
    "help": scaling.help_text,
}

OF_VERL = "import transformers, verl.workers.reward_manager, verl.utils.reward_score"  # what the peers import


def main() -> int:
    given = arguments()
    settings = Settings(given.quick, given.cores, given.repeats or (1 if given.quick else 3), python_with_verl(given))
    rows: list[Row] = []
    failed: list[str] = []
    # As after any first run; where PYTHONDONTWRITEBYTECODE is set, every process would compile what has changed anew.
    compileall.compile_dir(inputs.ROOT / "analyzer", quiet=1)
    about = report.machine(given.cores)
    with processes.cores(given.cores), tempfile.TemporaryDirectory(prefix="bench-", dir=given.folder) as folder:
        bench = Bench(settings, Path(folder))
        for name in given.only or MEASURES:
            processes.say(f"measuring {name}")
            began = time.monotonic()
            try:
                for row in MEASURES[name](bench):
                    processes.say(report.line(row))
                    rows.append(row)
            except processes.CommandError as error:
                failed.append(name)
                processes.say(f"{name} is left out: {error}")
            processes.say(f"  {name} took {time.monotonic() - began:.0f} s")
    about += report.circumstances(settings, failed)
    command = shlex.join(["python", *sys.argv])
    text = report.text(command, about, rows)
    print(text)
    if given.write:
        report.write(given.write, report.again(given.write, command, rows) if given.only else text)
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller inputs, one round")
    parser.add_argument("--only", nargs="+", choices=MEASURES, help="some of the measures")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)), help="cores for both sides")
    parser.add_argument("--repeats", type=int, help="rounds; 3 unless given, 1 with --quick")
    parser.add_argument("--verl_python", help="an interpreter that can import verl; without, the loop does without")
    parser.add_argument("--folder", type=Path, help="where inputs and outputs lie meanwhile (20 GB; --quick 3 GB)")
    parser.add_argument("--write", type=Path, help="file whose part between the markers is replaced by the results")
    return parser.parse_args()


def python_with_verl(given: argparse.Namespace) -> str | None:
    python = given.verl_python or sys.executable
    missing = processes.import_error(python, OF_VERL)
    if missing and given.verl_python:
        sys.exit(f"{python} cannot import what the peers need of verl: {missing}")
    return None if missing else python


if __name__ == "__main__":
    sys.exit(main())
