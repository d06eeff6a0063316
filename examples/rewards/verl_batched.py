"""A reward of your own in the form of verl's batch reward manager: all rollouts of a problem at once.

    analyze-rollouts ... --reward_fn examples/rewards/verl_batched.py:compute_scores

Use it where rollouts are compared with one another, or where a call is expensive to set up.
"""


def compute_scores(data_sources, solution_strs, ground_truths, extra_infos):
    """1.0 for a response that holds the ground truth, less 0.1 if another that does is shorter."""
    right = [str(gold) in text for text, gold in zip(solution_strs, ground_truths, strict=True)]
    shortest = min((len(text) for text, good in zip(solution_strs, right, strict=True) if good), default=0)
    return [
        (1.0 if len(text) == shortest else 0.9) if good else 0.0
        for text, good in zip(solution_strs, right, strict=True)
    ]
