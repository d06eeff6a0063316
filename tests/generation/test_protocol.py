"""Requests and answers of the OpenAI API, and the answers that must not pass for rollouts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from analyzer.errors import ConfigError
from analyzer.generation import GenerationSettings
from analyzer.generation.prompts import Prompt
from analyzer.generation.protocol import CHAT, COMPLETIONS, BrokenAnswer, Recipe, UnusablePrompt, parse

MESSAGES = [{"role": "user", "content": "hi"}]


def recipe(tokenizer: Any = None, **given: Any) -> Recipe:
    return Recipe(GenerationSettings(data_path="d", output_path="o", use_vllm=True, **given), "m", tokenizer)


def chat(*texts: str | None, **usage: int) -> dict[str, Any]:
    choices = [{"finish_reason": "length", "message": {"role": "assistant", "content": text}} for text in texts]
    return {"choices": choices, "usage": usage}


def parsed(answer: Any, count: int = 2, endpoint: str = CHAT) -> Any:
    return parse(json.dumps(answer).encode(), endpoint, count)


def test_chat_lists_go_to_chat_and_text_to_completions_unless_said_otherwise() -> None:
    assert recipe().request(Prompt(0, MESSAGES), 0, 4).endpoint == CHAT
    text = recipe().request(Prompt(0, "hi"), 0, 4)
    assert (text.endpoint, text.body["prompt"], text.body["n"]) == (COMPLETIONS, "hi", 4)
    assert recipe(endpoint="chat").request(Prompt(0, "hi"), 0, 4).body["messages"] == MESSAGES


def test_a_chat_list_for_completions_is_templated_into_token_ids() -> None:
    class Tokenizer:
        chat_template = "{{ messages }}"

        def apply_chat_template(self, messages: Any, **how: Any) -> dict[str, list[int]]:
            assert messages == MESSAGES
            assert how["add_generation_prompt"]
            return {"input_ids": [1, 2, 3]}

    request = recipe(Tokenizer(), endpoint="completions").request(Prompt(0, MESSAGES), 0, 1)
    assert (request.endpoint, request.body["prompt"]) == (COMPLETIONS, [1, 2, 3])
    with pytest.raises(ConfigError, match="--model_path"):
        recipe(endpoint="completions").request(Prompt(0, MESSAGES), 0, 1)


def test_a_template_that_is_missing_stops_the_run_and_one_that_refuses_fails_the_prompt() -> None:
    import jinja2

    class Tokenizer:
        chat_template: str | None = None

        def apply_chat_template(self, messages: Any, **how: Any) -> None:
            raise jinja2.TemplateError("Conversation roles must alternate")

    tokenizer = Tokenizer()
    with pytest.raises(ConfigError, match="no chat template"):
        recipe(tokenizer, endpoint="completions").request(Prompt(0, MESSAGES), 0, 1)
    tokenizer.chat_template = "x"
    with pytest.raises(UnusablePrompt, match="roles must alternate"):
        recipe(tokenizer, endpoint="completions").request(Prompt(0, MESSAGES), 0, 1)


def test_templates_are_given_texts_and_what_extra_body_has_for_them() -> None:
    import jinja2

    class Tokenizer:
        """Renders as transformers does, and has a token for each byte."""

        chat_template = ""

        def apply_chat_template(self, messages: Any, **values: Any) -> dict[str, list[int]]:
            made = jinja2.Environment(autoescape=False).from_string(self.chat_template)  # not HTML
            return {"input_ids": list(made.render(messages=messages, **values).encode())}

    tokenizer = Tokenizer()
    usual = "{% for m in messages %}{{ m['role'] + m['content'] }}{% endfor %}"

    def seen(content: Any, chat_template: str = usual, **extra: Any) -> str:
        tokenizer.chat_template = chat_template
        made = recipe(tokenizer, endpoint="completions", extra_body=extra or None)
        body = made.request(Prompt(0, [{"role": "user", "content": content}]), 0, 1).body
        assert "chat_template_kwargs" not in body
        return bytes(body["prompt"]).decode()

    parts = [{"type": "text", "text": "What is"}, {"type": "text", "text": "2+3?"}]
    assert seen(parts) == seen("What is\n2+3?") == "userWhat is\n2+3?"
    printed = "{% for m in messages %}{{ m['content'] | trim }}{{ mood }}{% endfor %}"
    assert seen(parts, printed, chat_template_kwargs={"mood": "!"}) == "What is\n2+3?!"
    for content, chat_template, said in (
        ([*parts, {"type": "image"}], usual, "a part of a message is not text but image"),
        ("x", "{{ 1 / 0 }}", "the chat template refuses it .division by zero"),
        ("x", "{{ messages[0]['content'] + 1 }}", "the chat template refuses it .can only concatenate"),
        ("x", "{% if %}", "the chat template refuses it"),
        ("x", "{{ nothing }}", "the chat template makes an empty prompt"),
    ):
        with pytest.raises(UnusablePrompt, match=said):
            seen(content, chat_template)


def test_sampling_and_further_fields_are_sent() -> None:
    body = recipe(temperature=0.5, top_p=0.8, max_tokens=9, extra_body={"top_k": 20}).request(Prompt(0, "x"), 0, 1).body
    assert {key: body[key] for key in ("temperature", "top_p", "max_tokens", "top_k", "model")} == {
        "temperature": 0.5,
        "top_p": 0.8,
        "max_tokens": 9,
        "top_k": 20,
        "model": "m",
    }
    assert "seed" not in body


def test_each_request_has_a_seed_of_its_own_that_is_the_same_every_time() -> None:
    def seed(data_idx: int, first: int, base: int = 1) -> int:
        return int(recipe(seed=base).request(Prompt(data_idx, "x"), first, 1).body["seed"])

    seeds = {seed(data_idx, first) for data_idx in range(20) for first in range(8)}
    assert len(seeds) == 160
    assert seed(3, 2) == seed(3, 2) != seed(3, 2, base=2)
    assert all(0 <= value < 2**31 for value in seeds)


def test_tokens_are_known_per_choice_only_where_the_server_tells() -> None:
    both = parsed(chat("a", "b", prompt_tokens=3, completion_tokens=9))
    assert (both.texts, both.response_tokens, both.prompt_tokens, both.completion_tokens) == (
        ["a", "b"],
        [None, None],
        3,
        9,
    )
    assert parsed(chat("a", completion_tokens=9)).response_tokens == [9]
    assert parsed(chat("a")).response_tokens == [None]
    ids = chat("a", "b")
    ids["choices"][0]["token_ids"] = [5, 6]
    assert parsed(ids).response_tokens == [2, None]


def test_more_choices_than_asked_for_are_left_out_and_broken_off_ones_too() -> None:
    assert parsed(chat("a", "b", "c")).texts == ["a", "b"]
    answer = chat("a", "b")
    answer["choices"][0]["finish_reason"] = "abort"
    assert parsed(answer).texts == ["b"]


def test_an_empty_response_is_a_rollout_when_the_model_ended_it() -> None:
    assert parsed(chat("")).texts == [""]
    unfinished = chat("")
    unfinished["choices"][0]["finish_reason"] = None
    with pytest.raises(BrokenAnswer):
        parsed(unfinished)


@pytest.mark.parametrize(
    "answer",
    [{}, [], {"choices": None}, {"choices": []}, {"choices": ["x"]}, {"choices": [{"text": "x"}]}, chat(None)],
    ids=str,
)
def test_what_is_no_completion_is_broken(answer: Any) -> None:
    with pytest.raises(BrokenAnswer):
        parsed(answer)
    with pytest.raises(BrokenAnswer):
        parse(b'{"choices": [{"te', CHAT, 2)


@pytest.mark.parametrize("text", ["", "half of an"])
def test_what_a_filter_left_is_no_rollout(text: str) -> None:
    answer = chat("a", text)
    answer["choices"][1]["finish_reason"] = "content_filter"
    assert parsed(answer).texts == ["a"]
    with pytest.raises(BrokenAnswer, match="content_filter"):
        parsed({"choices": answer["choices"][1:]})


@pytest.mark.parametrize("text", ["", "Let me look that up."])
@pytest.mark.parametrize("call", ["tool_calls", "function_call"])
def test_a_tool_call_beside_text_is_unusable_too(text: str, call: str) -> None:
    called = chat(text)
    called["choices"][0] |= {"finish_reason": call}
    called["choices"][0]["message"][call] = [{"id": "1"}]
    with pytest.raises(UnusablePrompt, match="tool"):
        parsed(called)


def test_what_is_no_completion_is_named_in_the_servers_words() -> None:
    gone = "the worker is gone"
    for answer in (
        {"error": {"message": gone}},
        {"error": gone},
        {"object": "error", "message": gone},
        {"detail": gone},
    ):
        with pytest.raises(BrokenAnswer, match=f"the answer is an error: {gone}"):
            parsed(answer)
    for content, said in (
        (b"<html>\x1b[2Jbad gateway", "is not JSON .*: <html>\ufffd.2Jbad gateway"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"n":' + b"1" * 5000, "is not JSON"),
        (b'["a list"]', r'is not a completion .*: \["a list"\]'),
    ):
        with pytest.raises(BrokenAnswer, match=said):
            parse(content, CHAT, 2)


def test_what_python_writes_beside_json_is_read() -> None:
    odd = chat("half a pair: ?", "b") | {"logprob": float("nan"), "least": float("-inf")}
    content = b"\xef\xbb\xbf" + json.dumps(odd).replace("?", "\\ud83d").encode()
    assert parse(content, CHAT, 2).texts == ["half a pair: \ufffd", "b"]


def test_a_tool_call_is_unusable_and_hidden_reasoning_stops_the_run() -> None:
    called = chat(None)
    called["choices"][0]["message"]["tool_calls"] = [{"id": "1"}]
    with pytest.raises(UnusablePrompt, match="tool"):
        parsed(called)
    for key in ("reasoning", "reasoning_content"):
        hidden = chat("b")
        hidden["choices"][0]["message"][key] = "thinking"
        with pytest.raises(ConfigError, match="--reasoning-parser"):
            parsed(hidden)
