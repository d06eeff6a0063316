"""What the rewards of a user's function depend on besides its arguments: its modules, its libraries, its environment.

    {"sha256": "9b1f...",                       the source of all modules of the user's own
     "distributions": {"numpy": "2.1.0"},       the installed ones that were loaded
     "environ": {"BONUS": "sha256:4b2c..."},    the environment variables that it names, their values hashed
     "files": {"table.json": "sha256:07aa..."}} the data files that it is known to read (data_files.py)

A module is the user's own unless it is in the standard library, in this package, or a file that an installed
distribution lists. So helpers on PYTHONPATH, editable installs and files beside the real file of a symbolic link count
by their content. Imports inside functions are found in the source and followed. A module of the user's own that is
loaded during a call without having been found, or an environment variable that is read by another name than those in
the source, makes that rollout `error`: its reward would outlive a change. Not seen: files that a call opens by a
computed name, what it takes from a copy of the whole environment, what libraries read of it, and programs that the
function starts.

This runs only where the function is loaded: in the bounded child.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import itertools
import os
import re
import sys
import sysconfig
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NamedTuple

from analyzer.rewards.custom import data_files
from analyzer.schema import Status, Unscored

_PACKAGE = str(Path(__file__).parents[2])
_STDLIB = tuple({os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib")})
_SITE = re.compile(r"/(?:site|dist)-packages/")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_IN_TEXT = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")


class Dependencies(NamedTuple):
    """What is known once the function is loaded; plain values."""

    sha256: str
    distributions: Mapping[str, str]  # name -> version
    environ: Mapping[str, str]  # name -> digest of the value; variables that are not set are left out
    files: Mapping[str, str]  # name -> digest of the content


def digest(value: str) -> str:
    """What is kept of a value that nobody is to read."""
    return "sha256:" + hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class Watch:
    """Watches a function, from before it is loaded. One for each process."""

    def __init__(self) -> None:
        # Before the import: a module that sets a variable for itself must not make the run depend on its own
        # value.
        self._at_start = dict(os.environ)
        self._files: set[str] = set()  # of the user's own modules
        self._modules: set[str] = set()  # that are loaded
        self._variables: set[str] = set()  # whose values are part of the fingerprint
        self.rewritten: frozenset[str] = frozenset()  # names of files that own code both reads and writes
        self._marks: dict[str, data_files.Mark | None] = {}  # of the files whose contents are
        self._opened = data_files.Opened(self._is_own)
        for environment in (os.environ, os.environb):
            # The class of the living object is changed: modules hold references to os.environ from before we
            # came.
            environment.__class__ = _Watched

    def dependencies(self, settings: Any) -> Dependencies:
        """What the loaded function depends on. `settings`: its keyword arguments, which may name variables too."""
        read = self._opened.close()
        installed = _Installed()
        own: dict[str, str] = {}  # module -> file: by name, so that a folder of rewards may be moved
        libraries: dict[str, str] = {}
        names, written = set(_strings(settings)), set[str]()
        files = list(data_files.places(names, [os.getcwd()]))
        # A copy of sys.modules: looking at a lazy module may import more.
        waiting = [(name, file) for name, module in list(sys.modules.items()) if (file := _file_of(module))]
        while waiting:
            name, file = waiting.pop()
            # By name, so that two modules with one file (run as a script and imported) are both followed.
            if name in own or _is_ours_or_python_s(file):
                continue
            if library := installed.find(file):
                libraries.update([library])
                continue
            own[name] = file
            if tree := _parsed(file):
                literals = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
                # Any text in the source may name a variable; too many names cost nothing, as only those that are
                # set count.
                names.update(text for literal in literals for text in _strings(literal))
                files += data_files.named_in(tree, file)
                written |= {os.path.basename(text) for text in data_files.written_in(tree)}
                waiting += [(other, place) for other in _imports(tree, name, file) if (place := _place_of(other))]
        self._files = set(own.values())
        self._modules = set(sys.modules)
        self._variables = {*_variables(names), *self._read_by_own_code()}
        files += [(f"${name}", self._at_start[name]) for name in self._variables & self._at_start.keys()]
        # By a path from the module, as a folder of rewards may be moved.
        folders = {os.path.realpath(os.path.dirname(file)) for file in own.values()}
        for path in read:
            near = next((folder for folder in folders if path.startswith(f"{folder}/")), "")
            files.append((path.removeprefix(f"{near}/") if near else path, path))
        # One that the user's own code writes to, such as a cache of a judge's answers, changes in every run.
        self.rewritten = frozenset(name for name, path in files if os.path.basename(path) in written)
        # Before they are read: a change in between is seen.
        self._marks = data_files.marks((name, path) for name, path in files if name not in self.rewritten)
        return Dependencies(
            _sha256(own),
            dict(sorted(libraries.items())),
            {name: digest(value) for name, value in sorted(self._at_start.items()) if name in self._variables},
            data_files.digests(files),
        )

    def begin(self) -> None:
        """A call begins."""
        _reads.clear()
        _copied.clear()
        self._opened.begin()

    def check(self) -> None:
        """A call has ended. Raises Unscored where its result depends on what the fingerprint does not hold."""
        for path in sorted(self._opened.close() & self._marks.keys()):
            if data_files.mark(path) != self._marks[path]:
                raise Unscored(
                    Status.ERROR, f"{path}, which it reads, has changed since the run was started; run it again"
                )
        if unknown := sorted(self._read_by_own_code() - self._variables):
            raise Unscored(
                Status.ERROR,
                f"it reads the environment variable {unknown[0]} by a name that is not in its source, so a change of "
                "it would go unnoticed: write the name out, or read it at the top of the file",
            )
        # The one look that every call pays; the sets are compared only where the number has changed.
        if len(sys.modules) != len(self._modules):
            self._check_modules()

    def _check_modules(self) -> None:
        """The modules that are refused are unloaded, so that the next call is refused, too, and no order counts."""
        new = {name: _file_of(module) for name, module in list(sys.modules.items()) if name not in self._modules}
        unknown = sorted(name for name, file in new.items() if file and self._is_own(file) and file not in self._files)
        for name in unknown:
            del sys.modules[name]
        self._modules = set(sys.modules)
        if unknown:
            raise Unscored(
                Status.ERROR,
                f"it loads the module {unknown[0]} while it is called, by a name that is not in its source, so a "
                "change of it would go unnoticed: import it at the top of the file",
            )

    def _read_by_own_code(self) -> set[str]:
        return {name for name, file in _reads if self._is_own(file)}

    def _is_own(self, file: str) -> bool:
        """Also for code that is in no file, that of `exec` for instance."""
        return file in self._files or not (_is_ours_or_python_s(file) or _SITE.search(file))


# ---------------------------------------------------------------- modules


@functools.cache
def installed_in(place: str) -> list[tuple[importlib.metadata.Distribution, str]]:
    """The distributions of an entry of sys.path, each with its RECORD after a line feed, or nothing.

    Read once in a process, and before those that are forked from it: 5 MB in an environment of 160 distributions.
    """
    found = importlib.metadata.distributions(path=[place])
    return [(distribution, f"\n{distribution.read_text('RECORD') or ''}") for distribution in found]


class _Installed:
    """The files of installed distributions. Those that pip lists in RECORD; others by their top-level names."""

    # An environment of 160 distributions lists 50,000 files. To take all of them apart would be a third of what it
    # takes to start: it is done for those in whose text the first part of a path is found.
    def __init__(self) -> None:
        self._listing: dict[tuple[str, str], dict[str, importlib.metadata.Distribution]] = {}

    def find(self, file: str) -> tuple[str, str] | None:
        """Name and version of the distribution that a file belongs to; None if there is none."""
        found = self._lister(file) or self._lister(os.path.realpath(file))
        if found is None and (site := _SITE.search(file)):
            top = file[: site.end()] + file[site.end() :].partition("/")[0].partition(".")[0]
            found = self._by_name.get(top)
        if found is None:
            return None
        version = found.version
        # pip writes it for installs from a folder or a repository, whose version stays while the code changes.
        if found.read_text("direct_url.json"):
            version += f" {digest(found.read_text('RECORD') or '')}"
        return found.name, version

    def _lister(self, file: str) -> importlib.metadata.Distribution | None:
        """The first distribution that lists a file."""
        for base in self._records:
            if file.startswith(f"{base}/"):
                place = file.removeprefix(f"{base}/")
                top = place.partition("/")[0]
                if (base, top) not in self._listing:
                    self._listing[base, top] = dict(self._places(base, top))
                if found := self._listing[base, top].get(place):
                    return found
        return None

    def _places(self, base: str, top: str) -> Iterator[tuple[str, importlib.metadata.Distribution]]:
        """What is listed by distributions that list anything below `top`, the first of them last."""
        for distribution, record in reversed(self._records[base]):
            if f"\n{top}/" in record or f"\n{top}," in record:
                # Hash and size are the last two fields: a path may hold commas itself.
                yield from ((line.rsplit(",", 2)[0], distribution) for line in record.splitlines())

    @functools.cached_property
    def _records(self) -> dict[str, list[tuple[importlib.metadata.Distribution, str]]]:
        """Folder -> the distributions that are installed in it, each with its RECORD after a line feed, or nothing."""
        found: dict[str, list[tuple[importlib.metadata.Distribution, str]]] = {}
        for distribution, record in itertools.chain.from_iterable(map(installed_in, sys.path)):
            found.setdefault(str(distribution.locate_file("")), []).append((distribution, record))
        return found

    @functools.cached_property
    def _by_name(self) -> dict[str, importlib.metadata.Distribution]:
        """What distributions without a list, as Debian packages have it, say that they have."""
        found: dict[str, importlib.metadata.Distribution] = {}
        for base, distributions in self._records.items():
            for distribution, record in distributions:
                if len(record) == 1:
                    for name in (distribution.read_text("top_level.txt") or distribution.name or "").split():
                        found.setdefault(f"{base}/{name}", distribution)
        return found


def _is_ours_or_python_s(file: str) -> bool:
    if file.startswith((_PACKAGE + os.sep, "<frozen ")):
        return True
    return os.path.realpath(file).startswith(_STDLIB) and not _SITE.search(file)


def _file_of(module: ModuleType | Any) -> str | None:
    """The file that a module was loaded from, for one in an archive the archive; None for a built-in one."""
    try:  # not getattr: a lazy module would load whatever it stands for
        file = object.__getattribute__(module, "__dict__").get("__file__")
    except AttributeError:
        return None
    # "archive.zip/package/module.py": upwards until something exists.
    while isinstance(file, str) and len(file) > 1:
        if os.path.isfile(file):
            return file
        file = os.path.dirname(file)
    return None


def _sha256(files: Mapping[str, str]) -> str:
    whole = hashlib.sha256()
    for name, file in sorted(files.items()):
        content = Path(file).read_bytes()
        # Length first: two files must not be able to pass content to each other and keep the digest.
        whole.update(f"{name}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()


def _parsed(file: str) -> ast.Module | None:
    if file.endswith(".py"):
        with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            return ast.parse(Path(file).read_bytes())
    return None


def _imports(tree: ast.Module, name: str, file: str) -> Iterator[str]:
    """The modules that a source file may import, as far as it names them; parents first."""
    package = name if os.path.basename(file) == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # level 1 is the package itself, each further one a parent: PEP 328.
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            found = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            # With a literal argument alone; a computed name is found by check(), when it is loaded.
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                found = [node.args[0].value]
        for whole in filter(None, found):
            parts = whole.split(".")
            yield from (".".join(parts[: stop + 1]) for stop in range(len(parts)))


def _place_of(name: str) -> str | None:
    """The file of a module that is not loaded, without loading anything; None if there is none."""
    if name in sys.modules:
        return None
    parent = name.rpartition(".")[0]
    path: Any = None
    if parent:
        path = _search_path(parent)
        if path is None:
            return None
    spec = _spec(name, path)
    return spec.origin if spec and spec.origin and os.path.isfile(spec.origin) else None


def _search_path(package: str) -> list[str] | None:
    if package in sys.modules:
        return getattr(sys.modules[package], "__path__", None)
    parent = package.rpartition(".")[0]
    path = _search_path(parent) if parent else None
    spec = _spec(package, path) if path or not parent else None
    return list(spec.submodule_search_locations or ()) or None if spec else None


def _spec(name: str, path: Any) -> Any:
    # Not importlib.util.find_spec, which imports the parents: a package's __init__ may do anything.
    for finder in sys.meta_path:
        with suppress(Exception):
            if spec := finder.find_spec(name, path):
                return spec
    return None


# ---------------------------------------------------------------- environment


def _strings(value: Any) -> Iterator[str]:
    """All texts in a plain value."""
    if isinstance(value, bytes):
        yield value.decode(errors="replace")
    elif isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _strings([*value.keys(), *value.values()])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def _variables(texts: Iterable[str]) -> set[str]:
    """What may name a variable: a text that looks like one, and what follows a dollar sign, as expandvars has it."""
    return {text for text in texts if _NAME.fullmatch(text)} | {
        name for text in texts for name in _IN_TEXT.findall(text)
    }


_reads: set[tuple[str, str]] = set()  # variable, and the file of the code that asked for it
_copied: deque[Any] = deque()  # the variables that follow where the whole environment is being copied


class _Watched(type(os.environ)):  # type: ignore[misc]  # os._Environ
    """os.environ that notes who asks for what. The object stays the same, for those who have it already."""

    def __getitem__(self, key: Any) -> Any:
        # Iterating and then reading each key is a copy of everything, which would make every variable of the
        # machine count.
        if _copied and _copied[0] == key:  # dict(os.environ), {**os.environ}, os.environ.items()
            _copied.popleft()
        else:
            _copied.clear()
            if file := _asker(sys._getframe(1)):
                _reads.add((os.fsdecode(key), file))
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[Any]:
        keys = list(super().__iter__())
        _copied.clear()
        _copied.extend(keys)
        return iter(keys)


def _asker(frame: FrameType | None) -> str | None:
    """The file of the code behind os.getenv, os.environ.get or expandvars."""
    # Through the layers of os and collections.abc to the code that wanted the value.
    while frame is not None:
        module, function = frame.f_globals.get("__name__"), frame.f_code.co_name
        through = module in ("collections.abc", __name__) or (module == "os" and function != "get_exec_path")
        if not through and (module, function) != ("posixpath", "expandvars"):
            return frame.f_code.co_filename
        frame = frame.f_back
    return None
