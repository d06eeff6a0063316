"""Write docs/flags.md, the page of all flags, from the settings: `make flags`."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

if TYPE_CHECKING:
    from analyzer.commands.command import Command

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "flags.md"
HEAD = """\
# All flags

<!-- Made by docs/make_flags.py from the settings classes. Change the texts there, then run `make flags`. -->

Flags are keys of `--config FILE` (YAML) too, and keywords of `analyzer.analyze`, `analyzer.select` and
`analyzer.compare`. A flag wins over a file, a later file over an earlier one. Dashes may replace underscores.
Every command also has `--help`, `--version`, and `--print_config`, which prints the settings as YAML.

`python -m analyzer` lists the commands and runs one: `python -m analyzer select_problems --help`.
`python -m analyzer sample demo` copies the bundled sample and the recipes of `configs/` into a folder `demo`.
Completion for bash, zsh or fish: `eval "$(python -m analyzer completion bash)"`.
"""


def page() -> str:
    """The text of the page."""
    from analyzer.commands.all import NAMES, find
    from analyzer.commands.cache import COMMAND as CACHE

    commands = [find(name) for name in NAMES]
    lines = [HEAD.rstrip()]
    for command in (*commands, CACHE):
        lines += ["", f"## {command.name}", "", _marked(command.description)]
        if command.name == "filter_difficulty":
            lines += ["", *_of_all_three(find)]
        else:
            lines += _tables(command.settings)
    return "\n".join(lines) + "\n"


def _of_all_three(find: Callable[[str], Command]) -> list[str]:
    """The flags of filter_difficulty, without a third copy of each: what is left out, and what differs."""
    fields = {field.name: field for field in dataclasses.fields(find("filter_difficulty").settings)}
    names = ("generate_rollouts", "analyze_rollouts", "select_problems")
    theirs = {field.name for name in names for field in dataclasses.fields(find(name).settings)}
    required = [f"`--{name}`" for name, field in fields.items() if field.metadata["required"]]
    without = [f"`--{name}`" for name in sorted(theirs - fields.keys())]
    linked = [f"[{name}](#{name})" for name in names]
    return [
        f"It takes the flags of {', '.join(linked[:-1])} and {linked[-1]}, except {', '.join(without)}.",
        f"Required are {' and '.join(sorted(required))}, with `--data_path` or `--rollouts`.",
        f"`--seed` is the {fields['seed'].metadata['help']}.",
    ]


def _marked(text: str) -> str:
    """A text of --help as Markdown: flags in code, pages as links."""
    text = re.sub(r"(?<![`\w])(--\w+(?: list)?)", r"`\1`", text)
    return re.sub(r"docs/(\w+)\.md", r"[\1](\1.md)", text)


def _tables(settings: type[Any]) -> Iterator[str]:
    from analyzer.commands.parsing import metavar
    from analyzer.config import Group

    kinds = get_type_hints(settings)
    for group in Group:
        fields = [field for field in dataclasses.fields(settings) if field.metadata["group"] is group]
        if not fields:
            continue
        yield from ("", f"**{group.value.capitalize()}**", "", "| flag | default | |", "|---|---|---|")
        for field in sorted(fields, key=lambda field: not field.metadata["required"]):
            flag = f"`--{field.name} {metavar(field, kinds[field.name])}".rstrip() + "`"
            also = "".join(f" or `--{alias}`" for alias in field.metadata["aliases"])
            default = "" if field.default in (None, False) else f"`{field.default}`"
            text = _marked(field.metadata["help"]) + ("; `list` describes each" if field.metadata["listed"] else "")
            cells = [flag + also, "required" if field.metadata["required"] else default, text]
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PAGE.write_text(page(), encoding="utf-8")
