"""What graders have said, kept for later runs: an answer is compared with a ground truth once, in whichever problem.

    <cache_dir>/verdicts/<fingerprint>/about.json     which reward, with which options, limits, code and libraries
                                      /1000.log       what runs of user 1000 have graded, a line each:

    3c9909afec25354d551dae21590bb26e38d53f21 2f6c1b7e09ad4410 ["ok",[1.0,"ok",true,{},"",null,null,{}],""]

A line is the digest of the question (the method and its arguments), a check of the line, and the reply of the child. It
holds no text of a model. Lines are appended in one write and never changed, without a lock: SIGKILL and two writers on
a network file system can spoil lines, no more, and a line that is not whole is not there. That is why this is no
SQLite file: its locks, and its shared memory in WAL mode, do not work on NFS.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import orjson

from analyzer.cache import runs
from analyzer.files import storage, temporaries
from analyzer.grading import Reply
from analyzer.grading.frames import as_text
from analyzer.rewards import Reward
from analyzer.schema import Status

FOLDER = "verdicts"
MOST_BYTES = 32 << 20  # of a log: some 200,000 verdicts, which a worker reads in a tenth of a second
MOST_LOGS_BYTES = 8 * MOST_BYTES  # of all logs of a user
MOST_REPLY = 4096  # characters of one reply
_KEY = 40  # hexadecimal digits
_CHECK = 16
_START = _KEY + 1 + _CHECK + 1  # of the reply in a line
_PREFIX = 16  # digits of a key that are looked up; the rest is compared


class Verdicts:
    """The verdicts of one worker, by reward; nothing is read before the first is asked for."""

    def __init__(self, cache_dir: str, common: Mapping[str, Any], versions: Mapping[str, str]) -> None:
        """`common`: what can change any verdict, as JSON; `versions`: of all libraries."""
        self._cache_dir = cache_dir
        self._common = common
        self._versions = versions
        self._logs: dict[str, Log] = {}

    def of(self, reward: Reward) -> Log | None:
        """The log of a reward; None for a reward whose code is not this package's, which may be anything."""
        if not type(reward).__module__.startswith("analyzer."):
            return None
        libraries = {*reward.libraries, "python", "rollout-analyzer"}
        about = {
            "reward": reward.name,
            "class": f"{type(reward).__module__}:{type(reward).__qualname__}",
            "options": reward.options,
            "versions": {name: version for name, version in self._versions.items() if name in libraries},
            **self._common,
        }
        key = runs.fingerprint(about)
        if key not in self._logs:
            self._logs[key] = Log(Path(self._cache_dir) / FOLDER / key, self._cache_dir, about)
        return self._logs[key]

    def sync(self) -> None:
        """Write what is new, and read what others have written."""
        for log in self._logs.values():
            log.sync()


class Log:
    """What is known of one reward's verdicts: the logs of this user and of the cache's owner, and what is new."""

    def __init__(self, folder: Path, cache_dir: str, about: Mapping[str, Any]) -> None:
        self._folder = folder
        self._about = about
        users = {os.geteuid(), os.stat(cache_dir).st_uid}
        self._files = [_Tail(folder / f"{user}.log", user) for user in sorted(users)]
        self._own = folder / f"{os.geteuid()}.log"
        self._table: _Table | None = None
        self._new: dict[bytes, bytes] = {}  # key -> reply, of what was graded here or appended by others since
        self._unwritten: list[bytes] = []
        self._bytes = 0

    def find(self, question: str) -> Reply | None:
        """The reply to a question, None where it is not known."""
        if self._table is None:
            self._read()
        key = _key(question)
        text = self._new.get(key)
        if text is None and self._table is not None:
            text = self._table.find(key)
        return None if text is None else _reply(text)

    def keep(self, question: str, reply: Reply) -> None:
        """Note a reply; it is written at the next `sync`. A full log takes no more until it is pruned."""
        key, text = _key(question), as_text([reply.status, reply.value, reply.detail]).encode("ascii")
        if len(text) <= MOST_REPLY and self._take(key, text):
            self._unwritten.append(b"%b %b %b\n" % (key, _check(key, text), text))

    def sync(self) -> None:
        """Append what is new to the log of this user, and take what others have appended."""
        if self._unwritten:
            # Lost without harm where the cache is read-only or the disk is full: the scores' own commit says so.
            with contextlib.suppress(OSError):
                self._append(b"".join(self._unwritten))
            self._unwritten.clear()
        if self._table is not None:
            for tail in self._files:
                for key, text in _lines(tail.read()):
                    self._take(key, text)

    def _take(self, key: bytes, text: bytes) -> bool:
        is_new = key not in self._new and self._bytes < MOST_BYTES
        if is_new:
            self._new[key] = text
            self._bytes += _START + len(text)
        return is_new

    def _read(self) -> None:
        storage.touch(self._own)  # so that `cache --prune` sees that it is in use
        data = b"".join(tail.read() for tail in self._files)
        self._table = _Table(data)
        self._bytes = len(data)

    def _append(self, lines: bytes) -> None:
        storage.make_below(self._folder)
        if not (self._folder / "about.json").exists():
            storage.write_bytes(self._folder / "about.json", orjson.dumps(self._about, default=dict))
        with _opened(self._own, os.geteuid(), os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
            # One write, so that lines of several processes do not mix. The first byte ends a line that a killed process
            # or a full disk has cut off.
            file.write(b"\n" + lines)


class _Tail:
    """What has been appended to one user's log since the last look."""

    def __init__(self, path: Path, user: int) -> None:
        self._path = path
        self._user = user
        self._inode = self._read = 0

    def read(self) -> bytes:
        """Whole lines; of a log that was replaced, all of them again."""
        try:
            with _opened(self._path, self._user, os.O_RDONLY) as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._read:
                    self._inode, self._read = status.st_ino, 0
                if status.st_size == self._read:
                    return b""
                file.seek(self._read)
                data = file.read(2 * MOST_BYTES)
        except OSError:  # none yet, or not to be trusted
            return b""
        data = data[: data.rfind(b"\n") + 1]
        self._read += len(data)
        return data


class _Table:
    """Lines to look up by their keys: 24 bytes for each, where a dict would take some 300."""

    def __init__(self, data: bytes) -> None:
        import numpy as np

        self._data = data
        raw = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(raw == ord("\n"))
        starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
        starts = starts[ends - starts > _START]
        prefixes = raw[starts[:, None] + np.arange(_PREFIX)]
        keys = np.frombuffer(prefixes.tobytes(), f"S{_PREFIX}")
        order = np.argsort(keys, kind="stable")
        self._keys, self._starts = keys[order], starts[order]

    def find(self, key: bytes) -> bytes | None:
        """The reply in the first whole line of a key."""
        at = int(self._keys.searchsorted(key[:_PREFIX]))
        while at < len(self._keys) and self._keys[at] == key[:_PREFIX]:
            start = int(self._starts[at])
            line = self._data[start : self._data.index(b"\n", start)]
            for found, text in _lines(line):
                if found == key:
                    return text
            at += 1
        return None


def _lines(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Key and reply of each line that is as it was written."""
    for line in data.split(b"\n"):
        key, text = line[:_KEY], line[_START:]
        if text and line[_KEY + 1 : _START - 1] == _check(key, text):
            yield key, text


def _key(question: str) -> bytes:
    return hashlib.blake2b(question.encode("ascii"), digest_size=_KEY // 2).hexdigest().encode()


def _check(key: bytes, text: bytes) -> bytes:
    return hashlib.blake2b(key + text, digest_size=_CHECK // 2).hexdigest().encode()


def _reply(text: bytes) -> Reply:
    status, value, detail = json.loads(text)
    return Reply(Status(status), value, detail)


@contextlib.contextmanager
def _opened(path: Path, user: int, flags: int) -> Iterator[IO[bytes]]:
    """A log, unbuffered, as open as its folder. Raises OSError, also if it is not a plain file of this user.

    In a shared cache others may put a link there, to be followed with our rights.
    """
    mode = os.stat(path.parent).st_mode & 0o666
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    with open(fd, "rb" if flags == os.O_RDONLY else "ab", buffering=0) as file:
        status = os.fstat(fd)
        if status.st_uid != user or not stat.S_ISREG(status.st_mode):
            raise PermissionError(f"{path} belongs to somebody else")
        yield file


def reward_of(folder: str) -> str:
    """The name of the reward whose verdicts are in a folder."""
    try:
        return str(orjson.loads((Path(folder) / "about.json").read_bytes())["reward"])
    except (OSError, ValueError, KeyError, TypeError):
        return "an unknown reward"


def tidy(cache_dir: str) -> None:
    """Keep the logs of this user within bounds: of a full one the newer half stays, of all the most recently used.

    For the driver, before its workers start. What cannot be written stays as it is.
    """
    name = f"{os.geteuid()}.log"
    logs = []
    with contextlib.suppress(OSError):
        for folder in Path(cache_dir).glob(f"{FOLDER}/*/"):
            temporaries.sweep(folder)
            if (folder / name).exists():
                logs.append((os.stat(folder / name), folder / name))
        total = 0
        for status, path in sorted(logs, key=lambda one: -one[0].st_mtime):
            total += status.st_size
            if total > MOST_LOGS_BYTES:
                path.unlink()
            elif status.st_size >= MOST_BYTES:
                data = path.read_bytes()
                storage.write_bytes(path, data[data.index(b"\n", len(data) // 2) + 1 :])
