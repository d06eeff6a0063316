"""The data files that a user's function reads, as far as they are known before it is called.

    {"weights.json": "sha256:9b1f..."}       as named in the source -> digest of the content

Known are files that the user's own code opens while it is imported, and files whose names stand in its source or in
--reward_kwargs, or are the value of an environment variable that it names: beside the module, in a folder that the
source names, or in the working directory. What the source writes to does not count, nor what looks like a log: it would
make every run another one. Not seen: files that a call opens by a computed name.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType
from typing import Any

WHOLE_BYTES = 64 << 20  # of larger files size and time of modification count, not the content
LONGEST_NAME = 255
_WRITERS = frozenset(
    {
        *("write_text", "write_bytes", "touch", "mkdir", "makedirs", "unlink", "remove"),
        *("save", "savez", "savez_compressed", "savetxt", "tofile", "dump"),
        *("to_csv", "to_json", "to_parquet", "to_pickle", "SummaryWriter"),
        *("basicConfig", "FileHandler", "RotatingFileHandler", "TimedRotatingFileHandler"),
    }
)
Mark = tuple[int, int, int]
_LOGS = (".log", ".lock", ".pid", ".tmp", ".out", ".err")


class Opened:
    """What is opened from now on, until `close`. `is_own` says of a source file whether it is the user's own code."""

    def __init__(self, is_own: Callable[[str], bool]) -> None:
        self._is_own = functools.cache(is_own)
        self._read: set[str] = set()
        self._written: set[str] = set()
        self._on = True
        sys.addaudithook(self._note)  # which nothing takes away again: hence the flag

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on or event != "open" or not isinstance(arguments[0], str):
            return
        path, mode, flags = arguments
        writes = set(mode) & set("wax+") if isinstance(mode, str) else flags & os.O_ACCMODE != os.O_RDONLY
        if writes:
            self._written.add(os.path.realpath(path))
        elif self._asked_by_own_code(sys._getframe(1)):
            self._read.add(os.path.realpath(path))

    def _asked_by_own_code(self, frame: FrameType | None) -> bool:
        """Whether own code asked for it, maybe through a library: not for what Python opens to import something."""
        while frame is not None:
            file = frame.f_code.co_filename
            if file.startswith("<frozen importlib"):
                return False
            if not file.startswith("<") and self._is_own(file):
                return True
            frame = frame.f_back
        return False

    def close(self) -> set[str]:
        """The files that own code has read since the beginning; not those that this process has ever written."""
        self._on = False
        return self._read - self._written

    def begin(self) -> None:
        """Begin again, after `close`."""
        self._read.clear()
        self._on = True


def digests(files: Iterable[tuple[str, str]]) -> dict[str, str]:
    """(name, path) of what may be files -> digest by name; one of several files where a name leads to these."""
    found: dict[str, set[str]] = {}
    for name, path in files:
        if _is_data(path):
            try:
                found.setdefault(name, set()).add(_digest(path))
            except OSError:  # not to be read by us, nor by the function
                continue
    return {name: " ".join(sorted(several)) for name, several in sorted(found.items())}


def _is_data(path: str) -> bool:
    return os.path.isfile(path) and not path.endswith((".py", *_LOGS)) and not path.startswith(("/proc/", "/sys/"))


def marks(files: Iterable[tuple[str, str]]) -> dict[str, Mark | None]:
    """The mark of each file, by its real path."""
    return {path: mark(path) for path in {os.path.realpath(path) for _, path in files if _is_data(path)}}


def mark(path: str) -> Mark | None:
    """What changes when a file is written again; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def _digest(path: str) -> str:
    status = os.stat(path)
    if status.st_size > WHOLE_BYTES:
        return f"{status.st_size} bytes of {status.st_mtime_ns}"
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()[:16]


def named_in(tree: ast.Module, module: str) -> Iterator[tuple[str, str]]:
    """(name, path) of what a source may mean by its texts, but for what it writes to. `module`: its file."""
    texts = {text for node in _nodes(tree) for text in _texts(node)} - written_in(tree)
    return places(texts, [os.path.dirname(module), os.getcwd()])


def written_in(tree: ast.Module) -> set[str]:
    """The texts by which a source names what it writes to, and others that stand in the same calls."""
    return _written_by(_nodes(tree))


def _nodes(tree: ast.Module) -> list[ast.AST]:
    return [node for statement in tree.body if not _is_main(statement) for node in ast.walk(statement)]


def places(names: Iterable[str], folders: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(name, path) of each name that is there in these folders, and in the folders among the names themselves."""
    names = [name for name in names if 0 < len(name) <= LONGEST_NAME and name.isprintable()]
    found = [(name, os.path.join(base, name)) for base in folders for name in _there(base, names)]
    inner = dict.fromkeys(path for _, path in found if os.path.isdir(path))
    yield from found
    yield from ((name, os.path.join(base, name)) for base in inner for name in _there(base, names))


def _there(folder: str, names: Iterable[str]) -> list[str]:
    """The names whose first part is in a folder, or is elsewhere: one look at the folder, not one for each of many."""
    entries = {"", os.pardir, os.curdir, *_entries(folder)}
    return [name for name in names if name.partition("/")[0] in entries]


@functools.cache
def _entries(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


def _is_main(statement: ast.stmt) -> bool:
    """Whether it is what a module does when it is run as a script."""
    return isinstance(statement, ast.If) and ast.unparse(statement.test).startswith("__name__ ==")


def _texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def _written_by(nodes: Iterable[ast.AST]) -> set[str]:
    """The texts by which a source names what it writes to, directly or by a variable."""
    assigned: dict[str, set[str]] = {}
    calls: list[ast.Call] = []
    for node in nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    assigned.setdefault(target.id, set()).update(_within(node.value, {}))
        elif isinstance(node, ast.Call) and _writes(node):
            calls.append(node)
    return {text for call in calls for text in _within(call, assigned)}


def _within(node: ast.AST, assigned: Mapping[str, set[str]]) -> Iterator[str]:
    for part in ast.walk(node):
        yield from _texts(part)
        if isinstance(part, ast.Name):
            yield from assigned.get(part.id, ())


def _writes(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name != "open":
        return name in _WRITERS
    # The mode is the second argument of open() and the first of Path.open(); a name of one or two letters is rare.
    modes = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    return any(
        len(text) <= 3 and set(text) & set("wax+") and set(text) <= set("rwaxbt+")
        for mode in modes
        for text in _texts(mode)
    )
