"""EvalScope's reviews: a line for each sample, `repeats` of them to a question.

{"index": 5, "target": ["7"], "messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "7"}],
 "sample_score": {"score": {"value": {"accuracy": 1.0}, "main_score_name": "accuracy", "status": "success",
                            "prediction": "7"}, "sample_id": 5, "group_id": 1}}

Older releases, such as 1.2, have the prompt (`input`) and the target as texts, no messages and no status.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from analyzer.dialects import Dialect, Row, register
from analyzer.dialects.layout import Group, Layout
from analyzer.dialects.values import message_text
from analyzer.schema import Status


class Evalscope(Dialect):
    """Reads the reviews of one benchmark."""

    def records(self, record: Row) -> Iterable[Row]:
        """One row; the reward is the main score, which is the first where none is named."""
        graded, score = record["sample_score"], record["sample_score"]["score"]
        chat, target, values = record.get("messages"), record.get("target"), score["value"]
        # A judge that failed leaves no value, or one that EvalScope itself does not count.
        failed = score.get("status", "success") != "success" or not values
        main = score.get("main_score_name")
        asked = itertools.takewhile(lambda message: message["role"] != "assistant", chat or ())
        yield {
            "prompt": [{"role": m["role"], "content": m["content"]} for m in asked] if chat else record["input"],
            "response": message_text(chat) if chat else score["prediction"],
            "ground_truth": target[0] if isinstance(target, list) and len(target) == 1 else target,
            "reward": None if failed else values.get(main, next(iter(values.values()))),
            "reward_status": str(Status.ERROR if failed else Status.OK),
            "group_id": record["index"] if graded.get("group_id") is None else graded["group_id"],
            "metadata": graded.get("sample_metadata"),
        }


register(
    Evalscope(
        name="evalscope",
        framework="EvalScope reviews",
        file="reviews/{model}/{benchmark}_{subset}.jsonl",
        lacks="data_source, why a response ended",
        requires=frozenset({"index", "sample_score.score"}),
        suffixes=(".jsonl",),
        layout=Layout(
            prompt="prompt",
            response="response",
            ground_truth="ground_truth",
            reward="reward",
            reward_status="reward_status",
            group=Group(("group_id",)),
            file=(
                ("run", r"/(\d{8}_\d{6})/reviews/"),
                ("model", r"/reviews/([^/]+)/[^/]+$"),
                ("task", r"/reviews/[^/]+/([^/]+)\.jsonl$"),
            ),
            steps=("run", "model"),
            tasks=("task",),
        ),
    )
)
