"""The flags of generate_rollouts."""

from __future__ import annotations

import dataclasses
import difflib
import re
import sys
from collections.abc import Sequence
from typing import Any, get_type_hints

import analyzer
from analyzer.errors import EXIT_OK, EXIT_UNSCORED, AnalyzerError, ConfigError
from analyzer.generation import Generated, GenerationSettings, run
from analyzer.generation.settings import ALIASES

_PROGRAM = "generate_rollouts"


def generate_rollouts(argv: Sequence[str] | None = None) -> int:
    """The command: returns its exit code (0 whole, 3 some prompts failed, else that of the error)."""
    try:
        settings = parse(sys.argv[1:] if argv is None else argv)
        if settings.dry_run:
            from analyzer.generation.preview import preview

            print(preview(settings))
            return EXIT_OK
        return _report(run(settings))
    except AnalyzerError as error:
        print(f"{_PROGRAM}: error: {error}", file=sys.stderr)
        return error.exit_code


def _report(done: Generated) -> int:
    print(f"Prompts: {done.prompts}\nRollouts: {done.rollouts} ({done.asked} generated now)\nModel: {done.model}")
    print(f"Written: {done.path}")
    if not done.failed:
        return EXIT_OK
    print(
        f"{_PROGRAM}: {done.failed} prompts lack rollouts, {done.failures} lists them ({done.first_failure}); "
        "the same command tries them again",
        file=sys.stderr,
    )
    return EXIT_UNSCORED


def parse(argv: Sequence[str]) -> GenerationSettings:
    """The settings in flags and --config. Raises ConfigError; exits for --help, --version and --print_config."""
    parser = _parser()
    known = {field.name for field in dataclasses.fields(GenerationSettings)}
    try:
        found = parser.parse_args([_with_underscores(word) for word in argv])
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and not error.code:
            raise
        raise ConfigError(_explained(str(error), known)) from None
    return GenerationSettings(**{name: found[name] for name in known})


def _parser() -> Any:
    from jsonargparse import ActionYesNo, ArgumentParser

    parser = ArgumentParser(
        prog=_PROGRAM,
        description="Sample rollouts for the prompts of a training file. Run it again to go on where it stopped.",
        exit_on_error=False,
        allow_abbrev=False,
        version=analyzer.__version__,
    )
    parser.add_argument("--config", action="config", help="YAML file with the same keys as the flags; a flag wins")
    hints = get_type_hints(GenerationSettings)
    for field in dataclasses.fields(GenerationSettings):
        names = [f"--{name}" for name in (field.name, ALIASES.get(field.name)) if name]
        given: dict[str, Any] = {"help": field.metadata["help"]}
        if field.default is dataclasses.MISSING:
            given["required"] = True
        else:
            given["default"] = field.default
        if hints[field.name] is bool:
            parser.add_argument(*names, action=ActionYesNo(no_prefix="no_"), **given)
        else:
            parser.add_argument(*names, type=hints[field.name], **given)
    return parser


def _with_underscores(word: str) -> str:
    """--max-tokens=5 as --max_tokens=5; values are left alone."""
    flag, equals, value = word.partition("=")
    return flag.replace("-", "_").replace("__", "--", 1) + equals + value if flag.startswith("--") else word


def _explained(message: str, known: set[str]) -> str:
    """jsonargparse's message in one line, with the nearest name where one is unknown."""
    line = " ".join(re.sub(r"<class '(\w+)'>", r"\1", message).replace("typing.", "").split())
    line = re.sub(r'^Parser key "(\w+)": ', r"--\1: ", line)
    unknown = re.search(r"unrecognized arguments: --([\w-]+)|Option '(\w+)' is not accepted", line)
    if unknown is None:
        return line
    name = unknown[1] or unknown[2]
    near = difflib.get_close_matches(name, known | set(ALIASES.values()), 1)
    shown = f"no flag is named --{name}" if unknown[1] else f"no key is named {name!r}"
    return shown + (f"; did you mean {near[0]!r}?" if near else "; --help lists them")
