"""A real model: SmolLM2-135M-Instruct behind `transformers serve`, and in this process.

Run by `make test-server`, which sets up what they need; skipped elsewhere.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyzer.commands.generate_rollouts import generate_rollouts
from analyzer.generation import GenerationSettings, run

pytestmark = [
    pytest.mark.server,
    pytest.mark.filterwarnings("default"),  # of torch and transformers, which change with each release
]
MODEL = Path(__file__).resolve().parents[2] / "build" / "smollm2"


@pytest.fixture(scope="module")
def model() -> str:
    if importlib.util.find_spec("torch") is None or not (MODEL / "config.json").exists():
        pytest.skip("needs torch and a real model: make test-server")
    return str(MODEL)


@pytest.fixture(scope="module")
def server(model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `transformers serve`; it takes the model's folder as its name."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", "--host", "127.0.0.1", "--port", str(port)]
    log = (tmp_path_factory.mktemp("serve") / "log").open("w")
    with log, subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"HF_HUB_OFFLINE": "1"}) as process:
        url = f"http://127.0.0.1:{port}/v1"
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{url}/models", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, Path(log.name).read_text()
                time.sleep(0.5)
        yield url
        process.kill()


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three questions as chat lists."""
    path = tmp_path_factory.mktemp("data") / "sums.parquet"
    asked = [f"What is {n}+{n}? Answer with the number only." for n in (2, 3, 4)]
    prompts = [[{"role": "user", "content": question}] for question in asked]
    pq.write_table(pa.table({"prompt": prompts, "reward_model": [{"ground_truth": "4"}] * 3}), path)
    return path


def check(rows: list[dict[str, Any]], samples: int, max_tokens: int) -> None:
    """Every rollout is there once, is text of the model, and its columns fit together."""
    assert [(row["data_idx"], row["sample_idx"]) for row in rows] == [(i, k) for i in range(3) for k in range(samples)]
    for row in rows:
        assert row["response"].strip()
        assert "<|im" not in row["response"]
        assert row["prompt_tokens"] > 10
        assert 0 < row["response_tokens"] <= max_tokens
        assert row["finish_reason"] in ("stop", "length")
        assert row["finish_reason"] == "stop" or row["response_tokens"] == max_tokens
    assert len({row["response"] for row in rows}) > 3


def test_a_real_server_that_ignores_n_gives_every_rollout_once(
    server: str, model: str, sums: Path, tmp_path: Path
) -> None:
    settings = GenerationSettings(
        data_path=str(sums),
        output_path=str(tmp_path / "o.parquet"),
        use_vllm=True,
        vllm_url=server,
        model_path=model,
        num_samples=3,
        max_tokens=24,
        temperature=1.0,
        max_concurrent=2,
    )
    done = run(settings)
    assert (done.rollouts, done.failed, done.model) == (9, 0, model)
    check(pq.read_table(done.path).to_pylist(), 3, 24)


def test_the_local_model_generates_goes_on_and_repeats_itself_with_a_seed(
    model: str, sums: Path, tmp_path: Path
) -> None:
    def settings(name: str, **more: Any) -> GenerationSettings:
        given: dict[str, Any] = {
            "data_path": str(sums),
            "output_path": str(tmp_path / name),
            "model_path": model,
            "num_samples": 4,
            "max_tokens": 16,
            "temperature": 1.0,
            "batch_size": 6,
            "seed": 7,
        }
        return GenerationSettings(**(given | more))

    done = run(settings("a.parquet"))
    rows = pq.read_table(done.path).to_pylist()
    check(rows, 4, 16)
    again = pq.read_table(run(settings("b.parquet")).path).to_pylist()
    assert [row["response"] for row in again] == [row["response"] for row in rows]
    assert run(settings("a.parquet")).asked == 0


def test_greedy_answers_do_not_depend_on_the_batch(model: str, sums: Path, tmp_path: Path) -> None:
    answers = []
    for size in (1, 3):
        settings = GenerationSettings(
            data_path=str(sums),
            output_path=str(tmp_path / f"{size}.parquet"),
            model_path=model,
            num_samples=1,
            max_tokens=12,
            temperature=0.0,
            batch_size=size,
        )
        answers.append(pq.read_table(run(settings).path)["response"].to_pylist())
    assert answers[0] == answers[1]


def test_a_prompt_longer_than_the_model_takes_is_reported(model: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["word " * 9000, "One, two, three,"]}), tmp_path / "t.parquet")
    settings = GenerationSettings(
        data_path=str(tmp_path / "t.parquet"),
        output_path=str(tmp_path / "o.parquet"),
        model_path=model,
        num_samples=1,
        max_tokens=4,
    )
    done = run(settings)
    assert (done.rollouts, done.failed) == (1, 1)
    assert "are more than the model's 8192" in done.first_failure


def test_dry_run_shows_the_chat_template_applied(
    model: str, sums: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--data_path", str(sums), "--output_path", str(tmp_path / "o.parquet"), "--model_path", model, "--dry_run"]
    assert generate_rollouts(argv) == 0
    shown = capsys.readouterr().out
    assert "<|im_start|>user\nWhat is 2+2? Answer with the number only.<|im_end|>\n<|im_start|>assistant\n" in shown
