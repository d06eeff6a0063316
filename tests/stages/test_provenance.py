"""provenance.json: where a result comes from, without secrets, beside the bytes that every equal run repeats."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.commands import SAMPLE, TOKENIZER, Outcome, flags, real_command

SECRET = "sk-very-secret"


def test_a_column_model_of_texts_names_policies_and_several_are_a_warning(
    tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    table = pq.read_table(SAMPLE).slice(0, 8)
    for models, names in (([["m"]] * 8, []), (["a"] * 4 + ["b"] * 4, ["a", "b"])):
        column = table.schema.get_field_index("model")
        pq.write_table(table.set_column(column, "model", pa.array(models)), tmp_path / "r.parquet")
        outcome = analyze(tmp_path / "r.parquet", overwrite=True)
        assert outcome.code == 0, outcome.err
        assert outcome.json("provenance.json")["policies"] == names
        assert ("rollouts are of 2 models ('a', 'b')" in outcome.err) == bool(names)


def test_it_holds_paths_date_command_policy_versions_and_backend_and_no_secret(tmp_path: Path) -> None:
    table = pq.read_table(SAMPLE)
    data = tmp_path / "rollouts.parquet"
    policy = pa.array(["Qwen/Qwen3-8B"] * len(table))
    pq.write_table(table.set_column(table.schema.get_field_index("model"), "model", policy), data)
    (tmp_path / "mine.py").write_text(
        "def compute_score(data_source, solution_str, ground_truth, extra_info=None, api_key=''):\n    return 1.0\n"
    )
    words = flags(
        rollouts=data,
        model_path=TOKENIZER,
        output_dir=tmp_path / "out",
        cache_dir=tmp_path / "cache",
        reward_fn=f"{tmp_path}/mine.py:compute_score",
        reward_kwargs={"api_key": SECRET},
        limit=2,
        n_jobs=1,
    )
    outcome = real_command(tmp_path, words)
    assert outcome.code == 0, outcome.err
    said = outcome.json("provenance.json")
    assert said["rollouts"] == [str(data)]
    assert said["policies"] == ["Qwen/Qwen3-8B"]
    assert said["model_path"] == str(TOKENIZER)
    assert said["backend"] == {"name": "loky", "n_jobs": 1}
    assert said["settings"]["reward_kwargs"] == {"api_key": "***"}
    assert "analyze_rollouts.py --rollouts" in said["command"]
    assert {"rollout-analyzer", "python", "transformers"} <= set(said["versions"])
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(said["date"])
    assert age < datetime.timedelta(minutes=5)
    assert SECRET not in json.dumps(said)
    (run,) = (tmp_path / "cache" / "runs").iterdir()
    assert said["fingerprint"] == run.name
