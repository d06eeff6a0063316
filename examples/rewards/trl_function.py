"""A reward of your own in TRL's form: lists of prompts, completions and columns, a number or None for each.

    analyze-rollouts ... --reward_fn examples/rewards/trl_function.py:reward_short_and_right

`answer` is the column `original_answer` of the rollouts. Chat prompts come with chat completions, as in TRL.
"""


def reward_short_and_right(prompts, completions, answer, max_chars=2000, **columns):
    """1.0 where the completion ends with the answer, None (no opinion) where it is longer than `max_chars`."""
    rewards = []
    for completion, gold in zip(completions, answer, strict=True):
        text = completion if isinstance(completion, str) else completion[0]["content"]
        rewards.append(None if len(text) > max_chars else float(text.rstrip().endswith(str(gold))))
    return rewards
