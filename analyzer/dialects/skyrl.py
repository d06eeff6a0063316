"""SkyRL's dumps of an evaluation: a line for each trajectory.

    {"input_prompt": "...", "output_response": "7<|im_end|>", "score": [0.0, 1.0], "stop_reason": "stop",
     "env_extras": {"reward_model": {"ground_truth": "7"}, "extra_info": {}}, "data_source": "openai/gsm8k"}

The score of an agent loop is a list with a reward for each token; their sum is the trajectory's, as in SkyRL's mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from analyzer.dialects import Dialect, Row, register
from analyzer.dialects.layout import Group, Layout


class Skyrl(Dialect):
    """Reads the dump of one data source."""

    def records(self, record: Row) -> Iterable[Row]:
        """The row itself, with one number as its score."""
        score = record["score"]
        # A token without a reward makes the sum meaningless.
        if isinstance(score, list):
            score = None if None in score else math.fsum(score)
        yield {**record, "score": score}


register(
    Skyrl(
        name="skyrl",
        framework="SkyRL evaluation dumps",
        file="dumped_evals/global_step_{N}_evals/{source}.jsonl",
        requires=frozenset({"input_prompt", "output_response", "score"}),
        layout=Layout(
            prompt="input_prompt",
            response="output_response",
            ground_truth="env_extras.reward_model.ground_truth",
            reward="score",
            data_source="data_source|env_extras.data_source",
            finish_reason="stop_reason",
            extra_info="env_extras.extra_info",
            group=Group(("input_prompt", "env_extras.reward_model.ground_truth"), hashed=True),
            file=(("global_step", r"global_step_(\d+)"),),
            steps=("global_step",),
        ),
    )
)
