"""A reward of your own in verl's form: one rollout at a time, a number or a dict with "score".

    analyze-rollouts ... --reward_fn examples/rewards/verl_function.py:compute_score --reward_kwargs '{"wrong": -1.0}'

The other keys of the dict become the columns `reward_pred` and `reward_length`.
"""

import re


def compute_score(data_source, solution_str, ground_truth, extra_info=None, wrong=0.0):
    """1.0 where the last number of the response is the ground truth, else `wrong`."""
    numbers = re.findall(r"-?\d+(?:\.\d+)?", solution_str.replace(",", ""))
    pred = numbers[-1] if numbers else None
    return {"score": 1.0 if pred == str(ground_truth) else wrong, "pred": pred, "length": len(solution_str)}
