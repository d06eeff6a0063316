"""rule: which problems are kept, in which order, and why each of the others is not.

    condition (recipe and --where)  ->  order (--nearest, --sort)  ->  number (--take, --per)  ->  order of the output

A problem whose outcome is unknown, since a value in the condition is missing, is never kept: it counts as `unscored`
where it has no reward at all, else as `undecided`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer.config import SelectionSettings
from analyzer.difficulty.informative import mixed
from analyzer.difficulty.posterior import gathered, posterior
from analyzer.errors import ConfigError, InputError
from analyzer.expression import Expression, compile_expression
from analyzer.files import inputs
from analyzer.registry import did_you_mean
from analyzer.rollouts.dataset import is_text
from analyzer.schema import PROMPT
from analyzer.selection import recipes
from analyzer.selection.analysis import NUM_SCORED, ROW, Analysis
from analyzer.selection.recipes import Pool, Recipe

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from analyzer.schema import FloatArray, IntArray

REASONS = ("kept", "rule", "unscored", "undecided", "not taken")
"""What became of a problem: kept; the condition is false of it; no rollout has a reward; another value in the condition
is missing; beyond --take."""
KEPT, BY_RULE, UNSCORED, UNDECIDED, NOT_TAKEN = range(len(REASONS))
_INFORMATIVE = re.compile("informative@[0-9]{1,4}")
PASS_RATE, DATA_SOURCE, RANDOM = "pass_rate", "data_source", "random"


class Rule(NamedTuple):
    """What was asked for, the recipe's part filled in; names are checked."""

    where: Expression | None
    pools: tuple[tuple[Expression, float], ...]  # (condition, weight), the first that holds counts
    nearest: float | None
    take: int | None
    per: str | None
    order: str | None  # the column whose first values --take keeps
    sort: str | None  # ... and the one that orders the file
    seed: int
    recipe: Recipe | None

    def sentence(self) -> str:
        """The rule in one line."""
        parts = [self.where.text] if self.where else []
        if self.pools:
            parts.append("weights " + ", ".join(f"{weight:g} where {pool.text}" for pool, weight in self.pools))
        if self.take is not None:
            chosen = (
                f"nearest to a pass rate of {self.nearest:g}"
                if self.nearest is not None
                else f"first by {self.order}"
                if self.order not in (None, RANDOM)
                else "at random"
            )
            parts.append(f"{self.take} {f'of each {self.per} ' if self.per else ''}{chosen}")
        if self.sort and (self.take is None or self.nearest is not None or self.sort != self.order):
            parts.append(f"sorted by {self.sort}")
        return "; ".join(parts) or "all problems"


class Choice(NamedTuple):
    """What a rule makes of the problems of an analysis."""

    kept: IntArray  # (kept,) rows of problems.parquet, in the order of the output
    reasons: NDArray[np.int8]  # (problems,) position in REASONS
    weights: FloatArray | None  # (problems,) of --weights; NaN: none


def make_rule(settings: SelectionSettings, analysis: Analysis) -> Rule:
    """Put flags and recipe together. Raises ConfigError for an unknown name or flags that do not go together."""
    names = list(analysis.columns)
    recipe = recipes.find(settings.recipe) if settings.recipe else None
    conditions = [text for text in (recipe.where if recipe else None, settings.where) if text]
    for text, flag in ((recipe.where if recipe else None, f"--recipe {settings.recipe}"), (settings.where, "--where")):
        if text:
            compile_expression(text, names, flag)  # each alone, so that an error names its flag
    # In parentheses, or an `or` in one of them would reach into the other.
    joined = " and ".join(f"({text})" for text in conditions) if len(conditions) > 1 else "".join(conditions)
    pools = _pools(settings, recipe)
    own_order = recipe.sort.format(group_size=settings.group_size) if recipe and recipe.sort else None
    sort = settings.sort or own_order
    rule = Rule(
        compile_expression(joined, names, "--where") if joined else None,
        tuple((compile_expression(pool.where, names, "--weights"), pool.weight) for pool in pools),
        settings.nearest,
        settings.take,
        settings.per,
        own_order if recipe and recipe.takes else sort,
        sort,
        settings.seed,
        recipe,
    )
    _check(rule, settings, analysis)
    return rule


def _check(rule: Rule, settings: SelectionSettings, analysis: Analysis) -> None:
    if settings.weights is not None and rule.recipe is not None and rule.recipe.pools:
        raise ConfigError(f"--recipe {settings.recipe} has weights of its own: leave out --weights, or the recipe")
    if rule.nearest is not None and rule.take is None:
        raise ConfigError("--nearest orders the problems: give --take N, the number to keep")
    if rule.per is not None and rule.take is None:
        raise ConfigError("--per needs --take N, the number to keep of each value")
    if rule.recipe is not None and rule.recipe.takes and (rule.take is None or rule.nearest is not None):
        remedy = "give --take N, the number to keep" if rule.take is None else "leave out --nearest, or the recipe"
        raise ConfigError(f"--recipe {settings.recipe} orders the problems: {remedy}")
    if rule.pools and (rule.take is not None or settings.control):
        raise ConfigError("--weights keeps problems with a weight instead of dropping them: no --take, no --control")
    for name, flag in ((rule.sort, "--sort"), (rule.per, "--per"), (rule.nearest is not None and PASS_RATE, "--take")):
        if isinstance(name, str) and name != RANDOM:
            _check_column(name.removeprefix("-"), analysis, flag)


def _check_column(name: str, analysis: Analysis, flag: str) -> None:
    """Raise ConfigError for an unknown name, with the nearest, and for a column whose values have no order."""
    import pyarrow as pa

    plain = name.strip("`")
    names = analysis.columns
    if plain not in names and flag == "--sort" and _INFORMATIVE.fullmatch(plain):
        if int(plain.partition("@")[2]) < 2:
            raise ConfigError(f"{flag} {name}: a group of fewer than 2 has no differences")
        return  # of another group size than the analysis has: computed from passes and samples when needed
    if plain not in names:
        near = did_you_mean(plain, list(names)) or f"; there are: {', '.join(names)}"
        raise ConfigError(f"{flag} {name}: there is no {plain!r}{near}")
    kind = analysis.problems.schema.field(names[plain]).type
    if pa.types.is_nested(kind) or pa.types.is_null(kind):
        raise ConfigError(f"{flag} {name}: the column is a {kind}, which cannot be ordered")


def _pools(settings: SelectionSettings, recipe: Recipe | None) -> tuple[Pool, ...]:
    if settings.weights is None:
        return recipe.pools if recipe else ()
    import yaml

    with inputs.open_binary(settings.weights) as file:
        try:
            given = yaml.safe_load(file.read())
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f", line {mark.line + 1}" if mark else ""
            reason = getattr(error, "problem", None) or error
            raise ConfigError(f"--weights {settings.weights}{line}: not valid YAML ({reason})") from None
    entries = given.get("pools") if isinstance(given, dict) else given
    fits = isinstance(entries, list) and all(isinstance(e, dict) and set(e) == {"where", "weight"} for e in entries)
    if not fits or not entries:
        raise ConfigError(
            f"--weights {settings.weights}: must be a list of pools such as "
            '[{where: "pass_rate <= 0.25", weight: 0.2}, {where: "pass_rate <= 1", weight: 1}]'
        )
    for entry in entries:
        weight = entry["weight"]
        # True is an int to Python. The comparison also refuses NaN, of which every comparison is false.
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
            raise ConfigError(f"--weights {settings.weights}: weight {weight!r} must be a number, 0 or more")
    return tuple(Pool(str(entry["where"]), float(entry["weight"])) for entry in entries)


# ---------------------------------------------------------------- the choice


def choose(rule: Rule, analysis: Analysis) -> Choice:
    """Apply a rule. Raises ConfigError where a value does not fit it, a text compared with a number."""
    scored = _numbers(analysis.column(NUM_SCORED), 0) > 0
    reasons = np.full(len(scored), KEPT, np.int8)
    if rule.where is not None:
        outcomes = analysis.evaluate(rule.where)
        true = outcomes.fill_null(False).to_numpy(zero_copy_only=False)
        unknown = outcomes.is_null().to_numpy(zero_copy_only=False)
        reasons = np.where(true, KEPT, np.where(unknown, UNDECIDED, BY_RULE)).astype(np.int8)
        # Why a value is missing counts more than that it is: without a reward no metric is known at all.
        reasons[~true & ~scored] = UNSCORED
    weights = None
    if rule.pools:
        weights, unknown = _weights(rule, analysis, reasons)
        # The order counts, each line overrules the one before: in no pool; perhaps in one, had its condition been
        # known; and no reward at all, which says why nothing is known.
        reasons[(reasons == KEPT) & np.isnan(weights)] = BY_RULE
        reasons[(reasons == BY_RULE) & unknown] = UNDECIDED
        reasons[(reasons == UNDECIDED) & ~scored] = UNSCORED
    kept = np.flatnonzero(reasons == KEPT)
    if rule.take is not None:
        kept = _taken(rule, analysis, kept, reasons, scored)
    return Choice(_ordered(rule, analysis, kept), reasons, weights)


def _weights(rule: Rule, analysis: Analysis, reasons: NDArray[np.int8]) -> tuple[FloatArray, NDArray[np.bool_]]:
    """(problems,) the weight of the first pool that each is in, NaN for none; and whether a pool is unknown of it."""
    weights = np.full(len(reasons), np.nan)
    unknown = np.zeros(len(reasons), bool)
    for expression, weight in rule.pools:
        outcomes = analysis.evaluate(expression)
        unknown |= outcomes.is_null().to_numpy(zero_copy_only=False)
        inside = outcomes.fill_null(False).to_numpy(zero_copy_only=False)
        # The first pool wins. Where it could not be evaluated, a later one must not take the problem: it may belong to
        # the first.
        weights[inside & np.isnan(weights) & ~unknown] = weight
    return weights, unknown


def _taken(
    rule: Rule, analysis: Analysis, kept: IntArray, reasons: NDArray[np.int8], scored: NDArray[np.bool_]
) -> IntArray:
    """The first --take problems of those kept, of each value of --per; sets `reasons` of the others."""
    assert rule.take is not None
    if rule.nearest is not None:
        order = _by_nearness(analysis, rule.nearest)
    elif rule.order in (None, RANDOM):
        # Of all problems and not of those kept: a rule that keeps one more moves no other problem in the order.
        order = np.random.default_rng(rule.seed).permutation(len(reasons))
    else:
        order = _by_column(analysis, str(rule.order))
    candidate = np.zeros(len(reasons), bool)
    candidate[kept] = True
    missing = np.setdiff1d(kept, order)  # no value to order them by
    reasons[missing] = np.where(scored[missing], UNDECIDED, UNSCORED)
    order = order[candidate[order]]
    group = np.zeros(len(reasons), np.int64)
    if rule.per is not None:
        # Problems without a value are a group of their own, as a missing level is still one kind of problem.
        encoded = analysis.column(rule.per.strip("`")).dictionary_encode(null_encoding="encode")
        group = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    # stable: within each group the order that was asked for holds, and a problem's place in it is what --take counts.
    by_group = order[np.argsort(group[order], kind="stable")]
    # Codes begin at 0, so prepend=-1 makes the first row a start.
    starts = np.flatnonzero(np.diff(group[by_group], prepend=-1))
    place = np.arange(len(by_group)) - np.repeat(starts, np.diff(np.append(starts, len(by_group))))
    taken = by_group[place < rule.take]
    reasons[by_group[place >= rule.take]] = NOT_TAKEN
    # In the order that was asked for, not group by group.
    return order[np.isin(order, taken)]


def _by_nearness(analysis: Analysis, target: float) -> IntArray:
    """Problems by the distance of their pass rate, then those with more samples, then by data_idx; none without one."""
    rates = _numbers(analysis.column(PASS_RATE), np.nan)
    samples = _numbers(analysis.column(NUM_SCORED), 0)
    distance = np.round(np.abs(rates - target), 12)  # 0.3 and 0.7 are equally far from 0.5 only when rounded
    # lexsort compares by its last key first.
    order = np.lexsort((np.arange(len(rates)), -samples, distance))
    return order[~np.isnan(rates[order])]


def _by_column(analysis: Analysis, sort: str) -> IntArray:
    """Problems by a column (-column: descending), ties by data_idx; none whose value is missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    name = sort.removeprefix("-").strip("`")
    values = analysis.column(name) if name in analysis.columns else _informative(analysis, name)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    # NaN is a missing value too: as null it is left out below.
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    table = pa.table({"value": values, "row": np.arange(len(values))})
    direction = "descending" if sort.startswith("-") else "ascending"
    order = pc.sort_indices(table, sort_keys=[("value", direction), ("row", "ascending")]).to_numpy()
    missing = values.is_null().to_numpy(zero_copy_only=False)
    return np.asarray(order[~missing[order]], np.int64)


def _informative(analysis: Analysis, name: str) -> pa.Array:
    """(problems,) the posterior probability that a group of G holds passes and failures, for the name informative@G."""
    import pyarrow as pa

    samples = _numbers(analysis.column(NUM_SCORED), 0).astype(np.int64)
    # rint: a share times its denominator is whole but for the last bit, and astype would cut 2.9999 to 2.
    passes = np.rint(_numbers(analysis.column(PASS_RATE), 0) * samples).astype(np.int64)
    found = posterior(passes, samples, source_numbers(analysis)[0])
    values = gathered(found.classes, found.mean(mixed(int(name.partition("@")[2]))))
    return pa.array(values, from_pandas=True)


def _ordered(rule: Rule, analysis: Analysis, kept: IntArray) -> IntArray:
    """The order of the output: by --sort, what has no value last; else nearest first; else by data_idx."""
    if rule.sort == RANDOM:
        # Sorted first, the order depends on which problems are kept and not on how they were taken.
        return np.random.default_rng(rule.seed).permutation(np.sort(kept))
    if rule.sort is not None:
        order = _by_column(analysis, rule.sort)
        chosen = order[np.isin(order, kept)]
        return np.concatenate([chosen, np.setdiff1d(kept, chosen)])
    return kept if rule.nearest is not None else np.sort(kept)


def control_group(choice: Choice, sources: IntArray, prompts: IntArray, seed: int) -> IntArray:
    """As many other problems at random, from each data source as many as were kept where there are; ascending rows.

    sources: (problems,) the number of each problem's data source. What a data source lacks others give. prompts: the
    number of its prompt; a problem that asks what a kept one asks would be trained on in both.
    """
    # A stream of its own: with the seed alone the control would be in the order of --sort random.
    random = np.random.default_rng([seed, 1])
    others = random.permutation(np.flatnonzero((choice.reasons != KEPT) & ~np.isin(prompts, prompts[choice.kept])))
    wanted = np.bincount(sources[choice.kept], minlength=int(sources.max(initial=0)) + 1)
    by_source = others[np.argsort(sources[others], kind="stable")]
    # by_source is sorted by data source: the first place of its own one tells how many of it come before a problem.
    starts = np.searchsorted(sources[by_source], sources[by_source])
    first = np.arange(len(by_source)) - starts < wanted[sources[by_source]]
    rest = random.permutation(by_source[~first])
    return np.sort(np.concatenate([by_source[first], rest])[: len(choice.kept)])


def prompt_numbers(analysis: Analysis) -> IntArray:
    """(problems,) the prompt of each problem as a number, equal for equal prompts."""
    numbers: dict[bytes, int] = {}  # by digest: 600,000 prompts of a page each need no gigabytes
    found = []
    for batch in analysis.read([ROW + PROMPT]):
        for prompt in batch.column(0).to_pylist():
            digest = hashlib.blake2b(repr(prompt).encode(errors="surrogatepass"), digest_size=12).digest()
            found.append(numbers.setdefault(digest, len(numbers)))
    return np.array(found, np.int64)


def source_numbers(analysis: Analysis) -> tuple[IntArray, list[str]]:
    """(problems,) the data source of each problem as a number, and their names; one, "all", if there is none."""
    column = analysis.columns.get(DATA_SOURCE)
    if column is None or not is_text(analysis.problems.schema.field(column).type):
        return np.zeros(analysis.problems.rows, np.int64), ["all"]
    encoded = analysis.column(DATA_SOURCE).dictionary_encode(null_encoding="encode")
    names = ["(none)" if name is None else str(name) for name in encoded.dictionary.to_pylist()]
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), names


def _numbers(column: pa.Array, missing: float) -> FloatArray:
    import pyarrow as pa

    return np.asarray(column.cast(pa.float64()).fill_null(missing).to_numpy(zero_copy_only=False))


def settings_of(settings: SelectionSettings) -> dict[str, Any]:
    """The settings that were given, as `analyzer.select(**settings)` takes them; those that change no row left out."""
    return {
        field.name: value
        for field in dataclasses.fields(settings)
        if (value := getattr(settings, field.name)) != field.default and field.name not in ("overwrite", "dry_run")
    }


def check_empty(choice: Choice, rule: Rule, analysis: Analysis) -> None:
    """Raise InputError where nothing is left to write; it says what values the columns of the condition have."""
    if len(choice.kept) > 0:
        return
    counts = np.bincount(choice.reasons, minlength=len(REASONS)).tolist()
    words = {BY_RULE: "do not fit it", UNSCORED: "have no reward", UNDECIDED: "lack a value that it needs"}
    why = ", ".join(f"{counts[reason]:,} {what}" for reason, what in words.items() if counts[reason])
    conditions = [rule.where] if rule.where else [pool for pool, _ in rule.pools]
    names = dict.fromkeys(name for condition in conditions for name in condition.names)
    ranges = [f"; {name} is {values}" for name in names if (values := _range_of(analysis.column(name)))]
    problems = f"{len(choice.reasons):,} problems"
    raise InputError(f"the rule keeps no problem: {rule.sentence()}; of {problems} {why}{''.join(ranges)}")


def _range_of(column: pa.Array) -> str:
    """The values of a column as a message shows them: `0 to 1` of numbers, `'easy', 'hard'` of few texts, else ""."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        least, most = pc.min_max(column).as_py().values()
        return "" if least is None else f"{least:g} to {most:g}"
    if not is_text(kind):
        return ""
    texts = column.unique().drop_null().to_pylist()
    return ", ".join(map(repr, sorted(texts))) if len(texts) <= 10 and max(map(len, texts), default=0) <= 40 else ""
