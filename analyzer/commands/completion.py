"""python -m analyzer completion SHELL: print the completion of all commands, for the shell to evaluate.

eval "$(python -m analyzer completion bash)"        # in ~/.bashrc; for zsh in ~/.zshrc, for fish in config.fish
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any

from analyzer.commands import lists
from analyzer.commands.command import Command
from analyzer.commands.parsing import make_parser
from analyzer.commands.running import fail, run
from analyzer.errors import EXIT_OK, EXIT_USER

SHELLS = ("bash", "zsh", "fish")


def complete(words: Sequence[str], commands: Iterable[Command]) -> int:
    """Print the completion of the commands for the shell that the words name; returns the exit code."""
    if len(words) != 1 or words[0] not in SHELLS:
        fail(f"name one shell: python -m analyzer completion {{{','.join(SHELLS)}}}")
        return EXIT_USER

    def show() -> int:
        import shtab

        for command in commands:
            print(shtab.complete(_completed(command), words[0]))
        return EXIT_OK

    return run(show)


def _completed(command: Command) -> Any:
    """The parser of a command, with what each value may be: a name of a list, a file, a folder."""
    import shtab

    parser: Any = make_parser(command.settings, command.name.replace("_", "-"), command.description)
    fields = {field.name: field.metadata for field in dataclasses.fields(command.settings)}
    for action in parser._actions:
        metadata = fields.get(action.dest)
        if metadata is not None and metadata["listed"]:
            names = [entry.name for entry in lists.LISTS[action.dest]()]
            # Not `file.py:function`, which stands for the user's own: a shell would split it at the colon.
            action.choices = [name for name in (*names, lists.LIST) if re.fullmatch(r"[\w-]+", name)]
        elif action.metavar in ("PATH", "FILE", "MODEL"):
            action.complete = shtab.FILE
        elif action.metavar == "DIR":
            action.complete = shtab.DIRECTORY
    return parser
