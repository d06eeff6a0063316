"""What counts tokens as transformers does: first what tokenizer.json says it is, then the proof that this is right.

Importing transformers and loading a tokenizer with it takes over a second, so workers start with what the file alone
says (`as_the_file_says`) while a process apart loads it with transformers and compares (`as_transformers_loads_it`).
transformers may build another tokenizer than the file holds: tokens of tokenizer_config.json added, a class of its own,
code of the model's. What was counted before the proof is kept only if nothing that decides a count differs.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from analyzer import tokens
from analyzer.files import storage
from analyzer.tokens import GIGATOKEN, TOKENIZERS, TRANSFORMERS, SpecialToken, TokenizerSpec

_NOT_COUNTING = ("truncation", "padding", "post_processor", "decoder")
"""Parts of a tokenizer.json that decide no count: what is added to a text, what is shown of its tokens."""

# Text that tokenizers disagree about when they disagree at all; counted beside the sample of real responses.
_TRICKY = (
    "",
    " ",
    "\n\n\n  \t x",
    "don't DON'T we'll I'VE",
    "1234567890 3.14159 1,000,000 ½ ² Ⅷ",
    "naïve café e\u0301 \u00e9 ﬁ Å",
    "日本語のテキスト。漢字、かな 한국어 العربية עברית",
    "👩‍👩‍👧‍👦 🇨🇭 1️⃣ \u200b\u200d\ufeff x\u00a0y",
    "def f(x):\r\n\treturn x**2  # €\r\n",
    "\\boxed{\\frac{1}{2}} $$\\sum_{i=1}^{n} i^2$$ <think>hm</think>",
    "a" * 300 + " " * 200 + "=" * 100,
    "\x00\x01\x7f",
)


class Proof(NamedTuple):
    """What counts as transformers does."""

    spec: TokenizerSpec  # on the sample and on _TRICKY
    any_text: TokenizerSpec  # on _TRICKY alone: what to begin with for other rollouts


def as_the_file_says(model_path: str, folder: str | os.PathLike[str]) -> TokenizerSpec | None:
    """What the tokenizer.json of a folder says, a copy of it in `folder`; None if there is none to begin with."""
    path = Path(model_path) / "tokenizer.json"
    if not path.is_file():
        return None
    try:
        text = path.read_bytes()
        fields = orjson.loads(text)
        if fields["truncation"] or fields["padding"]:  # a count is that of the whole response
            return None
        added = [token for token in fields["added_tokens"] if token["special"] and token["content"]]
        found = {SpecialToken(token["content"], token["lstrip"], token["rstrip"]) for token in added}
    except (OSError, ValueError, KeyError, TypeError):  # transformers will say what is wrong with it
        return None
    return _kept(GIGATOKEN, text, tokens.longest_first(found), folder)


class Loaded(NamedTuple):
    """A tokenizer as transformers loads it."""

    model_path: str
    trust_remote_code: bool
    tokenizer: Any


def load(model_path: str, trust_remote_code: bool) -> Callable[..., Proof]:
    """Load a tokenizer with transformers; what is returned is called with the rest that `prove` asks for.

    In two steps, since loading can begin before there is a sample. Raises TokenizerError.
    """
    tokenizer = tokens.load(model_path, trust_remote_code)
    return functools.partial(prove, Loaded(model_path, trust_remote_code, tokenizer))


def prove(loaded: Loaded, folder: str, sample: Sequence[str], begun_with: TokenizerSpec | None = None) -> Proof:
    """The fastest engine that counts as this tokenizer does; what it needs is written to `folder`.

    begun_with: what the file says, returned as it is where nothing that decides a count differs from it.
    """
    model_path, trust_remote_code, tokenizer = loaded
    specials = tokens.special_tokens(tokenizer)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = b""
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
        text = backend.to_str().encode()
        if begun_with is not None and begun_with.specials == specials:
            original = Path(begun_with.path).read_bytes()
            text = original if _count_alike(original, text) else text
    if text:
        always = [*_TRICKY, *_around(specials)]
        texts = [*always, *sample]
        # add_special_tokens=False: the count is that of the text, not of a prompt made from it.
        expected = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
        any_text: TokenizerSpec | None = None
        # Proved on this tokenizer and these texts, not believed: the libraries are separate programs, and a class of
        # transformers, or code of a model's own, may do more than its backend.
        for engine in (GIGATOKEN, TOKENIZERS):
            spec = _kept(engine, text, specials, folder)
            counts = _counts(spec, texts)
            if any_text is None and counts is not None and counts[: len(always)] == expected[: len(always)]:
                any_text = spec
            if counts == expected:
                return Proof(spec, any_text or spec)
    source = os.path.abspath(model_path) if os.path.isdir(model_path) else model_path
    vocabulary = repr(sorted(tokenizer.get_vocab().items()))
    digest = tokens.digest(TRANSFORMERS, model_path, text, vocabulary, repr(specials))
    spec = TokenizerSpec(TRANSFORMERS, source, specials, digest, trust_remote_code)
    return Proof(spec, spec)


def again(spec: TokenizerSpec, folder: str) -> Callable[[Sequence[str]], Proof]:
    """The proof of a known tokenizer on further rollouts, in two steps as `load`: it needs no transformers."""
    return functools.partial(_prove_again, spec, folder)


def _prove_again(spec: TokenizerSpec, folder: str, sample: Sequence[str]) -> Proof:
    text = Path(spec.path).read_bytes()
    slower = spec._replace(engine=TOKENIZERS, digest=tokens.digest(TOKENIZERS, text, repr(spec.specials)))
    if _counts(spec, sample) == _counts(slower, sample):
        return Proof(spec, spec)
    return Proof(_kept(TOKENIZERS, text, spec.specials, folder), spec)


def _kept(
    engine: str, text: bytes, specials: tuple[SpecialToken, ...], folder: str | os.PathLike[str]
) -> TokenizerSpec:
    """The spec of a tokenizer.json, written to `folder`, which must exist; to write it twice is harmless."""
    spec = TokenizerSpec(engine, "", specials, tokens.digest(engine, text, repr(specials)))
    # Named by its content, so runs of other tokenizers in one cache do not meet.
    spec = spec._replace(path=tokens.json_path(folder, spec))
    storage.write_if_changed(spec.path, text)
    return spec


def _count_alike(original: bytes, written: bytes) -> bool:
    """Whether a tokenizer.json is the same as one that the library wrote, in all that can change a count."""
    ours, theirs = _counting_part(orjson.loads(original)), _counting_part(orjson.loads(written))
    if ours == theirs:
        return True
    from tokenizers import Tokenizer

    # Through the library, which writes what it has understood: a file may leave defaults out, or be of an old version.
    return _counting_part(orjson.loads(Tokenizer.from_buffer(original).to_str())) == theirs


def _counting_part(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: _without_offsets(part) for name, part in fields.items() if name not in _NOT_COUNTING}


def _without_offsets(part: Any) -> Any:
    """A part without `trim_offsets`, which says where in the text a token is shown to stand."""
    if isinstance(part, list):
        return [_without_offsets(inner) for inner in part] if part and isinstance(part[0], dict) else part
    if isinstance(part, dict) and "type" in part:
        return {name: _without_offsets(inner) for name, inner in part.items() if name != "trim_offsets"}
    return part


def _around(specials: Sequence[SpecialToken]) -> list[str]:
    """Texts that hold special tokens: a tokenizer may be told to split those that are written in a text."""
    return ["".join(f"{token.content} x" for token in specials[:64])] if specials else []


def _counts(spec: TokenizerSpec, texts: Sequence[str]) -> list[int] | None:
    """What an engine counts; None where it cannot load the tokenizer or encode the texts."""
    try:
        counts: list[int] = tokens.TokenCounter(spec).count(texts).tolist()
        return counts
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001  # whatever it cannot do, a slower engine can; Rust's panics are no Exception
        return None
