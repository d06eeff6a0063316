"""Prompts to rollouts with a transformers model in this process, on a GPU if there is one, else on the CPU.

Sampling is temperature and top_p alone: the top_k and penalties that a model's generation_config.json may hold are
left out, so that the rollouts are those of the policy.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from analyzer import tokens
from analyzer.errors import ConfigError, to_install
from analyzer.generation.intake import Intake
from analyzer.generation.journal import Answer
from analyzer.generation.prompts import Prompt
from analyzer.generation.protocol import UnusablePrompt, derived_seed, template
from analyzer.generation.settings import GenerationSettings
from analyzer.generation.state import Served

if TYPE_CHECKING:
    import torch


class _Slot(NamedTuple):
    """One rollout to be generated."""

    data_idx: int
    sample_idx: int
    input_ids: tuple[int, ...]


class LocalModel:
    """A causal language model and its tokenizer."""

    def __init__(self, settings: GenerationSettings) -> None:
        """Load them. Raises ConfigError or TokenizerError when that cannot be done."""
        try:
            import torch
            import transformers
        except ImportError as error:
            raise ConfigError(
                f"a local model needs the extra [local]: {to_install('local')} ({error}); "
                "--use_vllm uses a server instead"
            ) from None
        library: Any = transformers  # its types change from one release to the next
        library.utils.logging.disable_progress_bar()
        path = settings.model_path or ""
        self.served = Served(path)
        self.notes: tuple[str, ...] = ()
        self._settings = settings
        self._tokenizer = tokens.load(path, settings.trust_remote_code)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            model = library.AutoModelForCausalLM.from_pretrained(
                path,
                trust_remote_code=settings.trust_remote_code,
                # bfloat16 is emulated on most CPUs, and slower than float32.
                dtype="auto" if self._device == "cuda" else torch.float32,
            )
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ConfigError(f"--model_path {path}: the model cannot be loaded ({reason})") from None
        self._network: Any = model.to(self._device).eval()
        # An int, a list or None. The tokenizer's own end may be missing in it: chat models end a turn with
        # another token.
        configured = self._network.generation_config.eos_token_id
        ends = configured if isinstance(configured, list) else [configured]
        self._ends = sorted({token for token in (*ends, self._tokenizer.eos_token_id) if token is not None})
        self._longest: int | None = getattr(self._network.config, "max_position_embeddings", None)

    def generate(self, prompts: Iterator[Prompt], intake: Intake) -> None:
        """Generate what each prompt lacks, `batch_size` rollouts at a time. Raises Interrupted, StorageError."""
        slots = self._slots(prompts, intake)
        while batch := list(itertools.islice(slots, self._settings.batch_size)):
            for answer in self._answers(batch):
                intake.keep(answer, sum(filter(None, answer.response_tokens)))

    def _slots(self, prompts: Iterator[Prompt], intake: Intake) -> Iterator[_Slot]:
        for prompt in prompts:
            try:
                input_ids = self._encode(prompt)
            except UnusablePrompt as error:
                intake.fail(prompt.data_idx, str(error), unusable=bool(prompt.problem))
                continue
            for sample_idx in intake.lacking(prompt.data_idx):
                yield _Slot(prompt.data_idx, sample_idx, input_ids)

    def _encode(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids of a prompt. Raises UnusablePrompt where there are none, or more than the model takes."""
        if prompt.problem:
            raise UnusablePrompt(prompt.problem)
        content = prompt.content
        if isinstance(content, str) and self._settings.endpoint != "chat":
            input_ids = list(self._tokenizer(content)["input_ids"])
        else:
            messages = [{"role": "user", "content": content}] if isinstance(content, str) else content
            input_ids = template(messages, self._tokenizer, self._settings.template_values)
        if not input_ids:
            raise UnusablePrompt("the tokenizer makes no tokens of it")
        if self._longest is not None and len(input_ids) + self._settings.max_tokens > self._longest:
            raise UnusablePrompt(
                f"{len(input_ids)} prompt tokens and --max_tokens {self._settings.max_tokens} "
                f"are more than the model's {self._longest}"
            )
        return tuple(input_ids)

    def _answers(self, batch: list[_Slot]) -> Iterator[Answer]:
        """The rollouts of a batch, those of one prompt together."""
        rows = iter(self._sample(batch))
        for data_idx, group in itertools.groupby(batch, key=lambda slot: slot.data_idx):
            slots = list(group)
            # The rows come back in the order of the slots, so counting is enough to give each prompt its own.
            texts, reasons, counts = zip(*itertools.islice(rows, len(slots)), strict=True)
            yield Answer(
                data_idx, slots[0].sample_idx, list(texts), list(reasons), list(counts), len(slots[0].input_ids)
            )

    def _sample(self, batch: list[_Slot]) -> list[tuple[str, str, int]]:
        """(text, finish_reason, tokens) for each slot."""
        import torch
        import transformers

        settings = self._settings
        if settings.seed is not None:
            # From the rollout that the batch begins with, so that no two batches draw the same numbers.
            torch.manual_seed(derived_seed(settings.seed, batch[0].data_idx, batch[0].sample_idx))
        # top_k=0 explicitly: the library's default is 50, which is another policy.
        sampling = {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": 0}
        library: Any = transformers
        config = library.GenerationConfig(
            max_new_tokens=settings.max_tokens,
            do_sample=settings.temperature > 0,
            eos_token_id=self._ends or None,
            pad_token_id=self._pad,
            **(sampling if settings.temperature > 0 else {}),
        )
        input_ids, mask = self._padded(batch)
        try:
            with torch.inference_mode():
                output = self._network.generate(input_ids, attention_mask=mask, generation_config=config)
        except torch.OutOfMemoryError:
            raise ConfigError(f"--batch_size {settings.batch_size}: not enough GPU memory; choose fewer") from None
        return [self._decode(row) for row in output[:, input_ids.shape[1] :].tolist()]

    @property
    def _pad(self) -> int:
        pad = self._tokenizer.pad_token_id
        return int(pad if pad is not None else (self._ends or [0])[0])

    def _padded(self, batch: list[_Slot]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and attention mask, both of shape (slots, longest prompt), padded on the left."""
        import torch

        longest = max(len(slot.input_ids) for slot in batch)
        # On the left: a decoder goes on from the last position, which must be a real token in every row.
        ids = [[self._pad] * (longest - len(slot.input_ids)) + list(slot.input_ids) for slot in batch]
        mask = [[0] * (longest - len(slot.input_ids)) + [1] * len(slot.input_ids) for slot in batch]
        return torch.tensor(ids, device=self._device), torch.tensor(mask, device=self._device)

    def _decode(self, row: list[int]) -> tuple[str, str, int]:
        stop = next((place for place, token in enumerate(row) if token in self._ends), None)
        # The end token counts as generated, as servers count it.
        generated = row if stop is None else row[: stop + 1]
        text = self._tokenizer.decode(generated, skip_special_tokens=True)
        return text, "length" if stop is None else "stop", len(generated)
