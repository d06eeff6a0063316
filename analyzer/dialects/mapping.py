"""Mapping: the columns of another layout into ours, a record batch at a time.

transpose -> rows -> explode -> our columns (prompt, response, data_idx, sample_idx, reward, ...) -> the rest of theirs
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.dialects import groups, operations
from analyzer.dialects.fitting import Options, fit
from analyzer.dialects.layout import Layout, paste
from analyzer.dialects.lookup import Column, Rows, is_list, is_text, look_up, python_values, root, rows_of
from analyzer.dialects.values import (
    SHOWN,
    RowName,
    asked,
    finish_reasons,
    message_text,
    rewards_of,
    text_of,
    unanswered,
)
from analyzer.errors import InputError, printable
from analyzer.expression import Expression, compile_expression
from analyzer.rollouts.json_columns import is_encoded
from analyzer.schema import (
    DATA_IDX,
    DATA_SOURCE,
    EXTRA_INFO,
    FINISH_REASON,
    MAX_TOKENS,
    ORIGINAL,
    PROMPT,
    RESPONSE,
    RESPONSE_TOKENS,
    REWARD,
    REWARD_STATUS,
    SAMPLE_IDX,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

GROUND_TRUTH = ORIGINAL + "ground_truth"
"""The column that a conversion puts ground truths in."""

JOIN = "$join"
"""The column of that key, until the training rows are joined."""

TRAINING_COLUMNS = ("data_source", "reward_model", "extra_info", "ability", "reward_fn_key")
"""verl's names of training columns: these are the training data's wherever they turn up."""

OURS = (PROMPT, RESPONSE, DATA_IDX, SAMPLE_IDX, REWARD, REWARD_STATUS, RESPONSE_TOKENS, FINISH_REASON, MAX_TOKENS)
_CHAT = r"""^\s*\[?\{["']role["']:"""
_LEVELS = 8  # distinct rewards that a warning lists
# 0.0005 of rounding times 128 samples is 0.064 passes.
_ROUNDED = 0.07  # passes that a rate of three decimals may be off
# Share of the rates of a batch that are not a whole number of passes, above which the column is something else.
_OFF_GRID = 0.1
_MOST_SAMPLES = 1_000_000  # of a problem whose row is a count
_OUT_BYTES = 32 << 20  # of rows made of one batch at a time


class Tally:
    """What was seen of all rows, for the lines that say so."""

    def __init__(self) -> None:
        self.read = 0  # rows of the files
        self.kept = 0  # of them those that --rows keeps
        self.empty = 0  # rows of lists without items, or counts of no samples
        self.failed = 0  # rows without a response where others have one
        self.rollouts = 0
        self.answered = 0  # prompts that ended in the response
        self.chats = 0  # responses that are a chat written as text
        self.off_grid = 0  # rates that are no whole number of passes
        self.levels: Counter[float] = Counter()
        self.least, self.most = math.inf, -math.inf
        self.sources: dict[str, dict[Any, int]] = {}  # step or task column -> value -> rows

    def add_rewards(self, values: NDArray[np.float64]) -> None:
        """Remember the levels of rewards, NaN for none."""
        scored = values[np.isfinite(values)]
        if scored.size:
            self.least, self.most = min(self.least, float(scored.min())), max(self.most, float(scored.max()))
        # Counted until there are too many to show: a continuous reward must not grow this without end.
        if len(self.levels) <= _LEVELS:
            levels, counts = np.unique(scored, return_counts=True)
            for level, count in zip(levels[: _LEVELS + 1].tolist(), counts.tolist(), strict=False):
                self.levels[level] += count


class Mapper:
    """Maps the batches of an input whose columns are those of `schema`; problems are numbered over all of them."""

    def __init__(self, layout: Layout, schema: pa.Schema, options: Options, spec: str) -> None:
        """Raises InputError, or ConfigError for --rows, where the layout does not fit the columns."""
        import pyarrow as pa

        self.spec = spec
        self.options = options
        self.tally = Tally()
        self.ordinals = groups.Ordinals()
        self.layout = layout
        self._expressions: list[Expression] | None = None
        # The mapping of no rows gives the schema of all: what an operation returns never depends on values.
        empty = pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
        rows = self._transposed(rows_of(empty), lambda at: spec)
        self.layout = fit(layout, rows, options, spec)
        self.names = list(rows.columns)
        self.schema = self._table(self._filtered(rows), lambda at: spec).schema

    # ------------------------------------------------------------ batches

    def tables(self, batch: pa.RecordBatch, place: RowName) -> list[pa.Table]:
        """The rows of ours that a batch becomes. Raises InputError, with its place, for what does not fit."""
        rows = self._transposed(rows_of(batch), place)
        self.tally.read += rows.size
        rows = self._filtered(rows)
        self.tally.kept += rows.size
        tables = [self._table(part, place) for part in self._portions(rows, place)]
        return [table for table in tables if table.num_rows]

    def _transposed(self, rows: Rows, place: RowName) -> Rows:
        return operations.transpose(rows) if self.layout.transpose else rows

    def _filtered(self, rows: Rows) -> Rows:
        import pyarrow as pa

        texts = [(flag, text) for flag, text in (("--rows", self.options.rows), ("rows", self.layout.rows)) if text]
        if not texts:
            return rows
        # Compiled at the first batch, when the names of the columns are known.
        if self._expressions is None:
            self._expressions = [compile_expression(text, list(rows.columns), flag) for flag, text in texts]
        for expression in self._expressions:
            batch = pa.RecordBatch.from_arrays(
                [rows.columns[name].array for name in expression.names], names=list(expression.names)
            )
            if not expression.names:
                break
            # null is not true, as in SQL.
            kept = expression.evaluate(batch).fill_null(False)
            rows = rows.take(np.flatnonzero(kept.to_numpy(zero_copy_only=False)))
        return rows

    def _portions(self, rows: Rows, place: RowName) -> list[Rows]:
        """The rows in parts that become some 32 MB each: counts and lists multiply them."""
        if not rows.size:
            return []
        if self.layout.counted:
            factor = self._samples_of(rows, lambda at: place(int(rows.places()[at])))
        elif self.layout.explode:
            lists = [column for path in self.layout.explode if (column := look_up(rows, path)) is not None]
            lengths = [operations.list_lengths(c.array) for c in lists if is_list(c.array.type)]
            factor = np.maximum.reduce(lengths).clip(1) if lengths else np.ones(rows.size, np.int64)
        else:
            return [rows]
        # An average is enough: portions only bound memory.
        size = sum(column.array.nbytes for column in rows.columns.values()) / rows.size
        # Numbered by the 32 MB that each row ends in; where the number changes, a new portion begins.
        part = (np.cumsum(factor * size) // _OUT_BYTES).astype(np.int64)
        edges = np.append(np.flatnonzero(np.append(True, part[1:] != part[:-1])), rows.size)
        if len(edges) == 2:
            return [rows]
        return [rows.take(np.arange(start, stop)) for start, stop in itertools.pairwise(edges)]

    # ------------------------------------------------------------ rows of ours

    def _table(self, rows: Rows, place: RowName) -> pa.Table:
        """The rows of ours that these rows become."""
        import pyarrow as pa

        columns = self._columns(*self._rollouts(rows, place))
        # Nullable throughout, or parts of one conversion would differ in their schema.
        fields = [field.with_name(name).with_nullable(True) for name, (_, field) in columns.items()]
        return pa.Table.from_arrays([array for array, _ in columns.values()], schema=pa.schema(fields))

    def _rollouts(self, rows: Rows, place: RowName) -> tuple[Rows, RowName, Column, NDArray[np.float64] | None]:
        """A row for each rollout, where each comes from, the responses, and the rewards where these are counts."""
        import pyarrow.compute as pc

        layout, size = self.layout, rows.size
        parents, rewards = np.arange(size), None
        origin = rows.places()

        # `parents` is rebound below, so a place is that of the row in the file, whatever was made of it since.
        def row(at: int) -> str:
            parent = int(parents[at]) if at < len(parents) else 0
            return place(int(origin[parent]) if parent < len(origin) else 0)

        if layout.explode:
            rows, parents = operations.explode(rows, layout.explode, row)
        elif layout.counted:
            parents, rewards = self._counts(rows, row)
            rows = rows.take(parents)
        self.tally.empty += size - len(np.unique(parents))
        response = self._response(rows, row)
        if layout.response is not None and response.array.null_count:
            there = np.flatnonzero(response.array.is_valid().to_numpy(zero_copy_only=False))
            self.tally.failed += rows.size - len(there)
            rows, parents = rows.take(there), parents[there]
            response = self._response(rows, row)
        self.tally.rollouts += rows.size
        self.tally.chats += pc.sum(pc.match_substring_regex(response.array, _CHAT)).as_py() or 0
        return rows, row, response, rewards

    def _columns(
        self, rows: Rows, row: RowName, response: Column, rewards: NDArray[np.float64] | None
    ) -> dict[str, Column]:
        """The columns of rollouts, by our names; `row` says where each comes from."""
        import pyarrow as pa

        layout = self.layout
        columns = {PROMPT: self._prompt(rows, response), RESPONSE: response}
        gold = self._optional(rows, layout.ground_truth)
        # From prompt and ground truth before these are renamed or dropped.
        ids = self._ids(rows, columns[PROMPT], gold, row)
        columns[DATA_IDX] = Column(ids, pa.field(DATA_IDX, ids.type))
        columns[SAMPLE_IDX] = self._samples(rows, ids, row)
        for name, path in ((DATA_SOURCE, layout.data_source), (EXTRA_INFO, layout.extra_info)):
            found = self._optional(rows, path)
            if found is not None and str(path).removeprefix(ORIGINAL) != name.removeprefix(ORIGINAL):
                columns[name] = found
        if gold is not None and not (
            layout.ground_truth in rows.columns and self._is_training(str(layout.ground_truth))
        ):
            columns[GROUND_TRUTH] = gold
        if rewards is None and layout.reward is not None:
            rewards = rewards_of(self._optional(rows, layout.reward), layout.reward, row)
        if rewards is not None:
            self.tally.add_rewards(rewards)
            # from_pandas: NaN becomes null. A rollout without a reward has none, and NaN would spoil means.
            columns[REWARD] = Column(pa.array(rewards, from_pandas=True), pa.field(REWARD, pa.float64()))
        for name in (REWARD_STATUS, FINISH_REASON, MAX_TOKENS, "model"):
            if (found := self._optional(rows, getattr(layout, name))) is not None:
                columns[name] = finish_reasons(found) if name == FINISH_REASON else found
        self._note_sources(rows)
        if self.options.join_on and (key := look_up(rows, self.options.join_on)) is not None:
            columns[JOIN] = Column(text_of(key), pa.field(JOIN, pa.string()))
        return columns | self._rest(rows, columns)

    def _optional(self, rows: Rows, path: str | None) -> Column | None:
        return None if path is None else look_up(rows, path)

    def _prompt(self, rows: Rows, response: Column) -> Column:
        import pyarrow as pa

        found = self._optional(rows, self.layout.prompt)
        if found is None or pa.types.is_null(found.array.type):
            return Column(pa.nulls(rows.size, pa.string()), pa.field(PROMPT, pa.string()))
        # With the answer in the prompt each response would be a problem of its own.
        if self.layout.answered_in_prompt:
            return asked(found)
        found, answered = unanswered(found, response.array)
        self.tally.answered += answered
        return found

    def _response(self, rows: Rows, row: RowName) -> Column:
        """The responses as text: of a list of messages the last one of the assistant. Null if there is none."""
        import pyarrow as pa

        field = pa.field(RESPONSE, pa.string())
        found = self._optional(rows, self.layout.response)
        if found is None or pa.types.is_null(found.array.type):
            return Column(pa.nulls(rows.size, pa.string()), field)
        # Text as it is: nothing to convert, and no Python object per row.
        if is_text(found.array.type) and not is_encoded(found.field):
            return Column(found.array.cast(pa.string()), field)
        texts = []
        for at, value in enumerate(python_values(found)):
            texts.append(message_text(value))
            if texts[-1] is None and value is not None:
                shown = printable(repr(value)[:SHOWN])
                listed = isinstance(value, list) and all(isinstance(item, str) for item in value)
                advice = f"; for a row for each of its texts add `explode: {self.layout.response}` to --columns"
                raise InputError(
                    f"{row(at)}: the response in {self.layout.response} must be text or messages: {shown}"
                    f"{advice if listed else ''}"
                )
        return Column(pa.array(texts, pa.string()), field)

    def _ids(self, rows: Rows, prompt: Column, gold: Column | None, row: RowName) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        group = self.layout.group
        if group is None:
            # The same prompt with two ground truths is two problems.
            return groups.digests([prompt] if gold is None else [prompt, gold], rows.size)
        columns = [column for path in group.columns if (column := look_up(rows, path)) is not None]
        ids = groups.group_ids(rows, group, columns, row)
        if self.options.pool and self.layout.tasks:  # the problems of each task are numbered from 0
            tasks = [look_up(rows, path) for path in self.layout.tasks]
            texts = [pc.fill_null(column.array.cast(pa.string()), "") for column in tasks if column is not None]
            ids = pc.binary_join_element_wise(*texts, ids.cast(pa.string()), "/")
        return ids

    def _samples(self, rows: Rows, ids: pa.Array, row: RowName) -> Column:
        import pyarrow as pa

        field = pa.field(SAMPLE_IDX, pa.int64())
        # Counted also where the samples have numbers of their own, since the report needs the sizes of problems.
        ordinals = self.ordinals.number(ids)
        path = self.layout.sample
        is_pooled = self.options.pool and bool(self.layout.steps or self.layout.tasks)
        found = None if is_pooled else self._optional(rows, path)
        if found is None:
            return Column(pa.array(ordinals), field)
        found = groups.settled(found)
        if pa.types.is_floating(found.array.type) and not found.array.null_count:
            return Column(groups.whole_numbers(found.array, str(path), row), field)
        if not pa.types.is_integer(found.array.type) or found.array.null_count:
            columns = paste({"transpose": True}) if is_list(found.array.type) else ""
            hint = f"; a file of columns is read with {columns}" if columns else ""
            raise InputError(f"{row(0)}: {path}, the number of the sample, must be an integer in every row{hint}")
        return Column(found.array.cast(pa.int64()), field)

    def _counts(self, rows: Rows, row: RowName) -> tuple[Ints, NDArray[np.float64]]:
        """The row and the reward of each rollout that a count stands for, those that passed first."""
        samples = self._samples_of(rows, row)
        layout = self.layout
        path = layout.passes or layout.fails or layout.pass_rate or layout.fail_rate
        found = self._optional(rows, path)
        if path is None or found is None:
            raise InputError(
                f"{self.spec}: samples without counts: name passes, fails, pass_rate or fail_rate in --columns"
            )
        values = rewards_of(found, path, row)
        # Without counts nothing is known of the problem: no rollouts, which is reported as an empty row.
        samples = np.where(np.isfinite(values), samples, 0)
        values = np.nan_to_num(values)
        if layout.pass_rate or layout.fail_rate:
            # A rate times samples must be near a whole number. Where it often is not, the number of samples is
            # wrong.
            exact = values / layout.out_of * samples
            values = np.rint(exact)
            self._check_grid(np.abs(exact - values) > _ROUNDED, path)
        elif (broken := np.flatnonzero(values != np.floor(values))).size:
            at = int(broken[0])
            rate = "pass_rate" if layout.passes else "fail_rate"
            raise InputError(
                f"{row(at)}: {path} is {values[at]:g}, not a whole number of samples; a share is named "
                f"with {paste({rate: path})}"
            )
        passes = samples - values if layout.fails or layout.fail_rate else values
        if (wrong := np.flatnonzero((passes < 0) | (passes > samples))).size:
            at = int(wrong[0])
            raise InputError(
                f"{row(at)}: {path} says {passes[at]:g} passes of {samples[at]} samples; "
                "correct samples or out_of in --columns"
            )
        parents = np.repeat(np.arange(rows.size), samples)
        # 0, 1, 2, ... in each problem, without a loop: the positions less where each problem starts.
        within = np.arange(len(parents)) - np.repeat(np.cumsum(samples) - samples, samples)
        return parents, (within < passes[parents]).astype(np.float64)

    def _check_grid(self, off: NDArray[np.bool_], path: str) -> None:
        """Raise InputError where a dialect's number of samples cannot be that of these rates: it is other data."""
        self.tally.off_grid += int(off.sum())
        if "samples" not in self.options.asked and off.size and off.mean() > _OFF_GRID:
            raise InputError(
                f"{self.spec}: {path} of {int(off.sum())} of {off.size} problems is not a share of "
                f"{self.layout.samples} samples; say what it is, such as "
                f"{paste({'pass_rate': path, 'samples': 8, 'out_of': 1})}"
            )

    def _samples_of(self, rows: Rows, row: RowName) -> Ints:
        """(rows,) the samples of each problem, 0 where that is null. Raises InputError for any other value."""
        samples = self.layout.samples
        if isinstance(samples, int):
            return np.full(rows.size, samples, np.int64)
        found = None if samples is None else look_up(rows, samples)
        if found is None:
            raise InputError(f"{self.spec}: there is no {samples!r} for the number of samples")
        values = np.nan_to_num(rewards_of(found, str(samples), row))
        # Each sample becomes a row: a column of tokens or of ids would fill the memory.
        if (wrong := np.flatnonzero((values != np.floor(values)) | (values < 0) | (values > _MOST_SAMPLES))).size:
            at = int(wrong[0])
            raise InputError(
                f"{row(at)}: {samples} is {values[at]:.15g}, which is not a number of samples (0 to {_MOST_SAMPLES:,})"
            )
        return values.astype(np.int64)

    def _note_sources(self, rows: Rows) -> None:
        """Count the values of steps and tasks. Raises InputError for a second one, unless they are pooled."""
        for kind, paths in (("steps", self.layout.steps), ("tasks", self.layout.tasks)):
            for path in paths:
                found = look_up(rows, path)
                if found is None or not rows.size:
                    continue
                counts = self.tally.sources.setdefault(path, {})
                # Arrow counts in C; a batch has a handful of steps.
                for item in found.array.value_counts().to_pylist():
                    if item["values"] is not None:
                        value = item["values"]
                        counts[value if isinstance(value, str | int) else str(value)] = (
                            counts.get(value, 0) + item["counts"]
                        )
                if len(counts) > 1 and not self.options.pool:
                    raise several(self.spec, kind, path, list(counts))

    def _is_training(self, name: str) -> bool:
        """Whether a column is one of the training data, which goes to the outputs as original_*."""
        return name.startswith(ORIGINAL) or name in TRAINING_COLUMNS

    def _rest(self, rows: Rows, mapped: Mapping[str, Column]) -> dict[str, Column]:
        """The columns that are none of ours: the rollout's under their own names, the training data's as original_*."""
        layout = self.layout
        rollout = (layout.response, layout.reward, layout.finish_reason, layout.max_tokens, layout.model)
        used = {path for path in (*rollout, layout.reward_status, layout.sample) if path} | set(layout.drop)
        # The column that the response was taken from goes, or its text would be written twice.
        used |= {root(path) for path in (layout.response,) if path}
        group = layout.group
        ids = group.columns if group is not None and not group.hashed and not group.regex else ()
        for path in (layout.prompt, layout.ground_truth, layout.data_source, layout.extra_info, *ids):
            # What is the training data's stays where it is in its row, beside what was made of it.
            if path and not layout.training and not self._is_training(root(path)):
                used |= {path, root(path)} if path == layout.prompt else {path}
        found: dict[str, Column] = {}
        for theirs, column in rows.columns.items():
            exploded = theirs in layout.explode
            if theirs in used or theirs == PROMPT == layout.prompt or (exploded and not theirs.isidentifier()):
                continue
            training = layout.training and not exploded and theirs not in layout.rollout
            name = ORIGINAL + theirs if training or theirs in TRAINING_COLUMNS else theirs
            # Files of ours that went through another tool have the prefix already.
            name = name.removeprefix(ORIGINAL) if name.startswith(ORIGINAL * 2) else name
            if name == GROUND_TRUTH and name in mapped:
                continue
            # A foreign column must not take a name that has a meaning here.
            found[f"input_{name}" if name in OURS or name in mapped or name in found else name] = column
        return found


def several(spec: str, kind: str, path: str, values: Sequence[Any]) -> InputError:
    """The error for rollouts of several policies or tasks in one input."""
    shown = ", ".join(map(repr, values[:4]))
    name = path if re.fullmatch(r"[A-Za-z_][\w.]*", path) else f"`{path}`"
    why = "two steps, models or runs may be two policies" if kind == "steps" else "the rollouts of each are kept apart"
    chosen = f'--rows "{name} == {values[0]!r}"'
    return InputError(
        f"{spec}: holds several values of {path} ({shown}, ...): {why}; pick one with {chosen}, "
        "or pass --pool if they belong together"
    )
