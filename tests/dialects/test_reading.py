"""What reading says and refuses: unclear formats, several policies, wrong keys, training data that does not fit."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from analyzer.commands import analyze_rollouts as cli
from analyzer.commands.select_problems import select_problems
from analyzer.dialects.reading import Request
from analyzer.errors import ConfigError, InputError
from analyzer.rollouts.input import Input
from analyzer.stages import read
from tests.commands import TOKENIZER, jsonl, parquet, rollouts
from tests.dialects import layouts
from tests.dialects.layouts import GOLDS, QUESTIONS, RATES, ROLLOUTS, SHUFFLED
from tests.dialects.test_dialects import rows_of


def opened(tmp_path: Path, spec: Path, **asked: Any) -> Input:
    return read.open_rollouts(Request(str(spec), **asked), str(tmp_path / "cache"))


class Run:
    """A run of the command in a folder of its own."""

    def __init__(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: Path, *words: str) -> None:
        self.folder = tmp_path / "out"
        common = ["--output_dir", str(self.folder), "--cache_dir", str(tmp_path / "cache"), "--backend", "sequential"]
        self.code = cli.analyze_rollouts(["--rollouts", str(spec), *common, *words])
        self.err = capsys.readouterr().err

    @property
    def rates(self) -> list[float]:
        metrics = json.loads((self.folder / "problem_metrics.json").read_bytes())
        return sorted(problem["pass_rate"] for problem in metrics.values())


def test_unknown_columns_end_in_the_flag_to_paste(tmp_path: Path) -> None:
    rows = [{"query": r.prompt, "model_output": r.response, "gold": r.gold, "is_correct": r.reward} for r in ROLLOUTS]
    path = layouts.lines(tmp_path / "r.jsonl", rows)
    with pytest.raises(InputError) as raised:
        opened(tmp_path, path)
    pasted = re.search(r"--columns ('.*')", str(raised.value))
    assert pasted is not None
    [columns] = shlex.split(pasted[1])
    found = opened(tmp_path, path, columns=columns)  # the text of the error as it stands
    assert {row["response"] for row in rows_of(found)} == {r.response for r in ROLLOUTS}
    assert {row["original_ground_truth"] for row in rows_of(found)} == set(GOLDS)
    assert found.notes == ("read as rollouts by --columns: 16 rollouts, 4 problems by (prompt, ground truth)",)


def _answers(problem: int) -> list[str]:
    return [r.response for r in ROLLOUTS if r.problem == problem]


def test_lists_of_responses_and_chats_that_end_in_one_are_pasted_so_that_they_are_read(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = [
        {"prompt": question, "answer": gold} for question, gold in zip(QUESTIONS, GOLDS, strict=True)
    ]
    spoken = [{"role": "assistant", "content": r.response} for r in ROLLOUTS]
    calls = [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, {"role": "tool", "content": "7"}]
    layouts_of: dict[str, list[dict[str, Any]]] = {
        "texts": [row | {"responses": _answers(p)} for p, row in enumerate(asked)],
        "chats": [
            row | {"completions": [[{"role": "assistant", "content": text}] for text in _answers(p)]}
            for p, row in enumerate(asked)
        ],
        "outputs of vLLM": [
            row | {"outputs": [{"index": 0, "text": text} for text in _answers(p)]} for p, row in enumerate(asked)
        ],
        "choices": [
            row | {"choices": [{"message": {"role": "assistant", "content": text}} for text in _answers(p)]}
            for p, row in enumerate(asked)
        ],
        "messages": [
            {"messages": [{"role": "user", "content": r.prompt}, *(calls if at % 2 else ()), message], "answer": r.gold}
            for at, (r, message) in enumerate(zip(ROLLOUTS, spoken, strict=True))
        ],
    }
    layouts_of["messages beside the response"] = [
        {"messages": [{"role": "user", "content": r.prompt}, message], "response": r.response, "answer": r.gold}
        for r, message in zip(ROLLOUTS, spoken, strict=True)
    ]
    for name, rows in layouts_of.items():
        for path in (layouts.lines(tmp_path / "r.jsonl", rows), parquet(tmp_path / "r.parquet", rows)):
            with pytest.raises(InputError) as raised:
                opened(tmp_path, path)
            [columns] = shlex.split(re.search(r"--columns ('.*')", str(raised.value))[1])  # type: ignore[index]
            found = rows_of(opened(tmp_path, path, columns=columns))
            assert sorted(row["response"] for row in found) == sorted(r.response for r in ROLLOUTS), name
            problems = {row["data_idx"]: json.dumps(row["prompt"]) for row in found}
            assert len(problems) == len(set(problems.values())) == len(GOLDS), name
            assert not any("assistant" in prompt for prompt in problems.values()), name


@pytest.mark.parametrize("name", ["train.jsonl", "train.parquet"])
def test_training_data_given_as_rollouts_is_recognized(tmp_path: Path, name: str) -> None:
    message = [{"role": "user", "content": "What is 2 + 2?"}]
    row = {"data_source": "openai/gsm8k", "prompt": message, "reward_model": {"style": "rule", "ground_truth": "4"}}
    if name.endswith(".jsonl"):
        layouts.lines(tmp_path / name, [row])
    else:
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / name)
    with pytest.raises(InputError, match="this is training data, prompts without responses; sample"):
        opened(tmp_path, tmp_path / name)


def test_a_column_that_is_named_and_not_there_is_an_error_with_the_nearest(tmp_path: Path) -> None:
    path = layouts.verl_rollouts_v1(tmp_path)
    with pytest.raises(InputError, match=r"reward: there is no 'scores' \(did you mean 'score'\?\) \(the columns"):
        opened(tmp_path, path, columns={"reward": "scores"})


def test_what_fits_two_formats_is_not_guessed(tmp_path: Path) -> None:
    row = {"input": "q", "output": "a", "prompt": "q", "response": "a"}
    path = layouts.lines(tmp_path / "r.jsonl", [row])
    with pytest.raises(InputError, match=r"may be any of .*; name one with --input_format"):
        opened(tmp_path, path)
    assert opened(tmp_path, path, input_format="openrlhf", scored_without_gold=True).dataset.rows == 1


def test_an_unknown_format_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'verl_rollouts'"):
        opened(tmp_path, layouts.verl_rollouts(tmp_path), input_format="verl_rollout")


def steps(tmp_path: Path) -> Path:
    for step in (1, 2):
        layouts.lines(tmp_path / "steps" / f"{step}.jsonl", [layouts._verl(r, step) for r in ROLLOUTS])
    return tmp_path / "steps"


def test_several_steps_are_several_policies_unless_one_is_picked_or_they_are_pooled(tmp_path: Path) -> None:
    folder = steps(tmp_path)
    with pytest.raises(InputError, match=r'several values of step.*--rows "step == 1".*--pool'):
        opened(tmp_path, folder)
    one = opened(tmp_path, folder, rows="step == 2")
    assert {row["step"] for row in rows_of(one)} == {2}
    assert one.dataset.rows == 16
    assert "--rows 'step == 2' keeps 16 of 32 rows" in one.notes
    pooled = rows_of(opened(tmp_path, folder, pool=True))
    assert sorted({row["sample_idx"] for row in pooled}) == list(range(8))


OWN_ROWS = [{"prompt": r.prompt, "response": r.response, "answer": r.gold, "reward": r.reward} for r in ROLLOUTS]
SEVERAL = "several values of {} .*, or pass --pool if they belong together"


def test_folders_named_by_a_value_are_columns_and_tell_policies_apart(tmp_path: Path) -> None:
    for seed in (1, 2):
        path = tmp_path / "seeds" / "data_source=openai%2Fgsm8k" / f"seed={seed}" / "part-0.parquet"
        parquet(path, [{**row, "response": f"{row['response']} {seed}"} for row in OWN_ROWS])
    found = opened(tmp_path, tmp_path / "seeds", recursive=True)
    assert {(row["original_data_source"], row["seed"]) for row in rows_of(found)} == {
        ("openai/gsm8k", 1),
        ("openai/gsm8k", 2),
    }
    assert found.notes[0].endswith("32 rollouts, 4 problems by (prompt, ground truth)")
    assert "seed" not in rows_of(opened(tmp_path, path))[0]  # that of the file alone, however its folder is called
    for name, values in (("step", (1, 2)), ("model", ("a", "b"))):
        for value in values:
            parquet(tmp_path / name / f"{name}={value}" / "part-0.parquet", OWN_ROWS)
        globs = (tmp_path / name / "*" / "*.parquet", tmp_path / name / f"{name}=*" / "part-0.parquet")
        for spec, recursive in ((tmp_path / name, True), *((glob, False) for glob in globs)):
            with pytest.raises(InputError, match=SEVERAL.format(name)):
                opened(tmp_path, spec, recursive=recursive)
            one = opened(tmp_path, spec, recursive=recursive, rows=f"{name} == {values[1]!r}")
            assert [row[name] for row in rows_of(one)] == [values[1]] * 16
    assert opened(tmp_path, tmp_path / "step", recursive=True, pool=True).dataset.rows == 32


def test_rollouts_of_ours_without_numbers_may_be_those_of_two_runs(tmp_path: Path) -> None:
    for name, values in (("step", (1, 2)), ("model", ("a", "b"))):
        rows = [{**row, name: value} for value in values for row in OWN_ROWS]
        with pytest.raises(InputError, match=SEVERAL.format(name)):
            opened(tmp_path, parquet(tmp_path / f"{name}.parquet", rows))
    for run in ("one", "two"):
        parquet(tmp_path / "runs" / run / "r.parquet", OWN_ROWS)
    with pytest.raises(InputError, match=r"r\.parquet is in several folders, which may be those of two runs"):
        opened(tmp_path, tmp_path / "runs", recursive=True)


def test_files_that_may_hold_the_same_rollouts_are_not_both_read_in_silence(tmp_path: Path) -> None:
    for names in (("a.jsonl", "a.jsonl.gz"), ("a.jsonl", "a.parquet")):
        folder = tmp_path / names[1]
        folder.mkdir()
        for name in names:
            (parquet if name.endswith("parquet") else jsonl)(folder / name, OWN_ROWS)
        with pytest.raises(InputError, match=rf"{names[0]} and {names[1]} may hold the same rollouts"):
            opened(tmp_path, folder)
    for name in ("a.jsonl", "b.jsonl"):
        jsonl(tmp_path / "copy" / name, OWN_ROWS)
    found = opened(tmp_path, tmp_path / "copy")
    assert [warning for warning in found.warnings if "b.jsonl hold the same bytes" in warning]
    jsonl(tmp_path / "copy" / "b.jsonl", OWN_ROWS[::-1])
    assert opened(tmp_path, tmp_path / "copy").warnings == ()
    (tmp_path / "copy" / "c.jsonl.xz").write_bytes(b"\xfd7zXZ")
    with pytest.raises(InputError, match=r"c\.jsonl\.xz: is compressed as \.xz"):
        opened(tmp_path, tmp_path / "copy")


def test_tasks_that_are_pooled_keep_their_problems_apart(tmp_path: Path) -> None:
    for task in ("a", "b"):
        rows = [
            {"doc_id": p, "target": GOLDS[p], "arguments": {"gen_args_0": {"arg_0": f"{task}: {QUESTIONS[p]}"}}}
            | {"resps": [["1", "2"]], "filter": "none"}
            for p in range(4)
        ]
        layouts.lines(tmp_path / "m" / f"samples_{task}_2026-01-01T00-00-00.jsonl", rows)
    with pytest.raises(InputError, match="several values of task"):
        opened(tmp_path, tmp_path / "m")
    found = rows_of(opened(tmp_path, tmp_path / "m", pool=True))
    assert len({row["data_idx"] for row in found}) == 8
    assert "a/0" in {row["data_idx"] for row in found}


def test_all_and_effective_rollouts_are_not_counted_twice(tmp_path: Path) -> None:
    path = layouts.prime_rl(tmp_path / "run")
    copy = path.parent.parent / "effective" / path.name
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"several values of subset \('all', 'effective', ...\)"):
        opened(tmp_path, tmp_path / "run", recursive=True)
    assert opened(tmp_path, tmp_path / "run", recursive=True, rows="subset == 'all'").dataset.rows == 16


def test_a_folder_of_failures_is_not_read_with_the_rollouts(tmp_path: Path) -> None:
    path = layouts.nemo_gym(tmp_path)
    (tmp_path / "rollouts_failures.jsonl").write_bytes(path.read_bytes().splitlines()[0] + b"\n")
    found = opened(tmp_path, tmp_path)
    assert found.dataset.rows == 16
    assert "not read: rollouts_failures.jsonl" in found.notes


@pytest.mark.parametrize(
    "error", ["SandboxError", {"error": "ModelError", "error_chain_repr": "..."}], ids=["text", "struct"]
)
def test_a_rollout_of_verifiers_that_broke_off_has_no_reward_and_no_0(error: Any, tmp_path: Path) -> None:
    path = layouts.verifiers(tmp_path) / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0] |= {"error": error, "reward": 0.0}
    layouts.lines(path, rows)
    found = rows_of(opened(tmp_path, path))
    assert [(row["reward"], row["reward_status"]) for row in found[:2]] == [(None, "error"), (rows[1]["reward"], "ok")]
    assert "tool_defs" not in found[0]


def test_a_sample_that_evalscope_could_not_score_has_no_reward_and_no_0(tmp_path: Path) -> None:
    path = layouts.evalscope(tmp_path) / "gsm8k_main.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row, said in zip(rows, ({"value": {}}, {"status": "judge_error"}), strict=False):
        row["sample_score"]["score"] |= said
    found = rows_of(opened(tmp_path, layouts.lines(path, rows)))
    assert [(row["reward"], row["reward_status"]) for row in found[:2]] == [(None, "error")] * 2
    assert None not in [row["reward"] for row in found[2:]]


def test_an_episode_that_failed_has_no_reward_though_some_were_given_before(tmp_path: Path) -> None:
    path = layouts.prime_rl(tmp_path)
    episodes = [json.loads(line) for line in path.read_text().splitlines()]
    episodes[0]["traces"][0] |= {"ok": False, "rewards": {"format": {"score": 0.0, "weight": 1.0}}}
    episodes[1] |= {"ok": False, "errors": [{"type": "EnvError"}], "traces": []}
    layouts.lines(path, episodes)
    found = opened(tmp_path, path)
    assert [row["reward_status"] for row in rows_of(found)] == ["error", *["ok"] * 14]
    assert rows_of(found)[0]["reward"] is None
    assert any("1 rollout without a response (failed requests) left out" in warning for warning in found.warnings)


def test_each_task_of_lm_eval_is_read_by_a_filter_of_its_own(tmp_path: Path) -> None:
    folder = layouts.lm_eval(tmp_path)
    [gsm8k] = folder.glob("samples_*.jsonl")
    rows = [json.loads(line) | {"filter": "it's"} for line in gsm8k.read_text().splitlines()[:4]]
    layouts.lines(folder / "samples_math_2026-01-01T00-00-00.000000.jsonl", rows)
    with pytest.raises(InputError, match=r"several values of task \('gsm8k', 'math', ...\)"):
        opened(tmp_path, folder, scored_without_gold=True)
    for task in ("gsm8k", "math"):
        assert opened(tmp_path, folder, rows=f"task == '{task}'").dataset.rows == 16
    pooled = opened(tmp_path, folder, pool=True)
    assert pooled.dataset.rows == 32
    assert {row["filter"] for row in rows_of(pooled)} == {"strict", "it's"}


def test_logs_of_inspect_have_each_the_scorer_of_its_task(tmp_path: Path) -> None:
    log = json.loads(layouts.inspect_json(tmp_path).read_text())
    log["eval"]["task"] = "mmlu"
    for sample in log["samples"]:
        sample["scores"] = {"choice": sample["scores"]["match"]}
    log["samples"][0]["scores"] = None  # it failed
    (tmp_path / "other.json").write_text(json.dumps(log))
    for task, scored in (("gsm8k", 16), ("mmlu", 15)):
        found = rows_of(opened(tmp_path, tmp_path, rows=f"task == '{task}'"))
        assert sum(row["reward"] is not None for row in found) == scored


def test_a_batch_of_the_responses_api_is_read_as_one_of_chat_completions(tmp_path: Path) -> None:
    path = layouts.openai_batch(tmp_path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        [choice] = row["response"]["body"].pop("choices")
        text = {"type": "output_text", "text": choice["message"]["content"]}
        cut = choice["finish_reason"] == "length"
        row["response"]["body"] |= {
            "status": "incomplete" if cut else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [{"type": "reasoning", "summary": []}, {"type": "message", "content": [text]}],
        }
    (tmp_path / "other").mkdir()
    other = layouts.lines(tmp_path / "other" / "responses.jsonl", rows)
    chat, responses = (rows_of(opened(tmp_path, one, scored_without_gold=True)) for one in (path, other))
    names = ("data_idx", "sample_idx", "response", "finish_reason")
    assert [[row[name] for name in names] for row in chat] == [[row[name] for name in names] for row in responses]
    for row in rows:
        row["response"]["body"] |= {"status": "failed", "output": []}
    with pytest.raises(InputError, match="no rows with a response: 16 rollouts without one"):
        opened(tmp_path, layouts.lines(tmp_path / "failed.jsonl", rows), scored_without_gold=True)


def test_responses_that_are_chats_written_as_text_are_noticed_with_the_path_that_reads_them(tmp_path: Path) -> None:
    rows = [
        {
            **row,
            "response": json.dumps([{"role": "assistant", "content": row["response"]}]) if at < 3 else row["response"],
        }
        for at, row in enumerate(OWN_ROWS)
    ]
    [warning] = opened(tmp_path, parquet(tmp_path / "r.parquet", rows)).warnings
    assert warning.startswith("3 responses are a chat written as text")
    [columns] = shlex.split(re.search(r"--columns ('.*')", warning)[1])  # type: ignore[index]
    found = rows_of(opened(tmp_path, parquet(tmp_path / "r.parquet", rows[:3]), columns=columns))
    assert [row["response"] for row in found] == [row["response"] for row in OWN_ROWS[:3]]


def test_a_message_that_the_response_continues_stays_in_the_prompt(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "<think>"}]
    rows = [{"prompt": chat, "response": text, "answer": "4", "reward": 1.0} for text in ("4", "four")]
    found = opened(tmp_path, parquet(tmp_path / "r.parquet", rows))
    assert [row["prompt"] for row in rows_of(found)] == [chat, chat]
    assert found.notes[0].endswith("2 rollouts, 1 problem by (prompt, ground truth)")


def test_a_list_of_rollouts_in_a_json_file_is_read_as_its_lines_would_be(tmp_path: Path) -> None:
    rows = [
        {"prompt": r.prompt, "response": r.response, "data_idx": r.problem, "sample_idx": r.sample, "reward": r.reward}
        for r in ROLLOUTS
    ]
    path = tmp_path / "in" / "a.json"
    path.parent.mkdir()
    path.write_text("\ufeff" + json.dumps(rows, indent=1))
    wanted = rows_of(opened(tmp_path, layouts.lines(tmp_path / "a.jsonl", rows)))
    assert rows_of(opened(tmp_path, path)) == rows_of(opened(tmp_path, path.parent)) == wanted
    path.write_text('[{"prompt": "p", "response": "\\ud800", "reward": 1, "more": []}]')
    assert opened(tmp_path, path).replaced == 1
    path.write_text(path.read_text().replace("[]", "[" * 900 + "]" * 900))
    with pytest.raises(InputError, match=r"a\.json: nested too deeply"):
        opened(tmp_path, path)
    path.write_text(json.dumps({name: [row[name] for row in rows] for name in rows[0]}))  # columns
    with pytest.raises(InputError, match=r"read with --columns '\{transpose: true\}'"):
        opened(tmp_path, path)
    assert rows_of(opened(tmp_path, path, columns={"transpose": True})) == wanted


@pytest.mark.parametrize("name", ["a.json", ""], ids=["the file", "its folder"])
def test_the_error_for_a_json_file_with_an_object_per_line_says_that_it_is_jsonl(name: str, tmp_path: Path) -> None:
    layouts.lines(tmp_path / "in" / "a.json", [{"prompt": "p", "response": "r"}] * 2)
    with pytest.raises(InputError, match=r"a\.json: holds a JSON object per line; rename it to end in \.jsonl"):
        opened(tmp_path, tmp_path / "in" / name)


@pytest.mark.parametrize(
    ("said", "ids"),
    [
        ([1.0, 1, 2], [1, 1, 2]),
        ([1, 1.0, 2.0], [1, 1, 2]),
        (["a", 1, "1"], ["a", "1", "1"]),
        ([1.0, 2.0, 2.0], [1, 2, 2]),
        ([2**63, 7, 7.0], [str(2**63), "7", "7"]),  # hashes of 64 bits, some past what an int64 holds
    ],
)
def test_a_lone_key_stays_readable_where_lines_spell_it_differently(
    said: list[Any], ids: list[Any], tmp_path: Path
) -> None:
    rows = [{"q": f"p{one}", "out": f"r{at}", "reward": 1.0, "id": one} for at, one in enumerate(said)]
    path = layouts.lines(tmp_path / "r.jsonl", rows)
    found = opened(tmp_path, path, columns={"prompt": "q", "response": "out", "reward": "reward", "group": "id"})
    assert [row["data_idx"] for row in rows_of(found)] == ids


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
@pytest.mark.parametrize("name", ["data_idx", "sample_idx"])
def test_numbers_of_rollouts_may_be_floats_as_far_as_these_tell_integers_apart(
    kind: pa.DataType, name: str, tmp_path: Path
) -> None:
    rows = [{"prompt": f"p{at}", "response": "r", "data_idx": at, "sample_idx": at, "reward": 1.0} for at in range(2)]
    table = pa.Table.from_pylist(rows)

    def written(values: list[float]) -> Path:
        column = table.schema.get_field_index(name)
        pq.write_table(table.set_column(column, name, pa.array(values, kind)), tmp_path / "r.parquet")
        return tmp_path / "r.parquet"

    most = 2.0 ** {16: 11, 32: 24, 64: 53}[kind.bit_width]
    found = rows_of(opened(tmp_path, written([0.0, most - 1])))
    assert [row[name] for row in found] == [0, most - 1]
    with pytest.raises(InputError, match=rf"row 1 .*{name} is .* cannot tell from its neighbors"):
        opened(tmp_path, written([0.0, most]))


@pytest.mark.parametrize("said", [[0, 1.0], [0.0, 1], [0.0, 1.0]])
def test_numbers_of_samples_may_be_spelt_as_floats_in_some_lines(said: list[Any], tmp_path: Path) -> None:
    rows = [{"prompt": "p", "response": "r", "data_idx": 3, "sample_idx": one, "reward": 1.0} for one in said]
    found = rows_of(opened(tmp_path, layouts.lines(tmp_path / "r.jsonl", rows)))
    assert [(row["data_idx"], row["sample_idx"]) for row in found] == [(3, 0), (3, 1)]


def test_keys_of_parquet_are_kept_past_63_bits_and_are_never_null(tmp_path: Path) -> None:
    columns = {"prompt": "q", "response": "out", "reward": "reward", "group": "id"}
    table = pa.table({"q": ["a", "b"], "out": ["r", "r"], "reward": [1.0, 0.0]})

    def read_with(ids: pa.Array) -> list[dict[str, Any]]:
        return rows_of(
            opened(tmp_path, parquet(tmp_path / "r.parquet", table.append_column("id", ids)), columns=columns)
        )

    assert [row["data_idx"] for row in read_with(pa.array([2**64 - 1, 7], pa.uint64()))] == [2**64 - 1, 7]
    for ids in (pa.array([7, None], pa.uint64()), pa.array([{"a": 1}, None]), pa.array([["x"], None])):
        with pytest.raises(InputError, match=r"row 1 .*id, which identifies the problem, is null"):
            read_with(ids)


def test_a_key_without_values_does_not_make_one_problem_of_all(tmp_path: Path) -> None:
    path = layouts.verl_rollouts_v1(tmp_path)
    rows = [json.loads(line) | {"uid": None} for line in path.read_text().splitlines()]
    found = opened(tmp_path, layouts.lines(path, rows))
    assert len({row["data_idx"] for row in rows_of(found)}) == 4
    assert "4 problems by (prompt, ground truth)" in found.notes[0]
    columns = {"prompt": "input", "response": "output", "reward": "score", "group": "uid"}
    with pytest.raises(InputError, match="uid, which identifies the problem, is null in every row"):
        opened(tmp_path, path, columns=columns)


@pytest.mark.parametrize("response", ["a text", [], {"body": "a text"}], ids=["text", "list", "body"])
def test_a_response_that_is_no_object_is_no_batch_s(response: Any, tmp_path: Path) -> None:
    path = layouts.openai_batch(tmp_path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[1]["response"] = response or [1]
    layouts.lines(path, rows)
    with pytest.raises(
        InputError, match=r"line 2: not a record of OpenAI or vLLM batch output \((response|body) is not an object"
    ):
        opened(tmp_path, path, scored_without_gold=True)


def test_a_key_that_is_too_fine_is_noticed(tmp_path: Path) -> None:
    columns = {"prompt": "input", "response": "output", "ground_truth": "gts", "reward": "score", "group": "uid"}
    found = opened(tmp_path, layouts.verl_rollouts_v1(tmp_path), columns=columns)
    assert found.warnings[0].startswith("every problem has one rollout, grouped by uid")


def test_problems_of_other_sizes_are_noticed(tmp_path: Path) -> None:
    path = layouts.lines(tmp_path / "1.jsonl", [layouts._verl(r) for r in ROLLOUTS[:15]])
    assert opened(tmp_path, path).warnings == (
        "1 of 4 problems has a number of rollouts other than 4 (from 3 to 4), grouped by (input, gts).",
    )


def test_rewards_of_another_scale_are_named(tmp_path: Path) -> None:
    found = opened(tmp_path, layouts.open_instruct(tmp_path))
    assert any(warning.startswith("rewards range from 0 to 10 (0, 10)") for warning in found.warnings)


def test_files_of_two_formats_are_not_mixed(tmp_path: Path) -> None:
    layouts.verl_rollouts_v1(tmp_path / "f")
    layouts.nemo_gym(tmp_path / "f")
    with pytest.raises(InputError, match=r"several formats \(nemo_gym: rollouts.jsonl; verl_rollouts_v1: 1.jsonl\)"):
        opened(tmp_path, tmp_path / "f")


def test_a_folder_of_folders_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    folder = layouts.areal(tmp_path / "areal")
    with pytest.raises(InputError, match=r"it holds folders \(rollout\): read them with --recursive"):
        opened(tmp_path, folder)
    assert opened(tmp_path, folder, recursive=True).dataset.rows == 16


def test_a_record_that_is_not_of_the_format_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = layouts.nemo_gym(tmp_path)
    lines = path.read_text().splitlines()
    lines[4] = json.dumps({"_ng_task_index": 0, "_ng_rollout_index": 9, "reward": 1.0, "response": {}})
    path.write_text("\n".join(lines))
    with pytest.raises(
        InputError, match=r"rollouts.jsonl, line 5: not a record of NeMo-Gym rollouts \('.*' is missing\)"
    ):
        opened(tmp_path, path)


def test_several_rewards_must_be_chosen_from(tmp_path: Path) -> None:
    rows = [
        {"step": 1, "prompt": r.prompt, "completion": r.response, "right": r.reward, "form": 1.0, "solution": r.gold}
        for r in ROLLOUTS
    ]
    path = layouts.table(tmp_path / "c.parquet", rows)
    with pytest.raises(
        InputError, match=r"several rewards \(right, form\); choose one, such as --columns '{reward: right}'"
    ):
        opened(tmp_path, path)
    assert (
        sorted(row["reward"] for row in rows_of(opened(tmp_path, path, columns={"reward": "right"})))[8:] == [1.0] * 8
    )
    assert "reward" not in opened(tmp_path, path, rescore=True).dataset.schema.names


def test_lists_of_responses_are_refused_with_the_key_that_makes_them_rows(tmp_path: Path) -> None:
    rows = [{"question": "q", "outputs": outputs, "gold": "4"} for outputs in (["#### 4", "#### 5"], [], None)]
    path = layouts.lines(tmp_path / "a.jsonl", rows)
    columns = {"prompt": "question", "response": "outputs", "ground_truth": "gold"}
    with pytest.raises(InputError, match=r"'#### 5'\]; for a row for each of its texts add `explode: outputs` to"):
        opened(tmp_path, path, columns=columns)
    found = opened(tmp_path, path, columns=columns | {"explode": "outputs"})
    assert found.dataset.rows == 2
    assert "2 rows without any response or sample left out." in found.warnings


# ---------------------------------------------------------------- join


def test_without_rewards_and_ground_truths_the_error_names_join(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither ground truths nor rewards: .*--join train.parquet"):
        opened(tmp_path, layouts.vllm_batch(tmp_path))


@pytest.mark.parametrize("name", ["verl_rollouts", "nemo_rl", "areal", "skyrl", "trl"])
def test_rendered_prompts_find_their_training_rows(name: str, tmp_path: Path) -> None:
    case = layouts.CASES[name]
    (tmp_path / "files").mkdir()
    path = case.write(tmp_path / "files")
    train = layouts.training(tmp_path / "train.parquet")
    rows = rows_of(opened(tmp_path, path, join=str(train), **dict(case.flags)))
    assert len(rows) == 16
    wanted = {r.response: r for r in ROLLOUTS}
    for row in rows:
        rollout = wanted[row["response"].removesuffix("<|im_end|>")]
        assert row["original_reward_model"]["ground_truth"] == rollout.gold
        assert row["original_extra_info"]["index"] == rollout.problem
        assert row["original_data_source"] == "openai/gsm8k"
        assert row["prompt"] == rollout.chat


def test_the_longest_message_wins_and_the_ground_truth_decides_between_equal_ones(tmp_path: Path) -> None:
    def training_row(question: str, gold: str) -> dict[str, Any]:
        return {"prompt": [{"role": "user", "content": question}], "reward_model": {"ground_truth": gold}}

    questions = [("What is 1 + 1", "2"), ("What is 1 + 1?\nAnswer in words.", "two"), ("Pick a digit.", "3")]
    train = layouts.table(tmp_path / "train.parquet", [training_row(*q) for q in [*questions, ("Pick a digit.", "4")]])
    rows = [
        {"input": f"user\n{q}\nassistant\n", "output": "o", "gts": gold, "score": 1.0, "step": 1}
        for q, gold in [*questions, ("Pick a digit.", "4")]
    ]
    path = layouts.lines(tmp_path / "1.jsonl", rows)
    found = rows_of(opened(tmp_path, path, join=str(train)))
    assert [row["original_reward_model"]["ground_truth"] for row in found] == ["2", "two", "3", "4"]


def test_data_that_does_not_fit_is_an_error_with_examples_and_a_few_misses_are_counted(tmp_path: Path) -> None:
    train = layouts.training(tmp_path / "train.parquet")
    strange = [layouts._verl(r) | {"input": f"other {r.problem}"} for r in ROLLOUTS[:8]]
    known = [layouts._verl(r) for r in ROLLOUTS]
    with pytest.raises(InputError, match=r"8 of 24 rollouts have no row in .*, more than 1 %: 'other 0'; 'other 1'"):
        opened(tmp_path, layouts.lines(tmp_path / "a.jsonl", known + strange), join=str(train))
    many = [layouts._verl(r) for _ in range(10) for r in ROLLOUTS]
    found = opened(tmp_path, layouts.lines(tmp_path / "b.jsonl", many + strange[:1]), join=str(train))
    assert found.dataset.rows == 160
    assert "1 of 161 rollouts left out, without a training row: 'other 0'." in found.warnings


def test_a_key_of_both_files_joins_them(tmp_path: Path) -> None:
    train = layouts.training(tmp_path / "train.parquet")
    rows = [layouts._verl(r) | {"id": f"p-{r.problem}", "input": "?"} for r in ROLLOUTS]
    path = layouts.lines(tmp_path / "1.jsonl", rows)
    found = opened(tmp_path, path, join=str(train), join_on="id")
    assert {row["original_reward_model"]["ground_truth"] for row in rows_of(found)} == set(GOLDS)
    with pytest.raises(InputError, match="no 'uid' for --join_on"):
        opened(tmp_path, path, join=str(train), join_on="uid")
    with pytest.raises(ConfigError, match="give --join too"):
        opened(tmp_path, path, join_on="id")


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize("shift", [0, 1])
def test_rollouts_joined_with_rows_of_other_problems_are_said(shift: int, tmp_path: Path) -> None:
    path = layouts.verl_rollouts(tmp_path) / "1.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row, r in zip(rows, SHUFFLED, strict=True):
        row["id"] = (r.problem + shift) % len(GOLDS)
    layouts.lines(path, rows)
    train = [
        {"id": at, "prompt": [{"role": "user", "content": question}], "reward_model": {"ground_truth": gold}}
        for at, (question, gold) in enumerate(zip(QUESTIONS, GOLDS, strict=True))
    ]
    pq.write_table(pa.Table.from_pylist(train), tmp_path / "train.parquet")
    found = opened(tmp_path, path, join=str(tmp_path / "train.parquet"), join_on="id")
    said = [warning for warning in found.warnings if "differ in the" in warning]
    if not shift:
        assert not said
    else:
        assert len(said) == 2
        assert "16 of 16 rollouts joined on id differ in the ground truth from their row in train.parquet" in said[0]
        assert "differ in the prompt from their row" in said[1]


def test_training_data_in_files_of_other_widths_is_joined_as_one_and_other_columns_are_named(tmp_path: Path) -> None:
    path = layouts.nemo_rl(tmp_path / "rollouts")
    (tmp_path / "train").mkdir()
    for at, kind in enumerate((pa.int32(), pa.int64())):
        rows = pa.table(
            {
                "index": pa.array([2 * at, 2 * at + 1], kind),
                "answer": pa.array(GOLDS[2 * at : 2 * at + 2], pa.large_string() if at else pa.string()),
                "prompt": list(QUESTIONS[2 * at : 2 * at + 2]),
            }
        )
        pq.write_table(
            rows.select(rows.column_names[at:] + rows.column_names[:at]), tmp_path / "train" / f"{at}.parquet"
        )
    found = opened(tmp_path, path, join=str(tmp_path / "train"))
    assert {row["original_answer"] for row in rows_of(found)} == set(GOLDS)
    pq.write_table(pa.table({"index": [9], "prompt": ["x"]}), tmp_path / "train" / "2.parquet")
    with pytest.raises(
        InputError, match=r"2\.parquet: its columns differ from those of .*0\.parquet: 'answer' is missing"
    ):
        opened(tmp_path, path, join=str(tmp_path / "train"))


def test_scored_rollouts_need_neither_tokenizer_nor_data_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = Run(tmp_path, capsys, layouts.nemo_rl(tmp_path))
    assert done.code == 0, done.err
    assert done.rates == sorted(RATES)
    assert "response_tokens is null: no --model_path to count them with." in done.err
    assert json.loads((done.folder / "summary.json").read_bytes())["response_tokens"] == {}


def test_unscored_rollouts_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = Run(tmp_path, capsys, layouts.verl_generation(tmp_path))
    assert done.code == 2
    assert "--model_path is required" in done.err


def test_the_ground_truth_is_what_columns_names_though_there_is_a_reward_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"prompt": r.prompt, "response": r.response, "data_source": "openai/gsm8k"}
        | {"reward_model": {"style": "rule", "ground_truth": {"target": r.gold, "note": 1}}}
        for r in ROLLOUTS
    ]
    path = layouts.table(tmp_path / "r.parquet", rows)
    done = Run(tmp_path, capsys, path, "--model_path", str(TOKENIZER))
    assert done.code == 3
    pasted = re.search(r"take 'target' with --columns ('[^']*')", done.err)
    assert pasted is not None
    again = Run(
        tmp_path, capsys, path, "--model_path", str(TOKENIZER), "--columns", *shlex.split(pasted[1]), "--overwrite"
    )
    assert again.code == 0, again.err
    assert again.rates == sorted(RATES)


def test_a_flag_given_twice_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = Run(tmp_path, capsys, tmp_path, "--seed", "1", "--seed=2")
    assert done.code == 2
    assert "--seed is given 2 times; give it once" in done.err


def test_the_list_of_formats_says_what_each_reads_and_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.analyze_rollouts(["--input_format", "list"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert " verl_rollouts verl rollouts reads: trainer.rollout_data_dir/{step}.jsonl lacks: " in out


def test_a_bare_answer_column_is_the_ground_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"prompt": r.prompt, "response": r.response, "data_idx": r.problem, "sample_idx": r.sample, "answer": r.gold}
        for r in ROLLOUTS
    ]
    path = layouts.table(tmp_path / "r.parquet", rows)
    done = Run(tmp_path, capsys, path, "--model_path", str(TOKENIZER), "--data_source", "openai/gsm8k")
    assert done.code == 0, done.err
    assert done.rates == sorted(RATES)


def test_rows_of_ours_can_be_picked(tmp_path: Path) -> None:
    rows = [
        {"prompt": r.prompt, "response": r.response, "data_idx": r.problem, "sample_idx": r.sample, "reward": r.reward}
        for r in ROLLOUTS
    ]
    path = layouts.table(tmp_path / "r.parquet", rows)
    found = opened(tmp_path, path, rows="data_idx in [1, 2] and sample_idx < 3")
    assert [(row["data_idx"], row["sample_idx"]) for row in rows_of(found)] == [
        (p, s) for p in (1, 2) for s in range(3)
    ]
    with pytest.raises(ConfigError, match="sample_idx"):
        opened(tmp_path, path, rows="sampel_idx < 3")
    with pytest.raises(InputError, match="has no rows: --rows 'data_idx > 9' keeps none of 16"):
        opened(tmp_path, path, rows="data_idx > 9")


def test_a_column_of_rewards_that_is_empty_is_none(tmp_path: Path) -> None:
    rows = [layouts._verl(r) | {"score": None} for r in ROLLOUTS]
    assert "reward" not in opened(tmp_path, layouts.lines(tmp_path / "1.jsonl", rows)).dataset.schema.names


def test_a_folder_of_many_files_is_read_as_one(tmp_path: Path) -> None:
    for at, r in enumerate(ROLLOUTS * 6):
        layouts.lines(tmp_path / "f" / f"{at}.jsonl", [layouts._verl(r)])
    found = opened(tmp_path, tmp_path / "f")
    assert found.dataset.rows == 96
    assert len(found.dataset.files) == 1
    assert found.notes[0] == "read as verl rollouts: 96 rollouts, 4 problems by (input, gts)"


@pytest.mark.parametrize("name", ["skywork_or1", "big_math", "verl_generation", "openr1_math", "nemo_skills"])
def test_training_rows_come_back_as_they_were(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "files").mkdir()
    path = layouts.CASES[name].write(tmp_path / "files")
    done = Run(tmp_path, capsys, path, "--model_path", str(TOKENIZER), "--reward_fn", "gsm8k")
    assert done.code == 0, done.err
    rows_in = rows_of_file(next(file for file in sorted(tmp_path.glob("files/*"))))
    rows_out = pq.read_table(done.folder / "problems.parquet").to_pylist()
    rollouts = {"responses", "generations", "generation", "finish_reason", "symbolic_correct", "predicted_answer"}
    rollouts |= {"num_generated_tokens", "correctness_math_verify", "correctness_llama", "finish_reasons"}
    wanted = [name for name in rows_in[0] if name not in {*rollouts, "is_reasoning_complete"}]
    in_order = [name for name in wanted if name != "prompt"]  # that of the rollouts comes first
    assert [name for name in rows_out[0] if name in in_order] == in_order
    for row in rows_in:
        assert {key: row[key] for key in wanted} in [{key: other[key] for key in wanted} for other in rows_out]


def rows_of_file(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"n": 8, "k": 0.25}, r"line 1: k is 0\.25, not a whole number of samples; .*--columns '\{pass_rate: k\}'"),
        ({"n": 4.5, "k": 2}, r"line 1: n is 4\.5, which is not a number of samples"),
        ({"n": 10**9, "k": 2}, r"n is 1000000000, which is not a number of samples \(0 to 1,000,000\)"),
        ({"n": -1, "k": 0}, r"n is -1, which is not a number of samples"),
        ({"n": 2, "k": 3}, r"line 1: k says 3 passes of 2 samples"),
    ],
    ids=["a rate for passes", "a fraction", "too many", "below none", "more passes than samples"],
)
def test_counts_that_are_none_are_an_error_with_their_place(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = layouts.lines(tmp_path / "counts.jsonl", [{"q": "p"} | row])
    with pytest.raises(InputError, match=said):
        opened(tmp_path, path, columns={"prompt": "q", "passes": "k", "samples": "n"})


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        ({}, "step == 1"),
        ({"explode": ["response", "reward"]}, "step == 1"),
        ({"transpose": True}, "step == 1"),
        ({"samples": "n", "passes": "reward", "response": None}, "step == 1"),
        ({"samples": "reward", "passes": "n", "response": None}, "step == 1"),
        ({}, None),
    ],
    ids=["plain", "explode", "transpose", "counts", "samples", "all rows"],
)
def test_the_line_that_is_named_is_that_of_the_file_whatever_rows_are_kept(
    columns: dict[str, Any], rows: str | None, tmp_path: Path
) -> None:
    def of(value: Any) -> Any:
        return [value] * 2 if {"explode", "transpose"} & set(columns) else value

    said = [{"prompt": "p", "response": of("r"), "reward": of("1"), "n": 1, "step": at // 4} for at in range(8)]
    said[6]["reward"] = of("good")
    path = layouts.lines(tmp_path / "r.jsonl", said)
    with pytest.raises(InputError, match="line 7: the reward in reward must be"):
        opened(
            tmp_path,
            path,
            rows=rows,
            columns={"prompt": "prompt", "response": "response", "reward": "reward"} | columns,
        )


def test_problems_are_selected_by_counts_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = Run(tmp_path, capsys, layouts.skywork_or1(tmp_path))
    assert done.code == 0, done.err
    assert json.loads((done.folder / "summary.json").read_bytes())["stability"] is not None
    target = tmp_path / "train.parquet"
    words = ["--analysis", str(done.folder), "--where", "0.2 <= pass_rate <= 0.8", "--output", str(target)]
    assert select_problems(words) == 0
    golds = [row["reward_model"]["ground_truth"] for row in pq.read_table(target).to_pylist()]
    assert sorted(golds) == ["13", "60"]


def test_rewards_alone_cannot_be_scored_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = layouts.tinker(tmp_path)
    done = Run(tmp_path, capsys, path, "--rescore", "--reward_fn", "gsm8k", "--model_path", str(TOKENIZER))
    assert done.code == 2
    assert "there are no responses to score, only rewards: leave out --rescore" in done.err


def test_rollouts_without_ground_truths_that_are_to_be_scored_name_the_way_to_get_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = layouts.nemo_rl(tmp_path)
    words = ["--rescore", "--reward_fn", "gsm8k", "--model_path", str(TOKENIZER)]
    done = Run(tmp_path, capsys, path, *words)
    assert done.code == 2
    assert "no ground truths, which reward gsm8k needs: add them from the training data with --join" in done.err
    # A file to join that holds none either is no way out.
    prompts = layouts.table(tmp_path / "train" / "t.parquet", [{"prompt": question} for question in QUESTIONS])
    joined = Run(tmp_path, capsys, path, *words, "--join", str(prompts))
    assert joined.code == 2
    assert f"--join {prompts} brings none (looked for reward_model, " in joined.err
    # A reward that needs none takes them as they are.
    assert Run(tmp_path, capsys, path, *words[:2], "format", *words[3:]).code == 0


def test_columns_of_ours_need_not_be_named_beside_the_one_that_is_renamed(tmp_path: Path) -> None:
    rows = [{**row, "answer": row["response"], "reward": 0.25} for row in rollouts()]
    for row in rows:
        del row["response"]
    path = parquet(tmp_path / "r.parquet", rows)
    with pytest.raises(InputError, match="there is no column 'response'") as raised:
        opened(tmp_path, path)
    pasted = re.search(r"--columns ('.*')", str(raised.value))
    assert pasted is not None
    [columns] = shlex.split(pasted[1])
    said = yaml.safe_load(columns)
    assert len(set(said.values())) == len(said)  # a column is one thing
    found = rows_of(opened(tmp_path, path, columns={"response": "answer"}))
    assert [(row["data_idx"], row["sample_idx"], row["prompt"]) for row in found] == [
        (row["data_idx"], row["sample_idx"], row["prompt"]) for row in rows
    ]
    assert all("reward" not in row or row["reward"] != 0.25 for row in found)  # a reward only where it is named


def test_columns_may_stand_in_a_yaml_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"q": r.prompt, "a": r.response, "ok": r.reward > 0, "key": f"{r.problem}_{r.sample}"} for r in ROLLOUTS]
    path = layouts.lines(tmp_path / "r.jsonl", rows)
    config = tmp_path / "config.yaml"
    config.write_text("columns: {prompt: q, response: a, reward: ok, group: {regex: '^(.*)_', of: key}}\n")
    done = Run(tmp_path, capsys, path, "--config", str(config))
    assert done.code == 0, done.err
    assert done.rates == sorted(RATES)
    assert "4 problems by key (the part that ^(.*)_ captures)" in done.err


def test_a_column_that_may_hold_the_rewards_is_named_where_they_are_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"input": r.prompt, "output": r.response, "label": r.gold, "Score": r.reward} for r in ROLLOUTS]
    path = layouts.lines(tmp_path / "own.jsonl", rows)
    said = "the rollouts are scored: --columns '{reward: Score}' would take the rewards from 'Score'"
    assert said in opened(tmp_path, path, scored_without_gold=True).notes
    assert "--columns '{reward: Score}' keeps those of 'Score'" in Run(tmp_path, capsys, path).err
    for asked in ({"rescore": True}, {"columns": "{reward: Score}"}):
        assert not any("would take" in note for note in opened(tmp_path, path, **asked).notes)
    # A text is no reward.
    layouts.lines(path, [row | {"Score": "good"} for row in rows])
    assert not any("would take" in note for note in opened(tmp_path, path).notes)


def test_one_file_of_nemo_skills_may_hold_all_samples(tmp_path: Path) -> None:
    rows = [
        {"problem": r.prompt, "generation": r.response, "expected_answer": r.gold, "is_correct": r.reward > 0}
        for r in ROLLOUTS
    ]
    found = rows_of(opened(tmp_path, layouts.lines(tmp_path / "output.jsonl", rows)))
    assert [(row["sample_idx"], row["reward"]) for row in found] == [(r.sample, r.reward) for r in ROLLOUTS]


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (("dataset_info.json", "state.json", "data.arrow"), "load_from_disk('{folder}').to_parquet('saved.parquet')"),
        (("dataset_dict.json", "train.parquet"), "load_from_disk('{folder}')['train'].to_parquet('saved.parquet')"),
        (("data.arrow",), "import datasets; datasets.Dataset.from_file('{folder}/data.arrow').to_parquet("),
    ],
)
def test_a_dataset_that_was_saved_to_disk_is_named_with_its_conversion(
    files: tuple[str, ...], line: str, tmp_path: Path
) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    for name in files:
        (folder / name).write_text("{}")
    with pytest.raises(InputError, match=re.escape(line.format(folder=folder))):
        opened(tmp_path, folder if len(files) > 1 else folder / files[0])
