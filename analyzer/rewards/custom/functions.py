"""A user's reward function: found, imported, and its form told from its parameters. Runs in the bounded child only."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from analyzer.errors import RewardError
from analyzer.rewards.custom.dependencies import Dependencies, Watch


class Form(NamedTuple):
    """One way in which training frameworks call reward functions."""

    name: str
    marker: str  # the parameter that no other form has
    given: tuple[str, ...]  # the parameters that are filled
    never: tuple[str, ...] = ()  # parameters that only exist while training
    columns: bool = False  # whether any other parameter is a column of the data


VERL_BATCHED = Form("verl_batched", "solution_strs", ("data_sources", "solution_strs", "ground_truths", "extra_infos"))
VERL = Form("verl", "solution_str", ("data_source", "solution_str", "ground_truth", "extra_info"))
TRL = Form(
    "trl",
    "completions",
    ("prompts", "completions"),
    never=("completion_ids", "prompt_ids", "trainer_state", "environments"),
    columns=True,
)
ALWAYS = ("data_source", "ground_truth", "extra_info")
"""What a function of TRL's form gets under these names besides the columns, which come first."""
FORMS = (VERL_BATCHED, VERL, TRL)
_KNOWN = (
    "compute_score(data_source, solution_str, ground_truth, extra_info=None)"
    ", compute_score(data_sources, solution_strs, ground_truths, extra_infos)"
    " or reward(prompts, completions, **columns)"
)


class Loaded(NamedTuple):
    """A user's function, ready to be called."""

    function: Callable[..., Any]
    form: Form
    accepts: frozenset[str] | None  # the names of its parameters; None: any
    columns: tuple[str, ...]  # the columns of the data that it cannot do without
    dependencies: Dependencies
    watch: Watch
    distribution: str  # "verl 0.9.1", empty for a file of the user's own


def load(spec: str, kwargs: Mapping[str, Any]) -> Loaded:
    """Import "path/to/file.py:name" or "package.module:name". Raises RewardError, or what the import raises."""
    place, _, name = spec.rpartition(":")
    watch = Watch()
    # Python takes compiled code for current when the source has the same size and the same second of modification. A
    # helper edited at once after a run would give the old rewards under its new fingerprint, so none is left behind.
    sys.dont_write_bytecode = True
    module = _import_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    function: Any = module
    for part in name.split("."):
        if not hasattr(function, part):
            names = [key for key, value in vars(module).items() if inspect.isfunction(value)]
            raise RewardError(f"{place} has no {name!r}; its functions are: {', '.join(names) or 'none'}")
        function = getattr(function, part)
    form, accepts, columns = _form(function, spec, kwargs)
    distribution = "" if place.endswith(".py") else _distribution(place)
    return Loaded(function, form, accepts, columns, watch.dependencies(kwargs), watch, distribution)


def _import_file(path: Path) -> ModuleType:
    """The module in a file; its folder is put last on sys.path, so that it can import what lies beside it.

    Beside a symbolic link that is, and then beside the real file, where Python looks for the imports of a script.
    """
    # Last, not first: a file named json.py beside the reward must not hide the library.
    sys.path += dict.fromkeys([str(path.parent), str(path.resolve().parent)])
    name = path.stem
    # A file called math.py would otherwise replace the module of that name for everybody.
    if name in sys.modules or name in sys.stdlib_module_names or not name.isidentifier():
        name = f"reward_file_{name}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise RewardError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # pickle and dataclasses look it up there
    found.loader.exec_module(module)
    return module


def _form(function: Any, spec: str, kwargs: Mapping[str, Any]) -> tuple[Form, frozenset[str] | None, tuple[str, ...]]:
    """Form, accepted parameters and columns, as in `Loaded`. Raises RewardError for what cannot be called."""
    if not callable(function):
        raise RewardError(f"{spec} is not a function but of type {type(function).__name__}")
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        raise RewardError(f"the parameters of {spec} cannot be read; wrap it in a Python function") from None
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    names = frozenset(p.name for p in named)
    # By a parameter that no other form has: the user writes no configuration for it.
    form = next((form for form in FORMS if form.marker in names), None)
    if form is None:
        hidden = "; where a decorator hides its parameters, functools.wraps shows them" if not named else ""
        raise RewardError(f"{spec} takes ({', '.join(map(str, parameters))}); it must be like {_KNOWN}{hidden}")
    required = {p.name for p in named if p.default is p.empty} - set(form.given) - set(kwargs)
    if never := sorted(required & set(form.never)):
        raise RewardError(f"{spec} needs {', '.join(never)}, which exist only during training")
    if required and not form.columns:
        raise RewardError(f"{spec} needs {', '.join(sorted(required))}: set it with --reward_kwargs")
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    unknown = set(kwargs) & set(form.given) if takes_any else set(kwargs) - (names - set(form.given))
    if unknown:
        raise RewardError(f"{spec} cannot take {', '.join(sorted(unknown))} from --reward_kwargs")
    return form, None if takes_any else names, tuple(sorted(required - set(ALWAYS)))


def _distribution(module: str) -> str:
    """The installed distribution that a module belongs to, with its version."""
    names = importlib.metadata.packages_distributions().get(module.partition(".")[0], [])
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in sorted(set(names)))
