"""The registry: one shape for all that varies, and one file to touch for a new variant.

A package of variants (rewards, buckets, dialects, trainer formats, backends, sandbox levels) holds a protocol and a
registry in its `__init__`, and each variant in a module of its own, which registers it::

    STRATEGIES: Registry[type[Strategy]] = Registry("bucketing strategy", __name__)
    register = STRATEGIES.register         # decorates the class in the variant's module

A look-up imports the module of the variant's own name, where there is one that has it, else all of them; so does a
list. A module whose name starts with an underscore holds what several variants share.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from analyzer.errors import ConfigError


class Named(Protocol):
    """What has a name that a user may give."""

    @property
    def name(self) -> str: ...


_NEAR = 0.6  # from this ratio on difflib, too, calls two words close matches
_NEAR_FIRST_WORD = 0.8  # `part` is not meant as print_config
Variant = TypeVar("Variant", bound=Named)
AnyVariant = TypeVar("AnyVariant")


class Registry(Generic[Variant]):
    """The variants of one kind by name."""

    def __init__(self, kind: str, package: str, check: Callable[[Variant], None] | None = None) -> None:
        """kind: as messages name it. package: whose modules register the variants. check: raises for an unfit one."""
        self.kind = kind
        self._package = package
        self._check = check
        self._variants: dict[str, Variant] = {}
        self._loaded = False

    def register(self, variant: AnyVariant) -> AnyVariant:
        """Make a variant known under its name; decorates a class. Raises ConfigError for a second one of that name."""
        known: Any = variant
        if known.name in self._variants:
            raise ConfigError(f"{self.kind} {known.name!r} occurs twice: {self._variants[known.name]} and {variant}")
        if self._check is not None:
            self._check(known)
        self._variants[known.name] = known
        return variant

    def __iter__(self) -> Iterator[Variant]:
        """All variants."""
        if not self._loaded:
            for module in pkgutil.iter_modules(importlib.import_module(self._package).__path__):
                if not module.name.startswith("_"):  # what variants share may import what a worker must not
                    importlib.import_module(f"{self._package}.{module.name}")
            self._loaded = True  # not before: another thread would take what there is for all
        return iter(list(self._variants.values()))

    def names(self) -> list[str]:
        """The names of all variants, sorted."""
        return sorted(variant.name for variant in self)

    def get(self, name: str) -> Variant | None:
        """The variant of that name, None if there is none."""
        # Most modules are named as their variant is, and the other thirty rewards take 50 ms to import.
        if name not in self._variants and not self._loaded and name.isidentifier() and not name.startswith("_"):
            module = f"{self._package}.{name}"
            if importlib.util.find_spec(module) is not None:
                importlib.import_module(module)
        if name not in self._variants:
            self.names()
        return self._variants.get(name)

    def find(self, name: str) -> Variant:
        """The variant of that name. Raises ConfigError that lists the names and the nearest."""
        found = self.get(name)
        if found is None:
            raise unknown(self.kind, name, self.names())
        return found


def unknown(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that is not known: lists those that are, and the nearest."""
    known = sorted(known)
    return ConfigError(f"no {kind} is named {name!r}{did_you_mean(name, known)}; there are: {', '.join(known)}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ " (did you mean 'X'?)" for a misspelt name or the first word of one, '' if none is near."""
    name = name.replace("-", "_")
    near: dict[float, list[str]] = {}
    for one in known:
        whole, first = (difflib.SequenceMatcher(None, name, text).ratio() for text in (one, one.partition("_")[0]))
        # By its first word, too: `verl` is nearer to verl_rollouts than to any name of four letters.
        near.setdefault(max(whole, first) if first >= _NEAR_FIRST_WORD else whole, []).append(one)
    best = max(near, default=0.0)
    if best < _NEAR:
        return ""
    *others, last = map(repr, near[best])
    return f" (did you mean {', '.join(others)} or {last}?)" if others else f" (did you mean {last}?)"
