"""The tokenizer: special tokens taken out of a response, and its tokens counted.

The driver writes down what counting needs (`TokenizerSpec`) and proves that it counts as transformers does
(cache/tokenizer_proof.py); workers build a `TokenCounter` from the spec without importing transformers. gigatoken
counts; where it does not hold, the `tokenizers` library does; a tokenizer that exists in Python only is loaded with
transformers in each worker.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from analyzer.errors import TokenizerError
from analyzer.schema import NOT_COUNTED

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

AnyText = TypeVar("AnyText", str, bytes)
GIGATOKEN, TOKENIZERS, TRANSFORMERS, NO_ENGINE = "gigatoken", "tokenizers", "transformers", "none"
_RENEW_AFTER_CHARS = 64 << 20
_PART_CHARS = 4 << 20  # counted between two looks at the memory
_RENEW_GROWTH = 160 << 20


class SpecialToken(NamedTuple):
    """A token that never was text; `lstrip` and `rstrip` take the white space beside it along."""

    content: str
    lstrip: bool = False
    rstrip: bool = False


class TokenizerSpec(NamedTuple):
    """All that counting and stripping need, as plain values."""

    engine: str  # gigatoken, tokenizers, transformers or none
    path: str  # the tokenizer.json, or for transformers the model path
    specials: tuple[SpecialToken, ...]
    digest: str  # sha256 over what decides counts and stripping
    trust_remote_code: bool = False


NO_TOKENIZER = TokenizerSpec(NO_ENGINE, "", (), NO_ENGINE)
"""For rollouts whose rewards are there already: nothing is counted, nothing taken out."""


def spec_from(fields: Sequence[Any]) -> TokenizerSpec:
    """A TokenizerSpec from its fields as they come out of JSON."""
    engine, source, specials, digest, trust_remote_code = fields
    return TokenizerSpec(engine, source, tuple(SpecialToken(*token) for token in specials), digest, trust_remote_code)


_TOKENIZER_FILES = ("token", "vocab", "spiece", "sentencepiece", "merges", ".model")
"""Parts of the names of files that tokenizers are made of."""


def load(model_path: str, trust_remote_code: bool) -> Any:
    """The transformers tokenizer of a folder or a hub name. Raises TokenizerError with what to do.

    A hub name is looked up in the local cache first; the network is asked only where there is one.
    """
    # Set before the import, which reads it. It would print that no framework is installed.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import AutoTokenizer

    # After the import, which sets it. It would warn of each text that is longer than the model's context.
    for noisy in ("transformers", "huggingface_hub"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    is_folder = os.path.isdir(model_path)
    # Offline first: a tokenizer that is cached needs no network, and hub outages must not end a job.
    attempts = [True] if is_folder or not _hub_answers() else [True, False]
    reason, needs_trust = "", False
    for offline in attempts:
        try:
            return AutoTokenizer.from_pretrained(
                model_path, trust_remote_code=trust_remote_code, local_files_only=offline
            )
        except Exception as error:  # noqa: BLE001  # transformers raises whatever the files make it raise
            needs_trust = "trust_remote_code" in str(error)
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(" :")
    advice = (
        _advice_for_folder(model_path, reason, needs_trust) if is_folder else _advice_for_name(model_path, attempts)
    )
    raise TokenizerError(f"--model_path {model_path}: {advice}")


def _advice_for_folder(folder: str, reason: str, needs_trust: bool) -> str:
    """Why a folder gives no tokenizer, and what to do."""
    files = [entry.name for entry in os.scandir(folder) if entry.is_file()]
    if not any(part in name for name in files for part in _TOKENIZER_FILES):
        return (
            "the tokenizer cannot be loaded: there is no tokenizer.json in this folder, nor another file of a "
            "tokenizer; give the folder of the policy, or its name on the hub"
        )
    advice = "the folder must hold tokenizer.json, or what its tokenizer class needs"
    if needs_trust:
        advice = "it needs code of its own: pass --trust_remote_code if you trust it"
    return f"the tokenizer cannot be loaded; {advice} ({reason})"


def _advice_for_name(name: str, attempts: Sequence[bool]) -> str:
    """Why a path or hub name gives no tokenizer, and what to do. attempts: whether each was offline."""
    if os.path.exists(name):
        return "is a file; give the folder that holds tokenizer.json"
    if name.startswith(("/", ".", "~")):
        return "no such folder; give the one that holds tokenizer.json"
    where = "the hub has no model of that name"
    if all(attempts):
        where = "this machine is offline and has cached no model of that name"
    return (
        f"no such folder, and {where}; give a folder that holds the tokenizer, or download it once on a machine with "
        "a network"
    )


def _hub_answers() -> bool:
    """Whether asking the model hub has a chance, so that an offline node need not wait for its retries."""
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in {"1", "TRUE", "YES", "ON"}:
        return False
    # Behind a proxy a direct connection fails although the hub can be reached.
    if os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"):
        return True
    url = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    try:
        # Three seconds at most: huggingface_hub would retry for minutes on a node without a route.
        socket.create_connection((url.hostname or "", url.port or 443), timeout=3).close()
    except OSError:
        return False
    return True


def json_path(folder: str | os.PathLike[str], spec: TokenizerSpec) -> str:
    """Where the tokenizer.json that a tokenizer is counted with lies in a folder."""
    return os.path.join(folder, f"{spec.digest[:16]}.tokenizer.json")


def is_whole(spec: TokenizerSpec) -> bool:
    """Whether the tokenizer.json of a spec is what its digest says. Raises OSError if there is none."""
    # Read whole and hashed again: a file of the right name may have been cut off by a full disk.
    return digest(spec.engine, Path(spec.path).read_bytes(), repr(spec.specials)) == spec.digest


def digest(*parts: str | bytes) -> str:
    """sha256 of what decides counts; a tokenizer.json as the bytes that it is, 11 MB are decoded in 0.04 s."""
    encoded = [part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass") for part in parts]
    return hashlib.sha256(b"\0".join(encoded)).hexdigest()


def special_tokens(tokenizer: Any) -> tuple[SpecialToken, ...]:
    """The added tokens with special=True of a transformers tokenizer, longest first (verl: skip_special_tokens)."""
    added = tokenizer.added_tokens_decoder.values()
    # A set: a tokenizer may list the same content under two ids.
    found = {SpecialToken(t.content, t.lstrip, t.rstrip) for t in added if t.special and t.content}
    return longest_first(found)


def longest_first(specials: Iterable[SpecialToken]) -> tuple[SpecialToken, ...]:
    """Special tokens in the order in which they are looked for."""
    # An alternation takes the first that fits: "<|im_start|>" before "<|im".
    return tuple(sorted(specials, key=lambda token: (-len(token.content), token.content)))


def _gigatoken_counts(tokenizer: Any, texts: Sequence[AnyText]) -> NDArray[np.int32]:
    """One text at a time, which is as fast as many in one call; that would import awkward: 22 MB and 0.6 s."""
    import numpy as np

    return np.fromiter(map(len, map(tokenizer.encode, texts)), np.int32, len(texts))


def _resident() -> int:
    """Resident bytes of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


class TokenCounter:
    """Counts tokens and strips special tokens, in one worker thread."""

    def __init__(
        self,
        spec: TokenizerSpec,
        renew_after: int = _RENEW_AFTER_CHARS,
        resident: Callable[[], int] = _resident,
    ) -> None:
        """Cheap: the tokenizer is loaded when the first text is counted.

        It is renewed where that many characters were counted and the process, of so many `resident` bytes, has grown.
        """
        self._spec = spec
        self._renew_after, self._resident = renew_after, resident
        self.loaded = 0  # how often the tokenizer was
        self._encode: Callable[[Any], NDArray[np.int32]] | None = None
        self._counted = 0
        self._floor = 0
        self._starts = _starts_of(spec.specials)
        self._pattern = _special_pattern(spec.specials)

    def count(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """Tokens of each text, shape (len(texts),), without special tokens added."""
        import numpy as np

        if self._spec.engine == NO_ENGINE:
            return np.full(len(texts), NOT_COUNTED, dtype=np.int32)
        counts = [self._counted_part(part) for part in _parts(texts)]
        return np.concatenate(counts) if counts else np.zeros(0, dtype=np.int32)

    def count_column(self, texts: pa.ChunkedArray) -> NDArray[np.int32]:
        """Tokens of each text of a column without nulls, shape (len(texts),); as `count`."""
        import numpy as np
        import pyarrow as pa

        if self._spec.engine != GIGATOKEN:
            return self.count(texts.to_pylist())
        # It counts UTF-8, which is what arrow holds: a str of more than ASCII would be encoded again, and keep that.
        counts = [
            self._counted_part(part)
            for chunk in texts.chunks
            for part in _parts(chunk.cast(pa.large_string()).cast(pa.large_binary()).to_pylist())
        ]
        return np.concatenate(counts) if counts else np.zeros(0, dtype=np.int32)

    def _counted_part(self, texts: Sequence[AnyText]) -> NDArray[np.int32]:
        # gigatoken remembers every word that it has seen; on text without end it must be renewed now and then.
        has_grown = self._counted > self._renew_after and self._resident() - self._floor > _RENEW_GROWTH
        if self._encode is None or has_grown:
            self._encode = None  # give the old one's memory back before the new one takes its own
            self._encode = _ahead.pop(self._spec, None) or _encoder(self._spec)
            self.loaded += 1
            self._counted, self._floor = 0, self._resident()
        self._counted += sum(map(len, texts))
        return self._encode(texts)

    def stripped(self, texts: pa.ChunkedArray, plain: Sequence[str]) -> list[str]:
        """The texts without special tokens, as verl's decode with skip_special_tokens gives them to the reward.

        `plain`: the same texts as Python has them.
        """
        found = list(plain)
        start = 0
        # Rows are numbered through all chunks, as the list is.
        for chunk in texts.chunks:
            for row in _rows_with(chunk, self._starts):
                found[start + row] = self.strip(found[start + row])
            start += len(chunk)
        return found

    def strip(self, text: str) -> str:
        """One text without special tokens."""
        return text if self._pattern is None else self._pattern.sub("", text)


_ahead: dict[TokenizerSpec, Callable[[Any], NDArray[np.int32]]] = {}
"""What has been loaded and is not in use yet."""


def load_ahead(spec: TokenizerSpec) -> None:
    """Load a tokenizer for the next counter in this process that uses it."""
    if spec.engine != NO_ENGINE and spec not in _ahead:
        _ahead[spec] = _encoder(spec)


def _parts(texts: Sequence[AnyText]) -> Iterator[Sequence[AnyText]]:
    """The texts in runs of about _PART_CHARS characters."""
    start = chars = 0
    for index, text in enumerate(texts):
        chars += len(text)
        if chars >= _PART_CHARS:
            yield texts[start : index + 1]
            start, chars = index + 1, 0
    if start < len(texts):
        yield texts[start:]


def _starts_of(specials: Sequence[SpecialToken]) -> dict[int, list[int]]:
    """The bytes that special tokens start with, and those that follow each; none listed: any may follow."""
    starts: dict[int, list[int]] = {}
    # Two bytes, not one: "<" is common in responses, "<|" is not.
    for start in sorted({token.content.encode()[:2] for token in specials}):
        starts.setdefault(start[0], []).extend(start[1:])
    for token in specials:
        if len(token.content.encode()) == 1:
            starts[token.content.encode()[0]] = []
    return starts


def _rows_with(texts: pa.Array, starts: Mapping[int, Sequence[int]]) -> list[int]:
    """The texts that may hold a special token: one look at all their bytes, where `in` would look at each text."""
    import numpy as np
    import pyarrow as pa

    # 64-bit offsets, which string arrays have only beyond 2 GB: one code path, and a cast that copies no text.
    texts = texts.cast(pa.large_string())
    # Validity, offsets, bytes: nulls have been refused before.
    _, offsets, data = texts.buffers()
    if not starts or not len(texts) or data is None:
        return []
    # A slice shares its parent's buffers: the offset says where it begins, and edges[0] need not be 0.
    edges = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    # One scan over the bytes of all texts (memory bandwidth) in place of one `in` per text and token.
    held = np.frombuffer(data, np.uint8)[edges[0] : edges[-1]]
    rows: set[int] = set()
    for first, seconds in starts.items():
        if len(seconds) == 1:  # as in most vocabularies: two bytes at a time are compared, from even and odd places
            pairs = [held[odd : odd + (len(held) - odd) // 2 * 2].view("<u2") for odd in (0, 1)]
            both = first | seconds[0] << 8
            at = np.concatenate([2 * np.flatnonzero(pair == both) + odd for odd, pair in enumerate(pairs)])
        else:
            at = np.flatnonzero(held == first)
        if len(seconds) > 1:
            # The last byte has no successor: clipped to itself, it can only give a row too many, never lose one.
            at = at[np.isin(held[np.minimum(at + 1, len(held) - 1)], seconds)]
        # side="right": a byte at an edge belongs to the text that starts there; empty texts share the edge and
        # are skipped.
        rows.update((np.searchsorted(edges, at + edges[0], side="right") - 1).tolist())
    return sorted(rows)


def _special_pattern(specials: Sequence[SpecialToken]) -> re.Pattern[str] | None:
    if not specials:
        return None
    space = r"[^\S\x1c-\x1f]"  # white space as Unicode and the tokenizers library have it; Python has four more
    before = rf"(?:(?<!{space}){space}+)?"  # starts where a run of it starts, so that a long run costs no square
    pieces = [
        (before if token.lstrip else "") + re.escape(token.content) + (f"{space}*" if token.rstrip else "")
        for token in specials
    ]
    return re.compile("|".join(pieces))


def _encoder(spec: TokenizerSpec) -> Callable[[Any], NDArray[np.int32]]:
    import numpy as np

    if spec.engine == TRANSFORMERS:
        slow = load(spec.path, spec.trust_remote_code)
        return lambda texts: np.array(
            [len(slow.encode(text, add_special_tokens=False)) for text in texts], dtype=np.int32
        )
    text = _read_json(spec)
    if spec.engine == GIGATOKEN:
        import gigatoken

        try:
            return functools.partial(_gigatoken_counts, gigatoken.Tokenizer.from_json(text))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  # Rust's panics are no Exception
            raise TokenizerError(f"{spec.path}: gigatoken cannot load this tokenizer ({error})") from None
    from tokenizers import Tokenizer

    fast = Tokenizer.from_buffer(text)
    fast.no_truncation()  # a count is that of the whole response, whatever the file says
    fast.no_padding()
    return lambda texts: np.array(
        [len(e.ids) for e in fast.encode_batch_fast(list(texts), add_special_tokens=False)], dtype=np.int32
    )


def _read_json(spec: TokenizerSpec) -> bytes:
    try:
        text = Path(spec.path).read_bytes()
    except OSError as error:
        raise TokenizerError(
            f"{spec.path}: the tokenizer of this run was removed ({error.strerror}); run again"
        ) from None
    # Workers may start on another host long after the driver, with another file under the same name.
    if digest(spec.engine, text, repr(spec.specials)) != spec.digest:
        raise TokenizerError(f"{spec.path}: is not the tokenizer that this run was started with; run again")
    return text
