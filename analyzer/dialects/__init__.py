"""Dialects: rollouts as other programs write them, read as ours.

A dialect says which files it is, by the columns they have, and where ours are in them::

    find("verl_rollouts").layout       # prompt: input, response: output, ground_truth: gts, reward: score, ...

Flat ones are entries of one table (`table.py`). One whose rows are nested is a file of its own in this folder with a
class that has `records`, which turns a record of the file into flat rows; `register` makes either known, and nothing
else needs to know of it. A module whose name starts with an underscore holds what several share.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from analyzer.dialects.layout import Layout
from analyzer.errors import ConfigError
from analyzer.files.inputs import INPUT_SUFFIXES
from analyzer.registry import Registry, unknown

__all__ = [
    "DIALECTS",
    "Dialect",
    "Row",
    "Settings",
    "find",
    "names",
    "recognise",
    "register",
]

Row = Mapping[str, Any]


class Settings(NamedTuple):
    """What a dialect may need to know beside the files."""

    model_path: str | None = None
    trust_remote_code: bool = False
    pool: bool = False


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """A layout of rollouts, and how files of it are recognized."""

    name: str
    framework: str  # as its users call it
    file: str  # the files it writes
    lacks: str = ""  # what is not in them, and must come from elsewhere
    requires: frozenset[str] = frozenset()  # columns that every file has, a.b for a member of one
    without: frozenset[str] = frozenset()  # ... and that none has
    skip: str = ""  # regex on the path of files that look alike and are not rollouts
    repeats: bool = False  # a step that samples nothing new logs the rollouts of the step before once more
    beside: str = ""  # a dialect whose files hold the same and more: where they are, these are not read
    suffixes: tuple[str, ...] = (*INPUT_SUFFIXES, ".json")
    layout: Layout = Layout()

    # By names alone: values differ from file to file, and a parquet footer tells names without decoding a page.
    def matches(self, row: Row) -> bool:
        """Whether a file whose first record is this one is of the dialect."""
        return all(_has(row, path) for path in self.requires) and not any(_has(row, path) for path in self.without)

    @property
    def nested(self) -> bool:
        """Whether its records are turned into rows one by one, not as columns."""
        return type(self).records is not Dialect.records

    def records(self, record: Row) -> Iterable[Row]:
        """The flat rows of one record of a file. KeyError, TypeError, IndexError and ValueError say that it is none."""
        return (record,)

    def once_in_file(self, record: Row) -> Any:
        """What a file has one record of: later ones with an equal value are left out. None: any number of records."""
        return None

    def prepared(self, records: Iterator[Iterator[Row]], settings: Settings) -> Dialect:
        """The dialect set to an input: `records` are those of each file. Raises UserError where it cannot be.

        They are read as they are asked for: most dialects settle on the first, and only some need them all.
        """
        return self


def _has(row: Any, path: str) -> bool:
    name, _, rest = path.partition(".")
    return isinstance(row, Mapping) and name in row and (not rest or _has(row[name], rest))


DIALECTS: Registry[Dialect] = Registry("input format", __name__)
register = DIALECTS.register
names = DIALECTS.names


def find(name: str) -> Dialect:
    """The dialect of that name. Raises ConfigError that lists the names and the nearest."""
    found = DIALECTS.get(name)
    if found is None:
        raise ConfigError(f"--input_format: {unknown('input format', name, ['auto', *names()])}")
    return found


def recognise(row: Row, suffix: str) -> list[Dialect]:
    """The dialects whose files begin with such a record; one that requires more columns goes before its kin."""
    fitting = [d for d in DIALECTS if suffix in d.suffixes and d.matches(row)]
    # Proper subsets only: two dialects with equal requirements both stay, and the user is asked.
    return [one for one in fitting if not any(one.requires < other.requires for other in fitting)]
