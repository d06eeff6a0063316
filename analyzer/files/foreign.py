"""Files of other formats, named as what they are, with the line that converts them to one that is read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from analyzer.errors import InputError
from analyzer.files import inputs

_READ = "rollouts and training data are read from parquet and jsonl (.jsonl.gz, .jsonl.zst)"
# Text must stay the text it is: left to guess, pandas would make the ground truth 5 of "5", and "1e3" a float.
# A response "NA" or "None" must stay one, and an empty one must not become a missing one.
_AS_TEXT = (
    "dtype=str, keep_default_na=False).pipe(lambda d: d.astype({'sample_idx': int} if 'sample_idx' in d else {}))"
)
_PANDAS = {
    ".csv": ("CSV", f"pd.read_csv(PATH, {_AS_TEXT}"),
    ".tsv": ("TSV", f"pd.read_csv(PATH, sep='\\t', {_AS_TEXT}"),
    ".xlsx": ("an Excel sheet", f"pd.read_excel(PATH, {_AS_TEXT}"),
    ".xls": ("an Excel sheet", f"pd.read_excel(PATH, {_AS_TEXT}"),
    ".feather": ("a feather file", "pd.read_feather(PATH)"),
    # As datasets writes them, these are streams, which read_feather does not take.
    ".arrow": ("an Arrow file", "datasets.Dataset.from_file(PATH)"),
    # Not read_json: some versions of pandas make dates of texts and of numbers in columns named so.
    ".json": ("JSON, one value for the whole file", "pd.DataFrame(json.loads(pathlib.Path(PATH).read_bytes()))"),
}
# Opening a pickle can run any code, so no such file is ever opened here, not even to say what is in it.
_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".npy", ".npz")
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z")
_PACKED = {".bz2": "bunzip2", ".xz": "unxz", ".lzma": "unlzma", ".lz4": "lz4 -d", ".gz": "gunzip", ".zst": "unzstd"}
BEGINS = {
    b"PAR1": "a parquet file does: rename it to .parquet",
    b"\x1f\x8b": "a gzip file does: rename it to .jsonl.gz",
    b"\x28\xb5\x2f\xfd": "a zstd file does: rename it to .jsonl.zst",
    b"\xff\xfe": "UTF-16 does: write it as UTF-8",
    b"\xfe\xff": "UTF-16 does: write it as UTF-8",
    b"BZh": "a bzip2 file does: unpack it with bunzip2",
    b"\xfd7zXZ": "an xz file does: unpack it with unxz",
    b"ARROW1": "an Arrow file does: rename it to .feather for the line that converts it",
    b"ORC": "an ORC file does: convert it with pd.read_orc(PATH).to_parquet(...)",
    b"Obj\x01": "an Avro file does: convert it to parquet",
    b"SQLite format 3": "an SQLite database does: convert the table to parquet",
}
"""How a file begins that is not what its name says, or whose name says nothing; PAR1: a parquet file."""
_BEGINS_JSON = (b"{", b"[", b"\xef\xbb\xbf{", b"\xef\xbb\xbf[")


def refuse(path: str) -> None:
    """Raise InputError, with the conversion to paste, for a file whose name says that it is of another format.

    A .json file is refused by `refuse_json`, by those who have looked into it: some frameworks write such files.
    """
    name = path.lower()
    if name.endswith(_PICKLES):
        raise InputError(
            f"{path}: is a pickle, which can run code when opened and is therefore never read; {_READ}. "
            "docs/input_formats.md has the four lines that turn it into jsonl"
        )
    if name.endswith(_ARCHIVES):
        raise InputError(f"{path}: is an archive; unpack it and give the folder. {_READ.capitalize()}")
    for ending in _PANDAS:
        # pandas unpacks what it reads.
        packed = next((ending + end for end in ("", *_PACKED) if name.endswith(ending + end)), None)
        if packed is not None and not ending.startswith(".json"):
            raise _convert(path, ending, packed)
    refuse_packed(path, ("",))


def refuse_packed(path: str, endings: Sequence[str] = inputs.INPUT_SUFFIXES) -> None:
    """Raise InputError for a file of one of these endings that is compressed in a way that is not read."""
    name, end = os.path.splitext(path.lower())
    if end in _PACKED and name.endswith(tuple(endings)) and not path.lower().endswith(inputs.INPUT_SUFFIXES):
        raise InputError(f"{path}: is compressed as {end}, but {_READ}; unpack it with {_PACKED[end]}")


def refuse_unnamed(path: str) -> None:
    """Raise InputError, with what it is, for a file whose ending says nothing and which does not begin as parquet."""
    with inputs.open_binary(path) as file:
        start = file.read(16)
    if start.startswith(_BEGINS_JSON):
        kind = "JSON does: rename it to .jsonl (an object per line) or .json (one value)"
    else:
        kind = next((kind for begins, kind in BEGINS.items() if start.startswith(begins)), "")
    if kind and not start.startswith(b"PAR1"):
        raise InputError(f"{path}: {_READ}; its name ends in none of these, and it begins as {kind}")


def refuse_folder(spec: str, folder: Path) -> None:
    """Raise InputError, with the conversion to paste, for a folder that datasets' save_to_disk has written."""
    several = (folder / "dataset_dict.json").exists()
    if not several and not all((folder / name).exists() for name in ("dataset_info.json", "state.json")):
        return
    part = "['train']" if several else ""
    line = f"import datasets; datasets.load_from_disk({str(folder)!r}){part}.to_parquet({folder.name + '.parquet'!r})"
    raise InputError(f'{spec}: is a dataset of save_to_disk; {_READ}. Convert it with python -c "{line}"')


def refuse_json(path: str) -> InputError:
    """The error for a .json file that no framework is known to write."""
    return _convert(path, ".json")


def _convert(path: str, ending: str, packed: str | None = None) -> InputError:
    kind, read = _PANDAS[ending]
    target = os.path.basename(path)[: -len(packed or ending)] + ".parquet"
    libraries = {"json.": "json, pathlib, pandas as pd", "datasets.": "datasets", "pd.": "pandas as pd"}
    modules = next(names for start, names in libraries.items() if start in read)
    line = f'python -c "import {modules}; {read.replace("PATH", repr(path))}.to_parquet({target!r})"'
    return InputError(f"{path}: is {kind}; {_READ}. Convert it with {line}")
