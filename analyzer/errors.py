"""Every error a user can meet, and the exit code each one ends with.

    AnalyzerError              1   a bug of this program
      UserError                2   something only the user can put right
        ConfigError                a flag, key, strategy or reward that does not exist or does not fit
        InputError                 the rollouts cannot be read or are not what they must be
        TokenizerError             the tokenizer cannot be loaded
        RewardError                a reward that cannot be loaded or started
        SandboxError               the sandbox level asked for is not available here
        OutputError                output_dir holds results of something else, or a folder cannot be written
      StorageError            74   a disk that is full or failing
      Interrupted             75   stopped by a signal; the same command goes on

Exit 0 is a complete run, exit 3 a complete run with too many unscored rollouts.
A message says what is wrong, where (file and row, or key) and what to do next, in one line.
"""

from __future__ import annotations

import re
from pathlib import Path

EXIT_OK = 0
EXIT_BUG = 1
EXIT_USER = 2
EXIT_UNSCORED = 3
EXIT_STORAGE = 74
EXIT_INTERRUPTED = 75


def printable(text: str) -> str:
    """Text on one line and without control characters, so that text of a model or a file cannot steer a terminal."""
    text = text.replace("\n", " ")
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def counted(number: int, one: str, several: str | None = None) -> str:
    """A count with its noun: (1, 'problem') -> '1 problem', (1200, 'problem') -> '1,200 problems'.

    `several` is the plural where an s at the end does not make it: (2, 'rollout has', 'rollouts have').
    """
    return f"{number:,} {one}" if number == 1 else f"{number:,} {several or one + 's'}"


def percentage(share: float, digits: int = 0) -> str:
    """A share in per cent: 0.123 -> '12%'; only all is '100%' and only nothing '0%': 0.9996 -> '>99%'."""
    text, step = f"{share:.{digits}%}", 10.0**-digits
    if 0 < share < 1 and float(text[:-1]) in (0, 100):
        return f"<{step:.{digits}f}%" if share < 0.5 else f">{100 - step:.{digits}f}%"
    return text


def to_install(extra: str) -> str:
    """The command that installs what an extra of this package needs, whichever way the package itself came here."""
    import importlib.metadata

    checkout = Path(__file__).parents[1]
    if (checkout / "setup.cfg").is_file():
        return f"pip install -e '{checkout}[{extra}]'"
    try:
        this = importlib.metadata.distribution("rollout-analyzer")
    except importlib.metadata.PackageNotFoundError:
        return f"install rollout-analyzer with pip from where this copy came from, with its extra [{extra}]"
    if this.read_text("direct_url.json") is None:  # it came from a package index, which knows its name
        return f"pip install 'rollout-analyzer[{extra}]'"
    marked = re.compile(rf"""(.+?)\s*;.*extra\s*==\s*["']{re.escape(extra)}["']""")
    needed = [match[1] for requirement in this.requires or () if (match := marked.fullmatch(requirement))]
    return "pip install " + " ".join(f"'{requirement}'" for requirement in needed)


class AnalyzerError(Exception):
    """The root of all errors raised on purpose; `exit_code` is what the process ends with."""

    exit_code = EXIT_BUG


class UserError(AnalyzerError):
    """Raised for what the user can put right; shown as one line without a traceback."""

    exit_code = EXIT_USER


class ConfigError(UserError):
    """Raised for an unknown or unfitting flag, key, strategy or reward name."""


class InputError(UserError):
    """Raised when the rollouts are missing, unreadable, malformed or inconsistent."""


class TokenizerError(UserError):
    """Raised when the tokenizer of --model_path cannot be loaded."""


class RewardError(UserError):
    """Raised before any work when a reward cannot be imported, built or started."""


class SandboxError(UserError):
    """Raised when code execution is not allowed, or its sandbox level is not available."""


class OutputError(UserError):
    """Raised when output_dir holds outputs of another input or other settings, or a folder cannot be written."""


class StorageError(AnalyzerError):
    """Raised when a write fails because the disk is full, over quota or broken."""

    exit_code = EXIT_STORAGE


class Interrupted(AnalyzerError):
    """Raised when SIGINT, SIGTERM or SIGUSR1 stopped the run; nothing committed is lost."""

    exit_code = EXIT_INTERRUPTED
