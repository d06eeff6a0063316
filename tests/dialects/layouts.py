"""The same rollouts in the layout of every dialect, as files of our own making.

4 problems of arithmetic with 4 samples each, of which 4, 3, 1 and 0 are right; one response is cut off, one has no
answer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

SYSTEM = "Reason step by step."
QUESTIONS = ("What is 3 + 4?", "What is 12 * 5?", "What is 144 / 12 + 1?", "What is 17 * 23?")
GOLDS = ("7", "60", "13", "391")
RIGHT = (4, 3, 1, 0)
RATES = (1.0, 0.75, 0.25, 0.0)
SAMPLES = 4


class Rollout(NamedTuple):
    problem: int
    sample: int
    prompt: str
    gold: str
    response: str
    reward: float
    finish_reason: str

    @property
    def chat(self) -> list[dict[str, str]]:
        return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": self.prompt}]

    @property
    def rendered(self) -> str:
        return f"system\n{SYSTEM}\nuser\n{self.prompt}\nassistant\n"

    @property
    def answered(self) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": self.response}]


def _rollout(problem: int, sample: int) -> Rollout:
    gold, right = GOLDS[problem], sample < RIGHT[problem]
    response = f"Step by step: it is {gold}.\n#### {gold}" if right else f"It is 8{gold}.\n#### 8{gold}"
    finish_reason = "stop"
    if (problem, sample) == (2, 3):
        response, finish_reason = "Let me think about this very carefully, first", "length"
    if (problem, sample) == (3, 2):
        response = "I do not know."
    return Rollout(problem, sample, QUESTIONS[problem], gold, response, float(right), finish_reason)


ROLLOUTS = [_rollout(problem, sample) for problem in range(4) for sample in range(SAMPLES)]
SHUFFLED = [ROLLOUTS[(5 * at + 3) % 16] for at in range(16)]
BY_PROBLEM = [ROLLOUTS[4 * problem : 4 * problem + 4] for problem in range(4)]


class Case(NamedTuple):
    """Files of one dialect."""

    name: str  # of the dialect
    write: Callable[[Path], Path]  # writes them into a folder; returns what to give as rollouts
    rewards: bool = True  # they hold rewards
    golds: bool = True  # they hold ground truths
    texts: bool = True  # they hold responses
    flags: tuple[tuple[str, Any], ...] = ()  # that reading them takes
    rates: tuple[float, ...] = RATES
    samples: int = SAMPLES


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def training(path: Path) -> Path:
    """The training data, in verl's layout."""
    return table(path, [{**_training(p), "id": f"p-{p}"} for p in range(4)])


def _training(problem: int) -> dict[str, Any]:
    return {
        "data_source": "openai/gsm8k",
        "prompt": ROLLOUTS[4 * problem].chat,
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": GOLDS[problem]},
        "extra_info": {"index": problem, "split": "train"},
    }


def _verl(r: Rollout, step: int = 1) -> dict[str, Any]:
    return {
        "input": r.rendered,
        "output": r.response,
        "gts": r.gold,
        "score": r.reward,
        "step": step,
        "acc": r.reward > 0,
    }


def verl_rollouts(folder: Path) -> Path:
    return lines(folder / "1.jsonl", [_verl(r) | {"request_id": f"r-{at}"} for at, r in enumerate(SHUFFLED)]).parent


def verl_rollouts_0_5(folder: Path) -> Path:
    rows = [{name: value for name, value in _verl(r).items() if name != "gts"} for r in SHUFFLED]
    return lines(folder / "1.jsonl", rows).parent


def _uid(r: Rollout) -> dict[str, str]:
    return {"uid": f"a1-{r.problem}_{r.sample}_0"}


def verl_rollouts_v1(folder: Path) -> Path:
    return lines(folder / "1.jsonl", [_verl(r) | _uid(r) for r in ROLLOUTS])


def verl_validation(folder: Path) -> Path:
    return lines(folder / "40.jsonl", [_verl(r, 40) | {"reward": r.reward} for r in ROLLOUTS])


def verl_validation_v1(folder: Path) -> Path:
    return lines(folder / "40.jsonl", [_verl(r, 40) | {"reward": r.reward} | _uid(r) for r in SHUFFLED])


def verl_generation(folder: Path) -> Path:
    return table(
        folder / "gen.parquet",
        [_training(p) | {"responses": [r.response for r in rollouts]} for p, rollouts in enumerate(BY_PROBLEM)],
    )


def trl(folder: Path) -> Path:
    rows = [
        {
            "step": 1,
            "prompt": r.prompt,
            "completion": r.response,
            "accuracy_reward": r.reward,
            "solution": r.gold,
            "advantage": 0.5,
        }
        for r in ROLLOUTS
    ]
    return table(folder / "completions" / "completions_00001.parquet", rows).parent


def ms_swift(folder: Path) -> Path:
    columns = {
        "step": ["1"] * 16,
        "prompt": [r.rendered for r in ROLLOUTS],
        "completion": [r.response for r in ROLLOUTS],
        "Accuracy": [r.reward for r in ROLLOUTS],
        "advantages": [0.0] * 16,
        "solution": [r.gold for r in ROLLOUTS],
    }
    return lines(folder / "completions.jsonl", [columns])


def ms_swift_megatron(folder: Path) -> Path:
    columns = {
        "gen_step": [4] * 16,
        "prompt": [r.rendered for r in ROLLOUTS],
        "completion": [r.response for r in ROLLOUTS],
        "Accuracy": [r.reward for r in ROLLOUTS],
        "advantages": [0.5] * 16,
    }
    return lines(folder / "completions.jsonl", [columns])


def ms_swift_ray(folder: Path) -> Path:
    rows = [{"gen_step": 4, "prompt": r.rendered, "completion": r.response, "reward": r.reward} for r in ROLLOUTS]
    return lines(folder / "completions.jsonl", rows)


def ms_swift_infer(folder: Path) -> Path:
    rows = [
        {
            "response": r.response,
            "labels": r.gold,
            "logprobs": None,
            "messages": [*r.chat, {"role": "assistant", "content": r.response}],
        }
        for r in SHUFFLED
    ]
    return lines(folder / "20260101-000000.jsonl", rows)


def roll(folder: Path) -> Path:
    columns: dict[str, Any] = {
        "global_step": [3] * 16,
        "id": [f"p-{r.problem}" for r in ROLLOUTS],
        "source": ["gsm8k"] * 16,
        "difficulty": [0.5] * 16,
        "prompt": [r.rendered for r in ROLLOUTS],
        "messages": [json.dumps(r.chat) for r in ROLLOUTS],
        "ground_truth": [r.gold for r in ROLLOUTS],
        "case_type": [""] * 16,
        "test_case_function": [""] * 16,
        "test_cases": [""] * 16,
        "tag": ["gsm8k"] * 16,
        "domain": ["math_rule"] * 16,
        "responses": [r.response for r in ROLLOUTS],
        "scores": [r.reward for r in ROLLOUTS],
        "sampling_params": {"temperature": 1.0},
    }
    return lines(folder / "rollout_dump_data.step_3.jsonl", [columns])


def nemo_rl(folder: Path) -> Path:
    rows = [
        {
            "content": [[r.rendered, r.response + "<|im_end|>", "Environment: correct"]],
            "rewards": [r.reward],
            "input_lengths": [4],
            "token_ids": [[1, 2, 3, 4, 0]],
            "token_loss_mask": [[0, 1, 1, 0, 0]],
            "sample_loss_mask": [1.0],
            "advantages": [[0.0, 0.5, 0.5]],
            "generation_logprobs": [[0, -0.1, -0.2]],
            "prev_logprobs": [[0, -0.1, -0.2]],
            "idx": at,
        }
        for at, r in enumerate(ROLLOUTS)
    ]
    return lines(folder / "train_data_step7.jsonl", rows)


def nemo_rl_validation(folder: Path) -> Path:
    rows = [
        {
            "content": [[{"role": "user", "content": r.rendered}, *r.answered, {"role": "environment", "content": ""}]],
            "rewards": [r.reward],
            "idx": at,
        }
        for at, r in enumerate(ROLLOUTS)
    ]
    return lines(folder / "val_data_step10.jsonl", rows)


def nemo_gym(folder: Path) -> Path:
    rows = [
        {
            "_ng_task_index": r.problem,
            "_ng_rollout_index": r.sample,
            "agent_ref": {"type": "responses_api_agents", "name": "math_agent"},
            "responses_create_params": {"input": [*r.chat], "tools": []},
            "response": {
                "id": f"resp_{at}",
                "model": "m",
                "output": [
                    {"type": "reasoning", "summary": [{"text": "thinking", "type": "summary_text"}]},
                    {
                        "type": "message",
                        "role": "assistant",
                        "content": [{"type": "output_text", "text": r.response, "annotations": []}],
                    },
                ],
                "usage": {"input_tokens": 20, "output_tokens": 30},
            },
            "reward": r.reward,
            "expected_answer": r.gold,
            "library_reward": r.reward,
        }
        for at, r in enumerate(SHUFFLED)
    ]
    return lines(folder / "rollouts.jsonl", rows)


def nemo_skills(folder: Path) -> Path:
    for sample in range(SAMPLES):
        rows = [
            {
                "problem": r.prompt,
                "expected_answer": r.gold,
                "id": f"p-{r.problem}",
                "generation": r.response,
                "num_generated_tokens": 30,
                "finish_reason": r.finish_reason,
                "predicted_answer": r.gold if r.reward else None,
                "symbolic_correct": r.reward > 0,
            }
            for r in ROLLOUTS
            if r.sample == sample
        ]
        lines(folder / f"output-rs{sample}.jsonl", rows)
    return folder


def verifiers(folder: Path) -> Path:
    (folder / "metadata.json").write_text('{"env_id": "gsm8k", "model": "m"}')
    rows = [
        {
            "example_id": r.problem,
            "prompt": r.chat,
            "completion": r.answered,
            "answer": r.gold,
            "reward": r.reward,
            "error": None,
            "is_completed": True,
            "is_truncated": r.finish_reason == "length",
            "metrics": {"correct_answer": r.reward},
            "tool_defs": None,
        }
        for r in ROLLOUTS
    ]
    return lines(folder / "results.jsonl", rows).parent


def prime_rl(folder: Path) -> Path:
    def episode(r: Rollout) -> dict[str, Any]:
        nodes = [{"message": message, "sampled": message["role"] == "assistant"} for message in [*r.chat, *r.answered]]
        task = {"data": {"idx": r.problem, "prompt": r.prompt, "system_prompt": SYSTEM, "answer": r.gold}}
        return {
            "id": f"e{r.problem}{r.sample}",
            "env": {"id": "gsm8k", "name": "gsm8k"},
            "task": {"type": "T", **task, "key": f"k{r.problem}", "hash": "h"},
            "group": {"id": f"g{r.sample}"},
            "run": {"type": "train", "work": {"type": "train", "step": 1}},
            "ok": True,
            "errors": [],
            "traces": [
                {
                    "agent": {"trainable": True},
                    "nodes": nodes,
                    "calls": [{"finish_reason": r.finish_reason}],
                    "rewards": {"correct": {"score": r.reward, "weight": 1.0}},
                }
            ],
        }

    return lines(folder / "step_1" / "train" / "all" / "traces.jsonl", [episode(r) for r in ROLLOUTS])


def verifiers_traces(folder: Path) -> Path:
    rows = []
    for line in prime_rl(folder / "episodes").read_text().splitlines():
        episode = json.loads(line)
        [trace] = episode["traces"]
        task = {"type": "T", "data": episode["task"]["data"]}
        weighed = {name: reward["score"] * reward["weight"] for name, reward in trace["rewards"].items()}
        rows.append(trace | {"id": "t", "task": task, "agent": {"model": "m"}, "rewards": weighed, "errors": []})
    return lines(folder / "outputs" / "gsm8k--m--h" / "4f1c" / "traces.jsonl", rows)


def rllm(folder: Path) -> Path:
    for at, r in enumerate(ROLLOUTS):
        episode = {
            "id": f"p-{r.problem}:{r.sample}",
            "task": {"id": f"p-{r.problem}", "instruction": r.prompt, "metadata": {"answer": r.gold}},
            "is_correct": r.reward > 0,
            "trajectories": [
                {
                    "steps": [
                        {"chat_completions": [*r.chat, *r.answered], "model_response": r.response, "reward": r.reward}
                    ],
                    "reward": r.reward,
                    "signals": {},
                }
            ],
            "eval_idx": at,
        }
        path = folder / "episodes" / f"episode_{at:06d}_p-{r.problem}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(episode))
    return folder / "episodes"


def rllm_results(folder: Path) -> Path:
    items = [
        {
            "idx": r.problem,
            "attempt": r.sample,
            "task_id": None,
            "reward": r.reward,
            "is_correct": r.reward > 0,
            "error": None,
        }
        for r in ROLLOUTS
    ]
    result = {"dataset_name": "gsm8k", "model": "m", "score": 0.5, "total": 16, "items": items}
    (folder / "results.json").write_text(json.dumps(result))
    return folder / "results.json"


def rllm_run(folder: Path) -> Path:
    rllm(folder)
    return rllm_results(folder).parent


def open_instruct(folder: Path) -> Path:
    rows = [
        {
            "step": 1,
            "sample_idx": at,
            "prompt_idx": r.problem,
            "prompt_tokens": [100 + r.problem, 2],
            "response_tokens": [4, 5, 6 + r.sample],
            "reward": 10 * r.reward,
            "advantage": 0.1,
            "finish_reason": r.finish_reason,
            "dataset": "gsm8k",
            "ground_truth": [7, r.problem],
            "request_info": None,
            "logprobs": None,
        }
        for at, r in enumerate(ROLLOUTS)
    ]
    return lines(folder / "run_rollouts_000000.jsonl", rows)


def open_instruct_filtering(folder: Path) -> Path:
    rows = [
        {
            "messages": rollouts[0].chat,
            "ground_truth": [rollouts[0].gold],
            "dataset": ["gsm8k"],
            "output": [r.response for r in rollouts],
        }
        for rollouts in BY_PROBLEM
    ]
    return lines(folder / "filtered.jsonl", rows)


def open_r1_pass_rate(folder: Path) -> Path:
    rows = [
        {
            "prompt": rollouts[0].prompt,
            "solution": rollouts[0].gold,
            "source": "gsm8k",
            "pass_rate_generations": [r.response for r in rollouts],
            "pass_rate_rewards": [r.reward for r in rollouts],
        }
        for rollouts in BY_PROBLEM
    ]
    return table(folder / "pass_rate.parquet", rows)


def open_r1_generations(folder: Path) -> Path:
    rows = [
        {
            "problem": rollouts[0].prompt,
            "answer": rollouts[0].gold,
            "uuid": f"u-{p}",
            "generations": [r.response for r in rollouts],
            "finish_reasons": [r.finish_reason for r in rollouts],
            "api_metadata": [{"completion_tokens": 30} for _ in rollouts],
        }
        for p, rollouts in enumerate(BY_PROBLEM)
    ]
    return lines(folder / "generations.jsonl", rows)


def openr1_math(folder: Path) -> Path:
    rows = [
        {
            "problem": rollouts[0].prompt,
            "solution": "worked out",
            "answer": rollouts[0].gold,
            "source": "gsm8k",
            "uuid": f"u-{p}",
            "is_reasoning_complete": [r.finish_reason == "stop" for r in rollouts],
            "generations": [r.response for r in rollouts],
            "correctness_math_verify": [r.reward > 0 for r in rollouts],
            "correctness_llama": None if p else [True] * SAMPLES,
            "finish_reasons": [r.finish_reason for r in rollouts] if p == 2 else None,
            "correctness_count": RIGHT[p],
        }
        for p, rollouts in enumerate(BY_PROBLEM)
    ]
    return table(folder / "train-00000.parquet", rows)


def open_math_reasoning(folder: Path) -> Path:
    rows = [
        {
            "problem": r.prompt,
            "generated_solution": r.response,
            "expected_answer": r.gold,
            "problem_type": "has_answer_extracted",
            "generation_model": "m",
            "pass_rate_72b_tir": "n/a",
            "inference_mode": "cot",
        }
        for r in ROLLOUTS
    ]
    return table(folder / "cot.parquet", rows)


def distilabel(folder: Path) -> Path:
    rows = [
        {
            "instruction": rollouts[0].prompt,
            "answer": rollouts[0].gold,
            "generation": [r.response for r in rollouts],
            "distilabel_metadata": {"raw": "..."},
            "model_name": "m",
        }
        for rollouts in BY_PROBLEM
    ]
    return table(folder / "train.parquet", rows)


def slime(folder: Path) -> Path:
    rows = [
        {
            "group_index": r.problem,
            "index": at,
            "rollout_id": at,
            "prompt": r.rendered,
            "tokens": [1, 2, 3],
            "response": r.response,
            "response_length": 30,
            "label": r.gold,
            "reward": r.reward,
            "status": "truncated" if r.finish_reason == "length" else "completed",
            "metadata": {},
        }
        for at, r in enumerate(ROLLOUTS)
    ]
    return lines(folder / "rollout_5.jsonl", rows)


def areal(folder: Path) -> Path:
    for p, rollouts in enumerate(BY_PROBLEM):
        rows = [
            {
                "task_id": 10 + p,
                "sample_idx": r.sample,
                "seqlen": 40,
                "prompt_len": 10,
                "head_version": 2,
                "tail_version": 2,
                "version_rle": [[2, 30]],
                "reward": r.reward,
                "prompt": r.rendered,
                "completion": r.response + "<|im_end|>",
            }
            for r in rollouts
        ]
        lines(folder / "rollout" / "2" / f"{10 + p}.jsonl", rows)
    return folder


def skyrl(folder: Path) -> Path:
    lines(folder / "global_step_5_evals" / "aggregated_results.jsonl", [{"eval/all/avg_score": 0.5}])
    rows = [
        {
            "input_prompt": r.rendered,
            "output_response": r.response,
            "score": [0.0, r.reward],
            "stop_reason": r.finish_reason,
            "env_class": "gsm8k",
            "env_extras": {
                "reward_model": {"method": "rule", "ground_truth": r.gold},
                "extra_info": {"index": r.problem},
                "data_source": "openai/gsm8k",
            },
            "data_source": "openai/gsm8k",
        }
        for r in ROLLOUTS
    ]
    return lines(folder / "global_step_5_evals" / "openai_gsm8k.jsonl", rows).parent


def openrlhf(folder: Path) -> Path:
    return lines(
        folder / "generate.jsonl", [{"input": r.prompt, "output": r.response, "label": r.gold} for r in ROLLOUTS]
    )


def tinker(folder: Path) -> Path:
    rows = [
        {
            "schema_version": 1,
            "split": "train",
            "iteration": 10,
            "group_idx": r.problem,
            "traj_idx": r.sample,
            "total_reward": r.reward,
            "final_reward": r.reward,
            "steps": [{"step_idx": 0, "reward": r.reward}],
        }
        for r in ROLLOUTS
    ]
    return lines(folder / "train_rollout_summaries.jsonl", rows)


def lm_eval(folder: Path) -> Path:
    (folder / "m").mkdir()
    (folder / "m" / "results_2026-01-01T00-00-00.json").write_text('{"results": {}}')
    rows = [
        {
            "doc_id": p,
            "doc": {"question": rollouts[0].prompt},
            "target": rollouts[0].gold,
            "arguments": {"gen_args_0": {"arg_0": rollouts[0].prompt, "arg_1": {"do_sample": True}}},
            "resps": [[r.response for r in rollouts]],
            "filtered_resps": [[r.gold for r in rollouts]],
            "filter": name,
            "metrics": ["exact_match"],
            "exact_match": RATES[p],
        }
        for name in ("strict", "flexible")
        for p, rollouts in enumerate(BY_PROBLEM)
    ]
    return lines(folder / "m" / "samples_gsm8k_2026-01-01T00-00-00.000000.jsonl", rows).parent


def lighteval(folder: Path) -> Path:
    rows = [
        {
            "doc": {
                "query": rollouts[0].prompt,
                "choices": ["wrong", rollouts[0].gold],
                "gold_index": 1,
                "id": str(p),
                "task_name": "gsm8k",
                "num_samples": 4,
            },
            "model_response": {"text": [r.response for r in rollouts], "reasonings": [None] * 4},
            "metric": {"extractive_match": RATES[p]},
        }
        for p, rollouts in enumerate(BY_PROBLEM)
    ]
    return table(folder / "details_gsm8k_2026-01-01.parquet", rows)


def evalscope(folder: Path) -> Path:
    rows = [
        {
            "index": 4 * r.problem + r.sample,
            "target": [r.gold],
            "messages": [*r.chat, {"role": "assistant", "content": r.response, "tool_calls": None, "model": "m"}],
            "agent_trace": None,
            "sample_score": {
                "score": {
                    "value": {"rouge": 0.5, "accuracy": r.reward},
                    "status": "success",
                    "prediction": r.response,
                    "main_score_name": "accuracy",
                },
                "sample_id": 4 * r.problem + r.sample,
                "group_id": r.problem,
                "generation_index": r.sample,
                "sample_metadata": {},
            },
        }
        for r in SHUFFLED
    ]
    lines(folder / "predictions" / "m" / "gsm8k_main.jsonl", [{"index": 0, "model": "m", "model_output": {}}])
    return lines(folder / "reviews" / "m" / "gsm8k_main.jsonl", rows).parent


def evalscope_1_2(folder: Path) -> Path:
    path = evalscope(folder) / "gsm8k_main.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row |= {"input": row.pop("messages")[0]["content"], "target": row["target"][0]}
        score = row["sample_score"]["score"]
        del row["agent_trace"], score["status"], row["sample_score"]["generation_index"]
        score |= {"value": {"acc": score["value"]["accuracy"]}, "main_score_name": None}
    return lines(path, rows)


def opencompass(folder: Path) -> Path:
    path = folder / "20260101_000000" / "predictions" / "m" / "gsm8k.json"
    path.parent.mkdir(parents=True)
    items = {
        str(at): {
            "origin_prompt": [{"role": "HUMAN", "prompt": r.prompt}],
            "prediction": r.response,
            "gold": r.gold,
        }
        for at, r in enumerate(SHUFFLED)
    }
    path.write_text(json.dumps(items, indent=4))
    return path.parent


def llama_factory(folder: Path) -> Path:
    rows = [{"prompt": r.rendered, "predict": r.response, "label": r.gold} for r in ROLLOUTS]
    return lines(folder / "generated_predictions.jsonl", rows)


def inspect_sample(r: Rollout) -> dict[str, Any]:
    return {
        "id": f"p-{r.problem}",
        "epoch": r.sample + 1,
        "input": r.prompt,
        "target": r.gold,
        "output": {
            "choices": [
                {
                    "message": {"role": "assistant", "content": r.response},
                    "stop_reason": "max_tokens" if r.finish_reason == "length" else "stop",
                }
            ],
            "completion": r.response,
        },
        "scores": {"match": {"value": "C" if r.reward else "I", "answer": r.gold}},
        "metadata": {},
    }


def inspect_json(folder: Path) -> Path:
    log = {"version": 2, "eval": {"task": "gsm8k", "model": "m"}, "samples": [inspect_sample(r) for r in SHUFFLED]}
    (folder / "log.json").write_text(json.dumps(log))
    return folder / "log.json"


def eval_file(path: Path) -> Any:
    """A .eval file to be written."""
    if sys.version_info >= (3, 14):
        import zipfile
    else:
        from backports.zstd import zipfile

    return zipfile.ZipFile(path, "w", zipfile.ZIP_ZSTANDARD)


def inspect_eval(folder: Path) -> Path:
    with eval_file(folder / "log.eval") as log:
        log.writestr("header.json", json.dumps({"eval": {"task": "gsm8k", "model": "m"}}))
        for r in ROLLOUTS:
            log.writestr(f"samples/p-{r.problem}_epoch_{r.sample + 1}.json", json.dumps(inspect_sample(r)))
    return folder / "log.eval"


def _answer(custom_id: str, rollouts: list[Rollout]) -> dict[str, Any]:
    choices = [
        {"index": at, "message": {"role": "assistant", "content": r.response}, "finish_reason": r.finish_reason}
        for at, r in enumerate(rollouts)
    ]
    body = {"object": "chat.completion", "model": "m", "choices": choices}
    return {"id": custom_id, "custom_id": custom_id, "response": {"status_code": 200, "body": body}, "error": None}


def vllm_batch(folder: Path) -> Path:
    return lines(folder / "output.jsonl", [_answer(f"p-{p}", rollouts) for p, rollouts in enumerate(BY_PROBLEM)])


def openai_batch(folder: Path) -> Path:
    return lines(folder / "batch_output.jsonl", [_answer(f"p-{r.problem}-{r.sample}", [r]) for r in SHUFFLED])


def batch_requests(path: Path) -> Path:
    """The request file of a batch."""
    return lines(
        path,
        [
            {"custom_id": f"p-{p}", "method": "POST", "body": {"model": "m", "messages": rollouts[0].chat}}
            for p, rollouts in enumerate(BY_PROBLEM)
        ],
    )


def skywork_or1(folder: Path) -> Path:
    rows = [_training(p) for p in range(4)]
    for p, row in enumerate(rows):
        row["extra_info"] = {"index": p, "model_difficulty": {"DeepSeek-R1-Distill-Qwen-1.5B": 16 - 4 * RIGHT[p]}}
    return table(folder / "math.parquet", rows)


def big_math(folder: Path) -> Path:
    rows = [
        {"problem": QUESTIONS[p], "answer": GOLDS[p], "source": "gsm8k", "llama8b_solve_rate": RATES[p]}
        for p in range(4)
    ]
    return table(folder / "train.parquet", rows)


def deepscaler_difficulty(folder: Path) -> Path:
    rows = [
        {"problem": QUESTIONS[p], "answer": GOLDS[p], "solution": "...", "difficulty": 100 * (1 - RATES[p])}
        for p in range(4)
    ]
    return table(folder / "train.parquet", rows)


def nemotron_blend(folder: Path) -> Path:
    rows = [
        {
            "uuid": f"u-{p}",
            "responses_create_params": {"input": rollouts[0].chat},
            "expected_answer": rollouts[0].gold,
            "dataset": "gsm8k",
            "pass_rate": RATES[p],
            "pass_rate_total": 4,
            "pass_rate_passed": RIGHT[p],
            "raw_rewards_and_lengths": [
                {"_ng_rollout_index": r.sample, "reward": r.reward, "input_tokens": 9, "output_tokens": 30}
                for r in rollouts
            ],
        }
        for p, rollouts in enumerate(BY_PROBLEM)
    ]
    return lines(folder / "train.jsonl", rows)


def ours_as_verl_names_it(folder: Path) -> Path:
    rows = [
        {"prompt": r.chat, "response": r.response, "data_idx": r.problem, "sample_idx": r.sample}
        | {name: value for name, value in _training(r.problem).items() if name != "prompt"}
        for r in ROLLOUTS
    ]
    return table(folder / "rollouts.parquet", rows)


def ours_without_numbers(folder: Path) -> Path:
    return table(
        folder / "r.parquet", [{"prompt": r.prompt, "response": r.response, "answer": r.gold} for r in SHUFFLED]
    )


def ours_with_floats(folder: Path) -> Path:
    rows = [
        {
            "prompt": r.prompt,
            "response": r.response,
            "data_idx": float(r.problem),
            "sample_idx": r.sample,
            "reward": r.reward,
        }
        for r in ROLLOUTS
    ]
    return table(folder / "r.parquet", rows)


NO_REWARDS: dict[str, Any] = {"rewards": False}
NO_GOLDS: dict[str, Any] = {"golds": False}
COUNTS: dict[str, Any] = {"texts": False}

CASES = {
    "verl_rollouts": Case("verl_rollouts", verl_rollouts),
    "verl_rollouts_0_5": Case("verl_rollouts_0_5", verl_rollouts_0_5, **NO_GOLDS),
    "verl_rollouts_v1": Case("verl_rollouts_v1", verl_rollouts_v1),
    "verl_validation": Case("verl_validation", verl_validation),
    "verl_validation_v1": Case("verl_validation_v1", verl_validation_v1),
    "verl_generation": Case("verl_generation", verl_generation, **NO_REWARDS),
    "trl": Case("trl", trl),
    "ms_swift": Case("ms_swift", ms_swift),
    "ms_swift_megatron": Case("ms_swift_megatron", ms_swift_megatron, **NO_GOLDS),
    "ms_swift_ray": Case("ms_swift_megatron", ms_swift_ray, **NO_GOLDS),
    "ms_swift_infer": Case("ms_swift_infer", ms_swift_infer, **NO_REWARDS),
    "roll": Case("roll", roll),
    "nemo_rl": Case("nemo_rl", nemo_rl, **NO_GOLDS),
    "nemo_rl_validation": Case("nemo_rl", nemo_rl_validation, **NO_GOLDS),
    "nemo_gym": Case("nemo_gym", nemo_gym),
    "nemo_skills": Case("nemo_skills", nemo_skills),
    "verifiers": Case("verifiers", verifiers),
    "prime_rl": Case("prime_rl", prime_rl),
    "verifiers_traces": Case("verifiers_traces", verifiers_traces),
    "rllm": Case("rllm", rllm),
    "rllm_run": Case("rllm", rllm_run, flags=(("recursive", True),)),
    "rllm_results": Case("rllm_results", rllm_results, golds=False, texts=False),
    "open_instruct": Case("open_instruct", open_instruct, golds=False, texts=False),
    "open_instruct_filtering": Case("open_instruct_filtering", open_instruct_filtering, **NO_REWARDS),
    "open_r1_pass_rate": Case("open_r1_pass_rate", open_r1_pass_rate),
    "open_r1_generations": Case("open_r1_generations", open_r1_generations, **NO_REWARDS),
    "openr1_math": Case("openr1_math", openr1_math),
    "open_math_reasoning": Case("open_math_reasoning", open_math_reasoning, **NO_REWARDS),
    "distilabel": Case("distilabel", distilabel, **NO_REWARDS),
    "slime": Case("slime", slime),
    "areal": Case("areal", areal, golds=False, flags=(("recursive", True),)),
    "skyrl": Case("skyrl", skyrl),
    "openrlhf": Case("openrlhf", openrlhf, **NO_REWARDS),
    "tinker": Case("tinker", tinker, golds=False, texts=False),
    "lm_eval": Case("lm_eval", lm_eval, **NO_REWARDS),
    "lighteval": Case("lighteval", lighteval, **NO_REWARDS),
    "evalscope": Case("evalscope", evalscope),
    "evalscope_1_2": Case("evalscope", evalscope_1_2),
    "opencompass": Case("opencompass", opencompass, **NO_REWARDS),
    "llama_factory": Case("llama_factory", llama_factory, **NO_REWARDS),
    "inspect_json": Case("inspect", inspect_json),
    "inspect_eval": Case("inspect", inspect_eval),
    "vllm_batch": Case("openai_batch", vllm_batch, rewards=False, golds=False),
    "openai_batch": Case("openai_batch", openai_batch, rewards=False, golds=False),
    "skywork_or1": Case("skywork_or1", skywork_or1, samples=16, **COUNTS),
    "big_math": Case("big_math", big_math, samples=64, **COUNTS),
    "deepscaler_difficulty": Case("deepscaler_difficulty", deepscaler_difficulty, samples=128, **COUNTS),
    "nemotron_blend": Case("nemotron_blend", nemotron_blend, samples=4, **COUNTS),
    "ours_as_verl_names_it": Case("rollout_analyzer", ours_as_verl_names_it, **NO_REWARDS),
    "ours_without_numbers": Case("rollout_analyzer", ours_without_numbers, **NO_REWARDS),
    "ours_with_floats": Case("rollout_analyzer", ours_with_floats, golds=False),
}
