"""Commands as processes of their own, without the second or two in which a new interpreter imports everything.

A server, one for all workers of pytest and started when it is first needed, has imported what our commands import. For
each command it forks: a true process, with its own id, exit code, signals, streams, environment, folder and session,
which runs the script as `__main__` and ends as Python ends. What `run` runs leaves out the last of that, in which
Python takes its modules apart: so many are imported here that it takes 0.13 s, ten times as long as the fork.

What it cannot show, as the interpreter is already running: which modules a command imports, and when; options and
variables that Python reads as it starts (-X, PYTHONHASHSEED, PYTHONIOENCODING; PYTHONPATH is followed, but not for what
has been imported); a mark in its own /proc/PID/environ (programs that it starts have it); closed streams; orphans that
come to the test. Tests of those start sys.executable.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL
STDOUT = subprocess.STDOUT

_AT_FIRST = dict(os.environ)  # whatever the test that comes first sets in it

# Likewise: a test may have a folder of its own for temporary files, and look at what is left there.
_LOCK = Path(tempfile.gettempdir(), f"rollout-analyzer-tests-{os.getuid()}.lock")

Word = str | os.PathLike[str]
Stream = int | IO[Any] | None


def run(
    words: Sequence[Word], *, timeout: float = 120, check: bool = False, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run `python *words` to its end, as subprocess.run does with capture_output and text; `options` are Process's."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = Process(words, **{"stdin": DEVNULL, "stdout": out, "stderr": err, "brief": True, **options})
        try:
            code = process.wait(timeout)
        except BaseException:
            process.kill()
            process.wait()
            raise
        said = [_text(stream) for stream in (out, err)]
    done = subprocess.CompletedProcess(process.args, code, *said)
    if check and code != 0:
        raise AssertionError(f"{done.args} ended with {code}: {done.stderr}")
    return done


def after(first: str, words: Sequence[Word]) -> list[Word]:
    """The words of a script in a process that does something `first`, in Python: sets a limit, mounts."""
    code = f"import runpy, sys\n{first}\nsys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"
    return ["-c", code, *words]


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode().replace("\r\n", "\n")


class Process:
    """A running `python *words`, used as subprocess.Popen with text=True is.

    `words` begin with a script, with -m and a module, or with -c and code. `env` is the whole environment. `brief`: its
    modules are not taken apart in the end, as they are where a signal may come until the very last. `server`: what is
    to fork it, if not the server of commands.
    """

    def __init__(
        self,
        words: Sequence[Word],
        *,
        cwd: Word | None = None,
        env: Mapping[str, str] | None = None,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        start_new_session: bool = False,
        brief: bool = False,
        pass_fds: Sequence[int] = (),
        server: Callable[[], Server] | None = None,
    ) -> None:
        forks = (server or _server)()
        environment = dict(os.environ if env is None else env)
        # Not what the server was started with: dask leaves a PYTHONHASHSEED behind in the process that uses it.
        expected = os.environ if server is None else forks.environment
        for name in {*environment, *expected} - {"PYTHONPATH"}:
            if name.startswith("PYTHON") and environment.get(name) != expected.get(name):
                raise ValueError(f"{name} is read when Python starts: start sys.executable with it")
        self.args = [sys.executable, *(os.fspath(word) for word in words)]
        self.returncode: int | None = None
        (self.stdin, self.stdout, self.stderr), theirs, to_close = _opened((stdin, stdout, stderr))
        self._readers: list[threading.Thread] = []
        self._said: list[list[str]] = []
        self._status, status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = {
            "words": self.args[1:],
            "cwd": os.fspath(cwd) if cwd is not None else os.getcwd(),
            "env": environment,
            "session": start_new_session,
            "brief": brief,
            "fds": list(pass_fds),
        }
        with status, tempfile.TemporaryFile() as file:  # not in the message: an environment may be long
            file.write(json.dumps(request).encode())
            file.seek(0)
            socket.send_fds(forks.control, [b"run"], [*theirs, status.fileno(), file.fileno(), *pass_fds])
            for fd in to_close:
                os.close(fd)
        self.pid = int(self._answer(60.0))

    def _answer(self, seconds: float | None) -> str:
        self._status.settimeout(seconds)
        try:
            answer = self._status.recv(64).decode()
        except (TimeoutError, BlockingIOError):
            raise subprocess.TimeoutExpired(self.args, seconds or 0.0) from None
        if not answer:
            raise AssertionError("the server of forked commands has ended")
        return answer

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        try:
            return self.wait(0.0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; the exit code, or the negative number of the signal. Raises TimeoutExpired."""
        if self.returncode is None:
            self.returncode = int(self._answer(timeout))
            self._status.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Close its stdin, read its pipes to their ends and wait; what they held. Raises TimeoutExpired."""
        if self.stdin is not None:
            self.stdin.close()
        if not self._readers:
            for stream in (self.stdout, self.stderr):
                said: list[str] = []
                if stream is not None:
                    reader = threading.Thread(target=_read, args=(stream, said), daemon=True)
                    reader.start()
                    self._readers.append(reader)
                self._said.append(said)
        until = None if timeout is None else time.monotonic() + timeout
        for reader in self._readers:
            reader.join(None if until is None else max(0.0, until - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        self.wait(None if until is None else max(0.0, until - time.monotonic()))
        out, err = ("".join(said) for said in self._said)
        return out, err

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended since, and the server has reaped it
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()


def _opened(streams: Sequence[Stream]) -> tuple[list[IO[str] | None], list[int], list[int]]:
    """Our ends of the pipes among stdin, stdout and stderr, the descriptors of the process, and those to close here."""
    ours: list[IO[str] | None] = []
    theirs: list[int] = []
    to_close: list[int] = []
    for number, stream in enumerate(streams):
        end: IO[str] | None = None
        if stream == PIPE:
            read, write = os.pipe()
            mine, other = (write, read) if number == 0 else (read, write)
            end = os.fdopen(mine, "w" if number == 0 else "r")
            to_close.append(other)
        elif stream == DEVNULL:
            other = os.open(os.devnull, os.O_RDWR)
            to_close.append(other)
        elif stream == STDOUT:
            other = theirs[1]
        else:
            other = number if stream is None else stream if isinstance(stream, int) else stream.fileno()
        ours.append(end)
        theirs.append(other)
    return ours, theirs, to_close


def _read(stream: IO[str], said: list[str]) -> None:
    said.append(stream.read())
    stream.close()


_PYTHON = """#!{python} -SE
import json, os, signal, socket, sys
handed_on = signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2
signal.pthread_sigmask(signal.SIG_BLOCK, handed_on)  # until there is a process to hand them to
control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
control.connect({address!r})
status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
request = os.memfd_create("request")
wanted = dict(words=sys.argv[1:], cwd=os.getcwd(), env=dict(os.environ), session=False, brief=True, fds=[])
os.write(request, json.dumps(wanted).encode())
os.lseek(request, 0, 0)
socket.send_fds(control, [b"run"], [0, 1, 2, theirs.fileno(), request])
theirs.close()
pid = int(status.recv(64))
for number in handed_on:
    signal.signal(number, lambda number, frame: os.kill(pid, number))
signal.pthread_sigmask(signal.SIG_UNBLOCK, handed_on)
code = int(status.recv(64))
if code < 0:
    if code != -signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


def python(folder: Path) -> Path:
    """A program `python` in a folder, for scripts of a shell: it forks what it is to run, and hands it signals."""
    path = folder / "python"
    path.write_text(_PYTHON.format(python=sys.executable, address=_server().address))
    path.chmod(0o755)
    return path


class Server(NamedTuple):
    """The connection to a process that forks, the environment it was started in, and where others may connect."""

    control: socket.socket
    environment: Mapping[str, str]
    address: str


@functools.cache
def _server() -> Server:
    return start_server("commands", _IMPORTED, _AT_FIRST)


def start_server(name: str, imported: Sequence[str], environment: Mapping[str, str]) -> Server:
    """Connect to the server of that name that a worker of the same run of pytest has started, or start it.

    It ends when the last connection to it is closed, and so with the last process that uses it.
    """
    run = _AT_FIRST.get("PYTEST_XDIST_TESTRUNUID", os.getpid())
    address = f"\0rollout-analyzer-tests/{run}/{name}"
    with open(_LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until it can be connected to
        control = _connected(address) or _started(address, imported, environment)
    atexit.register(control.close)
    return Server(control, dict(environment), address)


def _connected(address: str) -> socket.socket | None:
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with contextlib.suppress(ConnectionError):
        control.connect(address)
        if control.recv(16):  # nothing from one that is ending
            return control
    control.close()
    return None


def _started(address: str, imported: Sequence[str], environment: Mapping[str, str]) -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            # A module of the tests, and not its file: __main__ must be free for what is run.
            [sys.executable, "-P", "-c",
             f"import importlib.util, sys; sys.path.insert(0, {str(ROOT)!r});"
             # By its place: the wheel of verl holds a package `tests`, which comes before a folder without __init__.py.
             f"of = importlib.util.spec_from_file_location('tests.processes', {__file__!r});"
             "module = sys.modules[of.name] = importlib.util.module_from_spec(of); of.loader.exec_module(module);"
             f"module.serve({theirs.fileno()}, {address!r}, {imported!r})()"],
            cwd=ROOT,
            # Of one thread, as a process must be that is forked. The hub is told at its import that it is offline.
            env={**environment, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            pass_fds=[theirs.fileno()],
            stdin=DEVNULL,
            stdout=DEVNULL,
        )  # fmt: skip
    process.returncode = 0  # nobody waits for it: it may outlive this process
    if not ours.recv(16):
        raise AssertionError("the server of forked commands did not start")
    return ours


def _received(client: socket.socket) -> list[int]:
    """The descriptors of a client's request; none at its end, also where it has not read all that it was sent."""
    with contextlib.suppress(ConnectionError):
        return socket.recv_fds(client, 16, 9)[1]
    return []


def serve(fd: int, address: str, imported: Sequence[str]) -> Callable[[], None]:
    """The server: fork a process for each request. Returns in a forked process alone, what that one has to do."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C in the terminal ends it, and says nothing
    control = socket.socket(fileno=fd)
    control.set_inheritable(False)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen()
    control.send(b"listening")
    _import(imported)
    poller = select.poll()
    clients = {control.fileno(): control}
    poller.register(control, select.POLLIN)
    poller.register(listener, select.POLLIN)
    running: dict[int, tuple[int, socket.socket]] = {}  # pidfd -> pid, where its exit code is awaited
    while True:
        for ready, _ in poller.poll():
            if ready == listener.fileno():
                client, _ = listener.accept()
                with contextlib.suppress(OSError):  # it has gone again
                    client.send(b"listening")
                clients[client.fileno()] = client
                poller.register(client, select.POLLIN)
            elif ready in clients:
                fds = _received(clients[ready])
                if not fds:
                    poller.unregister(ready)
                    clients.pop(ready).close()
                    if not clients:
                        os._exit(0)
                    continue
                streams, (status, request), others = fds[:3], fds[3:5], fds[5:]
                with open(request, "rb") as file:
                    wanted = json.load(file)
                pid = os.fork()
                if pid == 0:
                    for each in (listener, *clients.values(), *(status for _, status in running.values())):
                        each.close()
                    for other in (status, *running):
                        os.close(other)
                    return functools.partial(_briefly if wanted["brief"] else _become, wanted, streams, others)
                for other in (*streams, *others):
                    os.close(other)
                pidfd = os.pidfd_open(pid)
                running[pidfd] = pid, socket.socket(fileno=status)
                running[pidfd][1].send(str(pid).encode())
                poller.register(pidfd, select.POLLIN)
            else:
                pid, answered = running.pop(ready)
                poller.unregister(ready)
                os.close(ready)
                _, how = os.waitpid(pid, 0)
                with contextlib.suppress(OSError), answered:
                    answered.send(str(os.waitstatus_to_exitcode(how)).encode())


_IMPORTED = (
    *(
        "aiohttp",
        "fsspec",
        "gigatoken",
        "jinja2",
        "joblib",
        "jsonargparse",
        "numpy",
        "orjson",
        "regex",
        "tenacity",
        "tqdm",
    ),
    *("pyarrow.compute", "pyarrow.dataset", "pyarrow.json", "pyarrow.parquet", "yaml"),
    *("encodings.unicode_escape", "importlib.readers", "importlib.resources.readers", "platformdirs.unix"),
    *(f"analyzer.commands.{path.stem}" for path in (ROOT / "analyzer" / "commands").glob("[a-z]*.py")),
    *("analyzer.pipeline", "analyzer.generation", "analyzer.report.viewer", "analyzer.selection"),
    *("analyzer.workers.backends.loky", "analyzer.workers.backends.sequential", "analyzer.buckets.percentile"),
    *("analyzer.buckets._ranking", "analyzer.selection.formats.rows"),
    *(
        f"analyzer.{package}.{module.name}"
        for package in ("rewards", "dialects")
        for module in pkgutil.iter_modules([str(ROOT / "analyzer" / package)])
    ),
)
"""What commands import sooner or later: none of them starts a thread or a process, or connects, when it is imported.

Not pandas, scipy, sklearn and transformers, which take two thirds of the time: few commands of the tests need them.
"""


def _import(names: Sequence[str]) -> None:
    os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"
    for name in names:
        importlib.import_module(name)
    if "analyzer.commands.analyze_rollouts" in names:
        _prepare()
    if "analyzer.rewards.custom.reward" in names:
        from analyzer.rewards.custom import dependencies

        for place in sys.path:
            dependencies.installed_in(place)
    gc.collect()
    gc.freeze()  # a collection in a fork would write to every object, and so copy what is shared


def _prepare() -> None:
    """What a command makes before it looks at its input, once for all forks: 40 ms of the 250 of a small analysis."""
    from analyzer.cache import code, known_tokenizers
    from analyzer.commands import analyze_rollouts, parsing

    code.scoring_code_digest()
    for library in known_tokenizers.LIBRARIES:
        known_tokenizers.version_of(library)
    command, script = analyze_rollouts.COMMAND, "scripts/analyze_rollouts.py"
    for called in (f"python {script}", f"python {ROOT / script}", f"python -m analyzer {command.name}"):
        parsing._parser_of(command.settings, called, command.description, command.epilog(called))  # type: ignore[arg-type]


def _briefly(wanted: Mapping[str, Any], streams: Sequence[int], others: Sequence[int]) -> None:
    """As _become, and end as Python does until there is nothing left but to take modules apart."""
    code = 0
    try:
        _become(wanted, streams, others)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not isinstance(end.code, int | None):
            print(end.code, file=sys.stderr)
    except KeyboardInterrupt:
        raise  # it ends by the signal
    except BaseException:  # noqa: BLE001
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for the threads that are no daemons
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            print(f"Exception ignored in: {stream!r}\n{type(error).__name__}: {error}", file=sys.__stderr__)
            code = 120
    os._exit(code & 0xFF)


def _become(wanted: Mapping[str, Any], streams: Sequence[int], others: Sequence[int]) -> None:
    """Be, in a process just forked, the one that runs python with these words; then fall off the end, as it does."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # By way of high numbers: one may have the number that another is to have.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200) for fd in others]
    for fd in others:
        os.close(fd)
    for number, fd in zip(wanted["fds"], high, strict=True):
        os.dup2(fd, number)
        os.close(fd)
    # New objects: those that are there remember of what was open before whether it is a terminal, and can seek.
    for name, mode, buffering in (("stdin", "r", -1), ("stdout", "w", -1), ("stderr", "w", 1)):
        old = getattr(sys, name)
        new = open(old.fileno(), mode, buffering, old.encoding, old.errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
    if wanted["session"]:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["env"])
    sys.path[1:1] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    first, *rest = wanted["words"]
    if first == "-m":
        sys.path[0] = os.getcwd()
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.path[0] = ""
        sys.argv = ["-c", *rest[1:]]
        exec(rest[0], vars(sys.modules["__main__"]))
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(first))
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")
