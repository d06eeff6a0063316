"""The table of flat dialects: one entry each, its paths those of `--columns`."""

from __future__ import annotations

from analyzer.dialects import Dialect, register
from analyzer.dialects.layout import ANY, FILE, Group, Layout
from analyzer.files.inputs import INPUT_SUFFIXES

_GOLD = "ground_truth|answer|solution|expected_answer|final_answer"

OURS = "rollout_analyzer"
"""The name of the program's own layout."""


def _hash(*columns: str) -> Group:
    return Group(columns, hashed=True)


def _needs(*names: str) -> frozenset[str]:
    return frozenset(names)


VERL = Layout(
    prompt="input",
    response="output",
    ground_truth="gts",
    reward="score",
    group=_hash("input", "gts"),
    steps=("step",),
)
_TRL = Layout(
    prompt="prompt",
    response="completion",
    ground_truth="solution|answer|ground_truth",
    reward=ANY,
    group=_hash("prompt", "solution|answer|ground_truth"),
    drop=("advantage", "advantages", "num_turns", "entropy", "entropies", "images", "image"),
    steps=("step",),
)
_TRAINING = Layout(training=True)

TABLE = (
    Dialect(
        name=OURS,
        framework="rollouts of generate_rollouts",
        file="rollouts.parquet, rollouts.jsonl",
        requires=_needs("prompt", "response"),
        suffixes=INPUT_SUFFIXES,
        layout=Layout(
            prompt="prompt",
            response="response",
            reward="reward",
            reward_status="reward_status",
            finish_reason="finish_reason",
            max_tokens="max_tokens",
            model="model",
            data_source="original_data_source|data_source",
            extra_info="original_extra_info|extra_info",
            ground_truth=f"original_reward_model|reward_model|original_ground_truth|{_GOLD}|original_answer|original_solution",
            group=Group(("data_idx",)),
            sample="sample_idx",
        ),
    ),
    Dialect(
        name="verl_rollouts",
        framework="verl rollouts",
        file="trainer.rollout_data_dir/{step}.jsonl",
        lacks="data_source, chat prompts (they are rendered text: --join)",
        requires=_needs("input", "output", "gts", "score"),
        layout=VERL,
    ),
    Dialect(
        name="verl_rollouts_0_5",
        framework="rollouts or validation generations of verl up to 0.5",
        file="{step}.jsonl of trainer.rollout_data_dir or validation_data_dir, without gts",
        lacks="ground truths, data_source, chat prompts (--join)",
        requires=_needs("input", "output", "score", "step"),
        without=_needs("gts"),
        layout=VERL.with_columns({"ground_truth": None, "group": ["input"]}),
    ),
    Dialect(
        name="verl_validation",
        framework="verl validation generations",
        file="trainer.validation_data_dir/{step}.jsonl",
        lacks="data_source, chat prompts (they are rendered text: --join)",
        requires=_needs("input", "output", "gts", "score", "reward"),
        layout=VERL,
    ),
    Dialect(
        name="verl_generation",
        framework="verl main_generation",
        file="the parquet file of data.output_path",
        requires=_needs("prompt", "responses", "reward_model"),
        layout=_TRAINING.with_columns(
            {
                "prompt": "prompt",
                "response": "responses",
                "explode": ["responses"],
                "ground_truth": "reward_model",
                "data_source": "data_source",
                "extra_info": "extra_info",
                "group": ["prompt", "reward_model.ground_truth"],
            }
        ),
    ),
    Dialect(
        name="trl",
        framework="TRL completions",
        file="completions/completions_{step}.parquet of log_completions=True",
        lacks="ground truths, unless a reward function logs them (log_extra); data_source, chat prompts (--join)",
        requires=_needs("prompt", "completion", "step"),
        without=_needs("task_id", "head_version"),
        repeats=True,
        layout=_TRL,
    ),
    Dialect(
        name="ms_swift",
        framework="ms-swift completions",
        file="completions.jsonl of --log_completions true",
        lacks="data_source, chat prompts (--join)",
        requires=_needs("prompt", "completion", "step", "advantages"),
        suffixes=INPUT_SUFFIXES,
        repeats=True,
        layout=_TRL.with_columns({"transpose": True}),
    ),
    Dialect(
        name="ms_swift_megatron",
        framework="ms-swift completions of Megatron",
        file="completions.jsonl of --log_completions true, also with Ray",
        lacks="data_source, chat prompts (--join)",
        requires=_needs("gen_step", "prompt", "completion"),
        without=_needs("step"),
        suffixes=INPUT_SUFFIXES,
        layout=_TRL.with_columns({"transpose": True, "steps": ["gen_step"]}),
    ),
    Dialect(
        name="ms_swift_infer",
        framework="ms-swift inference results",
        file="infer_result/{time}.jsonl of swift infer, predict.jsonl",
        lacks="rewards",
        requires=_needs("response", "labels", "messages"),
        layout=_TRAINING.with_columns(
            {
                "prompt": "messages",
                "response": "response",
                "ground_truth": "solution|answer|ground_truth|labels",
                "data_source": "data_source|dataset",
                "drop": ["messages", "logprobs"],  # they end in the response
            }
        ),
    ),
    Dialect(
        name="roll",
        framework="ROLL rollout dump",
        file="rollout_dump_data.step_{N}.jsonl",
        requires=_needs("id", "responses", "scores", "prompt"),
        suffixes=INPUT_SUFFIXES,
        layout=Layout(
            transpose=True,
            prompt="prompt",
            response="responses",
            ground_truth="ground_truth",
            reward="scores",
            data_source="source|domain|tag",
            group=Group(("id",)),
            steps=("global_step",),
            drop=("sampling_params",),
        ),
    ),
    Dialect(
        name="nemo_skills",
        framework="NeMo-Skills generations",
        file="output-rs{seed}.jsonl",
        requires=_needs("generation", "problem"),
        layout=_TRAINING.with_columns(
            {
                "prompt": "problem",
                "response": "generation",
                "ground_truth": "expected_answer",
                "reward": "symbolic_correct|is_correct",
                "finish_reason": "finish_reason",
                "group": "id|problem",
                "sample": FILE,
                "rollout": [
                    *("num_generated_tokens", "generation_start_time", "generation_end_time", "generation_time"),
                    *("predicted_answer", "judgement", "num_input_tokens", "serialized_output"),
                ],
            }
        ),
    ),
    Dialect(
        name="open_instruct_filtering",
        framework="open-instruct filtering generations",
        file="the jsonl file of scripts/data/rlvr/filtering_vllm.py",
        requires=_needs("messages", "output", "ground_truth", "dataset"),
        layout=_TRAINING.with_columns(
            {
                "prompt": "messages",
                "response": "output",
                "explode": ["output"],
                "ground_truth": "ground_truth[0]",
                "data_source": "dataset[0]",
                "group": ["messages", "ground_truth"],
                "drop": ["ground_truth"],
            }
        ),
    ),
    Dialect(
        name="open_r1_pass_rate",
        framework="open-r1 pass rates with generations",
        file="the dataset that scripts/pass_rate_filtering/compute_pass_rate.py pushes",
        requires=_needs("pass_rate_generations", "pass_rate_rewards"),
        layout=_TRAINING.with_columns(
            {
                "prompt": "prompt|problem|question",
                "response": "pass_rate_generations",
                "reward": "pass_rate_rewards",
                "explode": ["pass_rate_generations", "pass_rate_rewards"],
                "ground_truth": "solution|answer|ground_truth",
                "data_source": "data_source|source",
            }
        ),
    ),
    Dialect(
        name="open_r1_generations",
        framework="open-r1 generations",
        file="the jsonl file of scripts/generate_reasoning.py",
        requires=_needs("generations"),
        layout=_TRAINING.with_columns(
            {
                "prompt": "prompt|problem|question|instruction|messages",
                "response": "generations",
                "explode": ["generations", "finish_reasons", "api_metadata"],
                "finish_reason": "finish_reasons",
                "ground_truth": "answer|solution|ground_truth|expected_answer",
                "data_source": "data_source|source",
                "group": "uuid",
            }
        ),
    ),
    Dialect(
        name="openr1_math",
        framework="OpenR1-Math",
        file="the parquet files of open-r1/OpenR1-Math-220k",
        requires=_needs("generations", "correctness_math_verify"),
        layout=_TRAINING.with_columns(
            {
                "prompt": "problem",
                "response": "generations",
                "reward": "correctness_math_verify",
                "explode": [
                    *("generations", "correctness_math_verify", "correctness_llama", "finish_reasons"),
                    "is_reasoning_complete",
                ],
                "finish_reason": "finish_reasons",
                "ground_truth": "answer",
                "group": "uuid",
                "drop": ["messages"],
            }
        ),
    ),
    Dialect(
        name="open_math_reasoning",
        framework="OpenMathReasoning",
        file="the parquet files of nvidia/OpenMathReasoning",
        lacks="rewards",
        requires=_needs("problem", "generated_solution"),
        layout=_TRAINING.with_columns(
            {
                "prompt": "problem",
                "response": "generated_solution",
                "ground_truth": "expected_answer",
                "group": ["problem", "expected_answer"],
            }
        ),
    ),
    Dialect(
        name="distilabel",
        framework="distilabel generations",
        file="the parquet files of a TextGeneration step",
        lacks="ground truths, unless the dataset has them (--join)",
        requires=_needs("instruction", "generation"),
        without=_needs("problem"),
        layout=_TRAINING.with_columns(
            {
                "prompt": "instruction",
                "response": "generation",
                "explode": ["generation"],
                "ground_truth": _GOLD,
                "data_source": "data_source",
                "model": "model_name",
                "drop": ["distilabel_metadata"],
            }
        ),
    ),
    Dialect(
        name="areal",
        framework="AReaL rollouts",
        file="rollout/{version}/{task_id}.jsonl (--recursive)",
        lacks="ground truths, data_source, chat prompts (--join)",
        requires=_needs("task_id", "sample_idx", "prompt", "completion", "reward"),
        layout=Layout(
            prompt="prompt",
            response="completion",
            reward="reward",
            group=_hash("prompt"),  # a task_id is a number for each submission, not for each problem
            drop=("segments", "version_rle"),
            file=(("version", r"/(\d+)/[^/]+\.jsonl"), ("split", r"/(eval-rollout|rollout)/\d+/[^/]+$")),
            steps=("version",),
            tasks=("split",),
        ),
    ),
    Dialect(
        name="openrlhf",
        framework="OpenRLHF batch inference",
        file="the jsonl file of batch_inference (releases up to 0.8)",
        lacks="data_source",
        requires=_needs("input", "output"),
        layout=Layout(
            prompt="input",
            response="output",
            ground_truth="label|answer|ground_truth",
            reward="reward",
            group=_hash("input", "label|answer|ground_truth"),
        ),
    ),
    Dialect(
        name="llama_factory",
        framework="LLaMA-Factory predictions",
        file="generated_predictions.jsonl of do_predict or scripts/vllm_infer.py",
        lacks="rewards, data_source, chat prompts (they are rendered text: --join)",
        requires=_needs("prompt", "predict", "label"),
        layout=Layout(prompt="prompt", response="predict", ground_truth="label", group=_hash("prompt", "label")),
    ),
    Dialect(
        name="tinker",
        framework="tinker-cookbook rollout summaries",
        file="train_rollout_summaries.jsonl",
        lacks="prompts, responses and ground truths: rewards alone",
        requires=_needs("group_idx", "traj_idx", "total_reward"),
        layout=Layout(
            reward="total_reward",
            group=_hash("iteration", "group_idx"),
            sample="traj_idx",
            steps=("iteration",),
            drop=("steps", "tags", "schema_version"),
        ),
    ),
    Dialect(
        name="skywork_or1",
        framework="Skywork-OR1 pass counts",
        file="the parquet files of Skywork/Skywork-OR1-RL-Data",
        lacks="prompts' responses: counts alone",
        requires=_needs("extra_info.model_difficulty", "reward_model", "prompt"),
        without=_needs("responses", "response", "output"),
        layout=_TRAINING.with_columns(
            {
                "prompt": "prompt",
                "fails": "extra_info.model_difficulty.*",
                "samples": 16,
                "ground_truth": "reward_model",
                "data_source": "data_source",
                "extra_info": "extra_info",
                "group": ["prompt", "reward_model.ground_truth"],
            }
        ),
    ),
    Dialect(
        name="big_math",
        framework="Big-Math solve rates",
        file="the parquet files of SynthLabsAI/Big-Math-RL-Verified",
        lacks="responses: counts alone",
        requires=_needs("llama8b_solve_rate", "problem"),
        layout=_TRAINING.with_columns(
            {
                "prompt": "problem",
                "pass_rate": "llama8b_solve_rate",
                "samples": 64,
                "ground_truth": "answer",
                "data_source": "source",
            }
        ),
    ),
    Dialect(
        name="deepscaler_difficulty",
        framework="DeepScaleR difficulty",
        file="the parquet files of lime-nlp/DeepScaleR_Difficulty",
        lacks="responses: counts alone",
        requires=_needs("difficulty", "problem", "answer"),
        without=_needs("response", "responses", "generation", "generations"),
        layout=_TRAINING.with_columns(
            {  # difficulty = 100 * (1 - passes / 128), says its card
                "prompt": "problem",
                "fail_rate": "difficulty",
                "samples": 128,
                "out_of": 100,
                "ground_truth": "answer",
            }
        ),
    ),
    Dialect(
        name="nemotron_blend",
        framework="Nemotron RL blends",
        file="the parquet or jsonl files of Nemotron-RL training blends",
        lacks="responses: counts alone",
        requires=_needs("pass_rate_total", "pass_rate_passed"),
        layout=_TRAINING.with_columns(
            {
                "prompt": "responses_create_params.input|prompt|problem|question",
                "passes": "pass_rate_passed",
                "samples": "pass_rate_total",
                "ground_truth": _GOLD,
                "data_source": "dataset|data_source",
                "group": "uuid|id|_ng_task_index",
                "drop": ["raw_rewards_and_lengths"],
            }
        ),
    ),
)

for _dialect in TABLE:
    register(_dialect)
