"""Peer: the published per-row loop, repaired so that it scores. One process, one rollout at a time.

    python naive_loop.py INPUT.parquet TOKENIZER_FOLDER [--verl]

With --verl each rollout is encoded, wrapped in a DataProto and given to verl's NaiveRewardManager, which decodes it
again and scores it; what cannot be imported ends the program. Without, the same steps are taken without verl: encode,
arrays, decode, score.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from transformers import AutoTokenizer

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rollouts")
    parser.add_argument("tokenizer")
    parser.add_argument("--verl", action="store_true")
    given = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(given.tokenizer)
    name, score = with_verl(tokenizer) if given.verl else without_verl(tokenizer)
    rows = pq.read_table(given.rollouts).to_pylist()
    rewards = [score(row) for row in rows]
    print(json.dumps({"rollouts": len(rows), "mean_reward": sum(rewards) / len(rows), "engine": name}))


def with_verl(tokenizer: Any) -> tuple[str, Callable[[Row], float]]:
    try:
        import torch
        import verl
        from verl import DataProto
        from verl.workers.reward_manager import NaiveRewardManager
    except ImportError as error:
        sys.exit(f"{sys.executable} cannot run verl's reward manager: {error}")
    manager = NaiveRewardManager(tokenizer=tokenizer, num_examine=0, reward_fn_key="data_source")

    def score(row: Row) -> float:
        prompt = tokenizer(row["prompt"], return_tensors="pt", add_special_tokens=False)["input_ids"]
        response = tokenizer(row["response"], return_tensors="pt", add_special_tokens=False)["input_ids"]
        mask = torch.ones(1, prompt.shape[1] + response.shape[1], dtype=torch.long)
        data = DataProto.from_dict(
            tensors={"prompts": prompt, "responses": response, "attention_mask": mask},
            non_tensors={
                "data_source": np.array([row["original_data_source"]], dtype=object),
                "reward_model": np.array([row["original_reward_model"]], dtype=object),
                "extra_info": np.array([{}], dtype=object),
            },
        )
        return float(manager(data).sum())

    return f"verl {verl.__version__}", score


def without_verl(tokenizer: Any) -> tuple[str, Callable[[Row], float]]:
    answer = re.compile(r"#### (-?[0-9.,]+)")

    def score(row: Row) -> float:
        prompt = tokenizer(row["prompt"], return_tensors="np", add_special_tokens=False)["input_ids"]
        response = tokenizer(row["response"], return_tensors="np", add_special_tokens=False)["input_ids"]
        mask = np.ones((1, prompt.shape[1] + response.shape[1]), dtype=np.int64)
        prompt_length = mask[0, : prompt.shape[1]].sum()
        response_length = mask[0, prompt.shape[1] :].sum()
        tokenizer.decode(prompt[0, -prompt_length:], skip_special_tokens=True)
        text = tokenizer.decode(response[0, :response_length], skip_special_tokens=True)
        found = answer.findall(text[-300:])
        rewards = np.zeros(response.shape, dtype=np.float32)
        if found and found[-1].replace(",", "") == row["original_reward_model"]["ground_truth"]:
            rewards[0, response_length - 1] = 1.0
        return float(rewards.sum())

    return "the same steps without verl", score


if __name__ == "__main__":
    main()
