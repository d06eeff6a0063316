"""From the words of a command line, or the keys of YAML files, to a settings class; and its --help.

    settings = parse(AnalysisSettings, sys.argv[1:], "analyze-rollouts", "Score rollouts ...")

A flag wins over a file. An unknown flag or key is an error that names the nearest one.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
import re
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_type_hints

from analyzer.config import Group
from analyzer.errors import ConfigError
from analyzer.registry import did_you_mean

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

# int64 is what arrow, numpy and orjson hold: a larger number would fail where it is first used, and not here.
_LARGEST = (1 << 63) - 1
_WIDTH = 79
_HELP_COLUMN = 26  # where help texts begin
_KINDS = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
}  # as messages call these types
_METAVARS = ((int, "N"), (float, "NUMBER"), (dict[str, Any], "YAML"))

Settings = TypeVar("Settings")


def make_parser(cls: type[Any], prog: str, description: str, epilog: str = "") -> ArgumentParser:
    """A parser with one flag for each field of the settings class, under the headings of their groups."""
    from jsonargparse import ArgumentParser

    from analyzer import __version__

    fields, kinds = dataclasses.fields(cls), get_type_hints(cls)
    required = [field for field in fields if field.metadata["required"]]
    needed = [f"--{field.name} {metavar(field, kinds[field.name])}" for field in required]
    usage = textwrap.fill(" ".join([prog, *needed, "[flags]"]), _WIDTH - len("usage: "), subsequent_indent=" " * 7)
    # exit_on_error: errors are ours to word. default_env: a variable of a batch system must not become a setting.
    # allow_abbrev: what --model means today, another flag would change tomorrow.
    # Any: argparse has no public way to show -h and --version last, after what they are less important than.
    parser: Any = ArgumentParser(
        prog=prog,
        usage=usage.replace("%", "%%"),
        description=description,
        epilog=epilog,
        formatter_class=_formatter(),
        exit_on_error=False,
        default_env=False,
        allow_abbrev=False,
        version=__version__,
    )
    general = parser._action_groups.pop()
    general.title = "general"
    sections = [("required", required)]
    for group in Group:
        sections.append((group.value, [f for f in fields if f.metadata["group"] is group and f not in required]))
    for title, members in sections:
        if members:
            section = parser.add_argument_group(title)
            for field in members:
                _add_flag(section, field, kinds[field.name])
    parser._action_groups.append(general)
    parser.add_argument(
        "--config", action="config", metavar="FILE", help="YAML file with the same keys as these flags; flags win"
    )
    for action in parser._actions:  # made by jsonargparse, whose texts speak of its own inner life
        if "--print_config" in action.option_strings:
            action.help, action.metavar = "print all settings as YAML, for --config, and exit", ""
        elif "--help" in action.option_strings:
            action.help = "show this help and exit"
        elif "--version" in action.option_strings:
            action.help = "print the version and exit"
    return cast("ArgumentParser", parser)


# Half of what parsing costs. A notebook that analyzes, selects and compares again and again pays it once for each.
_parser_of = functools.cache(make_parser)


def _add_flag(section: Any, field: dataclasses.Field[Any], kind: Any) -> None:
    """Add the flag of a field to a group of a parser."""
    flags = [f"--{name}" for name in (field.name, *field.metadata["aliases"])]
    common: dict[str, Any] = {"default": field.default, "help": help_text(field).replace("%", "%%")}
    if kind is bool:
        section.add_argument(*flags, action="store_true", **common)
    elif kind == list[str]:
        section.add_argument(*flags, type=str, nargs="+", metavar=metavar(field, kind), **common)
    elif choices := field.metadata["choices"]:
        section.add_argument(*flags, choices=choices, metavar=metavar(field, kind), **common)
    else:
        section.add_argument(*flags, type=kind, metavar=metavar(field, kind), **common)


def metavar(field: dataclasses.Field[Any], kind: Any) -> str:
    """What help and documentation call the value of a flag: its choices, a word such as PATH; '' for a switch."""
    if kind is bool:
        return ""
    if choices := field.metadata["choices"]:
        return f"{{{','.join(choices)}}}"
    named: str = field.metadata["metavar"]
    return named or next((word for types, word in _METAVARS if types in (kind, *get_args(kind))), "TEXT")


def help_text(field: dataclasses.Field[Any]) -> str:
    """The help text of a flag, with the default where it says something."""
    text: str = field.metadata["help"]
    notes = ["list describes each"] if field.metadata["listed"] else []
    # False of a switch and None of a value say that the flag is not given; a text may name its default itself.
    if field.default not in (None, False, "") and "default" not in text:
        notes.append(f"default: {field.default}")
    return f"{text} ({'; '.join(notes)})" if notes else text


def _formatter() -> Any:
    """The layout of --help: 80 columns at most, help texts in one column, description and epilog as they are."""
    from jsonargparse import DefaultHelpFormatter

    class Formatter(DefaultHelpFormatter):
        def __init__(self, prog: str, **options: Any) -> None:
            width = min(shutil.get_terminal_size().columns - 1, _WIDTH)
            options |= {"max_help_position": _HELP_COLUMN, "width": width}
            super().__init__(prog, **options)  # type: ignore[no-untyped-call]  # jsonargparse

        def _get_help_string(self, action: Any) -> str:
            return str(action.help)  # jsonargparse's own adds types and defaults, "default: null" among them

        def _fill_text(self, text: str, width: int, indent: str) -> str:
            lines = []
            for line in text.splitlines():
                # What is indented, an example, is shown as it is, so that it can be copied.
                lines += [line] if line.startswith(" ") or not line else textwrap.wrap(line, width)
            return "\n".join(lines)

    return Formatter


def parse(cls: type[Settings], argv: Sequence[str], prog: str, description: str, epilog: str = "") -> Settings:
    """The settings of a command line. Raises ConfigError, one line, for what does not fit; SystemExit for --help."""
    parser = _parser_of(cls, prog, description, epilog)  # type: ignore[arg-type]  # mypy: type[T] is not Hashable
    configs, flags = _configs_and_flags(argv)
    names = {alias: field.name for field in dataclasses.fields(cls) for alias in field.metadata.get("aliases", ())}  # type: ignore[arg-type]  # a dataclass
    spelled = [word[2:].partition("=")[0] for word in flags if word.startswith("--")]
    # argparse takes the last of two and says nothing: half of a user's files would be left out without a word.
    for name, number in Counter(names.get(flag, flag) for flag in spelled).items():
        if number > 1:
            advice = ", and for several files a folder or a glob" if name in ("rollouts", "data_path") else ""
            raise ConfigError(f"--{name} is given {number} times; give it once{advice}")
    places: dict[str, str] = {}  # key -> the file that it was last in
    for path in (word.removeprefix("--config=") for word in configs if word != "--config"):
        places |= dict.fromkeys(_keys_of(path, _known_keys(cls)), path)
    if configs:  # alone first: what is wrong then is wrong in a file, though a flag may win over it
        _parsed(cls, lambda: parser.parse_args(configs, defaults=False), places)
    given = {word.partition("=")[0].removeprefix("--") for word in flags}
    places = {key: path for key, path in places.items() if key not in given}
    # Defaults are those of the settings class: jsonargparse would check each again, four fifths of the time.
    defaults = "--print_config" in {word.partition("=")[0] for word in flags}
    return _settings(cls, lambda: parser.parse_args(configs + flags, defaults=defaults), places)


def from_values(cls: type[Settings], values: Mapping[str, Any]) -> Settings:
    """The settings class with these values, checked as flags are; paths may be Path objects, numbers numpy's.

    Raises ConfigError.
    """
    plain = {name: _plain(name, value) for name, value in values.items()}
    # The same parser as for a command line: a value is right or wrong in the same way from Python.
    parser = _parser_of(cls, "", "")  # type: ignore[arg-type]
    return _settings(cls, lambda: parser.parse_object(plain, defaults=False))


def _plain(name: str, value: Any) -> Any:
    """A value from Python as a flag could give it. Raises ConfigError for objects that no flag can hold."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return value.item()
    if not isinstance(value, str | int | float | list | tuple | set | bytes | Mapping | None):
        advice = "name your function as 'file.py:name'" if callable(value) else "write it to a file and give its name"
        raise ConfigError(f"--{name}: a {type(value).__name__} is given; {advice}")
    return value


def _settings(cls: type[Settings], parsed: Callable[[], Any], places: Mapping[str, str] | None = None) -> Settings:
    """The settings that a parser gives, checked; `places`: the file of each key that a file sets."""
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # a dataclass
    places = places or {}
    given = _parsed(cls, parsed, places)
    values = {field.name: given.get(field.name, field.default) for field in fields}
    for field in fields:
        value = values[field.name]
        if value is not None and value == field.metadata.get("unset"):
            values[field.name] = None
            continue
        # Mostly a variable of the shell that is not set: without its rule a selection would keep all problems.
        if value == "" and field.default is None and not field.metadata.get("required"):
            raise ConfigError(f"{_flag(field.name, places)}: is empty; give a value, or leave it out")
        if isinstance(value, float) and not math.isfinite(value):  # 1e400 is read as inf
            raise ConfigError(f"{_flag(field.name, places)} {value}: must be a finite number")
        least, most = field.metadata.get("range", (-math.inf, math.inf))
        if isinstance(value, int | float) and not least <= value <= most:
            bounds = f"{least} or more" if most == math.inf else f"from {least} to {most}"
            raise ConfigError(f"{_flag(field.name, places)} {value}: must be {bounds}")
        if isinstance(value, str) and not _is_utf8(value):
            raise ConfigError(f"{_flag(field.name, places)} {value}: {_not_utf8()}")
        if (odd := _no_json(value)) is not None:
            raise ConfigError(f"{_flag(field.name, places)}: {odd}")
        if (large := _too_large(value)) is not None:
            raise ConfigError(f"{_flag(field.name, places)}: {large} is larger than {_LARGEST}")
    missing = [field for field in fields if field.metadata.get("required") and values[field.name] in (None, "")]
    if len(missing) == 1:
        raise ConfigError(f"--{missing[0].name} is required: {missing[0].metadata['help']}")
    if missing:
        flags = [f"--{field.name}" for field in missing]
        raise ConfigError(f"{', '.join(flags[:-1])} and {flags[-1]} are required; see --help")
    return cls(**values)


def _parsed(cls: type[Any], parse: Callable[[], Any], places: Mapping[str, str]) -> Any:
    """What `parse` returns. Raises ConfigError for what a parser refuses."""
    import argparse

    from jsonargparse import ArgumentError

    try:
        return parse()
    except (ArgumentError, argparse.ArgumentError) as error:
        raise ConfigError(_explain(str(error), _known_keys(cls), places)) from None


def _is_utf8(text: str) -> bool:
    # What the system gives that is not UTF-8 comes as lone surrogates, which no file of ours can hold.
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _not_utf8() -> str:
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8":
        return f"this environment reads names as {encoding}; run with PYTHONUTF8=1, or LC_ALL=C.UTF-8"
    return "is not UTF-8; give a file or folder another name"


def _no_json(value: Any) -> str | None:
    """What in a value, at any depth, JSON cannot hold, as YAML can: keys that are numbers, sets, bytes."""
    if isinstance(value, set | bytes):
        return f"{value!r} is a {type(value).__name__}; give texts, numbers, lists and mappings"
    if isinstance(value, dict):
        if (key := next((key for key in value if not isinstance(key, str)), None)) is not None:
            return f"the key {key!r} is not text; write it in quotes"
        value = list(value.values())
    return next((odd for one in value if (odd := _no_json(one))), None) if isinstance(value, list) else None


def _too_large(value: Any) -> int | None:
    """An integer in a value, at any depth, that no file of ours can hold; None if there is none."""
    if isinstance(value, int):
        return None if -_LARGEST <= value <= _LARGEST else value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((large for one in inner if (large := _too_large(one)) is not None), None)


def _flag(name: str, places: Mapping[str, str]) -> str:
    """A setting as the user gave it: a flag, or a key of a file."""
    return f"{places[name]}: {name}" if name in places else f"--{name}"


def _known_keys(cls: type[Any]) -> list[str]:
    fields = dataclasses.fields(cls)
    names = [name for field in fields for name in (field.name, *field.metadata.get("aliases", ()))]
    return [*names, "config", "print_config", "version", "help"]


def _keys_of(path: str, known: Sequence[str]) -> list[str]:
    """The keys of a YAML file. Raises ConfigError, with the file and if possible the line, for an invalid one."""
    import yaml

    # jsonargparse reads the file again afterwards. Reading it here gives the line of an error, and each key's file,
    # which it does not keep.
    class Loader(yaml.SafeLoader):
        """Refuses a key that occurs twice, of which YAML would take the last without a word."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            # Before the merge of `<<`, whose keys may be given again on purpose.
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for at, key in enumerate(keys):
                if key in keys[:at] and key != "<<":
                    line = node.value[at][0].start_mark.line + 1
                    raise ConfigError(f"{path}, line {line}: the key {key!r} occurs twice")
            return super().construct_mapping(node, deep)

    try:
        if not os.path.isfile(path) and os.path.exists(path) and not os.path.isdir(path):
            raise ConfigError(
                f"--config {path}: is a pipe or device; it is read more than once, so write it to a file first"
            )
        with open(path, encoding="utf-8") as file:
            values = yaml.load(file, Loader)  # a SafeLoader
    except OSError as error:
        raise ConfigError(f"--config {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"--config {path}: not UTF-8 (byte {error.start})") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML ({error.problem})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None
    if not isinstance(values, dict):
        raise ConfigError(
            f"--config {path}: the file must hold keys and values, one a line, such as `rollouts: rollouts.parquet`"
        )
    for key in values:
        if key not in known:
            raise ConfigError(f"{path}: there is no key {key!r}{did_you_mean(str(key), known)}; see --help")
    return list(values)


def _configs_and_flags(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Every --config apart, to go in front: to the parser what comes last wins, and that must be the flag."""
    configs: list[str] = []
    flags: list[str] = []
    rest = iter(words)
    for word in rest:
        if word.startswith("--"):  # --model-path is --model_path; a value keeps its minus signs
            name, equals, value = word.partition("=")
            word = "--" + name[2:].replace("-", "_") + equals + value  # noqa: PLW2901
        if word == "--config":
            configs += [word, *itertools.islice(rest, 1)]
        else:
            (configs if word.startswith("--config=") else flags).append(word)
    return configs, flags


def _explain(message: str, names: Sequence[str], places: Mapping[str, str]) -> str:
    """A parser's message as one line, with the nearest name where one is not known."""
    # The messages of argparse and jsonargparse name their internals and run over several lines. One that no pattern
    # here knows is shown as it is.
    unknown = re.search(r"[Uu]nrecognized arguments: --([^\s=]+)", message) or re.search(
        r"Option '([^']+)' is not accepted", message
    )
    if unknown:
        return f"there is no flag or key {unknown[1]!r}{did_you_mean(unknown[1], names)}; see --help"
    if stray := re.search(r"[Uu]nrecognized arguments: (.+)", message):
        first = stray[1].split()[0].partition("=")[0]
        if first.startswith("-") and (near := did_you_mean(first.lstrip("-"), names)):
            return f"there is no flag {first!r}{near}; flags begin with two dashes"
        return f"unexpected argument {stray[1]!r}; see --help"
    if switch := re.search(r"argument (--\w+): ignored explicit argument (.+)", message):
        return f"{switch[1]} takes no value: leave out {switch[2]}"
    if wrong := re.search(r'Parser key "([^"]+)":', message):
        expected = re.findall(r"Expected (?:a |an )?(?:<class ')?([\w\[\], ]+)'?", message)
        kinds = " or ".join(dict.fromkeys(kind for kind in expected if kind != "NoneType"))
        given = re.search(r"(?:Given|Got) value: (.*)", message)
        if given and kinds.startswith("dict"):
            return (
                f"{_flag(wrong[1], places)}: {given[1].strip()!r} is not a YAML mapping; write '{{name: value, ...}}'"
            )
        if given and kinds:
            return f"{_flag(wrong[1], places)}: {given[1].strip()!r} is not {_KINDS.get(kinds, f'of the type {kinds}')}"
        message = f"{_flag(wrong[1], places)}: {message[wrong.end() :].strip()}"
    return " ".join(re.sub(r"^argument --", "--", message).split())
