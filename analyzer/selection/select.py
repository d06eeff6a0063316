"""select: open an analysis, choose, measure what the choice does, write, and say so in a manifest."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from analyzer import __version__
from analyzer.config import SelectionSettings
from analyzer.errors import ConfigError, InputError, OutputError
from analyzer.files import destinations, inputs, outputs, storage
from analyzer.rollouts.dataset import Dataset
from analyzer.schema import PROMPT
from analyzer.selection import effects, effects_block, formats, rule
from analyzer.selection.analysis import ROW, Analysis, open_analysis
from analyzer.selection.formats import Context, Format
from analyzer.selection.formats._columns import may_be_chat
from analyzer.selection.formats._responses import ResponseFormat
from analyzer.selection.formats.verl import is_verl
from analyzer.selection.responses import Candidates
from analyzer.selection.rule import Choice, Rule
from analyzer.selection.writing import JSONL, Target, described, weight_field, write_rows

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from analyzer.schema import IntArray

PARQUET = ".parquet"
MANIFEST = ".manifest.yaml"
_OF_CONTROL = (
    "rule",
    "format",
    "analysis",
    "kept",
    "settings",
    "version",
    "rows",
    "bytes",
    "sha256",
    "responses",
    "written_as_null",
)
"""What a manifest says that is true of the control file as well."""


@dataclass(frozen=True)
class Selection:
    """What was selected. `manifest` is what the file beside the output says, and `report` what the command prints."""

    output: str | None  # None: --dry_run
    kept: int  # problems
    rows: int  # of the file: problems, or examples of their responses
    manifest: dict[str, Any]

    @property
    def report(self) -> str:
        """The block that select_problems prints."""
        return effects_block.block(self.manifest)

    @property
    def problems(self) -> pd.DataFrame:
        """The written file as a DataFrame."""
        import pandas as pd

        if self.output is None:
            raise ConfigError("nothing was written: --dry_run")
        if self.output.endswith(JSONL):
            with inputs.open_binary(self.output) as file:
                return pd.DataFrame([orjson.loads(line) for line in file])  # read_json guesses dates and numbers
        return pd.read_parquet(self.output)


def select(settings: SelectionSettings) -> Selection:
    """Select problems of an analysis and write them. Raises the errors of analyzer.errors."""
    if settings.output is None and not settings.dry_run:
        raise ConfigError("--output is required: the file to write, .parquet or .jsonl (or --dry_run)")
    analysis = open_analysis(settings.analysis)
    chosen_rule = rule.make_rule(settings, analysis)
    chosen_format = _format(settings, analysis)
    # Before the choice, which reads all of problems.parquet: an output that cannot be written is reported at once.
    _check_outputs(settings, analysis, chosen_format)
    choice = rule.choose(chosen_rule, analysis)
    rule.check_empty(choice, chosen_rule, analysis)
    sources, names = rule.source_numbers(analysis)
    manifest = _manifest(settings, analysis, chosen_rule, chosen_format, choice)
    manifest |= effects.measure(analysis, chosen_rule, choice, sources, names)
    if _are_rendered(analysis):
        manifest["rendered_prompts"] = True
    control = None
    if settings.control:
        control = rule.control_group(choice, sources, rule.prompt_numbers(analysis), settings.seed)
        if len(control) == 0:
            all_kept = len(choice.kept) == analysis.problems.rows
            why = "every problem is kept" if all_kept else "all others repeat a prompt of the selection"
            raise ConfigError(f"--control: {why}, there are no others")
    if settings.dry_run:
        return Selection(None, len(choice.kept), 0, manifest)
    files = [(str(settings.output), choice.kept)]
    if control is not None:
        files.append((str(settings.control), control))
    manifest |= _write(_Work(analysis, choice, chosen_format, files), manifest)
    return Selection(settings.output, len(choice.kept), manifest["rows"], manifest)


# ---------------------------------------------------------------- checks


def check_ahead(
    settings: SelectionSettings, problems: pa.Schema, data_source: str | None, prompts: pa.Table | None = None
) -> None:
    """Find what would stop the selection from an analysis that is still to be made.

    problems: the columns that its problems.parquet will have; data_source: its --data_source; prompts: some of its
    prompts, as a table of that column. Raises ConfigError, OutputError.
    """
    import pyarrow as pa

    files = (*outputs.file_names(()), outputs.CARD)
    analysis = Analysis(settings.analysis, Dataset((), problems), {}, files, "")
    made = rule.make_rule(settings, analysis)
    # A row without values tells whether the types fit, a text compared with a number.
    row = {name: pa.nulls(1, problems.field(column).type) for name, column in analysis.columns.items()}
    for expression in (made.where, *(pool for pool, _ in made.pools)):
        if expression is not None:
            expression.evaluate(pa.RecordBatch.from_pydict({name: row[name] for name in expression.names} or row))
    name = settings.format or ("verl" if is_verl(problems) else "rows")
    chosen = formats.build(name, Context(data_source, False, settings.pick, settings.per_problem, settings.seed))
    chosen.check(problems)
    if prompts is not None:
        chosen.check_prompts(prompts)
    _check_outputs(settings, analysis, chosen)


def _format(settings: SelectionSettings, analysis: Analysis) -> Format:
    name = settings.format or ("verl" if is_verl(analysis.problems.schema) else "rows")
    given = analysis.summary.get("settings", {}).get("data_source")
    # One prompt tells: a column of chats holds them in one form, or the trainer could not read it either.
    first = next(analysis.read([ROW + PROMPT]), None)
    json_chats = first is not None and may_be_chat(first.column(0)[0].as_py())
    context = Context(given, json_chats, settings.pick, settings.per_problem, settings.seed)
    found = formats.build(name, context)
    found.check(analysis.problems.schema)
    return found


# What logs of trainers have left of a chat template, with or without its special tokens: "... user\nHow?\nassistant\n".
_TURN = re.compile(r"(?:^|\n|>)\s*(?:assistant|model)\s*(?:<\|[^<>]*\|>)?\s*(?:<think>\s*)?$")
_LOOKED_AT = 1000  # prompts
_TAIL = 100  # characters


def _are_rendered(analysis: Analysis) -> bool:
    """Whether the prompts are text that a chat template made, so that a trainer would apply its own to it."""
    first = next(analysis.read([ROW + PROMPT]), None)
    prompts = [] if first is None else first.column(0).slice(0, _LOOKED_AT).to_pylist()
    texts = [prompt for prompt in prompts if prompt and isinstance(prompt, str)]
    # A prompt may end so by chance; most do so only by a template.
    return sum(_TURN.search(text[-_TAIL:]) is not None for text in texts) > len(texts) / 2


def _check_outputs(settings: SelectionSettings, analysis: Analysis, chosen: Format) -> None:
    """Raise ConfigError or OutputError for a file that cannot be written, or would replace something else."""
    for path, flag in ((settings.output, "--output"), (settings.control, "--control")):
        if path is None:
            continue
        if not path.endswith((PARQUET, JSONL)):
            raise ConfigError(f"{flag} {path}: must end in .parquet or .jsonl, which decides the type of the file")
        if not path.endswith(chosen.endings):
            raise ConfigError(f"{flag} {path}: format {chosen.name} is read as {' or '.join(chosen.endings)} only")
        folder, name = _split(path)
        if name in analysis.files and _same(folder, str(settings.analysis)):
            raise OutputError(f"{flag} {path}: is a file of the analysis; give another name")
        if settings.dry_run:
            continue
        place = destinations.open_destination(folder)
        place.check(f"{flag} {path}")
        place.check_file(name, f"{flag} {path}")
        if settings.overwrite:
            continue
        # The same settings are a rerun, which replaces its own file; any other file may be somebody's training data.
        if name in place.names() and _settings_in(place, _manifest_name(name)) != rule.settings_of(settings):
            raise OutputError(f"{path} exists and has other settings; give another name, or --overwrite")
    if settings.output is not None and settings.output == settings.control:
        raise ConfigError(f"--control {settings.control}: is the same file as --output; give it another name")


def _settings_in(place: destinations.Destination, name: str) -> Any:
    """The settings in a manifest, None if there is none."""
    import yaml

    if name not in place.names():
        return None
    try:
        return yaml.safe_load(place.read(name))["settings"]
    # A manifest that cannot be read vouches for nothing, so the file beside it is not replaced.
    except (yaml.YAMLError, TypeError, KeyError):
        return None


def _split(path: str) -> tuple[str, str]:
    """Folder and name of a local path or URL."""
    path = storage.local(path)
    folder, _, name = path.rpartition("/")
    return folder or ("/" if path.startswith("/") else "."), name


def _manifest_name(name: str) -> str:
    return name.removesuffix(PARQUET).removesuffix(JSONL) + MANIFEST


def _same(one: str, other: str) -> bool:
    if storage.is_remote(one) or storage.is_remote(other):
        return one.rstrip("/") == other.rstrip("/")
    # Through symbolic links: an output must not replace a file of the analysis under another name.
    return os.path.realpath(one) == os.path.realpath(storage.local(other))


# ---------------------------------------------------------------- writing


def _manifest(
    settings: SelectionSettings, analysis: Analysis, chosen: Rule, chosen_format: Format, choice: Choice
) -> dict[str, Any]:
    recipe = chosen.recipe
    return {
        "rule": chosen.sentence(),
        "recipe": None if recipe is None else {"name": recipe.name, "source": recipe.reference, "n": recipe.n},
        "format": chosen_format.name,
        "analysis": {
            "folder": analysis.folder,
            "fingerprint": analysis.fingerprint,
            "problems": analysis.problems.rows,
            "bucketing_strategy": analysis.summary.get("bucketing_strategy"),
        },
        "kept": len(choice.kept),
        "settings": rule.settings_of(settings),
        "version": __version__,
    }


class _Work(NamedTuple):
    """What is to be written."""

    analysis: Analysis
    choice: Choice
    chosen: Format
    files: list[tuple[str, IntArray]]  # path, rows of problems.parquet; the second one is the control


def _write(work: _Work, manifest: dict[str, Any]) -> dict[str, Any]:
    """Write the files and a manifest beside each, each file atomically; what the manifest adds.

    A manifest that is there is replaced first: a file and the whole manifest of another one are never side by side.
    """
    output = work.files[0][0]
    added: dict[str, Any] = {}
    with storage.storage_errors(output):
        staging = destinations.open_destination(_split(output)[0]).make_staging()
        try:
            written = _fill(staging, work)
            # Before the first is moved in: both files are of one selection.
            for (path, _), entry in zip(work.files, written, strict=True):
                if entry["rows"] == 0:
                    raise InputError(f"{path}: nothing to write: {_no_response(entry.get('responses', {}))}")
            for (path, rows), entry in zip(work.files, written, strict=True):
                folder, name = _split(path)
                place = destinations.open_destination(folder)
                # A kill from here on leaves a manifest that says so, and whose settings let the same command go on;
                # never a file with the whole manifest of another selection.
                place.write(_manifest_name(name), _yaml({"unfinished": True, "settings": manifest["settings"]}))
                # Written under a number, since output and control may have one name in two folders.
                os.replace(staging / entry.pop("file"), staging / name)
                place.move_in(staging / name)
                about = manifest | {"kept": len(rows)} | entry
                if path != output:
                    about = {"control_of": output} | {key: about[key] for key in _OF_CONTROL if key in about}
                place.write(_manifest_name(name), _yaml(about))
                added |= {"output": path, **entry} if path == output else {"control": {"output": path, **entry}}
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return added


def _no_response(left_out: Mapping[str, int]) -> str:
    """Why no response of the kept problems is taken."""
    left = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in left_out.items() if number)
    taken = "sft takes passing responses, dpo needs a passing and a failing one of a problem"
    return f"no response of the kept problems fits the format ({taken})" + (f"; left out: {left}" if left else "")


def _fill(staging: Path, work: _Work) -> list[dict[str, Any]]:
    """Write each file into `staging`; what the manifest says of it."""
    import pyarrow as pa

    analysis, choice, chosen, files = work
    schema = analysis.problems.schema
    if choice.weights is not None:
        schema = pa.schema([*schema, weight_field()], schema.metadata)
    names = [f"{number}{JSONL if path.endswith(JSONL) else PARQUET}" for number, (path, _) in enumerate(files)]

    def targets(convert: Any) -> list[Target]:
        return [
            Target(str(staging / name), rows, schema, convert, str(staging))
            for name, (_, rows) in zip(names, files, strict=True)
        ]

    responses: list[dict[str, Any]] = [{} for _ in files]
    if isinstance(chosen, ResponseFormat):
        # One pass over the rollouts for the output and its control group, which is the costly part.
        every = np.unique(np.concatenate([rows for _, rows in files]))
        with Candidates(analysis, every, str(staging)) as candidates:
            responses = [{"responses": candidates.left_out(rows)} for _, rows in files]
            made = targets(lambda table, rows: chosen.table(table, *candidates.of(rows)))
            write_rows(analysis, made, choice.weights)
    else:
        made = targets(lambda table, rows: chosen.rows(table))
        write_rows(analysis, made, choice.weights)
    return [
        {"file": name, "rows": target.sink.rows, **described(str(staging / name)), **left, **_lost(target)}
        for name, target, left in zip(names, made, responses, strict=True)
    ]


def _lost(target: Target) -> dict[str, Any]:
    return {"written_as_null": dict(lost)} if (lost := +target.sink.lost) else {}


def _yaml(manifest: dict[str, Any]) -> bytes:
    import yaml

    # Wide lines: a folded condition could not be copied back into a command.
    return yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=1000).encode()
