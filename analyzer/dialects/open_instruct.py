"""open-instruct's traces: a line for each rollout, its texts as token ids.

    {"step": 1, "sample_idx": 5, "prompt_idx": 1, "prompt_tokens": [1, 2], "response_tokens": [4, 5, 6],
     "reward": 10.0, "finish_reason": "stop", "dataset": "gsm8k", "ground_truth": [7, 8]}

With --model_path the ids are decoded by its tokenizer. Without it the rewards alone are read. `sample_idx` counts the
samples of a batch, `prompt_idx` the prompts of a step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from analyzer.dialects import Dialect, Row, Settings, register
from analyzer.dialects.layout import Group, Layout
from analyzer.files.inputs import JSONL_SUFFIXES

Decode = Callable[[Sequence[int]], str]
_IDS = ("prompt_tokens", "response_tokens", "ground_truth", "logprobs", "sample_idx", "request_info")


@dataclass(frozen=True, kw_only=True)
class OpenInstruct(Dialect):
    """Reads traces of --save_traces."""

    decode: Decode | None = dataclasses.field(default=None, compare=False, repr=False)

    def prepared(self, records: Iterator[Iterator[Row]], settings: Settings) -> Dialect:
        """With the tokenizer that decodes, where there is one; pooled steps are joined by what their prompts are."""
        layout = self.layout
        if settings.pool:
            layout = dataclasses.replace(layout, group=Group(("prompt_ids",), hashed=True))
        if settings.model_path is None:
            layout = dataclasses.replace(layout, prompt=None, response=None, ground_truth=None)
            return dataclasses.replace(self, layout=layout)
        from analyzer import tokens

        tokenizer = tokens.load(settings.model_path, settings.trust_remote_code)
        return dataclasses.replace(self, layout=layout, decode=lambda ids: str(tokenizer.decode(list(ids))))

    def records(self, record: Row) -> Iterable[Row]:
        """One row."""
        gold = record.get("ground_truth")
        row = {name: value for name, value in record.items() if name not in _IDS}
        row["prompt_ids"] = " ".join(map(str, [*record["prompt_tokens"], "->", *(gold or [])]))
        if self.decode is not None:
            row["prompt"] = self.decode(record["prompt_tokens"])
            row["response"] = self.decode(record["response_tokens"])
            row["ground_truth"] = self.decode(gold) if isinstance(gold, list) else gold
        yield row


register(
    OpenInstruct(
        name="open_instruct",
        framework="open-instruct traces",
        file="{run}_rollouts_{N}.jsonl of --save_traces",
        lacks="texts, but as token ids (--model_path decodes them)",
        requires=frozenset({"prompt_tokens", "response_tokens", "reward"}),
        suffixes=JSONL_SUFFIXES,
        layout=Layout(
            prompt="prompt",
            response="response",
            ground_truth="ground_truth",
            reward="reward",
            data_source="dataset",
            finish_reason="finish_reason",
            group=Group(("step", "prompt_idx", "prompt_ids"), hashed=True),
            file=(("run", r"([^/]+)_rollouts_\d+\.jsonl"),),
            steps=("step", "run"),
            drop=("prompt_ids",),
        ),
    )
)
