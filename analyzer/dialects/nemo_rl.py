"""NeMo-RL's logs of training and validation data: a line for each rollout, each value a list of one.

    {"content": [["<|im_start|>user ...", "7<|im_end|>", "Environment: correct"]], "rewards": [1.0],
     "input_lengths": [40], "token_loss_mask": [[0, 0, 1, 0]]}                              # train_data_step{N}.jsonl
    {"content": [[{"role": "user", "content": "..."}, {"role": "assistant", "content": "7"},
                  {"role": "environment", "content": "Environment: correct"}]], "rewards": [1.0]}        # val_data_...

An environment answers every message of the model, the last one, too. Training data hold no roles: which messages are
the model's is told by the tokens that are trained on.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from analyzer.dialects import Dialect, Row, Settings, register
from analyzer.dialects.layout import Group, Layout
from analyzer.dialects.values import content_text
from analyzer.files.inputs import INPUT_SUFFIXES

_LOOKED_AT = 256  # records that settle whether an environment answers
_ASSISTANT = "assistant"


@dataclass(frozen=True, kw_only=True)
class NemoRl(Dialect):
    """Reads the last message of the model, and all that comes before its first as the prompt."""

    answered: bool = False  # whether an environment has the last word

    def prepared(self, records: Iterator[Iterator[Row]], settings: Settings) -> Dialect:
        """Set to whether an environment answers: one record may have lost its answer to the limit of tokens."""
        looked_at = itertools.islice(itertools.chain.from_iterable(records), _LOOKED_AT)
        masks = [mask for record in looked_at if (mask := _mask(record))]
        return dataclasses.replace(self, answered=any(not mask[-1] for mask in masks))

    def records(self, record: Row) -> Iterable[Row]:
        """One row."""
        messages = record["content"][0]
        if all(isinstance(message, dict) for message in messages):
            own = [at for at, message in enumerate(messages) if message["role"] == _ASSISTANT]
            first, last = (own[0], own[-1]) if own else (len(messages), None)
            messages = [content_text(message.get("content")) for message in messages]
        else:
            first, last = self._turns(record, len(messages))
        row: dict[str, Any] = {
            # Rendered parts, a system message apart from the question, say.
            "prompt": "".join(messages[:first]),
            "response": None if last is None else messages[last],
            "reward": record["rewards"][0],
        }
        if "agent_ref" in record:
            row["agent_ref"] = record["agent_ref"][0]
        yield row

    def _turns(self, record: Row, messages: int) -> tuple[int, int]:
        """The first and the last message of the model. Raises ValueError where they cannot be told."""
        mask = _mask(record)
        if mask is None:
            if messages == 2:
                return 1, 1
            raise ValueError("messages without roles, and no token_loss_mask to tell which are the model's")
        # A run of tokens that are trained on is a message of the model; a response may be empty.
        turns = max(1, sum(bool(after) > bool(before) for before, after in itertools.pairwise([0, *mask])))
        first = messages - 2 * turns + (not self.answered)
        if first < 1:
            raise ValueError(f"{messages} messages, but {turns} runs of tokens to train on")
        return first, first + 2 * (turns - 1)


def _mask(record: Row) -> Sequence[int] | None:
    """Whether each token is trained on, without the padding; None where the record does not say."""
    if "token_loss_mask" not in record or "input_lengths" not in record:
        return None
    mask: Sequence[int] = record["token_loss_mask"][0][: record["input_lengths"][0]]
    return mask


register(
    NemoRl(
        name="nemo_rl",
        framework="NeMo-RL rollouts",
        file="train_data_step{N}.jsonl, val_data_step{N}.jsonl",
        lacks="ground truths, data_source, chat prompts (--join)",
        requires=frozenset({"content", "rewards"}),
        suffixes=INPUT_SUFFIXES,
        layout=Layout(
            prompt="prompt",
            response="response",
            reward="reward",
            group=Group(("prompt",), hashed=True),
            file=(("step", r"step_?(\d+)\.jsonl"),),
            steps=("step",),
        ),
    )
)
