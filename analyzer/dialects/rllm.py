"""rLLM's episodes: a .json file for each rollout, in a folder of very many.

{"id": "task-0:1", "task": {"id": "task-0", "instruction": "...", "metadata": {"answer": "7"}},
 "is_correct": true, "trajectories": [{"steps": [{"chat_completions": [...], "model_response": "7"}]}]}
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from analyzer.dialects import Dialect, Row, register
from analyzer.dialects.layout import Group, Layout
from analyzer.dialects.values import content_text
from analyzer.schema import Status

_GOLDS = ("ground_truth", "answer", "solution", "expected_answer", "final_answer")


class Rllm(Dialect):
    """Reads the last step of the last trajectory of each episode."""

    def records(self, record: Row) -> Iterable[Row]:
        """One row."""
        task = record["task"] if isinstance(record["task"], dict) else {}
        metadata = task.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else task
        # The id is "task:attempt"; a task's own id may hold colons, so the last one counts.
        name, _, number = str(record["id"]).rpartition(":")
        trajectories = record["trajectories"] or [{}]
        steps = trajectories[-1].get("steps") or [{}]
        chat = steps[-1].get("chat_completions") or []
        # What comes after the first answer, of tools for example, does not belong to the prompt.
        asked = itertools.takewhile(lambda message: message.get("role") != "assistant", chat)
        prompt: Any = [{"role": m["role"], "content": content_text(m.get("content"))} for m in asked]
        response = steps[-1].get("model_response")
        if not isinstance(response, str):
            spoken = [message for message in chat if message.get("role") == "assistant"]
            response = content_text(spoken[-1].get("content")) if spoken else ""
        nested = metadata.get("reward_model")
        places = (metadata, nested if isinstance(nested, dict) else {})
        # A breakdown of the model's server, the sandbox or the grading does not make the answer wrong.
        failed = "error" in str(record.get("termination_reason") or "").lower()
        yield {
            "prompt": prompt
            or [{"role": "user", "content": str(task.get("instruction") or task.get("question") or "")}],
            "response": response,
            "ground_truth": next(
                (place[key] for place in places for key in _GOLDS if place.get(key) is not None), None
            ),
            "reward": None if failed else record.get("is_correct"),
            "reward_status": str(Status.ERROR if failed else Status.OK),
            # An id of its own, without an attempt, names no task.
            "task_id": str(task["id"]) if task.get("id") is not None else name or None,
            "rollout": int(number) if number.isdigit() else None,
            "termination_reason": record.get("termination_reason"),
            "data_source": metadata.get("data_source"),
        }


class RllmResults(Dialect):
    """Reads the verdicts of an evaluation, which has no texts."""

    def records(self, record: Row) -> Iterable[Row]:
        """A row for each attempt."""
        for item in record["items"]:
            yield {
                "task_id": str(item["idx"] if item.get("task_id") is None else item["task_id"]),
                "attempt": item.get("attempt", 0),
                "reward": None if item.get("error") else item["is_correct"],
                "reward_status": str(Status.ERROR if item.get("error") else Status.OK),
            }


register(
    Rllm(
        name="rllm",
        framework="rLLM episodes",
        file="episodes/episode_{N}_{task}.json",
        lacks="data_source, unless the task's metadata has it",
        requires=frozenset({"id", "task", "is_correct", "trajectories"}),
        suffixes=(".json", ".jsonl"),
        layout=Layout(
            prompt="prompt",
            response="response",
            ground_truth="ground_truth",
            reward="reward",
            reward_status="reward_status",
            data_source="data_source",
            group=Group(("task_id",)),
            file=(("step", r"step_?(\d+)/"),),
            steps=("step",),
        ),
    )
)

register(
    RllmResults(
        name="rllm_results",
        framework="rLLM evaluation results",
        file="results.json",
        lacks="prompts, responses and ground truths: rewards alone",
        requires=frozenset({"items", "dataset_name", "score"}),
        beside="rllm",
        suffixes=(".json",),
        layout=Layout(reward="reward", reward_status="reward_status", group=Group(("task_id",)), sample="attempt"),
    )
)
