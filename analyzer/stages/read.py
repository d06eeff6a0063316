"""read: find the input, check its columns, and turn every dialect into parquet files of one schema."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analyzer.dialects import conversion, files, joining, reading
from analyzer.dialects.reading import Request
from analyzer.errors import InputError
from analyzer.files import foreign, inputs, storage
from analyzer.rollouts import dataset, json_columns, jsonl
from analyzer.rollouts.dataset import Dataset
from analyzer.rollouts.input import Identity, Input, identify, still_same
from analyzer.rollouts.json_columns import BIG, BRACKETED, FLOAT, INT, LIST, NULL, STRING, WIDE, WORDS
from analyzer.schema import DATA_IDX, DATA_SOURCE, ORIGINAL, REQUIRED_COLUMNS, RESPONSE, REWARD, SAMPLE_IDX

if TYPE_CHECKING:
    import pyarrow as pa

CONVERSION = 3  # of jsonl into parquet; another number never reads the files of an earlier one
_SAMPLE_CHARS = 1 << 15


def _checked(opened: Input, spec: str) -> Input:
    _check_columns(opened, spec)
    if opened.dataset.rows == 0:
        raise InputError(f"{spec}: has no rows")
    return opened


def open_rollouts(request: Request, cache_dir: str) -> Input:
    """Open rollouts of any known layout; those that are not ours are converted once, below `cache_dir`.

    Raises InputError or ConfigError, one line that says what to do.
    """
    reading.check_request(request)
    dataset.close_files()  # those of an earlier run in this process: a file of that name may be another one by now
    settled = reading.settle(request)
    if settled.as_is:
        opened = open_files(request.spec, cache_dir, settled.paths)
        # The usual case by far, our own parquet: read where it lies, nothing is copied.
        if not _needs_conversion(opened, request.rescore):
            notes = (f"not read: {files.named(settled.unread)}",) if settled.unread else ()
            return _checked(opened, request.spec)._replace(notes=notes)
        settled = reading.settle(request, as_is=False)
    joined = joining.paths_of(request.join)
    paths = (*settled.paths, *joined)
    identity = tuple(identify(path) for path in paths)
    # By what was asked and by which files: another --columns is another conversion, the same one is found again.
    key = reading.key_of(settled, request, identity)
    folder = Path(cache_dir) / "inputs" / key

    def build(temporary: str) -> None:
        conversion.convert(settled, request, temporary)
        still_same(paths, identity)

    storage.build_folder(folder, build)
    storage.touch(folder)  # so that `cache --prune` sees it is in use
    report = conversion.read_report(folder)
    dataset.close_files()
    parts = [str(folder / f"part-{number:05d}.parquet") for number in range(len(report.names))]
    return Input(
        _open_parquet(parts, report.names),
        paths,
        identity,
        report.replaced,
        key,
        report.notes,
        report.warnings,
        report.texts,
    )


def _needs_conversion(opened: Input, rescore: bool) -> bool:
    """Whether columns of ours are of a type that only a conversion reads: ids as floats, rewards as texts or lists."""
    import pyarrow as pa

    schema = opened.dataset.schema
    for name in (DATA_IDX, SAMPLE_IDX):
        # pandas makes floats of integers as soon as one value is missing, be it later filled in or left out.
        if name in schema.names and pa.types.is_floating(schema.field(name).type):
            return True
        if FLOAT in (kinds := opened.kinds.get(name, {})) and set(kinds) <= {INT, FLOAT}:  # 1 and 1.0 in jsonl
            return True
    if REWARD not in schema.names or rescore:
        return False
    kind = schema.field(REWARD).type
    return bool(dataset.is_text(kind) or pa.types.is_list(kind))


def open_files(spec: str, cache_dir: str, paths: Sequence[str] = ()) -> Input:
    """Open parquet or jsonl files of one schema, whatever their columns; jsonl is converted once, below `cache_dir`.

    `paths`: the files that `spec` stands for, where that is known.

    Raises InputError, one line that names the file.
    """
    paths = paths or inputs.find(spec)
    for path in paths:
        foreign.refuse(path)
        if path.lower().endswith(".json"):
            raise foreign.refuse_json(path)
    identity = tuple(identify(path) for path in paths)
    # Mixed kinds would need one schema for both, and jsonl has the types of its values.
    kinds = {path.endswith(inputs.JSONL_SUFFIXES) for path in paths}
    if len(kinds) > 1:
        raise InputError(f"{spec}: holds both parquet and jsonl files; give a glob that matches one kind")
    parquet = list(paths) if kinds == {False} else _converted(paths, identity, cache_dir)
    dataset.close_files()
    opened = _open_parquet(parquet, paths)
    # Arrow finds neither by name: it has no index for a name that occurs twice.
    twice = sorted({name for name in opened.schema.names if opened.schema.names.count(name) > 1})
    if twice:
        raise InputError(f"{spec}: the column {twice[0]!r} occurs twice")
    if kinds == {False}:
        return Input(opened, tuple(paths), identity, 0)
    notes = jsonl.notes_of(parquet[0])
    warnings = tuple(notes.sentences(paths))
    return Input(opened, tuple(paths), identity, notes.replaced, warnings=warnings, kinds=notes.columns)


def _converted(paths: Sequence[str], identity: Identity, cache_dir: str) -> list[str]:
    """The parquet files of jsonl inputs, made by this call or an earlier one."""
    key = hashlib.sha256(repr((CONVERSION, identity)).encode()).hexdigest()[:32]
    folder = Path(cache_dir) / "inputs" / key

    def build(temporary: str) -> None:
        jsonl.convert(list(paths), temporary)
        still_same(paths, identity)

    storage.build_folder(folder, build)
    storage.touch(folder)  # so that `cache --prune` sees it is in use
    return sorted(str(path) for path in folder.glob("part-*.parquet"))


def _open_parquet(parquet: Sequence[str], shown: Sequence[str]) -> Dataset:
    files, schema = dataset.describe_all(parquet, shown)
    return Dataset(files, json_columns.shown_schema(schema))


def _check_columns(opened: Input, spec: str) -> None:
    import pyarrow as pa

    schema = opened.dataset.schema
    for name in REQUIRED_COLUMNS:
        if name not in schema.names:
            raise missing_column(name, schema, spec)
    # jsonl first, by line: once converted, a column of mixed kinds is text, and its type tells nothing.
    _check_lines(opened, RESPONSE, {STRING, BRACKETED}, "text")
    _check_lines(opened, DATA_IDX, {STRING, BRACKETED, INT, WIDE, BIG}, "an integer or text")
    _check_lines(opened, SAMPLE_IDX, {INT, WIDE}, "an integer")
    _check_type(spec, schema, RESPONSE, dataset.is_text, "text")
    _check_type(spec, schema, DATA_IDX, lambda t: dataset.is_text(t) or pa.types.is_integer(t), "integer or text")
    _check_type(spec, schema, SAMPLE_IDX, pa.types.is_integer, "integer")


def _check_lines(opened: Input, name: str, fits: set[str], wanted: str) -> None:
    """Raise InputError for the first line of jsonl files in which a column is something else than null or `fits`."""
    for kind, (file, line) in sorted(opened.kinds.get(name, {}).items(), key=lambda item: item[1]):
        if kind not in (NULL, *fits):
            advice = "; give each response its own line" if name == RESPONSE and kind == LIST else ""
            where = f"{opened.paths[file]}, line {line}"
            raise InputError(f"{where}: {name!r} must be {wanted}, it is {WORDS[kind]}{advice}")


def check_sources(spec: str, schema: pa.Schema) -> None:
    """Raise InputError where data sources are not text."""
    _check_type(spec, schema, DATA_SOURCE, dataset.is_text, "text")


def check_rewards(spec: str, schema: pa.Schema) -> None:
    """Raise InputError where the rewards that the input brings along are no numbers."""
    import pyarrow as pa

    number = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_null)
    if not any(fits(schema.field(REWARD).type) for fits in number):
        raise InputError(
            f"{spec}: the column {REWARD!r} must be a number to be kept, it is {schema.field(REWARD).type}; "
            "score again with --rescore, or rename it"
        )


def _check_type(spec: str, schema: pa.Schema, name: str, fits: Callable[[pa.DataType], bool], wanted: str) -> None:
    found = schema.field(name).type
    if not fits(found):
        raise InputError(f"{spec}: the column {name!r} must be {wanted}, it is {found}")


def missing_column(name: str, schema: pa.Schema, spec: str) -> InputError:
    """The error for a column that is not there: lists those that are, and where `original_*` come from."""
    message = f"{spec}: there is no column {name!r}; the columns are: {', '.join(schema.names)}"
    if name.startswith(ORIGINAL):
        message += (
            f". Columns {ORIGINAL}* are written by generate_rollouts from the training data; "
            "if the ground truth has another column, name it with --reward_fn_key "
            f"(without the prefix {ORIGINAL!r})"
        )
    return InputError(message)


def sample_texts(opened: Input, texts: int = 64) -> list[str]:
    """The first responses, or their beginnings, to prove token counts on. Shape (<= texts,)."""
    # Responses of this very input: counts must be equal on what will be counted, and beginnings show its kind of text.
    reader = dataset.Reader(opened.dataset.files, [RESPONSE])
    found: list[str] = []
    for _, batch in reader.batches([(0, min(texts, opened.dataset.rows))]):
        found += [text[:_SAMPLE_CHARS] for text in batch.column(0).to_pylist() if text is not None]
    return found
