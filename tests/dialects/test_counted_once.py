"""What frameworks write more than once, or for more than one policy, is counted once, or refused by name."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from analyzer.dialects.reading import Request
from analyzer.errors import InputError
from analyzer.rollouts.input import Input
from analyzer.stages import read
from tests.dialects import layouts
from tests.dialects.layouts import QUESTIONS, ROLLOUTS
from tests.dialects.test_dialects import rows_of


def opened(tmp_path: Path, spec: Path, **asked: Any) -> Input:
    return read.open_rollouts(Request(str(spec), **asked), str(tmp_path / "cache"))


def sizes(found: Input) -> list[int]:
    """The number of rollouts of each problem."""
    return sorted(Counter(row["data_idx"] for row in rows_of(found)).values())


@pytest.mark.parametrize("name", ["verl_rollouts_v1", "verl_validation_v1"])
def test_the_last_output_of_a_rollout_of_verl_v1_is_the_rollout(name: str, tmp_path: Path) -> None:
    path = getattr(layouts, name)(tmp_path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    # Lines in any order, 10 after 9: outputs are numbered, and the trainer goes by the number.
    earlier = [row | {"uid": f"{row['uid'][:-1]}{at}", "output": "compacted"} for row in rows[:5] for at in (9, 0, 2)]
    last = [row | {"uid": f"{row['uid'][:-1]}10"} for row in rows[:5]]
    layouts.lines(path, [*earlier[:7], *last, *earlier[7:], *rows[5:]])
    found = opened(tmp_path, path)
    assert sizes(found) == [4] * 4
    assert "compacted" not in {row["response"] for row in rows_of(found)}
    assert "16 of 31 rows are read: those with final_output == 1" in found.notes


def _trl(folder: Path) -> Path:
    completions = layouts.trl(folder)
    table = pq.read_table(completions / "completions_00001.parquet")
    at = table.column_names.index("step")
    for step, response in ((2, None), (3, "other"), (4, "other")):
        again = table.set_column(at, "step", [[step] * 16])
        if response:
            again = again.set_column(again.column_names.index("completion"), "completion", [[response] * 16])
        pq.write_table(again, completions / f"completions_{step:05d}.parquet")
    return completions


def _ms_swift(folder: Path) -> Path:
    path = layouts.ms_swift(folder)
    [line] = [json.loads(line) for line in path.read_text().splitlines()]
    # Entropies are those of the update, not of the rollouts.
    again = line | {"step": ["2"] * 16, "entropy": [0.5] * 16}
    other = line | {"completion": ["other"] * 16}
    return layouts.lines(path, [line, again, other | {"step": ["3"] * 16}, other | {"step": ["4"] * 16}])


@pytest.mark.parametrize("write", [_trl, _ms_swift])
def test_updates_on_the_same_rollouts_do_not_count_them_again(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path)
    pooled = opened(tmp_path, path, pool=True)
    assert sizes(pooled) == [8] * 4
    assert any(note.startswith("left out: 2 steps with the very rollouts") for note in pooled.notes)
    step = "step == 2" if write is _trl else "step == '2'"
    assert sizes(opened(tmp_path, path, rows=step)) == [4] * 4


def test_filters_that_lm_eval_does_not_name_do_not_count_responses_again(tmp_path: Path) -> None:
    [path] = layouts.lm_eval(tmp_path).glob("samples_*")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    layouts.lines(path, [{name: value for name, value in line.items() if name != "filter"} for line in lines])
    found = opened(tmp_path, path)
    assert sizes(found) == [4] * 4
    assert "left out: 4 lines with responses that came before, for other filters" in found.notes


def test_a_log_of_inspect_that_was_tried_again_gives_way_to_its_retry(tmp_path: Path) -> None:
    path = layouts.inspect_json(tmp_path)
    log = json.loads(path.read_text())
    log["eval"] |= {"task_id": "t", "eval_id": "b", "created": "2026-01-02T00:00:00"}
    path.write_text(json.dumps(log))
    failed = log | {"samples": log["samples"][:5]}
    failed["eval"] = log["eval"] | {"eval_id": "a", "created": "2026-01-01T00:00:00"}
    (tmp_path / "failed.json").write_text(json.dumps(failed))
    for pool in (False, True):
        found = opened(tmp_path, tmp_path, pool=pool)
        assert sizes(found) == [4] * 4
        assert "16 of 21 rows are read: those with tried_again == 0" in found.notes


def _vf(folder: Path, run: str) -> None:
    (to := folder / "evals" / run).mkdir(parents=True)
    layouts.verifiers(to)


def _v1(folder: Path, run: str) -> None:
    layouts.lines(folder / run / "traces.jsonl", [json.loads(line) for line in _episodes(folder)])


def _episodes(folder: Path) -> list[str]:
    path = layouts.prime_rl(folder / "made")
    found = path.read_text().splitlines()
    shutil.rmtree(folder / "made")
    return found


def _lm_eval(folder: Path, run: str) -> None:
    (to := folder / run.replace("/", "-")).mkdir(parents=True)
    layouts.lm_eval(to)
    [path] = to.rglob("samples_*")
    (folder / "m").mkdir(exist_ok=True)
    path.rename(folder / "m" / path.name.replace("2026-01-01", run[-10:]))
    shutil.rmtree(to)


def _lighteval(folder: Path, run: str) -> None:
    model, date = run.split("/")
    (to := folder / "details" / model / f"{date}T00-00-00").mkdir(parents=True)
    path = layouts.lighteval(to)
    path.rename(to / f"details_gsm8k_{date}T00-00-00.parquet")


@pytest.mark.parametrize(
    ("write", "runs", "named"),
    [
        (_vf, ("gsm8k--A/1", "gsm8k--B/2"), "run"),  # two models: the lines do not name them
        (_vf, ("gsm8k--A/1", "gsm8k--A/2"), "run"),
        (_v1, ("gsm8k--A/1", "gsm8k--B/2"), "run"),
        (_v1, ("gsm8k--A--bash--4f1c", "gsm8k--A--bash--9e01"), "run"),
        (_lm_eval, ("m/2026-01-01", "m/2026-01-02"), "run"),
        (_lighteval, ("A/2026-01-01", "B/2026-01-01"), "model"),
        (_lighteval, ("A/2026-01-01", "A/2026-01-02"), "run"),
    ],
)
def test_two_runs_are_two_policies_unless_they_are_pooled(
    write: Callable[[Path, str], None], runs: tuple[str, str], named: str, tmp_path: Path
) -> None:
    folder = tmp_path / "runs"
    write(folder, runs[0])
    assert sizes(opened(tmp_path, folder, recursive=True, scored_without_gold=True)) == [4] * 4
    write(folder, runs[1])
    with pytest.raises(InputError, match=f"several values of {named} .*two steps, models or runs may be two policies"):
        opened(tmp_path, folder, recursive=True, scored_without_gold=True)
    assert sizes(opened(tmp_path, folder, recursive=True, pool=True, scored_without_gold=True)) == [8] * 4


@pytest.mark.parametrize(
    ("name", "runs", "message"),
    [
        ("verl_rollouts_v1", ("a", "b"), "1.jsonl is in several folders, which may be those of two runs"),
        ("nemo_skills", ("a", "b"), "output-rs0.jsonl is in several folders"),
        ("openr1_math", ("all", "data"), "train.parquet is in several folders"),
        ("areal", ("eval-rollout", "rollout"), "several values of split"),
        ("nemo_gym", ("a", "b"), "rollouts.jsonl is in several folders"),
    ],
)
def test_files_of_one_name_in_two_folders_are_two_runs_unless_they_are_pooled(
    name: str, runs: tuple[str, str], message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "runs"
    for run in runs:
        (folder / run).mkdir(parents=True)
        path = getattr(layouts, name)(folder / run)
        if name == "areal":
            shutil.move(path / "rollout", tmp_path / "moved")
            shutil.rmtree(path)
            shutil.move(tmp_path / "moved", folder / run)
        if name == "openr1_math":
            path.rename(path.parent / "train.parquet")
    with pytest.raises(InputError, match=message):
        opened(tmp_path, folder, recursive=True)
    found = opened(tmp_path, folder, recursive=True, pool=True)
    assert sum(sizes(found)) == 32


def test_two_runs_of_open_instruct_in_one_folder_are_two_policies(tmp_path: Path) -> None:
    path = layouts.open_instruct(tmp_path)
    shutil.copy(path, tmp_path / "other_rollouts_000000.jsonl")
    with pytest.raises(InputError, match=r"several values of run \('other', 'run', ...\)"):
        opened(tmp_path, tmp_path)
    assert opened(tmp_path, tmp_path, rows="run == 'other'").dataset.rows == 16


def test_a_rollout_of_verifiers_without_an_answer_is_read(tmp_path: Path) -> None:
    path = layouts.verifiers(tmp_path) / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0] |= {"completion": [], "error": "ModelError()", "reward": 0.0}
    rows[1] |= {"completion": [], "reward": 0.0}  # its prompt was too long
    layouts.lines(path, rows)
    found = rows_of(opened(tmp_path, path))
    assert [(row["response"], row["reward"], row["reward_status"]) for row in found[:2]] == [
        ("", None, "error"),
        ("", 0.0, "ok"),
    ]


def test_tasks_without_key_hash_and_index_are_distinguished_by_prompt_and_ground_truth(tmp_path: Path) -> None:
    path = layouts.verifiers_traces(tmp_path)
    traces = [json.loads(line) for line in path.read_text().splitlines()]
    for trace in traces:
        del trace["task"]["data"]["idx"]
    traces[0]["errors"] = [{"type": "ProviderError"}]
    layouts.lines(path, traces)
    found = opened(tmp_path, path)
    assert sizes(found) == [4] * 4
    assert [row["reward_status"] for row in rows_of(found)[:2]] == ["error", "ok"]


def test_the_response_of_a_trace_with_sub_agents_is_its_own_agent_s(tmp_path: Path) -> None:
    path = layouts.prime_rl(tmp_path)
    episodes = [json.loads(line) for line in path.read_text().splitlines()[:3]]
    of_sub_agent = {"message": {"role": "assistant", "content": "found it"}, "sampled": True, "parent": 0}
    for episode in episodes:
        [trace] = episode["traces"]
        trace["root_reply"] = trace["nodes"][-1]["message"]["content"]
        trace["nodes"].append(of_sub_agent)
    episodes[1]["traces"][0]["stop_condition"] = "max_turns"
    episodes[2]["traces"][0]["calls"].append({"error": {"type": "ProviderError"}})
    found = rows_of(opened(tmp_path, layouts.lines(path, episodes)))
    assert [row["response"] for row in found] == [r.response for r in ROLLOUTS[:3]]
    assert [row["finish_reason"] for row in found] == ["stop", "length", "stop"]


def test_episodes_of_rllm_with_ids_of_their_own_are_told_apart_by_prompt_and_ground_truth(tmp_path: Path) -> None:
    folder = layouts.rllm(tmp_path)
    for number, path in enumerate(sorted(folder.iterdir())):
        episode = json.loads(path.read_text())
        episode |= {"id": f"4f1c-{number}", "task": {key: episode["task"][key] for key in ("instruction", "metadata")}}
        chat = episode["trajectories"][-1]["steps"][-1]["chat_completions"]
        chat += [{"role": "tool", "content": f"result {number}"}, {"role": "assistant", "content": "done"}]
        path.write_text(json.dumps(episode))
    found = opened(tmp_path, folder)
    assert sizes(found) == [4] * 4
    assert not any("result" in str(row["prompt"]) for row in rows_of(found))


def test_a_log_of_inspect_is_read_with_nan_and_with_what_failed_before_any_answer(tmp_path: Path) -> None:
    log = json.loads(layouts.inspect_json(tmp_path).read_text())
    first, second, third = log["samples"][:3]
    first["scores"] = {"match": {"value": float("nan")}}
    second |= {"output": {"choices": []}, "scores": {}, "error": {"message": "429"}}
    asked = [{"role": "user", "content": "Which?\nA) 7\nB) 8"}, {"role": "assistant", "content": "A"}]
    third |= {"choices": ["7", "8"], "messages": asked}
    (tmp_path / "log.json").unlink()
    with layouts.eval_file(tmp_path / "log.eval") as file:
        file.writestr("header.json", json.dumps({"eval": log["eval"]}))
        for sample in log["samples"]:
            file.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
    found = opened(tmp_path, tmp_path / "log.eval")
    rows = {(row["data_idx"], row["sample_idx"]): row for row in rows_of(found)}
    assert rows[first["id"], first["epoch"]]["reward"] is None
    assert (second["id"], second["epoch"]) not in rows
    assert "1 rollout without a response (failed requests) left out." in found.warnings
    assert rows[third["id"], third["epoch"]]["prompt"] == asked[:1]
    assert {row["prompt"][0]["content"] for row in rows.values()} == {*QUESTIONS, asked[0]["content"]}
    assert len(rows) == len(ROLLOUTS) - 1


def _logged(*messages: tuple[str, int], cut: int = 0) -> dict[str, Any]:
    """A line of NeMo-RL's training data: (text, whether it is the model's), two tokens each, the last `cut` cut off."""
    mask = [own for _, own in messages for _ in range(2)]
    mask = mask[: len(mask) - cut]
    return {
        "content": [[text for text, _ in messages]],
        "rewards": [1.0],
        "input_lengths": [len(mask)],
        "token_loss_mask": [[*mask, 0, 0]],
    }


ENDS = _logged(("ask ", 0), ("7", 1), ("Environment: correct", 0))


@pytest.mark.parametrize(
    ("line", "prompt", "response"),
    [
        (ENDS, "ask ", "7"),
        (_logged(("system ", 0), ("ask ", 0), ("7", 1), ("Environment: correct", 0)), "system ask ", "7"),
        (_logged(("ask ", 0), ("look up", 1), ("found", 0), ("7", 1), ("done", 0)), "ask ", "7"),
        (_logged(("ask ", 0), ("7", 1), ("Environment: correct", 0), cut=2), "ask ", "7"),  # no token left for it
        (_logged(("ask ", 0), ("", 0), ("Environment: incorrect", 0)), "ask ", ""),
    ],
)
def test_the_response_of_nemo_rl_is_the_model_s_last_message(
    line: dict[str, Any], prompt: str, response: str, tmp_path: Path
) -> None:
    path = layouts.lines(tmp_path / "train_data_step1.jsonl", [ENDS, line])
    assert [(row["prompt"], row["response"]) for row in rows_of(opened(tmp_path, path))][1] == (prompt, response)


def test_nemo_rl_without_an_environment_ends_with_the_model_and_without_a_mask_roles_are_not_guessed(
    tmp_path: Path,
) -> None:
    lone = _logged(("system ", 0), ("ask ", 0), ("7", 1))
    path = layouts.lines(tmp_path / "train_data_step1.jsonl", [lone])
    assert [(row["prompt"], row["response"]) for row in rows_of(opened(tmp_path, path))] == [("system ask ", "7")]
    layouts.lines(path, [{name: lone[name] for name in ("content", "rewards")}])
    with pytest.raises(InputError, match=r"line 1: not a record of NeMo-RL .*no token_loss_mask"):
        opened(tmp_path, path)


def test_rollouts_of_slime_in_several_samples_count_only_where_each_is_to(tmp_path: Path) -> None:
    path = layouts.slime(tmp_path)
    samples = [json.loads(line) for line in path.read_text().splitlines()]
    layouts.lines(path, [*samples, *(sample | {"response": "sub-agent"} for sample in samples[:4])])
    with pytest.raises(InputError, match=r"4 of 16 rollouts are split .*\(rollout_id 0: 2\).*--pool"):
        opened(tmp_path, path)
    assert sizes(opened(tmp_path, path, pool=True)) == [4, 4, 4, 8]


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("nemo_rl", "token_loss_mask", "line 1: not a record of NeMo-RL rollouts"),
        ("verl_rollouts_0_5", "input", r"nothing tells the problems apart \(input is null in every row\)"),
        ("openai_batch", "custom_id", "nothing tells the problems apart"),
    ],
)
def test_what_a_file_lacks_is_said_before_all_of_it_becomes_one_problem(
    name: str, column: str, message: str, tmp_path: Path
) -> None:
    found = getattr(layouts, name)(tmp_path)
    [path] = tmp_path.rglob("*.jsonl")
    layouts.lines(path, [json.loads(line) | {column: None} for line in path.read_text().splitlines()])
    with pytest.raises(InputError, match=message):
        opened(tmp_path, found, scored_without_gold=True)
