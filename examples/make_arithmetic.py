"""Make simple arithmetic problems in verl's training format, to try generate_rollouts and filter_difficulty on.

    python examples/make_arithmetic.py arithmetic.parquet [--problems 50]

The problems are cut for a very small model: sums, differences and products of growing size, asked as a chat list
with two worked examples in it, so that the answer ends in "#### N" as the reward of openai/gsm8k wants it. Same
number of problems, same file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SEED = 11
EXAMPLES = (("What is 3 + 4?", "3 + 4 = 7\n#### 7"), ("What is 9 - 5?", "9 - 5 = 4\n#### 4"))
LEVELS = (  # (operator, lowest and highest of the first number, of the second)
    ("+", (1, 9), (1, 9)),
    ("-", (10, 20), (1, 9)),
    ("+", (10, 99), (10, 99)),
    ("*", (2, 9), (2, 9)),
    ("-", (100, 999), (10, 99)),
    ("+", (100, 999), (100, 999)),
    ("*", (11, 29), (3, 9)),
    ("*", (100, 999), (11, 99)),
)


def problem(index: int, random: Random) -> dict[str, Any]:
    """One training row; the levels take turns."""
    sign, first, second = LEVELS[index % len(LEVELS)]
    left, right = random.randint(*first), random.randint(*second)
    answer = {"+": left + right, "-": left - right, "*": left * right}[sign]
    messages = []
    for question, solution in EXAMPLES:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": solution}]
    return {
        "data_source": "openai/gsm8k",
        "prompt": [*messages, {"role": "user", "content": f"What is {left} {sign} {right}?"}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": str(answer)},
        "extra_info": {"index": index, "level": index % len(LEVELS)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--problems", type=int, default=50)
    given = parser.parse_args()
    random = Random(SEED)
    pq.write_table(pa.Table.from_pylist([problem(index, random) for index in range(given.problems)]), given.output)
    print(f"{given.problems} problems in {given.output}")


if __name__ == "__main__":
    main()
