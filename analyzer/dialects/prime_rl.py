"""Episodes of verifiers v1, as prime-rl and vf-eval write them: a line for each, a tree of messages for each agent.

    {"task": {"data": {"prompt": "...", "answer": "7"}, "key": "k0"}, "run": {"work": {"step": 1}}, "ok": true,
     "traces": [{"nodes": [{"message": {"role": "assistant", "content": "7"}, "sampled": true}],
                 "calls": [{"finish_reason": "stop"}], "rewards": {"correct": {"score": 1.0, "weight": 1.0}}}]}

Fields come and go with the releases, so only those that are used are asked for. Releases before 0.3 write the trace of
the one agent instead of the episode: {"task": ..., "nodes": [...], "rewards": {"correct": 1.0}, "errors": []}.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from analyzer.dialects import Dialect, Row, register
from analyzer.dialects.layout import Group, Layout
from analyzer.dialects.values import content_text
from analyzer.files.inputs import JSONL_SUFFIXES
from analyzer.schema import Status

# What verifiers calls truncated, beside a last call that ended so.
_LIMITS = ("max_turns", "max_input_tokens", "max_output_tokens", "max_total_tokens", "compaction_failed")


class PrimeRl(Dialect):
    """Reads the trained agent's trace of each episode."""

    def records(self, record: Row) -> Iterable[Row]:
        """A row for each trace that is trained on: the last message the policy sampled, the weighted sum of rewards."""
        task, run = record["task"], record.get("run") or {}
        traces = record.get("traces", [record])
        data = task.get("data") or {}
        known = {"prompt", "system_prompt", "answer"}
        # An episode that broke off before any agent ran has a row, too, and counts as a request that failed.
        for trace in traces or [{"nodes": []}]:
            # Judges and user simulators are agents as well; their words are not rollouts of the policy.
            if (trace.get("agent") or {}).get("trainable") is False:
                continue
            sampled = [node["message"] for node in trace["nodes"] if node.get("sampled")]
            # Rewards of an agent that failed are those that were given before; releases before 0.3 do not say `ok`.
            failed = not trace.get("ok", not trace.get("errors"))
            reward = None if failed else _reward(trace.get("rewards"))
            agent = trace.get("agent") or {}
            yield {
                "prompt": _prompt(data, trace["nodes"]),
                "response": _response(trace, sampled) if traces else None,
                "ground_truth": data.get("answer"),
                "reward": reward,
                "reward_status": str(Status.OK if reward is not None else Status.ERROR),
                "finish_reason": _finish_reason(trace),
                "task_key": _key(task, data),
                "model": agent.get("model") or (agent.get("config") or {}).get("model"),
                "env": (record.get("env") or {}).get("id"),
                "step": (run.get("work") or {}).get("step"),
                "task_data": {name: data[name] for name in ("idx", "info") if name in data and name not in known},
            }


def _response(trace: dict[str, Any], sampled: list[dict[str, Any]]) -> str:
    """The reply of the trace's own agent: sub-agents may have spoken after it, in branches of the same trace."""
    reply = trace.get("root_reply")
    if isinstance(reply, str):
        return reply
    return content_text(sampled[-1].get("content")) if sampled else ""


def _key(task: dict[str, Any], data: dict[str, Any]) -> str | None:
    """What identifies the task; None if nothing does."""
    idx = data.get("idx")
    return task.get("key") or task.get("hash") or (None if idx is None else str(idx))


def _prompt(data: dict[str, Any], nodes: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The messages before the first that the policy sampled; else those of the task."""
    messages: list[dict[str, str]] = []
    for node in nodes:
        if node.get("sampled"):
            break
        message = node["message"]
        messages.append({"role": message["role"], "content": content_text(message.get("content"))})
    if messages:
        return messages
    prompt = data["prompt"]
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    system = data.get("system_prompt")
    return [{"role": "system", "content": system}, *asked] if system else asked


def _reward(rewards: Any) -> float | None:
    """The weighted sum; None where one of them could not be scored, or there is none."""
    if not isinstance(rewards, dict) or not rewards:
        return None
    total = 0.0
    for reward in rewards.values():
        score, weight = (reward.get("score"), reward.get("weight", 1.0)) if isinstance(reward, dict) else (reward, 1.0)
        # One that is missing makes the sum meaningless: no reward, never a smaller one.
        if score is None:
            return None
        total += float(score) * float(weight)
    return total


def _finish_reason(trace: dict[str, Any]) -> str | None:
    # By a limit of the run as well: the last call may have ended by itself.
    if trace.get("is_truncated") or trace.get("stop_condition") in _LIMITS:
        return "length"
    calls = [call for call in trace.get("calls") or [] if isinstance(call, dict) and not call.get("error")]
    return str(calls[-1]["finish_reason"]) if calls and calls[-1].get("finish_reason") else None


_LAYOUT = Layout(
    prompt="prompt",
    response="response",
    ground_truth="ground_truth",
    reward="reward",
    reward_status="reward_status",
    finish_reason="finish_reason",
    model="model",
    group=Group(("task_key",)),
    file=(
        ("split", r"/(train|eval)/"),
        ("subset", r"/(all|effective)/"),
        ("run", r"/([^/]+--[^/]+(?:/[^/]+)?)/traces\.jsonl"),
    ),
    steps=("step", "model", "run"),
    tasks=("env", "split", "subset"),  # effective rollouts are among all: both together would count twice
)


def _dialect(name: str, framework: str, requires: frozenset[str]) -> PrimeRl:
    return PrimeRl(
        name=name,
        framework=framework,
        file="rollouts/step_{N}/train/all/traces.jsonl, outputs/{env}--{model}/{id}/traces.jsonl",
        lacks="data_source",
        requires=requires,
        suffixes=JSONL_SUFFIXES,
        layout=_LAYOUT,
    )


register(_dialect("prime_rl", "prime-rl or verifiers v1 episodes", frozenset({"task", "traces"})))
register(
    _dialect("verifiers_traces", "verifiers v1 traces of releases before 0.3", frozenset({"task", "nodes", "rewards"}))
)
