"""Results of vf-eval -s of verifiers before its v1: a line for each rollout.

{"example_id": 0, "prompt": [{"role": "user", "content": "..."}], "completion": [{"role": "assistant", "content": "7"}],
 "answer": "7", "reward": 1.0, "error": null, "is_truncated": false}
"""

from __future__ import annotations

from collections.abc import Iterable

from analyzer.dialects import Dialect, Row, register
from analyzer.dialects.layout import Group, Layout
from analyzer.schema import Status

_UNREAD = frozenset({"tool_defs"})


class Verifiers(Dialect):
    """Reads results.jsonl."""

    def records(self, record: Row) -> Iterable[Row]:
        """The row itself, without the reward where the rollout broke off."""
        row = {name: value for name, value in record.items() if name not in _UNREAD}
        # Of the model's server, a sandbox or a tool. The rubric scores what there is of such a rollout, mostly with 0,
        # and prime-rl does not train on it.
        failed = row.get("error") is not None
        # One that broke off before the first answer, or whose prompt was too long: an empty list has no last message.
        if row["completion"] == []:
            row["completion"] = [{"role": "assistant", "content": ""}]
        yield row | {
            "reward": None if failed else row["reward"],
            "reward_status": str(Status.ERROR if failed else Status.OK),
        }


register(
    Verifiers(
        name="verifiers",
        framework="verifiers results",
        file="results.jsonl of vf-eval -s",
        lacks="data_source",
        requires=frozenset({"example_id", "prompt", "completion", "reward"}),
        layout=Layout(
            prompt="prompt",
            response="completion",
            ground_truth="answer",
            reward="reward",
            reward_status="reward_status",
            finish_reason="is_truncated",
            group=Group(("example_id",)),
            # evals/{env}--{model}/{run}/results.jsonl: the lines themselves name neither model nor environment.
            file=(("env", r"/evals/([^/]+?)--[^/]+/[^/]+/[^/]+$"), ("run", r"/evals/([^/]+--[^/]+/[^/]+)/[^/]+$")),
            steps=("run",),
            tasks=("env", "task"),
        ),
    )
)
