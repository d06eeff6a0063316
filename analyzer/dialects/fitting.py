"""fitting: what a layout names, compared with the columns that an input really has.

A dialect's layout names all that its files may hold: what a file lacks is left out, of `a|b` the one that is there is
taken, and where a reward's name is the user's own the one numeric column that is left must be it. What the user named
with --columns must be there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from analyzer.dialects import operations
from analyzer.dialects.layout import ANY, FILE, Group, Layout, paste
from analyzer.dialects.lookup import Column, Rows, is_list, look_up, root, spelt
from analyzer.errors import InputError
from analyzer.registry import did_you_mean


class Options(NamedTuple):
    """What the user asks for beside the layout."""

    rows: str | None = None  # --rows
    pool: bool = False
    rescore: bool = False  # rewards will not be used
    join_on: str | None = None  # path of the key that tells which training row a rollout is of
    asked: tuple[str, ...] = ()  # keys of the layout whose columns must be there


def fit(layout: Layout, rows: Rows, options: Options, spec: str) -> Layout:
    """The layout without what the columns lack, its one reward chosen. `spec`: the input, as messages name it.

    Raises InputError for what --columns names and the input lacks, and where one of several columns must be chosen.
    """
    import pyarrow as pa

    _check_asked(layout, rows, options, spec)
    fitted: dict[str, Any] = {"reward": None} if options.rescore else {}
    layout = dataclasses.replace(layout, **fitted)
    if layout.explode:
        # A text beside lists of texts is one response: distilabel writes either.
        asked = "explode" in options.asked
        named = {path: column for path in layout.explode if (column := look_up(rows, path)) is not None}
        lists = {path for path, (array, _) in named.items() if is_list(array.type) or pa.types.is_null(array.type)}
        kept = tuple(path for path in layout.explode if asked or path in lists)
        layout = dataclasses.replace(layout, explode=kept)
        if kept:
            rows, _ = operations.explode(rows, kept, lambda at: spec)
    for key, path in layout.paths():
        if key not in ("explode", "steps", "tasks", "group") and path != ANY:
            _check_star(rows, key, path, spec)
            # A column of nothing but nulls holds no rewards: the rollouts are to be scored.
            found_at = look_up(rows, path)
            unscored = key == "reward" and found_at is not None and pa.types.is_null(found_at.array.type)
            fitted[key] = None if found_at is None or unscored else _taken(rows, path)
    if layout.reward == ANY:
        found = _other_rewards(layout, rows, spec)
        fitted |= {"reward": found[0] if found else None}
    fitted["group"] = None if layout.group is None else _group(layout.group, rows, options, spec)
    _check_told_apart(fitted, rows, spec)
    for key in ("steps", "tasks"):
        fitted[key] = tuple(path for path in getattr(layout, key) if look_up(rows, path) is not None)
    return dataclasses.replace(layout, **fitted)


def _check_told_apart(fitted: Mapping[str, Any], rows: Rows, spec: str) -> None:
    """Raise InputError where nothing tells the problems apart: all rollouts would be those of one."""
    group = fitted["group"]
    paths = group.columns if group is not None else (fitted.get("prompt"), fitted.get("ground_truth"))
    there = [path for path in paths if path is not None and look_up(rows, path) is not None]
    if all(_is_empty(look_up(rows, path)) for path in there):
        why = f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} null in every row" if there else "no prompts"
        raise InputError(
            f"{spec}: nothing tells the problems apart ({why}); name the column that does, such as "
            f"{paste({'group': 'problem_id'})} (the columns are: {', '.join(rows.columns)})"
        )


def _group(group: Group, rows: Rows, options: Options, spec: str) -> Group | None:
    """What identifies a problem, of the columns that are there; None: the default. Raises InputError."""
    if not group.hashed and _is_empty(look_up(rows, group.columns[0])):
        # Nothing but nulls tells no problems apart: all rollouts would be those of one.
        if "group" in options.asked:
            raise InputError(f"{spec}: {group.columns[0]}, which identifies the problem, is null in every row")
        return None
    there = tuple(_taken(rows, path) for path in group.columns if look_up(rows, path) is not None)
    # A hash may do with fewer columns; a single one that is missing leaves the default.
    may_do = group.hashed or len(there) == len(group.columns)
    return group._replace(columns=there) if there and may_do else None


def _check_asked(layout: Layout, rows: Rows, options: Options, spec: str) -> None:
    """Raise InputError for what --columns names and the input lacks, with the nearest name."""
    if layout.explode and "explode" in options.asked:
        rows, _ = operations.explode(rows, layout.explode, lambda at: spec)
    for key, path in layout.paths():
        if key not in options.asked or path in (ANY, FILE):
            continue
        _check_star(rows, key, path, spec)
        if look_up(rows, path) is None:
            hint = did_you_mean(root(path), rows.columns)
            raise InputError(
                f"{spec}: --columns: {key}: there is no {path!r}{hint} (the columns are: {', '.join(rows.columns)})"
            )


def _check_star(rows: Rows, key: str, path: str, spec: str) -> None:
    try:
        look_up(rows, path)
    except InputError as error:
        names = str(error).removeprefix("one of ").removesuffix(" must be chosen").split(", ")
        chosen = f'{path.removesuffix("." + ANY)}["{names[0]}"]'
        raise InputError(
            f"{spec}: {path.removesuffix('.' + ANY)} holds {', '.join(names)}: choose one, with {paste({key: chosen})}"
        ) from None


def _other_rewards(layout: Layout, rows: Rows, spec: str) -> list[str]:
    """The numeric columns that the dialect does not know, of which one is the reward. Raises InputError for two."""
    import pyarrow as pa

    known = {root(one.strip()) for _, path in layout.paths() if path != ANY for one in path.split("|")}
    known |= {*layout.drop, *(name for name, _ in layout.file)}
    # A trainer's reward column is named after the user's own function, so it is recognized by its type.
    number = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean)
    found = [
        name
        for name, column in rows.columns.items()
        if name not in known and any(fits(column.array.type) for fits in number)
    ]
    if len(found) > 1:
        raise InputError(
            f"{spec}: holds several rewards ({', '.join(found)}); choose one, such as "
            f"{paste({'reward': found[0]})}, or score again with --rescore"
        )
    return found if len(found) == 1 else []


def _is_empty(column: Column | None) -> bool:
    """Whether a column has no values in any row."""
    import pyarrow as pa

    return column is not None and pa.types.is_null(column.array.type)


def _taken(rows: Rows, path: str) -> str:
    """Of `a|b` the one that is there."""
    return spelt(rows, path) or path
