"""Peer: verl's scorer alone, on text that is in memory already; no tokens, no outputs. One process.

python verl_scorer.py INPUT.parquet
"""

from __future__ import annotations

import json
import sys
import time

import pyarrow.parquet as pq
import verl
from verl.utils.reward_score import default_compute_score


def main() -> None:
    rows = pq.read_table(sys.argv[1]).to_pylist()
    start = time.perf_counter()
    scores = [
        default_compute_score(
            row["original_data_source"], row["response"], row["original_reward_model"]["ground_truth"]
        )
        for row in rows
    ]
    seconds = time.perf_counter() - start
    rewards = [score["score"] if isinstance(score, dict) else score for score in scores]  # math_dapo's are dicts
    said = {"rollouts": len(rows), "mean_reward": sum(rewards) / len(rows), "engine": f"verl {verl.__version__}"}
    print(json.dumps(said | {"seconds": seconds}))


if __name__ == "__main__":
    main()
