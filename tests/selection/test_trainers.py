"""The files of select_problems in the trainers' own code: loaded, collated, and one step of each TRL trainer.

Run with `make test-trainers`, which has an environment of its own: torch, TRL, verl and datasets are heavy.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from analyzer.selection.select import select
from tests.selection.conftest import TOKENIZER, Make, settings

pytestmark = [pytest.mark.trainers, pytest.mark.filterwarnings("default")]

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(TOKENIZER)
    found.chat_template = CHAT_TEMPLATE
    found.pad_token = found.pad_token or found.eos_token
    return found


@pytest.fixture(scope="module")
def model(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a model of random weights and some ten thousand parameters."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tiny: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    ids: dict[str, Any] = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    made = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=2, **tiny, **ids))
    folder = tmp_path_factory.mktemp("model")
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def written(analysis: Path, tmp_path: Path, kind: str, ending: str = "parquet", **more: Any) -> Path:
    """A file in a trainer's format, of problems that were solved sometimes."""
    output = tmp_path / f"{kind}.{ending}"
    select(settings(analysis=analysis, output=output, recipe="dapo", format=kind, **more))
    return output


def arguments(cls: Any, tmp_path: Path, **more: Any) -> Any:
    return cls(
        output_dir=str(tmp_path / "trainer"),
        max_steps=1,
        per_device_train_batch_size=2,
        report_to=[],
        use_cpu=True,
        bf16=False,
        **more,
    )


def loaded(path: Path) -> Any:
    import datasets

    return datasets.load_dataset("parquet", data_files=str(path), split="train")


def test_verl_loads_and_collates_the_file_and_concatenates_it_with_another(
    analysis_of: Make, tmp_path: Path, tokenizer: Any
) -> None:
    from omegaconf import OmegaConf
    from torch.utils.data import DataLoader
    from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn

    made = analysis_of("verl")
    output = written(made.folder, tmp_path, "verl")
    config = OmegaConf.create({"prompt_key": "prompt", "max_prompt_length": 4096, "cache_dir": str(tmp_path / "cache")})
    kept = pq.read_metadata(output).num_rows
    alone = RLHFDataset(data_files=[str(output)], tokenizer=tokenizer, config=config)
    assert len(alone) == kept > 0
    batch = next(iter(DataLoader(alone, batch_size=2, collate_fn=collate_fn)))
    assert batch["raw_prompt"][0][0]["role"] == "user"
    assert batch["reward_model"][0]["ground_truth"]
    assert batch["data_source"][0]
    assert 0 < batch["difficulty_pass_rate"][0] < 1
    both = RLHFDataset(data_files=[str(output), str(made.training)], tokenizer=tokenizer, config=config)
    assert len(both) == kept + pq.read_metadata(made.training).num_rows


@pytest.mark.parametrize("origin", ["verl", "trl", "hf"])
def test_datasets_loads_the_file_and_the_output_folder(analysis_of: Make, tmp_path: Path, origin: str) -> None:
    import datasets

    made = analysis_of(origin)
    assert len(loaded(written(made.folder, tmp_path, "rows"))) > 0
    problems = datasets.load_dataset(str(made.folder), split="train", cache_dir=str(tmp_path / "a"))
    assert len(problems) == made.problems
    rollouts = datasets.load_dataset(str(made.folder), "rollouts", split="train", cache_dir=str(tmp_path / "b"))
    assert len(rollouts) == made.rollouts


@pytest.mark.parametrize("origin", ["verl", "trl"])
def test_one_step_of_grpo(analysis_of: Make, tmp_path: Path, tokenizer: Any, model: str, origin: str) -> None:
    from trl import GRPOConfig, GRPOTrainer

    seen: dict[str, Any] = {}

    def reward(completions: list[Any], solution: list[str], **columns: Any) -> list[float]:
        seen.update(columns, solution=solution)
        return [float(number % 2) for number in range(len(completions))]

    data = loaded(written(analysis_of(origin).folder, tmp_path, "trl"))
    config = arguments(GRPOConfig, tmp_path, num_generations=2, max_completion_length=8)
    GRPOTrainer(model=model, reward_funcs=reward, args=config, train_dataset=data, processing_class=tokenizer).train()
    assert all(isinstance(text, str) for text in seen["solution"])
    assert 0 < seen["difficulty_pass_rate"][0] < 1


@pytest.mark.parametrize("case", ["sft verl", "sft trl", "dpo verl", "dpo trl", "kto verl", "kto trl"])
def test_one_step_of_supervised_and_preference_training(
    analysis_of: Make, tmp_path: Path, tokenizer: Any, model: str, case: str
) -> None:
    import trl

    kind, origin = case.split()

    try:
        config, trainer = getattr(trl, f"{kind.upper()}Config"), getattr(trl, f"{kind.upper()}Trainer")
    except (AttributeError, ImportError):
        from trl.experimental import kto

        config, trainer = kto.KTOConfig, kto.KTOTrainer
    data = loaded(written(analysis_of(origin).folder, tmp_path, kind, pick="all"))
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    trained = trainer(
        model=model, args=arguments(config, tmp_path), train_dataset=data, processing_class=tokenizer
    ).train()
    assert trained.global_step == 1
