"""Responses as training examples: which rollouts of a problem are taken, for supervised and preference training.

Only rollouts with `reward_status` ok take part: one that could not be scored is never a rejected response. Those cut
off at their token limit are left out, and so are repeated texts within a problem. Then `--pick` orders the passing and
the failing ones of each problem:

    shortest   by (tokens, text)
    best       the highest reward first, of the failing ones the lowest; then by (tokens, text)
    random     drawn with --seed, for each problem by itself
    all        all of them, whatever --per_problem says; by (tokens, text)
"""

from __future__ import annotations

import random
import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from analyzer.errors import ConfigError
from analyzer.schema import PROMPT
from analyzer.selection.formats import Format, _columns

if TYPE_CHECKING:
    import pyarrow as pa

_END_TOKEN = re.compile(r"(?:<\|[a-z_]{2,20}\|>|<｜end▁of▁sentence｜>|</s>|<eos>|<end_of_turn>)\Z")
_LONGEST = 32  # characters of an end token
RATE, WEIGHT = "difficulty_pass_rate", "difficulty_weight"


class Response(NamedTuple):
    """A rollout that may be taken."""

    text: str
    reward: float
    tokens: int


def without_end_tokens(text: str) -> str:
    """The text without the ends of a turn that chat templates write (<|im_end|>): the trainer's template adds its own.

    White space before them goes too; a text without any is left as it is. Linear in the length.
    """
    end, found = len(text), 0
    while True:
        while end and text[end - 1].isspace():
            end -= 1
        match = _END_TOKEN.search(text, max(end - _LONGEST, 0), end)
        if match is None:
            return text[:end] if found else text
        end, found = match.start(), found + 1


class ResponseFormat(Format):
    """A format whose rows are responses of the problems. Subclass, write `examples` and `fields`."""

    def check(self, schema: pa.Schema) -> None:
        _columns.refuse_media(schema, self.name)

    def rows(self, table: pa.Table) -> pa.Table:
        raise ConfigError(f"--format {self.name} is made of responses")

    @abstractmethod
    def fields(self) -> dict[str, bool]:
        """The columns beside the prompt -> whether they hold text of the model (else a truth value)."""

    @abstractmethod
    def examples(self, passing: Sequence[Response], failing: Sequence[Response]) -> list[tuple[Any, ...]]:
        """The examples of one problem, values of `fields` each; its responses come in the order of --pick."""

    def table(self, problems: pa.Table, passing: list[list[Response]], failing: list[list[Response]]) -> pa.Table:
        """The examples of some problems, rows of problems.parquet; responses: (problems,) lists."""
        import pyarrow as pa

        ids = problems.column(_columns.DATA_IDX).to_pylist()
        at: list[int] = []
        values: list[tuple[Any, ...]] = []
        for row, name in enumerate(ids):
            found = self.examples(self._picked(passing[row], name, False), self._picked(failing[row], name, True))
            at += [row] * len(found)
            values += found
        taken = problems.take(pa.array(at, pa.int64()))
        prompts = _columns.chat(taken) if self.context.json_chats else taken.column(PROMPT).combine_chunks()
        conversational = _columns.is_chat(prompts.type)
        columns: dict[str, Any] = {PROMPT: prompts}
        for place, (name, is_response) in enumerate(self.fields().items()):
            column = pa.array([value[place] for value in values], pa.string() if is_response else pa.bool_())
            columns[name] = _columns.one_message("assistant", column) if is_response and conversational else column
        for name in (_columns.DATA_IDX, RATE, WEIGHT):
            if name in taken.column_names:
                columns[name] = taken.column(name)
        return pa.table(columns)

    def _picked(self, responses: list[Response], problem: Any, failing: bool) -> list[Response]:
        """The responses of one problem without repeated texts, in the order of --pick, at most --per_problem."""
        distinct: dict[str, Response] = {}
        for response in responses:
            text = without_end_tokens(response.text)
            known = distinct.get(text)
            # Texts that are equal once stripped differ in length by their end tokens; the order is by the shortest.
            if known is None or response.tokens < known.tokens:
                distinct[text] = response._replace(text=text)
        ordered = sorted(distinct.values(), key=lambda response: (response.tokens, response.text))
        if self.context.pick == "best":
            # sort is stable: equal rewards keep the order by length.
            ordered.sort(key=lambda response: response.reward if failing else -response.reward)
        if self.context.pick == "random":
            # A generator for each problem: one problem more or less changes the draw of no other. A text
            # as seed is hashed with SHA-512, not with the salted hash().
            random.Random(f"{self.context.seed} {problem} {failing}").shuffle(ordered)
        return ordered if self.context.pick == "all" else ordered[: self.context.per_problem]
