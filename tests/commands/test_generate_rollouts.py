"""The command line: flags and YAML keys of the same names, and a clear line for whatever is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzer.commands import parsing
from analyzer.commands.generate_rollouts import generate_rollouts
from analyzer.errors import ConfigError
from analyzer.generation import GenerationSettings

NEEDED = ["--data_path", "d.parquet", "--output_path", "o.parquet"]


def parse(argv: list[str]) -> GenerationSettings:
    return parsing.parse(GenerationSettings, argv, "generate_rollouts", "")


def test_flags_take_underscores_and_dashes_and_second_names() -> None:
    settings = parse([*NEEDED, "--use-vllm", "--vllm-base-url=http://a-b/v1", "--vllm_max_concurrent", "7"])
    assert (settings.use_vllm, settings.vllm_url, settings.max_concurrent) == (True, "http://a-b/v1", 7)
    assert parse(NEEDED).vllm_url == "http://localhost:8000/v1"


def test_a_config_file_has_the_same_keys_and_a_flag_wins(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("temperature: 1\nuse_vllm: true\nvllm_base_url: http://b/v1\nextra_body: {top_k: 20}\n")
    settings = parse([*NEEDED, "--config", str(config), "--temperature", "0.2"])
    assert (settings.temperature, settings.use_vllm, settings.vllm_url) == (0.2, True, "http://b/v1")
    assert settings.extra_body == {"top_k": 20}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--tempratur", "1"], "there is no flag or key 'tempratur' (did you mean 'temperature'?); see --help"),
        (["--num_sample=3"], "did you mean 'num_samples'?"),
        (["--num_samples", "many"], "--num_samples: 'many' is not an integer"),
        (["--endpoint", "chats"], "endpoint"),
        (["--seed", "x"], "--seed"),
        (["--config", "/no/such.yaml"], "No such file"),
        (["stray"], "unexpected argument 'stray'"),
    ],
)
def test_an_error_is_one_line(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse([*NEEDED, *argv])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("max_token: 1\n")
    with pytest.raises(ConfigError, match=r"c\.yaml: there is no key 'max_token' \(did you mean 'max_tokens'"):
        parse([*NEEDED, "--config", str(config)])


def test_a_missing_flag_is_named_and_ends_with_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate_rollouts(["--data_path", "d.parquet"]) == 2
    assert "output_path" in capsys.readouterr().err


def test_print_config_and_version_print_and_end(capsys: pytest.CaptureFixture[str]) -> None:
    for flag, shown in (("--print_config", "num_samples: 8"), ("--version", "0.")):
        with pytest.raises(SystemExit) as ended:
            parse([*NEEDED, flag])
        assert not ended.value.code
        assert shown in capsys.readouterr().out
