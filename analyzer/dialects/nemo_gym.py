"""NeMo-Gym's rollouts: a line for each rollout, a response of OpenAI's Responses API with its verdict.

{"_ng_task_index": 0, "_ng_rollout_index": 1, "responses_create_params": {"input": [{"role": "user", ...}]},
 "response": {"output": [{"type": "reasoning", ...}, {"type": "message", "content": [{"text": "7"}]}],
              "usage": {...}}, "reward": 1.0, "expected_answer": "7"}
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from analyzer.dialects import Dialect, Row, register
from analyzer.dialects.layout import Group, Layout
from analyzer.dialects.values import content_text, said_in, why_it_ended

_NESTED = {"responses_create_params", "response", "agent_ref"}


class NemoGym(Dialect):
    """Reads the rollouts of `gym eval run`, but not its lists of failures and of inputs."""

    def records(self, record: Row) -> Iterable[Row]:
        """One row: the text of all messages of the answer, the fields of the verifier as they are."""
        response = record["response"]
        agent = record.get("agent_ref")
        yield {
            "prompt": _messages(record["responses_create_params"]["input"]),
            "response": said_in(response),
            "finish_reason": why_it_ended(response),
            "model": response.get("model"),
            "agent": agent.get("name") if isinstance(agent, dict) else agent,
            **{name: value for name, value in record.items() if name not in _NESTED},
        }


def _messages(prompt: Any) -> Any:
    """The prompt as a chat list of role and text, whatever else the API's messages hold."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [{"role": item["role"], "content": content_text(item["content"])} for item in prompt if "role" in item]


register(
    NemoGym(
        name="nemo_gym",
        framework="NeMo-Gym rollouts",
        file="rollouts.jsonl",
        lacks="data_source",
        skip=r"_(failures|materialized_inputs)\.jsonl",
        requires=frozenset({"_ng_task_index", "_ng_rollout_index", "response", "reward"}),
        layout=Layout(
            prompt="prompt",
            response="response",
            ground_truth="expected_answer|answer|ground_truth",
            reward="reward",
            finish_reason="finish_reason",
            model="model",
            group=Group(("_ng_task_index",)),
            sample="_ng_rollout_index",
            steps=("model",),
            tasks=("agent",),
        ),
    )
)
