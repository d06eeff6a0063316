"""Training files and settings for the tests of generation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tenacity import wait_random_exponential

from analyzer.generation import GenerationSettings, server, servers

Settings = Callable[..., GenerationSettings]


def training_table(rows: int) -> pa.Table:
    """Rows in verl's training format."""
    return pa.table(
        {
            "data_source": ["openai/gsm8k"] * rows,
            "prompt": [[{"role": "user", "content": f"What is {row}+1?"}] for row in range(rows)],
            "reward_model": [{"style": "rule", "ground_truth": str(row + 1)} for row in range(rows)],
            "extra_info": [{"index": row} for row in range(rows)],
        }
    )


@pytest.fixture
def training(tmp_path: Path) -> Callable[[int], Path]:
    """A function to the training file of that many rows, written the first time."""

    def write(rows: int) -> Path:
        path = tmp_path / f"train_{rows}.parquet"
        if not path.exists():
            pq.write_table(training_table(rows), path)
        return path

    return write


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a server waits a fifth as long: one in trouble is set aside for 0.2 s at first."""
    monkeypatch.setattr(servers, "_ASIDE_FIRST", servers._ASIDE_FIRST / 5)
    monkeypatch.setattr(server, "_BACKOFF", wait_random_exponential(multiplier=server._BACKOFF.multiplier / 5))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings that write to rollouts.parquet in the test's folder and give up soon; keywords override."""

    def make(data: Path, url: str, **more: Any) -> GenerationSettings:
        given: dict[str, Any] = {
            "data_path": str(data),
            "output_path": str(tmp_path / "rollouts.parquet"),
            "use_vllm": True,
            "vllm_url": url,
            "num_samples": 4,
            "max_attempts": 3,
            "patience": 5.0,
            "cache_dir": str(tmp_path / "cache"),
        }
        return GenerationSettings(**(given | more))

    return make
