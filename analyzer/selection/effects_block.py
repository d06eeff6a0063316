"""effects_block: the effects of a selection as it prints them, from what its manifest says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analyzer.errors import counted, percentage, printable
from analyzer.selection.rule import REASONS

_WIDTH = 60
_HEADS = {"rule": "excluded"}  # by the rule


def block(manifest: Mapping[str, Any]) -> str:
    """The effects of a selection as lines."""
    line = "=" * _WIDTH
    problems = manifest["analysis"]["problems"]
    lines = [line, "SELECTION", line, f"Rule: {printable(manifest['rule'])}"]
    if recipe := manifest["recipe"]:
        n = f", n = {recipe['n']}" if recipe["n"] else ""
        lines.append(f"Recipe: {recipe['name']} ({recipe['source']}{n})")
    kept, asked = manifest["kept"], manifest["asked_for"] or 0
    short = f"; --take asks for {asked}, no others fit the rule" if asked > kept else ""
    lines += [f"Problems kept: {kept} of {problems}{short}", "", *_table(manifest["by_data_source"])]
    if manifest["kept_unscored"]:
        lines.append(f'{manifest["kept_unscored"]} of the kept have no reward: leave them out with "num_scored > 0"')
    lines += ["", *_at_this_n_lines(manifest["at_this_n"]), *_sampling_lines(manifest["another_sampling"])]
    lines.append("Groups with both passes and failures, all -> kept problems (expected; 90 % interval):")
    for group, shares in manifest["informative_groups"].items():
        lines.append(f"  of {group:>2}: {_share(shares['before'])} -> {_share(shares['after'])}")
    if any(shares["after"] is None for shares in manifest["informative_groups"].values()):
        lines.append("  (n/a: the kept problems have no reward, or most have one sample, which does not tell)")
    if shares := manifest["different_rewards"]:
        of_all = ", ".join(f"of {group}: {_hundredths(share)}" for group, share in shares.items())
        lines.append(f"Groups with different rewards, which teach too, all problems: {of_all}")
    if tokens := manifest["tokens"]:
        lines.append(
            f"Tokens: {percentage(tokens['share_kept'])} of all responses' tokens; mean length "
            f"{tokens['mean_before']:g} -> "
            f"{tokens['mean_after']:g}"
        )
    if left := manifest.get("responses"):
        lines.append(f"Responses left out: {left['unscored']} without a reward, {left['cut_off']} cut off")
    if manifest.get("rendered_prompts"):
        lines.append(
            "Prompts: these are text that a chat template made, and a trainer applies its own to it: run "
            "analyze_rollouts with --join train.parquet, which brings the prompts of your training data"
        )
    for written in (manifest, manifest.get("control") or {}):
        if "output" in written:
            lines.append(
                f"Written: {written['output']}, {counted(written['rows'], 'row')}, format {manifest['format']}"
            )
    return "\n".join([*lines, line]) + "\n"


def _table(by_source: Mapping[str, Mapping[str, int]]) -> list[str]:
    shown = [reason for reason in REASONS if any(reason in counts for counts in by_source.values())]
    heads = ["problems", *shown]
    # A data source is text of the input, and could hold terminal escapes.
    rows = [(printable(name), [counts.get(head, 0) for head in heads]) for name, counts in by_source.items()]
    if len(rows) > 1:
        rows.append(("all", [sum(column) for column in zip(*(values for _, values in rows), strict=True)]))
    width = max(len("data source"), *(len(name) for name, _ in rows))
    lines = ["  ".join([f"{'data source':<{width}}", *(f"{_HEADS.get(head, head):>9}" for head in heads)])]
    return lines + ["  ".join([f"{name:<{width}}", *(f"{value:>9}" for value in values)]) for name, values in rows]


def _at_this_n_lines(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return []
    share = "" if found["share_of_problems"] == 1 else f" ({percentage(found['share_of_problems'])} of the problems)"
    passes = "pass" if found["passes_kept"] == "1" else "passes"
    same = f": the same set as {', '.join(found['same_as'])}" if found["same_as"] else ""
    return [f"At n = {found['n']}{share} the rule keeps {found['passes_kept']} {passes} of {found['n']}{same}"]


def _sampling_lines(found: Mapping[str, float] | None) -> list[str]:
    if found is None:
        return []
    return [
        f"If you resampled, about {found['would_leave']:.0f} of the problems that fit the rule would no "
        f"longer fit, and {found['would_enter']:.0f} others would"
    ]


def _share(estimate: Mapping[str, float] | None) -> str:
    if estimate is None:
        return "n/a"
    share, low, high = (_hundredths(estimate[name]) for name in ("share", "low", "high"))
    return f"{share} ({low} to {high})"


def _hundredths(share: float) -> str:
    """Two decimals; only all is 1.00 and only nothing 0.00."""
    text = f"{share:.2f}"
    if 0 < share < 1 and text in ("0.00", "1.00"):
        return "<0.01" if share < 0.5 else ">0.99"
    return text
