"""Settings: each value that does not fit is refused in one line that names its flag."""

from __future__ import annotations

from typing import Any

import pytest

from analyzer.errors import ConfigError
from analyzer.generation import GenerationSettings


def make(**given: Any) -> GenerationSettings:
    needed: dict[str, Any] = {"data_path": "d.parquet", "output_path": "o.parquet", "use_vllm": True}
    return GenerationSettings(**(needed | given))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_samples": 0}, "--num_samples 0: must be at least 1"),
        ({"max_tokens": -1}, "--max_tokens"),
        ({"limit": 0}, "--limit 0"),
        ({"temperature": -0.1}, "--temperature"),
        ({"temperature": float("nan")}, "--temperature nan"),
        ({"top_p": 0.0}, "--top_p 0.0: must be above 0"),
        ({"top_p": 1.1}, "--top_p"),
        ({"request_timeout": 0.0}, "--request_timeout 0: must be above 0"),
        ({"vllm_url": " , "}, "--vllm_url: no address"),
        ({"vllm_url": "localhost:8000"}, "must begin with http"),
        ({"output_path": "s3://bucket/o.parquet"}, "must be a local file"),
        ({"output_path": "."}, "is a folder"),
        ({"use_vllm": False}, "--use_vllm for a server, or --model_path"),
        ({"extra_body": {"max_completion_tokens": 9}}, "--extra_body: max_completion_tokens is set by --max_tokens"),
        ({"extra_body": {"echo": True}}, "--extra_body: echo puts the prompt into the response"),
        ({"extra_body": {"chat_template_kwargs": 5}}, "--extra_body: chat_template_kwargs must be a dictionary"),
        ({"api_key_env": "NO_SUCH_VARIABLE_HERE"}, "--api_key_env NO_SUCH_VARIABLE_HERE"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        make(**given).check()
    assert "\n" not in str(error.value)


def test_the_defaults_fit() -> None:
    make().check()
    make(temperature=0, top_p=1.0, limit=1).check()


def test_servers_are_named_with_commas_and_doubles_count_once() -> None:
    assert make(vllm_url="http://a/v1/, http://b/v1,http://a/v1").urls == ("http://a/v1", "http://b/v1")


def test_the_format_follows_the_ending_unless_it_is_given() -> None:
    assert make().format == "parquet"
    assert make(output_path="o.jsonl").format == "jsonl"
    assert make(output_path="o.jsonl", output_format="parquet").format == "parquet"


def test_how_fast_it_goes_is_no_part_of_the_identity() -> None:
    other = make(max_concurrent=3, vllm_url="http://c/v1", request_timeout=1.0, batch_size=2)
    assert make().identity() == other.identity()
    assert make().identity() != make(temperature=1.0).identity()
    assert make().identity() != make(extra_body={"top_k": 20}).identity()


@pytest.mark.parametrize("name", ["r.csv", "r.JSON", "r.jsonl.gz", "r.txt"])
def test_a_format_that_is_not_written_is_refused_by_its_ending(name: str) -> None:
    with pytest.raises(ConfigError, match="written as parquet or jsonl, not as"):
        GenerationSettings(data_path="d", output_path=name, use_vllm=True).check()


def test_a_key_in_the_body_is_no_part_of_a_file_and_still_of_the_identity() -> None:
    def identity(key: str) -> str:
        body = {"api_key": key, "metadata": {"hf_token": key, "top_k": 5}}
        given = GenerationSettings(data_path="d", output_path="o", use_vllm=True, extra_body=body)
        return str(given.identity()["extra_body"])

    assert "sk-1" not in identity("sk-1")
    assert "'top_k': 5" in identity("sk-1")
    assert identity("sk-1") == identity("sk-1") != identity("sk-2")
