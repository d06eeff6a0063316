"""The notebooks run from their first cell to the training file they promise, and the outputs they show are small."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests import processes
from tests.commands import known_tokenizer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
PROBLEMS = 60  # of the 200 of the sample, 8 rollouts each
MADE = {"verl_users": "verl_demo/train_selected.parquet", "trl_users": "trl_demo/grpo.parquet"}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_a_notebook_runs_and_writes_its_training_file(notebook: Path, tmp_path: Path) -> None:
    pytest.importorskip("nbclient", reason="needs nbclient and ipykernel (the extra dev)")
    sample = tmp_path / "sample"
    sample.mkdir()
    (sample / "tokenizer").symlink_to(EXAMPLES / "sample" / "tokenizer")
    rollouts = pq.read_table(EXAMPLES / "sample" / "rollouts.parquet")
    pq.write_table(rollouts[: 8 * PROBLEMS], sample / "rollouts.parquet")
    (tmp_path / notebook.name).write_bytes(notebook.read_bytes())
    known_tokenizer(tmp_path / "cache" / "rollout-analyzer", tmp_path / "sample" / "tokenizer")
    forked = {"argv": [str(processes.python(tmp_path)), "-m", "ipykernel_launcher", "-f", "{connection_file}"]}
    kernel = tmp_path / "kernels" / "forked" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps(forked | {"display_name": "Python", "language": "python"}))
    environment = os.environ | {
        "JUPYTER_PATH": str(tmp_path),
        "PYTHONPATH": str(EXAMPLES.parent),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
        "LOKY_MAX_CPU_COUNT": "1",  # as on one core: a worker more takes longer than it has to do here
    }
    words = ["-m", "jupyter", "execute", "--kernel_name=forked", notebook.name]
    done = processes.run(words, cwd=tmp_path, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    table = pq.read_table(tmp_path / MADE[notebook.stem])
    assert PROBLEMS / 2 < table.num_rows < PROBLEMS
    assert set(table["difficulty_pass_rate"].to_pylist()) == {k / 8 for k in range(1, 8)}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_a_committed_notebook_shows_outputs_without_errors_and_is_small(notebook: Path) -> None:
    assert notebook.stat().st_size < 30_000
    cells = [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert len(outputs) >= 5
    assert {output["output_type"] for output in outputs} <= {"stream", "execute_result", "display_data"}
    assert str(Path.home()) not in notebook.read_text(encoding="utf-8")
