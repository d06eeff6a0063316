"""Peer: Math-Verify as people call it, parse and verify for every rollout, in a pool of processes.

python math_verify_pool.py INPUT.parquet PROCESSES
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import sys
from importlib.metadata import version

import pyarrow.parquet as pq
from math_verify import parse, verify

logging.getLogger("math_verify").setLevel(logging.CRITICAL)


def grade(rollout: tuple[str, str]) -> float:
    response, gold = rollout
    return float(verify(parse(f"\\boxed{{{gold}}}"), parse(response)))


def main() -> None:
    path, processes = sys.argv[1], int(sys.argv[2])
    table = pq.read_table(path, columns=["response", "original_reward_model"])
    golds = [said["ground_truth"] for said in table["original_reward_model"].to_pylist()]
    rollouts = list(zip(table["response"].to_pylist(), golds, strict=True))
    with multiprocessing.Pool(processes) as pool:
        rewards = list(pool.imap(grade, rollouts, chunksize=16))
    said = {"rollouts": len(rewards), "mean_reward": sum(rewards) / len(rewards)}
    print(json.dumps(said | {"engine": f"math-verify {version('math-verify')}"}))


if __name__ == "__main__":
    main()
