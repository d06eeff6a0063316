"""Formats: what each trainer reads, and how the rows of problems.parquet become that.

    format = build("openrlhf", context)
    format.check(schema)                # a sentence where these training rows cannot be given that form
    format.rows(table)                  # the same problems, with the columns that the trainer reads

To add one, add one file to this folder with a class that is decorated by `register`; nothing else needs to know of it.
A module whose name starts with an underscore holds what several formats share. Formats of responses (sft, dpo, kto)
are subclasses of `_responses.ResponseFormat`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from analyzer.registry import Registry

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "FORMATS",
    "Context",
    "Format",
    "build",
    "find",
    "names",
    "register",
]


class Context(NamedTuple):
    """What a format needs to know besides the rows."""

    data_source: str | None  # of all rows, where the training data has no such column
    json_chats: bool  # the prompts are chat lists as JSON text
    pick: str  # which responses of a problem: shortest, best, random, all
    per_problem: int
    seed: int


class Format(ABC):
    """A trainer's format. Subclass, set `name`, `reads` and what differs, write `rows`."""

    name: ClassVar[str]
    reads: ClassVar[str]  # who reads it and which columns, in one line
    endings: ClassVar[tuple[str, ...]] = (".parquet", ".jsonl")
    gold_column: ClassVar[str | None] = None  # where the trainer reads the ground truth; one of that name is kept

    def __init__(self, context: Context) -> None:
        self.context = context

    def check(self, schema: pa.Schema) -> None:
        """Raise ConfigError where rows of this schema lack what the trainer needs."""
        from analyzer.selection.formats._columns import need_ground_truth

        if self.gold_column is not None and self.gold_column not in schema.names:
            need_ground_truth(schema, self.name)

    def check_prompts(self, table: pa.Table) -> None:  # noqa: B027  # most take any
        """Raise ConfigError where prompts, in a table of their own, are not what the trainer takes."""

    @abstractmethod
    def rows(self, table: pa.Table) -> pa.Table:
        """The rows of problems.parquet as the trainer reads them; the same types whatever part of them is given."""


FORMATS: Registry[type[Format]] = Registry("format", __name__)
register = FORMATS.register
names = FORMATS.names
find = FORMATS.find


def build(name: str, context: Context) -> Format:
    """The format of that name, ready to work. Raises ConfigError for an unknown one."""
    return find(name)(context)
