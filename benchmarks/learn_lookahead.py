"""Learn analyzer/rewards/math_verify/precomputed.json: what the parser's tables know before the first text.

    python benchmarks/learn_lookahead.py ../shared/data/*.parquet     # rollouts, and training data with ground truths

To be run again when latex2sympy2_extended or ANTLR's runtime is another: the file is passed over then, and each child
learns for itself. Texts leave no trace in it but for the orders of kinds of tokens that occur in them, such as number,
plus, letter. tests/rewards/math_verify/test_precomputed.py holds the file against the tables it is an excerpt of.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from antlr4 import PredictionMode
from latex2sympy2_extended.latex2sympy2 import PSParser, _Latex2Sympy

from analyzer.rewards.math_verify import candidates, equivalence, precomputed
from analyzer.rewards.math_verify.prediction import Predictor, Tables
from analyzer.rewards.math_verify.reward import MathVerify
from analyzer.schema import Unscored


def texts_of(path: Path) -> Iterator[str]:
    """The LaTeX in the ground truths and answers of a file of rollouts or of training data, normalized."""
    table = pq.read_table(path)
    infos: list[Any] = []
    for name in ("original_reward_model", "reward_model"):
        infos += table[name].to_pylist() if name in table.column_names else []
    golds = {str(info["ground_truth"]) for info in infos if isinstance(info, dict)}
    found = [candidates.Candidate(candidates.LATEX, (gold,), (False,)) for gold in sorted(golds)]
    reward = MathVerify()
    for response in table["response"].to_pylist() if "response" in table.column_names else []:
        try:
            found += reward.extract(response) or ()
        except Unscored:
            continue
    for candidate in dict.fromkeys(found):
        if candidate.kind == candidates.LATEX:
            for text in candidate.texts:
                yield equivalence._normalized(text)


def learn(texts: list[str]) -> Tables:
    """Tables that have met all of these texts, in both modes."""
    tables = Tables.of(PSParser, empty=True)
    for number, text in enumerate(texts):
        if number % 1000 == 0:
            print(f"{number:,} of {len(texts):,} texts", file=sys.stderr, flush=True)
        for mode in (PredictionMode.SLL, PredictionMode.LL):
            try:
                parser = _Latex2Sympy(is_real=True).create_parser(equivalence._compact(text))
                Predictor.installed_in(parser, tables).predictionMode = mode
                parser.math()
                break
            except Exception:  # noqa: BLE001 - what does not parse teaches where it ends
                continue
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    texts = list(equivalence._USUAL)
    for path in parser.parse_args().files:
        texts += [text for text in texts_of(path) if len(text) < 400]
    tables = learn(list(dict.fromkeys(texts)))
    grammar = precomputed.grammar_of(sys.modules[PSParser.__module__])
    precomputed.FILE.write_text(precomputed.written(grammar, tables.at_large, tables.in_context))
    print(f"{precomputed.FILE}: {precomputed.FILE.stat().st_size:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
