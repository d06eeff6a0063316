"""The tokenizer: counts as transformers counts, special tokens out as its decoding takes them out."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from analyzer import tokens as subject
from analyzer.cache import tokenizer_proof
from analyzer.errors import TokenizerError
from tests.commands import SAMPLE, TOKENIZER

HOSTILE = ["", " " * 5000, "\x00\x1f\x7f", "<|im_end|>" * 30, "\N{WHITE SMILING FACE}\ufe0f\u200d" * 50, "a\u0300" * 99,
           "\\frac{1}{2}" * 40, "9" * 4000, "\r\n\t\v\f\x1c\x85\xa0\u2028\u3000", "日本語" * 300, "ﬁ½Ⅷ"]  # fmt: skip
SPECIALS = (
    AddedToken("<|a|>", special=True),
    AddedToken("<|a|>b", special=True),
    AddedToken("<l>", special=True, lstrip=True),
    AddedToken("<r>", special=True, rstrip=True),
    AddedToken("<lr>", special=True, lstrip=True, rstrip=True),
    AddedToken("<tool>", special=False),
)


def bytes_as_tokens() -> Tokenizer:
    """A tokenizer of one token per byte, which decodes to the very text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(list(SPECIALS))
    return tokenizer


def saved(folder: Path, tokenizer: Tokenizer) -> str:
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return str(folder)


def prepared(model: str | Path, folder: Path, sample: list[str] | None = None) -> subject.TokenizerSpec:
    folder.mkdir(exist_ok=True)
    begun_with = tokenizer_proof.as_the_file_says(str(model), folder)
    prove = tokenizer_proof.load(str(model), False)
    return prove(str(folder), sample or ["A sample."], begun_with).spec


def loaded_by_transformers(model: str | Path) -> Any:
    from transformers import AutoTokenizer  # here: a second of each worker of pytest

    return AutoTokenizer.from_pretrained(model)


def counts_of_transformers(model: str | Path, texts: list[str]) -> list[int]:
    return list(map(len, loaded_by_transformers(model)(texts, add_special_tokens=False)["input_ids"]))


def chunked(texts: list[str], kind: pa.DataType | None = None) -> pa.ChunkedArray:
    """Texts as a window holds them: in several chunks, one of them empty and one a slice of another."""
    column = pa.array(texts, kind or pa.string())
    cut = len(texts) // 3
    return pa.chunked_array([column[:cut], column[:0], column[cut:]], column.type)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks the hub; a text beyond model_max_length is no news."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    logging.getLogger("transformers").setLevel(logging.ERROR)


# ---------------------------------------------------------------- counts


def test_gigatoken_counts_the_sample_and_hostile_text_as_transformers_does(tmp_path: Path) -> None:
    texts = [*pq.read_table(SAMPLE)["response"].to_pylist()[:400], *HOSTILE]
    spec = prepared(TOKENIZER, tmp_path, texts[:64])
    assert spec.engine == subject.GIGATOKEN
    assert subject.TokenCounter(spec).count(texts).tolist() == counts_of_transformers(TOKENIZER, texts)


def test_gigatoken_counts_real_text_as_a_real_tokenizer_does(shared: Callable[[str], Path], tmp_path: Path) -> None:
    model = shared("tokenizers/qwen3")
    rows = pq.read_table(shared("data/gsm8k_zeroeval.parquet"), columns=["response"])
    texts = [*rows["response"][:150].to_pylist(), *HOSTILE]
    loaded = loaded_by_transformers(model)  # half a second
    spec = tokenizer_proof.prove(tokenizer_proof.Loaded(str(model), False, loaded), str(tmp_path), texts[:64]).spec
    assert spec.engine == subject.GIGATOKEN
    expected = loaded(texts, add_special_tokens=False)["input_ids"]
    assert subject.TokenCounter(spec).count(texts).tolist() == list(map(len, expected))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
@pytest.mark.parametrize("engine", [subject.GIGATOKEN, subject.TOKENIZERS])
def test_a_column_is_counted_as_each_of_its_texts_is(engine: str, kind: pa.DataType, tmp_path: Path) -> None:
    spec = prepared(TOKENIZER, tmp_path)
    digest = subject.digest(engine, Path(spec.path).read_bytes(), repr(spec.specials))
    counter = subject.TokenCounter(spec._replace(engine=engine, digest=digest))
    texts = [*pq.read_table(SAMPLE)["response"].to_pylist()[:50], *HOSTILE]
    assert counter.count_column(chunked(texts, kind)).tolist() == counter.count(texts).tolist()
    assert counter.count_column(chunked([], kind)).tolist() == []


def lower_casing(folder: Path) -> str:
    tokenizer = bytes_as_tokens()
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    return saved(folder, tokenizer)


def of_words(folder: Path) -> str:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "hello": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return saved(folder, tokenizer)


def of_python_only(folder: Path) -> str:
    folder.mkdir(parents=True)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "ByT5Tokenizer"}))
    (folder / "config.json").write_text(json.dumps({"model_type": "t5"}))
    return str(folder)


@pytest.mark.parametrize(
    ("make", "engine"),
    [
        (lower_casing, subject.TOKENIZERS),
        (of_words, subject.TOKENIZERS),
        (of_python_only, subject.TRANSFORMERS),
    ],
)
def test_where_gigatoken_does_not_hold_a_slower_engine_counts_the_same(
    make: Callable[[Path], str], engine: str, tmp_path: Path
) -> None:
    model = make(tmp_path / "model")
    texts = ["hello hello x", "", "Hello", *HOSTILE]
    spec = prepared(model, tmp_path)
    assert spec.engine == engine
    assert subject.TokenCounter(spec).count(texts).tolist() == counts_of_transformers(model, texts)


def test_a_count_that_differs_on_one_text_of_the_sample_falls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = subject._gigatoken_counts

    def wrong_about_plums(tokenizer: Any, texts: list[str]) -> Any:
        return count(tokenizer, texts) + [text == "plums" for text in texts]

    monkeypatch.setattr(subject, "_gigatoken_counts", wrong_about_plums)
    assert prepared(TOKENIZER, tmp_path, ["pears"]).engine == subject.GIGATOKEN
    assert prepared(TOKENIZER, tmp_path, ["pears", "plums"]).engine == subject.TOKENIZERS


@pytest.mark.parametrize("make", [bytes_as_tokens, lambda: Tokenizer.from_file(str(TOKENIZER / "tokenizer.json"))])
def test_truncation_and_padding_in_the_file_do_not_change_a_count(
    make: Callable[[], Tokenizer], tmp_path: Path
) -> None:
    texts = ["one", "two words " * 40, *HOSTILE]
    plain = saved(tmp_path / "plain", make())
    tokenizer = make()
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=50)
    cutting = prepared(saved(tmp_path / "cutting", tokenizer), tmp_path)
    expected = subject.TokenCounter(prepared(plain, tmp_path)).count(texts).tolist()
    text = Path(cutting.path).read_bytes()
    for engine in (subject.GIGATOKEN, subject.TOKENIZERS):
        digest = subject.digest(engine, text, repr(cutting.specials))
        assert subject.TokenCounter(cutting._replace(engine=engine, digest=digest)).count(texts).tolist() == expected


def test_a_counter_that_has_grown_is_renewed_and_counts_on(tmp_path: Path) -> None:
    texts = pq.read_table(SAMPLE)["response"].to_pylist()[:40]
    sizes = iter(range(0, 1 << 40, 100 << 20))
    counter = subject.TokenCounter(prepared(TOKENIZER, tmp_path), renew_after=1000, resident=lambda: next(sizes))
    counts = [counter.count(texts).tolist() for _ in range(8)]
    assert all(count == counts[0] for count in counts)
    assert 2 <= counter.loaded < 8


def test_nothing_is_counted_for_no_texts(tmp_path: Path) -> None:
    assert subject.TokenCounter(prepared(TOKENIZER, tmp_path)).count([]).tolist() == []


def test_another_tokenizer_has_another_digest_and_the_same_one_elsewhere_the_same(tmp_path: Path) -> None:
    one = prepared(saved(tmp_path / "one", bytes_as_tokens()), tmp_path)
    same = prepared(saved(tmp_path / "two", bytes_as_tokens()), tmp_path)
    tokenizer = bytes_as_tokens()
    tokenizer.add_tokens([AddedToken("<new>", special=True)])
    other = prepared(saved(tmp_path / "three", tokenizer), tmp_path)
    assert one.digest == same.digest != other.digest


# ---------------------------------------------------------------- special tokens


@pytest.fixture(scope="module")
def bytewise(tmp_path_factory: pytest.TempPathFactory) -> tuple[subject.TokenCounter, Any]:
    folder = tmp_path_factory.mktemp("bytewise")
    model = saved(folder / "model", bytes_as_tokens())
    return subject.TokenCounter(prepared(model, folder)), loaded_by_transformers(model)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from([token.content for token in SPECIALS])
        | st.sampled_from([" ", "\n", "\t\u3000", "\x1c", "<|a|", ">", "<", "b", "x", "é"]),
        max_size=12,
    ).map("".join)
)
def test_special_tokens_are_taken_out_as_decoding_takes_them_out(
    bytewise: tuple[subject.TokenCounter, Any], text: str
) -> None:
    counter, tokenizer = bytewise
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert counter.strip(text) == tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_a_column_is_stripped_as_each_of_its_texts_is(
    bytewise: tuple[subject.TokenCounter, Any], kind: pa.DataType
) -> None:
    counter, _ = bytewise
    special = [token.content for token in SPECIALS]
    texts = ["", "<", *special, "plain", *(f"é {token} <|" for token in special), "<", "|a|>", "日本", *special]
    assert counter.stripped(chunked(texts, kind), texts) == [counter.strip(text) for text in texts]
    assert counter.stripped(chunked([], kind), []) == []


@given(st.lists(st.text("<|im>é", max_size=9), max_size=9))
def test_a_column_is_stripped_of_tokens_that_begin_with_one_pair_of_bytes(texts: list[str]) -> None:
    specials = (subject.SpecialToken("<|im|>"), subject.SpecialToken("<|>"))
    counter = subject.TokenCounter(subject.NO_TOKENIZER._replace(specials=specials))
    assert counter.stripped(chunked(texts), texts) == [counter.strip(text) for text in texts]


def test_only_special_tokens_are_taken_out(bytewise: tuple[subject.TokenCounter, Any]) -> None:
    strip = bytewise[0].strip
    assert strip("<tool>5</tool> <|a|>") == "<tool>5</tool> "
    assert strip("nothing to strip") == "nothing to strip"


def test_very_much_white_space_is_stripped_in_linear_time(bytewise: tuple[subject.TokenCounter, Any]) -> None:
    counter, _ = bytewise
    space = " " * 200_000
    assert counter.strip(f"<|a|>{space}x{space}<l>") == f"{space}x"


# ---------------------------------------------------------------- loading


def test_a_tokenizer_with_code_of_its_own_asks_for_trust(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": [None, "mine.Mine"]}})
    )
    (tmp_path / "mine.py").write_text("raise SystemExit('ran')\n")
    with pytest.raises(TokenizerError, match="--trust_remote_code"):
        subject.load(str(tmp_path), False)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("no/such-model", "this machine is offline and has cached no model of that name"),
        ("./none", "no such folder"),
        (str(TOKENIZER / "tokenizer.json"), "is a file"),
        (str(TOKENIZER.parent), "tokenizer.json"),
    ],
)
def test_one_line_says_why_a_tokenizer_cannot_be_loaded(model: str, says: str) -> None:
    with pytest.raises(TokenizerError, match=says) as caught:
        subject.load(model, False)
    assert "\n" not in str(caught.value)
    assert model in str(caught.value)
