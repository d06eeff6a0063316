"""What goes over the wire: the body of a request, and the rollouts in its answer.

Two endpoints of the OpenAI API, as vLLM, SGLang and `transformers serve` speak them: chat lists go to
/chat/completions, where the server applies the chat template, text goes to /completions as it is. A chat list that
is to go to /completions is templated here and sent as token ids, as verl does.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from analyzer.errors import ConfigError, printable, to_install
from analyzer.generation.journal import reason_of, tokens_of
from analyzer.generation.prompts import Message, Prompt
from analyzer.generation.settings import OWN_KEYS, TEMPLATE_VALUES, GenerationSettings

CHAT, COMPLETIONS = "/chat/completions", "/completions"
# Finish reasons of a choice that was broken off by the server (vLLM, SGLang), or cut or emptied by a provider's filter:
# what is left of it is not what the policy answered.
_FILTERED = "content_filter"
_UNFINISHED = frozenset({"abort", "error", _FILTERED})
_SURROGATE = re.compile("[\ud800-\udfff]")
MOST_BYTES = 16 << 20
"""Longest answer that is read, beside what the tokens asked for may take."""
_BYTES_PER_TOKEN = 64  # of JSON, far more than text takes
_BYTES_PER_TOKEN_EXTRA = 4096  # where extra_body may ask for logprobs and the like


class Part(NamedTuple):
    """Rollouts of one answer: as many as were asked for, or fewer."""

    texts: list[str]
    finish_reasons: list[str | None]
    response_tokens: list[int | None]  # known per choice only where the server tells, or there is one choice
    prompt_tokens: int | None
    completion_tokens: int  # of all choices together; 0 where the server does not say
    model: str | None = None  # that the server says it answered with
    filtered: int = 0  # choices that a filter cut or emptied; not among the texts


class Request(NamedTuple):
    """One POST."""

    endpoint: str  # CHAT or COMPLETIONS
    body: dict[str, Any]

    @property
    def content(self) -> bytes:
        """The body as it is sent."""
        return orjson.dumps(self.body)

    @property
    def choices(self) -> int:
        """How many choices it asks for."""
        return int(self.body["n"])

    @property
    def most_bytes(self) -> int:
        """An answer that is longer than this does not belong to this request."""
        each = _BYTES_PER_TOKEN_EXTRA if self.body.keys() - OWN_KEYS else _BYTES_PER_TOKEN
        return MOST_BYTES + self.choices * int(self.body["max_tokens"]) * each


class BrokenAnswer(Exception):
    """Raised for an answer that holds no rollout; asking again may help. `filtered`: choices that a filter took."""

    def __init__(self, reason: str, filtered: int = 0) -> None:
        super().__init__(reason)
        self.filtered = filtered


class UnusablePrompt(Exception):
    """Raised when another request would not help: the prompt has failed."""


class Recipe(NamedTuple):
    """How prompts become requests."""

    settings: GenerationSettings
    model: str  # its name on the server
    tokenizer: Any = None  # needed for chat lists that go to /completions only

    def request(self, prompt: Prompt, first: int, count: int) -> Request:
        """The request for rollouts `first` to `first + count - 1` of a prompt. Raises ConfigError."""
        settings = self.settings
        body: dict[str, Any] = {
            "model": self.model,
            "n": count,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "max_tokens": settings.max_tokens,
            # A stream would be an event for each token, and each of them work in Python.
            "stream": False,
        }
        if settings.seed is not None:
            body["seed"] = derived_seed(settings.seed, prompt.data_idx, first)
        # After the seed, so that the user's own word wins.
        body |= settings.extra_body or {}
        content = prompt.content
        if settings.endpoint == "chat" or (settings.endpoint == "auto" and not isinstance(content, str)):
            messages = [{"role": "user", "content": content}] if isinstance(content, str) else content
            return Request(CHAT, body | {"messages": messages})
        body.pop(TEMPLATE_VALUES, None)
        return Request(COMPLETIONS, body | {"prompt": self._text(content)})

    def _text(self, content: str | list[Message]) -> str | list[int]:
        if isinstance(content, str):
            return content
        if self.tokenizer is None:
            raise ConfigError("--endpoint completions: chat lists need a chat template: give --model_path")
        return template(content, self.tokenizer, self.settings.template_values)


def template(messages: list[Message], tokenizer: Any, values: Mapping[str, Any]) -> list[int]:
    """Token ids of a chat list with the tokenizer's template and the opening of the assistant's turn.

    `values`: what else the template is given, as `enable_thinking`.
    Texts in parts are joined by line ends, as vLLM does it for templates of text models: those would print the list.
    Raises ConfigError where there is no template, UnusablePrompt where it does not take these messages.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError(
            "the tokenizer of --model_path has no chat template; use a model that has one, or text prompts"
        )
    try:
        import jinja2
    except ImportError:
        raise ConfigError(f"chat templates need jinja2: {to_install('generate')}") from None
    try:
        # Token ids, not text: a server would add its own begin-of-text token to a text that holds one already.
        found = tokenizer.apply_chat_template(
            [message | {"content": _joined(message["content"])} for message in messages],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            **values,
        )
    # A template is a program that comes with the model: it may divide by zero.
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise UnusablePrompt(f"the chat template refuses it ({error})") from None
    if not found["input_ids"]:
        raise UnusablePrompt("the chat template makes an empty prompt of it")
    return list(found["input_ids"])


def _joined(content: str | list[Any]) -> str:
    """The text of a message that may be in parts. Raises UnusablePrompt where a part is not text."""
    texts = list[str]()
    for part in [content] if isinstance(content, str) else content:
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise UnusablePrompt(
                f"a part of a message is not text but {kind}: only a server takes it (--endpoint chat)"
            )
        texts.append(text)
    return "\n".join(texts)


def derived_seed(seed: int, data_idx: int, first: int) -> int:
    """A seed of 31 bits for one request: equal seeds would give a server that ignores `n` equal samples."""
    digest = hashlib.blake2b(f"{seed} {data_idx} {first}".encode(), digest_size=4).digest()
    # 31 bits: vLLM takes a signed 64-bit seed, others a C int.
    return int.from_bytes(digest) >> 1


def parse(content: bytes, endpoint: str, count: int) -> Part:
    """The rollouts in an answer, at most `count`.

    What a server says beside the texts is taken where it can be true, else it is unknown: a wrong count of tokens is no
    reason to lose a rollout. Raises BrokenAnswer, UnusablePrompt, and ConfigError where the server is started in a way
    that hides text.
    """
    try:
        answer = _loads(content)
    except (ValueError, RecursionError) as error:
        raise BrokenAnswer(f"the answer is not JSON ({error}): {message_of(content)[:200]}") from None
    try:
        # Gateways report an error of the server behind them with a status of success.
        if isinstance(answer, dict) and not answer.get("choices") and {"error", "message", "detail"} & answer.keys():
            raise BrokenAnswer(f"the answer is an error: {message_of(content)}")
        choices = answer["choices"]
        # More choices than were asked for are cut: the next request would number its samples twice.
        whole = [choice for choice in choices if reason_of(choice.get("finish_reason")) not in _UNFINISHED][:count]
        texts = [_text(choice, endpoint) for choice in whole]
    except (KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise BrokenAnswer(f"the answer is not a completion ({why}): {message_of(content)[:200]}") from None
    ends = [reason_of(choice.get("finish_reason")) for choice in choices]
    filtered = ends.count(_FILTERED)
    # Nothing usable is an attempt that failed, never an empty rollout.
    if not texts:
        seen = sorted({end for end in ends if end})
        why = f" (finish_reason {', '.join(seen)[:100]})" if seen else ""
        raise BrokenAnswer(f"the answer has no finished choice{why}", filtered)
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    completion = tokens_of(usage.get("completion_tokens"))
    # vLLM tells the token ids of a choice where `extra_body` asks for them with return_token_ids.
    token_ids = [choice.get("token_ids") for choice in whole]
    counts = [len(ids) if isinstance(ids, list) else None for ids in token_ids]
    # `usage` is of all choices together, so it tells a response's length only where there is one.
    if len(choices) == 1:
        counts = [counts[0] if counts[0] is not None else completion]
    reasons = [reason_of(choice.get("finish_reason")) for choice in whole]
    prompt_tokens = tokens_of(usage.get("prompt_tokens"))
    return Part(texts, reasons, counts, prompt_tokens, completion or 0, reason_of(answer.get("model")), filtered)


def _loads(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        # Slower, and takes what servers in Python write beside JSON: NaN (a log probability) and lone surrogates.
        return json.loads(content)


def message_of(content: bytes) -> str:
    """What a server says is wrong, in one line: the message in its JSON, or the text as it is."""
    plain, text = content[:4096].decode(errors="replace"), None
    with contextlib.suppress(orjson.JSONDecodeError, AttributeError):
        body = orjson.loads(content)
        error = body.get("error") or body
        text = error if isinstance(error, str) else error.get("message") or error.get("detail") or body.get("detail")
    return printable(" ".join(str(text or plain).split())[:500])


def _text(choice: dict[str, Any], endpoint: str) -> str:
    message = choice if endpoint == COMPLETIONS else choice["message"]
    if message.get("reasoning_content") or message.get("reasoning"):
        raise ConfigError(
            "the server removes the reasoning from its answers, so rollouts would lack it; "
            "start the server without --reasoning-parser (llama.cpp: with --reasoning-format none)"
        )
    # Whatever text there is: servers take the call out of it, so it would be a part of the response, or empty.
    if message.get("tool_calls") or message.get("function_call"):
        raise UnusablePrompt("the model called a tool instead of answering")
    text = message.get("text" if endpoint == COMPLETIONS else "content")
    if not isinstance(text, str):
        raise BrokenAnswer("a choice without text")
    if not text and not choice.get("finish_reason"):
        raise BrokenAnswer("a choice that is empty and not finished")
    # JSON can escape lone surrogates; UTF-8, and so parquet, cannot hold them.
    return _SURROGATE.sub("\ufffd", text)
