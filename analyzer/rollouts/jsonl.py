"""JSON lines into parquet, without guessing: what a value is in the text is what it is in the table.

Two passes over the lines: the first finds each column's type from all lines (json_columns), the second writes parquet
of that schema. No string is ever turned into a date or a number. What the first pass found out about the lines is kept
in the metadata of the files, so that a later run can still name the line that is to blame.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import orjson

from analyzer.errors import InputError, counted
from analyzer.files import foreign, inputs, storage
from analyzer.rollouts.json_columns import (
    NULL,
    WORDS,
    FileLine,
    Kind,
    Observed,
    as_name,
    columns_to_arrow,
    disagreements,
    kind_of,
    observe_row,
)
from analyzer.rollouts.json_text import load_counted
from analyzer.schema import DATA_IDX, DATA_SOURCE, MAX_DEPTH, ORIGINAL, is_deeper

if TYPE_CHECKING:
    import pyarrow as pa

# In the file and not beside it, so that a cache folder is complete or absent, and has no second file to lose.
_NOTES = b"analyzer.jsonl"  # key in the metadata of a converted file
_NAMES = (DATA_IDX, DATA_SOURCE, DATA_SOURCE.removeprefix(ORIGINAL))  # columns whose values name something
_CHUNK_BYTES = 16 << 20
_SENTENCES = 5
_READ_BYTES = 1 << 18
_BOM = b"\xef\xbb\xbf"
_JSON_WORDS = {list: "list", str: "string", bool: "truth value", type(None): "null"}  # else a number


# ---------------------------------------------------------------- lines


class Line(NamedTuple):
    """One line of a file that is not blank."""

    number: int  # from 1
    row: dict[str, Any]
    bytes: int  # of its text
    replaced: int  # lone surrogates in it, each now U+FFFD


def read_lines(path: str) -> Iterator[Line]:
    """The lines of a file that are not blank, parsed. Raises InputError with file and line."""
    for number, line in _raw_lines(path):
        value, replaced = _parse(line, f"{path}, line {number}")
        yield Line(number, value, len(line), replaced)


def line_of(path: str, row: int) -> int:
    """The line, from 1, that the row (from 0) of a file is in: blank lines hold no row."""
    # The file is read again, for one error message. Keeping the lines of all rows would cost every run 8 bytes a row.
    return next(number for at, (number, _) in enumerate(_raw_lines(path)) if at == row)


def _raw_lines(path: str) -> Iterator[tuple[int, bytes]]:
    import pyarrow as pa

    number = 0
    try:
        with inputs.open_binary(path) as raw, _decompressed(raw, path) as file:
            for number, line in enumerate(file, 1):
                # Editors on Windows begin a file with a byte order mark, which is not JSON.
                text = line.removeprefix(_BOM) if number == 1 else line
                if text.strip():
                    yield number, text
    except (OSError, pa.ArrowException) as error:
        storage.check_of_the_file(error, path)
        where = f"after line {number}" if number else "from its start"
        raise InputError(f"{path}: cannot be read {where} ({error}); is the file complete?") from None


def _decompressed(raw: IO[bytes], path: str) -> IO[bytes]:
    """arrow's streams rather than those of gzip and zstandard: the latter takes a cut file for a whole one."""
    import pyarrow as pa

    for suffix, codec in ((".gz", "gzip"), (".zst", "zstd")):
        if path.endswith(suffix):
            return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, "r"), codec), _READ_BYTES)
    return raw


def _parse(line: bytes, where: str) -> tuple[dict[str, Any], int]:
    try:
        value, replaced = load_counted(line)
    except UnicodeDecodeError as error:
        kind = next(
            (f"; it begins as {kind}" for begins, kind in foreign.BEGINS.items() if line.startswith(begins)), ""
        )
        raise InputError(f"{where}: not UTF-8 (byte {error.start}){kind}") from None
    except json.JSONDecodeError as error:
        # A program that is killed leaves such a line.
        end = "" if line.endswith(b"\n") else "; the file ends in this line: if it is cut off, head -n -1 leaves it out"
        what = f"{error.msg}, column {error.colno}"
        raise InputError(f"{where}: not valid JSON ({what}); each line must be one complete JSON object{end}") from None
    except RecursionError:
        raise InputError(f"{where}: not valid JSON (nested too deeply)") from None
    if not isinstance(value, dict):
        raise InputError(
            f"{where}: each line must be one JSON object, this one is a {_JSON_WORDS.get(type(value), 'number')}"
        )
    # Counting brackets bounds the depth, and is quick; few lines have so many that it must be measured.
    if line.count(b"{") + line.count(b"[") > MAX_DEPTH and is_deeper(value):
        raise InputError(f"{where}: nested too deeply (more than {MAX_DEPTH} levels)")
    return value, replaced


# ---------------------------------------------------------------- conversion


class Disagreement(NamedTuple):
    """A column, or a part of one, whose lines do not hold values of one sort."""

    path: str  # original_reward_model.ground_truth, say; [] for the items of a list
    first: Mapping[str, FileLine]  # kind of value, in the words of json_columns -> the first place of one
    kind: str  # of the column that holds them
    shown: str  # the form in which others see them

    def sentence(self, paths: Sequence[str]) -> str:
        """What a user must know; `paths`: the files that were converted."""
        places = sorted((tuple(place), WORDS[kind]) for kind, place in self.first.items() if kind != NULL)
        place, word = places[0]
        other, other_word = next(one for one in places if one[1] != word)
        where = [f"{os.path.basename(paths[file])}, line {line}" for file, line in (other, place)]
        if self.path in _NAMES:
            effect = "all are read as text, so 5 and '5' are equal"
        else:
            outputs = {
                "double": "all as floating-point numbers (5 as 5.0)",
                "": "all as JSON text",
            }.get("double" if self.kind == "whole" else self.shown, "texts unchanged, other values as JSON text")
            effect = (
                "custom functions see each value unchanged, other rewards a number among texts as its text, "
                f"the outputs have {outputs}"
            )
        return f"{where[0]}: {self.path} is {other_word}, but {word} in {where[1]}; {effect}."


class Notes(NamedTuple):
    """What converting jsonl files found out about their lines."""

    replaced: int  # lone surrogates that became U+FFFD
    columns: Mapping[str, Mapping[str, FileLine]]  # of each column: kind of value -> the first place of one
    disagreements: tuple[Disagreement, ...]

    def sentences(self, paths: Sequence[str]) -> list[str]:
        """What a user must know of lines that disagree, at most _SENTENCES of them.

        Numbers with and without a fraction lose nothing but their spelling in the outputs: only ground truths,
        which functions may compare as texts, are named.
        """
        worth = [
            one
            for one in self.disagreements
            if "double" not in (one.shown, "double" if one.kind == "whole" else "") or "ground_truth" in one.path
        ]
        more = [
            f"{counted(len(worth) - _SENTENCES, 'more column holds', 'more columns hold')} values of several types."
        ]
        return [one.sentence(paths) for one in worth[:_SENTENCES]] + (more if len(worth) > _SENTENCES else [])


def convert(paths: Sequence[str], folder: str) -> list[str]:
    """Write each jsonl file as a parquet file in `folder` (which exists); return their paths in order.

    Memory is bounded by a chunk of lines. Raises InputError with file and line for what cannot be read.
    """
    seen: dict[str, Observed] = {}
    replaced = 0
    for number, path in enumerate(paths):
        line = None
        for line in read_lines(path):
            observe_row(seen, line.row, (number, line.number))
            replaced += line.replaced
        if line is None:
            raise InputError(f"{path}: the file is empty")
    fields = {name: as_name(column) if name in _NAMES else kind_of(column) for name, column in seen.items()}
    notes = Notes(
        replaced,
        {name: column.first for name, column in seen.items()},
        tuple(
            Disagreement(path, part.first, kind.name, kind.shown.decode())
            for name, column in seen.items()
            for path, part, kind in disagreements(column, name)
        ),
    )
    schema = columns_to_arrow([], fields).schema
    written = []
    for number, path in enumerate(paths):
        target = os.path.join(folder, f"part-{number:05d}.parquet")
        with storage.storage_errors(target):
            _convert(path, target, fields, schema, orjson.dumps(notes, default=list))
        written.append(target)
    return written


def _convert(path: str, target: str, fields: dict[str, Kind], schema: pa.Schema, notes: bytes) -> None:
    import pyarrow.parquet as pq

    # Checksums, since the file is read again for as long as it is cached, and a wrong bit in a text is seen by nobody.
    with pq.ParquetWriter(target, schema, compression="zstd", write_page_checksum=True) as writer:
        for rows in _chunks(path):
            writer.write_batch(columns_to_arrow(rows, fields))
        writer.add_key_value_metadata({_NOTES: notes})


def _chunks(path: str) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    size = 0
    for line in read_lines(path):
        rows.append(line.row)
        size += line.bytes
        if size >= _CHUNK_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def notes_of(path: str) -> Notes:
    """What was found out when this parquet file was made from jsonl, about all files that were converted with it."""
    import pyarrow.parquet as pq

    replaced, columns, differing = orjson.loads(pq.read_metadata(path).metadata[_NOTES])
    return Notes(replaced, columns, tuple(Disagreement(*one) for one in differing))
