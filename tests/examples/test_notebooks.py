"""The notebooks run from their first cell to the training file they promise, and the outputs they show are small."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests import processes
from tests.commands import known_tokenizer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
PROBLEMS = 60  # of the 200 of the sample, 8 rollouts each
ALONE = {"HF_HUB_OFFLINE": "1", "LOKY_MAX_CPU_COUNT": "1"}  # on one core: a worker more takes longer than it has to do
MADE = {"verl_users": "verl_demo/train_selected.parquet", "trl_users": "trl_demo/grpo.parquet"}


def code_cells(notebook: Path) -> list[dict[str, Any]]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.fixture
def beside_a_sample(tmp_path: Path) -> Path:
    """A folder with a part of the sample where the notebooks look for it, and a cache that knows its tokenizer."""
    sample = tmp_path / "sample"
    sample.mkdir()
    (sample / "tokenizer").symlink_to(EXAMPLES / "sample" / "tokenizer")
    rollouts = pq.read_table(EXAMPLES / "sample" / "rollouts.parquet")
    pq.write_table(rollouts[: 8 * PROBLEMS], sample / "rollouts.parquet")
    known_tokenizer(tmp_path / "cache" / "rollout-analyzer", tmp_path / "sample" / "tokenizer")
    return tmp_path


def assert_made(notebook: Path, folder: Path) -> None:
    table = pq.read_table(folder / MADE[notebook.stem])
    assert PROBLEMS / 2 < table.num_rows < PROBLEMS
    assert set(table["difficulty_pass_rate"].to_pylist()) == {k / 8 for k in range(1, 8)}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_the_cells_of_a_notebook_run_in_their_order_and_write_its_training_file(
    notebook: Path, beside_a_sample: Path, monkeypatch: pytest.MonkeyPatch, warm_zygotes: None
) -> None:
    """In this process, without jupyter's."""
    monkeypatch.chdir(beside_a_sample)
    for name, value in {"XDG_CACHE_HOME": str(beside_a_sample / "cache"), **ALONE}.items():
        monkeypatch.setenv(name, value)
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(code_cells(notebook), 1):
        exec(compile("".join(cell["source"]), f"{notebook.name}, code cell {number}", "exec"), names)
    assert_made(notebook, beside_a_sample)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_jupyter_runs_a_notebook(notebook: Path, beside_a_sample: Path) -> None:
    pytest.importorskip("nbclient", reason="needs nbclient and ipykernel (the extra dev)")
    (beside_a_sample / notebook.name).write_bytes(notebook.read_bytes())
    forked = {"argv": [str(processes.python(beside_a_sample)), "-m", "ipykernel_launcher", "-f", "{connection_file}"]}
    kernel = beside_a_sample / "kernels" / "forked" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps(forked | {"display_name": "Python", "language": "python"}))
    environment = os.environ | {
        "JUPYTER_PATH": str(beside_a_sample),
        "PYTHONPATH": str(EXAMPLES.parent),
        "XDG_CACHE_HOME": str(beside_a_sample / "cache"),
        **ALONE,
    }
    words = ["-m", "jupyter", "execute", "--kernel_name=forked", notebook.name]
    done = processes.run(words, cwd=beside_a_sample, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert_made(notebook, beside_a_sample)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_a_committed_notebook_shows_outputs_without_errors_and_is_small(notebook: Path) -> None:
    assert notebook.stat().st_size < 30_000
    outputs = [output for cell in code_cells(notebook) for output in cell["outputs"]]
    assert len(outputs) >= 5
    assert {output["output_type"] for output in outputs} <= {"stream", "execute_result", "display_data"}
    assert str(Path.home()) not in notebook.read_text(encoding="utf-8")
