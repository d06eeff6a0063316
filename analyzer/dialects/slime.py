"""Samples of slime's rollouts, which docs/input_formats.md makes jsonl of.

    {"group_index": 0, "index": 3, "rollout_id": null, "prompt": "...", "response": "7", "label": "7", "reward": 1.0,
     "status": "completed"}

An agent that compacts its context or has sub-agents makes several samples of one rollout, with its rollout_id on each.
Which of them stands for the rollout is not told, so they are only read where each is to count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from analyzer.dialects import Dialect, Row, Settings, register
from analyzer.dialects.layout import Group, Layout
from analyzer.errors import InputError


class Slime(Dialect):
    """Reads the samples of one rollout step."""

    def prepared(self, records: Iterator[Iterator[Row]], settings: Settings) -> Dialect:
        """The same. Raises InputError for rollouts in several samples, unless --pool says that each counts."""
        for file in records if not settings.pool else ():
            # From 2026 on; before, every sample was a rollout.
            samples = Counter(id for record in file if (id := record.get("rollout_id")) is not None)
            split = [id for id, number in samples.items() if number > 1]
            if split:
                raise InputError(
                    f"{len(split)} of {len(samples)} rollouts are split into several samples (rollout_id {split[0]}: "
                    f"{samples[split[0]]}), by compaction or sub-agents: keep the sample of each that stands for the "
                    "rollout, or pass --pool to count each of them as a rollout"
                )
        return self


register(
    Slime(
        name="slime",
        framework="slime rollouts",
        file="rollout_{id}.jsonl, made of rollout_{id}.pt (docs/input_formats.md)",
        lacks="data_source, chat prompts (they are rendered text: --join)",
        requires=frozenset({"group_index", "index", "prompt", "response", "reward"}),
        layout=Layout(
            prompt="prompt",
            response="response",
            ground_truth="label",
            reward="reward",
            finish_reason="status",
            group=Group(("group_index",)),
            file=(("rollout", r"(?:rollout|eval)_(\d+)\."),),
            steps=("rollout",),
            drop=(
                *("tokens", "loss_mask", "rollout_log_probs", "rollout_routed_experts", "weight_versions"),
                *("rollout_top_p_token_ids", "rollout_top_p_token_offsets", "teacher_log_probs"),
                *("spec_info", "prefix_cache_info", "rollout_id"),
            ),
        ),
    )
)
