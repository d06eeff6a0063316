"""Scoring begins with what tokenizer.json says; in the end tokens are counted as transformers' AutoTokenizer counts."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from analyzer import tokens
from analyzer.cache import known_tokenizers, tokenizer_proof
from analyzer.cache.known_tokenizers import Search, TokenizerDiffers
from analyzer.errors import EXIT_OK, EXIT_USER
from analyzer.files import temporaries
from tests import processes
from tests.commands import ROOT, SAMPLE, TOKENIZER, Outcome, flags, known_tokenizer, parquet

NOTE = "transformers counts tokens otherwise than tokenizer.json by itself"
TEXTS = ["one two  three", "I'm <new> and <|end|> here, 12345", "", "Ünïcode ﬁ½ 日本語\r\n\t", "a" * 500]


def bytewise() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken("<|end|>", special=True)])
    return tokenizer


def saved(folder: Path, tokenizer: Tokenizer | None = None, **config: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text((tokenizer or bytewise()).to_str(), encoding="utf-8")
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return folder


def of_words(folder: Path) -> Path:
    """gigatoken cannot load it."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return saved(folder, tokenizer)


def with_a_token_of_the_config(folder: Path) -> Path:
    return saved(folder, extra_special_tokens=["12"], eos_token="of")


def with_a_special_token_of_the_config(folder: Path) -> Path:
    tokenizer = bytewise()
    tokenizer.add_tokens([AddedToken("the", special=False)])
    return saved(folder, tokenizer, eos_token="the")


def that_splits_special_tokens(folder: Path) -> Path:
    return saved(folder, split_special_tokens=True)


def that_truncates(folder: Path) -> Path:
    tokenizer = bytewise()
    tokenizer.enable_truncation(5)
    return saved(folder, tokenizer)


def rebuilt_by_its_class(folder: Path) -> Path:
    """transformers builds the tokenizer of this class itself, whatever splits words in the file."""
    return saved(folder, tokenizer_class="Qwen2Tokenizer")


def with_code_of_its_own(folder: Path) -> Path:
    saved(folder, tokenizer_class="Doubling", auto_map={"AutoTokenizer": [None, "doubling.Doubling"]})
    (folder / "doubling.py").write_text(
        "from transformers import PreTrainedTokenizerFast\n\n\n"
        "class Doubling(PreTrainedTokenizerFast):\n"
        "    def _encode_plus(self, *args, **kwargs):\n"
        "        found = super()._encode_plus(*args, **kwargs)\n"
        "        ids = found['input_ids']\n"
        "        found['input_ids'] = [i + i for i in ids] if ids and isinstance(ids[0], list) else ids + ids\n"
        "        return found\n"
    )
    return folder


KINDS = [
    of_words,
    with_a_token_of_the_config,
    with_a_special_token_of_the_config,
    that_splits_special_tokens,
    that_truncates,
    rebuilt_by_its_class,
    with_code_of_its_own,
]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def expected(model: Path, texts: list[str]) -> list[int]:
    from transformers import AutoTokenizer  # here: a second of each worker of pytest

    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=True)
    return list(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"]))


# ---------------------------------------------------------------- what counts in the end


@pytest.mark.parametrize("make", KINDS)
def test_whatever_transformers_makes_of_a_folder_its_counts_are_counted(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    model, texts = make(tmp_path / "model"), [*TEXTS, "of the 12 <|end|>", "the" * 9]
    folder = tmp_path / "tokenizers"
    folder.mkdir()
    begun = tokenizer_proof.as_the_file_says(str(model), folder)
    spec = tokenizer_proof.load(str(model), True)(str(folder), TEXTS, begun).spec
    assert tokens.TokenCounter(spec).count(texts).tolist() == expected(model, texts)


@pytest.mark.parametrize("name", ["sample", pytest.param("qwen3", marks=pytest.mark.slow)])
def test_what_the_file_says_is_enough_for_tokenizers_as_they_are_published(
    name: str, shared: Callable[[str], Path], tmp_path: Path
) -> None:
    model = TOKENIZER if name == "sample" else shared(f"tokenizers/{name}")
    begun = tokenizer_proof.as_the_file_says(str(model), tmp_path)
    assert begun is not None
    assert tokenizer_proof.load(str(model), False)(str(tmp_path), TEXTS, begun) == (begun, begun)


def changed(**parts: Any) -> str:
    tokenizer = bytewise()
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return tokenizer.to_str()


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (changed(), True),
        (changed(decoder=decoders.WordPiece()), True),
        (changed(post_processor=processors.ByteLevel(trim_offsets=False)), True),
        (changed(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)), True),
        (changed(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True)), False),
        (changed(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)), False),
        (changed(normalizer=normalizers.Lowercase()), False),
        (changed().replace('"special":true', '"special":false'), False),
        (changed().replace("<|end|>", "<|END|>"), False),
        (changed().replace('"byte_fallback":false', '"byte_fallback":true'), False),
    ],
)
def test_two_tokenizers_count_alike_if_nothing_differs_that_decides_a_count(text: str, same: bool) -> None:
    assert tokenizer_proof._count_alike(text.encode(), changed().encode()) == same


# ---------------------------------------------------------------- the command


def run(model: Path, tmp_path: Path, **values: Any) -> subprocess.CompletedProcess[str]:
    """The command, in a process that starts another one for the proof."""
    usual = {"rollouts": SAMPLE, "model_path": model, "output_dir": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    words = flags(**{**usual, "n_jobs": 1, "overwrite": True, **values})
    return processes.run(["-m", "analyzer", *words], cwd=ROOT)


def counted(tmp_path: Path) -> list[int]:
    found: list[int] = pq.read_table(tmp_path / "out" / "rollouts_with_rewards.parquet")["response_tokens"].to_pylist()
    return found


@pytest.mark.parametrize("make", [with_a_token_of_the_config, of_words])
def test_tokens_counted_with_a_wrong_tokenizer_are_counted_again_with_a_notice(
    make: Callable[[Path], Path], tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    model = make(tmp_path / "model")
    given = parquet(tmp_path / "r.parquet", pq.read_table(SAMPLE).slice(0, 80))
    first = analyze(given, model_path=model)
    assert (first.code, NOTE in first.err) == (EXIT_OK, True), first.err
    assert counted(tmp_path) == expected(model, pq.read_table(given)["response"].to_pylist())
    again = analyze(given, model_path=model, overwrite=True)
    assert (again.code, NOTE in again.err, again.out) == (EXIT_OK, False, first.out)


def test_a_tokenizer_that_transformers_refuses_ends_the_run_though_its_file_is_fine(
    tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    assert analyze(SAMPLE).code == EXIT_OK
    before = counted(tmp_path)
    done = analyze(SAMPLE, model_path=with_code_of_its_own(tmp_path / "model"), overwrite=True)
    assert (done.code, "--trust_remote_code" in done.err) == (EXIT_USER, True), done.err
    assert counted(tmp_path) == before


@pytest.mark.parametrize("apart", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["", "beside the workers"])
def test_other_rollouts_are_proven_too(
    shared: Callable[[str], Path], tmp_path: Path, analyze: Callable[..., Outcome], apart: bool
) -> None:
    known_tokenizer(tmp_path / "cache")
    proofs = set((tmp_path / "cache" / "tokenizers").glob("*-*.spec.json"))
    rollouts = shared("data/gsm8k_openai.parquet")
    if apart:
        done = run(TOKENIZER, tmp_path, rollouts=rollouts, n_jobs=2)
        code, said = done.returncode, done.stderr
    else:
        code, _, said, _ = analyze(rollouts)
    assert (code, NOTE in said) == (EXIT_OK, False), said
    assert len(set((tmp_path / "cache" / "tokenizers").glob("*-*.spec.json")) - proofs) == 1
    texts = pq.read_table(rollouts)["response"].to_pylist()[:100]
    assert counted(tmp_path)[:100] == expected(TOKENIZER, texts)


# ---------------------------------------------------------------- the search


def test_other_rollouts_of_a_known_tokenizer_need_no_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = known_tokenizers.find(str(TOKENIZER), False, str(tmp_path), TEXTS)
    monkeypatch.setattr(tokenizer_proof, "load", None)  # it cannot be sent to a process
    assert known_tokenizers.find(str(TOKENIZER), False, str(tmp_path), ["others"]) == first


def test_what_is_loaded_with_the_command_is_what_the_search_goes_on_with(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = str(TOKENIZER), False
    with known_tokenizers.loading_early(*asked, str(tmp_path)):
        (early,) = known_tokenizers._early.values()
        left = (
            tmp_path / "tokenizers" / f".{'0' * 32}.spec.json.{0:016x}.{temporaries._node()}.1-0.tmp"
        )  # by a killed run
        left.parent.mkdir(exist_ok=True)
        left.touch()
        with known_tokenizers.searching(*asked, str(tmp_path)) as search:
            assert search._apart is early
            assert search.begin([*TEXTS, "longer than the model's context " * 1000]) == search.proven()
    assert capfd.readouterr().err == ""
    assert not left.exists()
    with known_tokenizers.loading_early(*asked, str(tmp_path)):  # it is known by now
        assert known_tokenizers._early == {}
    with known_tokenizers.loading_early("a name on the hub", False, str(tmp_path)):
        assert len(known_tokenizers._early) == 1
    assert known_tokenizers._early == {}  # nobody asked for it


def test_gigatoken_is_left_for_rollouts_that_it_counts_otherwise_and_taken_for_the_next(tmp_path: Path) -> None:
    class Answer:
        def __init__(self, proof: tokenizer_proof.Proof) -> None:
            self.result = lambda: proof
            self.done = lambda: True
            self.end = lambda: None

    right = known_tokenizers.find(str(TOKENIZER), False, str(tmp_path), TEXTS)
    slower = right._replace(engine=tokens.TOKENIZERS)
    search = Search(str(TOKENIZER), False, str(tmp_path))
    assert search.begin(["others"]) == right
    search.end()
    search._apart = Answer(tokenizer_proof.Proof(slower, right))  # type: ignore[assignment]
    with pytest.raises(TokenizerDiffers):
        search.check()
    assert (search.begin(["others"]), search.proven()) == (slower, slower)
    search.check()
    assert known_tokenizers.find(str(TOKENIZER), False, str(tmp_path), TEXTS) == right


def test_a_folder_of_an_earlier_analysis_is_recognized_though_the_tokenizer_is_new_to_the_cache(
    tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    model = with_a_token_of_the_config(tmp_path / "model")
    assert analyze(SAMPLE, model_path=model).code == EXIT_OK
    again = analyze(SAMPLE, model_path=model, cache_dir=tmp_path / "another")
    assert (again.code, NOTE in again.err) == (EXIT_OK, True), again.err
