"""Files of rollouts: which there are, what dialect each is of, and their records one by one."""

from __future__ import annotations

import dataclasses
import filecmp
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from analyzer import dialects
from analyzer.dialects import Dialect, Row
from analyzer.dialects.layout import FILE, Layout
from analyzer.dialects.lookup import is_list
from analyzer.errors import InputError, printable
from analyzer.files import foreign, inputs, storage
from analyzer.rollouts import dataset, jsonl
from analyzer.rollouts.dataset import Reader
from analyzer.rollouts.json_text import load_counted, load_json
from analyzer.schema import MAX_DEPTH, is_deeper

if TYPE_CHECKING:
    import pyarrow as pa

EVAL, JSON, JSONL, PARQUET = ".eval", ".json", ".jsonl", ".parquet"
SUFFIXES = (*inputs.JSONL_SUFFIXES, PARQUET, EVAL, JSON)
STEP = "step"
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_STEP_FOLDER = re.compile(r"step_?\d+")
_NAMED = 5  # files that are named one by one
_ENDS = 4096  # bytes at both ends of a file by which it is told from most others


class Record(NamedTuple):
    """One record of a file: a line, a row, or what a .json or .eval file holds."""

    row: Row
    bytes: int
    place: str  # as a person finds it
    replaced: int = 0  # lone surrogates in it, each now U+FFFD


class Found(NamedTuple):
    """The files of an input."""

    paths: tuple[str, ...]  # that may hold rollouts, sorted
    others: tuple[str, ...]  # in the same folder, that cannot


def find(spec: str, recursive: bool) -> Found:
    """The files that a path, folder, glob or URL stands for. Raises InputError where there are none."""
    folder = Path(storage.local(spec))
    if storage.is_remote(spec) or not folder.is_dir():
        return Found(tuple(_single(spec)), ())
    foreign.refuse_folder(spec, folder)
    # Hidden folders are checkpoints of notebooks and the like, never rollouts.
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not recursive and (named_so := [path for path in inner if path.name.endswith(SUFFIXES)]):
        raise InputError(f"{named_so[0]}: is a folder, not a file; read folders in folders with --recursive")
    visible = sorted(str(path) for path in _walk(folder, recursive) if not path.name.startswith("."))
    paths = tuple(path for path in visible if path.endswith(SUFFIXES))
    if paths:
        return Found(paths, tuple(path for path in visible if not path.endswith(SUFFIXES)))
    names = ", ".join(path.name for path in inner[:_NAMED])
    remedy = f"; it holds folders ({names}): read them with --recursive" if inner and not recursive else ""
    raise InputError(f"{spec}: no rollouts found (looked for files ending in {', '.join(SUFFIXES)}){remedy}")


def _walk(folder: Path, recursive: bool) -> Iterator[Path]:
    for top, below, names in os.walk(folder):
        # In place: os.walk goes where this list says, and in its order.
        below[:] = sorted(name for name in below if not name.startswith(".")) if recursive else []
        yield from (Path(top) / name for name in names)


def _single(spec: str) -> list[str]:
    path = storage.local(spec)
    # A file whose name holds a bracket is taken as it is before it is taken for a pattern.
    if not storage.is_remote(spec) and any(c in path for c in "*?[") and not os.path.exists(path):
        import glob

        found = sorted(name for name in glob.glob(path, recursive=True) if name.endswith(SUFFIXES))
        if not found:
            raise InputError(f"{spec}: no rollouts found (looked for files ending in {', '.join(SUFFIXES)})")
        return found
    return inputs.find(spec)


def suffix_of(path: str) -> str:
    """What the name of a file ends with, as dialects tell files apart; that of parquet where it is none of them."""
    # Parquet for the rest, since folders of Spark and Hive hold parquet files without an ending.
    return next((suffix for suffix in SUFFIXES if path.endswith(suffix)), PARQUET)


def first_record(path: str) -> Row | None:
    """The names in the first record of a file, with its values unless it is parquet; None for a file without any.

    Raises InputError for a file that cannot be read.
    """
    if suffix_of(path) == PARQUET:  # its footer tells the names, and nothing is decoded
        _, schema = dataset.describe(path)
        # Arrow reads such a file, and a look-up by name then fails in the middle of a run.
        if twice := [name for name in schema.names if schema.names.count(name) > 1]:
            raise InputError(f"{path}: the column {twice[0]!r} occurs twice")
        return {field.name: _names_in(field.type) for field in schema}
    found = next(iter(records(path)), None)
    return None if found is None else found.row


def _names_in(kind: pa.DataType) -> Any:
    """The members of a struct, and theirs; of a list, those of its items."""
    import pyarrow as pa

    if is_list(kind):
        return [_names_in(kind.value_type)]
    if not pa.types.is_struct(kind):
        return None
    return {kind.field(at).name: _names_in(kind.field(at).type) for at in range(kind.num_fields)}


def records(path: str) -> Iterator[Record]:
    """The records of a file, as Python has them. Raises InputError with the place for what cannot be read."""
    suffix = suffix_of(path)
    if suffix in inputs.JSONL_SUFFIXES:
        for line in jsonl.read_lines(path):
            yield Record(line.row, line.bytes, f"{path}, line {line.number}", line.replaced)
    elif suffix == PARQUET:
        file, _ = dataset.describe(path)
        for first, batch in Reader([file], None).all():
            # The size of a row is a share of its batch: good enough to cut batches by.
            size = max(batch.nbytes // max(batch.num_rows, 1), 1)
            for at, row in enumerate(batch.to_pylist()):
                yield Record(row, size, f"{path}, row {first + at} (counted from 0)")
    elif suffix == EVAL:
        from analyzer.dialects.inspect_logs import read_eval

        for at, row in enumerate(read_eval(path)):
            # Guessed: the compressed size of a sample says nothing of its size as objects.
            yield Record(row, 1 << 14, f"{path}, sample {at} (counted from 0)")
    else:
        yield from _of_json(path)


def _of_json(path: str) -> Iterator[Record]:
    """The object that a .json file holds, or the objects of a list. The file is read whole."""
    with inputs.open_binary(path) as file:
        data = file.read().removeprefix(b"\xef\xbb\xbf")  # a byte order mark, which is not JSON
    try:
        # RecursionError: a few thousand brackets are enough, and a file must not end the program.
        value, replaced = load_counted(data)
    except (ValueError, RecursionError) as error:
        if _is_line(data):
            raise InputError(f"{path}: holds a JSON object per line; rename it to end in .jsonl") from None
        raise InputError(f"{path}: not valid JSON ({' '.join(str(error).split())})") from None
    rows = value if isinstance(value, list) else [value]
    for at, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InputError(f"{path}: must hold a JSON object or a list of them")
        place = f"{path}, item {at} (counted from 0)" if len(rows) > 1 else path
        if is_deeper(row):
            raise InputError(f"{place}: nested too deeply (more than {MAX_DEPTH} levels)")
        # Which items the replaced characters were in is not known: they are counted with the first.
        yield Record(row, len(data) // len(rows), place, 0 if at else replaced)


def _is_line(data: bytes) -> bool:
    """Whether the first line is a JSON object of its own, with more behind it."""
    first, _, more = data.lstrip().partition(b"\n")
    try:
        return bool(more.strip()) and isinstance(load_json(first), dict)
    except (ValueError, RecursionError):
        return False


def no_record(dialect: Dialect, place: str, error: Exception) -> InputError:
    """The error for a record that is not of the dialect."""
    what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return InputError(f"{place}: not a record of {dialect.framework} ({printable(what)})")


def flat_records(dialect: Dialect, found: Iterable[Record]) -> Iterator[Record]:
    """The flat rows of records. Raises InputError for one that is not of the dialect."""
    for record in found:
        try:
            # Made whole within the try: a generator would raise outside of it, without the place.
            rows = list(dialect.records(record.row))
        except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
            raise no_record(dialect, record.place, error) from None
        for at, row in enumerate(rows):
            yield Record(row, record.bytes // max(len(rows), 1), record.place, 0 if at else record.replaced)


class Recognized(NamedTuple):
    """Which dialect an input is of, and which of its files are."""

    dialect: Dialect | None
    paths: tuple[str, ...]
    unread: tuple[str, ...]
    row: Row  # the first record of the first file
    fitting: tuple[str, ...] = ()  # the names of several dialects that fit, where it is none of them for sure


def recognise(found: Found, chosen: Dialect | None, spec: str) -> Recognized:
    """Tell what the files are: `chosen`, or what their columns say. Raises InputError where they disagree."""
    kinds: dict[str, list[str]] = {}
    rows: dict[str, Row] = {}
    unread = list(found.others)
    fitting: tuple[str, ...] = ()
    unknown: list[str] = []
    unreadable: InputError | None = None
    only_json = all(suffix_of(path) == JSON for path in found.paths)
    for path in found.paths:
        try:
            row = first_record(path)
        except InputError as error:
            if suffix_of(path) != JSON:  # a .json file beside rollouts is seldom one of them
                raise
            row, unreadable = None, unreadable or error
        if row is None:
            unknown.append(path)
            continue
        rows[path] = row
        if chosen is not None:
            fits = [chosen] if chosen.matches(row) or len(found.paths) == 1 else []
        else:
            # A list is of the records of any dialect where there is nothing else; beside others it seldom is.
            fits = dialects.recognise(row, suffix_of(path)) or (only_json and dialects.recognise(row, JSONL)) or []
        # `skip` is for files that have the same columns and other contents, such as a trainer's own validation
        # logs.
        if len(fits) == 1 and not (fits[0].skip and re.search(fits[0].skip, path)):
            kinds.setdefault(fits[0].name, []).append(path)
        else:
            unknown.append(path)
            fitting = fitting or tuple(dialect.name for dialect in fits)
    # A dialect whose files are a poorer copy of another's, in one folder with them, would count everything twice.
    for lesser in [name for name in kinds if dialects.find(name).beside in kinds]:
        unread += kinds.pop(lesser)
    if len(kinds) > 1:
        shown = "; ".join(f"{name}: {os.path.basename(paths[0])}" for name, paths in sorted(kinds.items()))
        raise InputError(
            f"{spec}: holds files of several formats ({shown}); give a glob that matches those of one, "
            "or name it with --input_format"
        )
    first = next(iter(rows.values()), None)
    if first is None:
        raise unreadable or InputError(
            f"{spec}: {found.paths[0]}: the file is empty" if len(found.paths) > 1 else f"{spec}: the file is empty"
        )
    if not kinds:
        return Recognized(None, found.paths, tuple(unread), first, fitting)
    ((name, paths),) = kinds.items()
    return Recognized(dialects.find(name), tuple(paths), tuple(sorted([*unread, *unknown])), rows[paths[0]])


def repeats_of(paths: Sequence[str]) -> tuple[str, ...]:
    """The parquet files whose rows are, but for the step, those of the file before them."""
    import pyarrow.parquet as pq

    found = []
    before: pa.Table | None = None
    for path in paths:
        if suffix_of(path) == PARQUET:
            dataset.describe(path)  # refuses what is not readable, with its name
            table = pq.read_table(path)
            table = table.select([name for name in table.column_names if name != STEP])
            if before is not None and table.equals(before):
                found.append(path)
            before = table
    return tuple(found)


def check_runs(spec: str, layout: Layout, paths: Sequence[str]) -> None:
    """Raise InputError for files that may hold the same, or the rollouts of two runs, and that nothing tells apart.

    These have one name, in several folders or but for the ending (a.jsonl and a.jsonl.gz). Folders that differ in the
    number of a step are told apart by the rows.
    """
    of_path = list(zip(*path_columns(dataclasses.replace(layout, sample=None), paths).values(), strict=True))
    folders: dict[tuple[Any, ...], str] = {}
    stems: dict[str, str] = {}
    for at, path in enumerate(paths):
        folder, name = os.path.split(path)
        first = folders.setdefault((name, *(of_path[at] if of_path else ())), folder)
        if _STEP_FOLDER.sub("", first) != _STEP_FOLDER.sub("", folder):
            raise InputError(
                f"{spec}: {name} is in several folders, which may be those of two runs ({first}, {folder}): read one, "
                "or pass --pool if they belong together"
            )
        ending = next((suffix for suffix in SUFFIXES if path.endswith(suffix)), "")
        other = stems.setdefault(path.removesuffix(ending), name)
        if other != name:
            raise InputError(
                f"{spec}: {other} and {name} may hold the same rollouts, which would count twice: read one, or pass "
                "--pool if they belong together"
            )


def copies(paths: Sequence[str]) -> tuple[str, str] | None:
    """The first two local files that hold the same bytes; None where there are none."""
    seen: dict[tuple[int, bytes, bytes], list[str]] = {}
    for path in (path for path in paths if not storage.is_remote(path)):
        size, _ = inputs.stat(path)
        with inputs.open_binary(path) as file:
            start = file.read(_ENDS)
            file.seek(max(size - _ENDS, 0))
            alike = seen.setdefault((size, start, file.read(_ENDS)), [])
        if other := next((one for one in alike if filecmp.cmp(one, path, shallow=False)), None):
            return other, path
        alike.append(path)
    return None


def partitions(spec: str, paths: Sequence[str]) -> dict[str, str]:
    """The `name=value` folders of an input, as Spark and DuckDB write them: name -> regex on the path of a file."""
    remote = storage.is_remote(spec)
    start = re.split(r"[*?[]", spec)[0]
    start = start if start == spec else os.path.dirname(start)  # step=*/ is a folder of that name
    top = start if remote else os.path.abspath(start)
    below = [(path if remote else os.path.abspath(path)).removeprefix(top) for path in paths]
    names = dict.fromkeys(found[1] for path in below for found in re.finditer(r"(?:^|(?<=/))(\w+)=[^/]+/", path))
    return {name: rf"{re.escape('' if remote else top)}(?:.*/)?{name}=([^/]+)/" for name in names}


def named(paths: Sequence[str]) -> str:
    """The names of files, the first few one by one."""
    names = ", ".join(os.path.basename(path) for path in paths[:_NAMED])
    return names + (f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else "")


def path_columns(layout: Layout, paths: Sequence[str]) -> dict[str, list[Any]]:
    """Columns whose values the paths of the files tell: name -> value by file."""
    found: dict[str, list[Any]] = {}
    for name, regex in layout.file:
        # The absolute path, so that `cd step_100` and a relative name tell the same.
        matches = [re.search(regex, os.path.abspath(path)) for path in paths]
        texts = [None if match is None or match[1] == _NO_VALUE else unquote(match[1]) for match in matches]
        if any(text is not None for text in texts):
            whole = all(text is None or text.isdigit() for text in texts)
            found[name] = [int(text) if whole and text is not None else text for text in texts]
    if layout.sample == FILE:
        found[FILE] = _numbers(paths)
    return found


def _numbers(paths: Sequence[str]) -> list[Any]:
    """The number of each file: the last in its name where these differ, else its place."""
    matches = [re.findall(r"\d+", os.path.basename(path)) for path in paths]
    numbers = [int(found[-1]) if found else -1 for found in matches]
    # Numbers in names count only where they tell all files apart, else the order of the sorted names does.
    return numbers if len(set(numbers)) == len(paths) and min(numbers) >= 0 else list(range(len(paths)))
