"""What a generation would do, without doing it: counts, and the first prompt as the model will see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from analyzer import tokens
from analyzer.errors import ConfigError
from analyzer.generation import pipeline, prompts
from analyzer.generation.prompts import Prompt, TrainingData
from analyzer.generation.protocol import CHAT, Recipe, UnusablePrompt, template
from analyzer.generation.settings import TEMPLATE_VALUES, GenerationSettings
from analyzer.generation.state import Found, State
from analyzer.workers.interrupts import run_async

_RENDER_SECONDS = 20.0


def preview(settings: GenerationSettings) -> str:
    """The text that --dry_run prints. A server need not be up. Raises UserError as a generation would."""
    settings.check()
    data = pipeline.open_data(settings)
    pipeline.check_output(settings, data)
    first = next(prompts.read_prompts(data, [(0, 1)]))
    lines = [*_counts(settings, data), *data.notes]
    try:
        if first.problem:
            raise UnusablePrompt(first.problem)
        seen, how = _seen(settings, first)
    except UnusablePrompt as error:
        return "\n".join([*lines, f"First prompt (data_idx 0) cannot be sent: {error}"])
    return "\n".join([*lines, f"First prompt (data_idx 0), {how}:", seen])


def _counts(settings: GenerationSettings, data: TrainingData) -> list[str]:
    state = State(Path(settings.output_path))
    wanted = pipeline.wanted_of(settings, data)
    # The same identity that a generation computes, so that what is said here is what it will do.
    identity = pipeline.identity_of(settings, data, wanted)
    if not settings.overwrite and (done := state.complete(identity)):
        there = f"{done}, nothing would be generated"
    else:
        there = {
            Found.NOTHING: "what is there would be replaced" if state.output.exists() else "none exists yet",
            Found.UNFINISHED: f"an unfinished run may have some ({state.folder})",
            Found.START: f"{state.output} has some of them, which are kept",
        }[state.found(identity, settings.overwrite)]
    each = (
        f"{data.rows} x {settings.num_samples}" if settings.top_up is None else f"{wanted.prompts} problems of --top_up"
    )
    return [
        f"Training data: {settings.data_path}, {data.dataset.rows} rows, {wanted.prompts} prompts to sample",
        f"Rollouts: {each} = {wanted.rollouts}; {there}",
        f"Sampling: temperature {settings.temperature:g}, top_p {settings.top_p:g}, max_tokens {settings.max_tokens}",
        f"Model: {_model(settings)}",
        f"Output: {settings.output_path} ({settings.format})",
    ]


def _model(settings: GenerationSettings) -> str:
    if not settings.use_vllm:
        return f"{settings.model_path}, in this process"
    settings.check_client()
    from analyzer.generation.served import find_model

    try:
        # Asked and not required: a preview is often made before the server is up.
        served, notes, *_ = find_model(settings)
    except ConfigError as error:
        return f"not known, {error}"
    place = f", loaded from {served.root}" if served.root else ""
    return " ".join((f"{served.model}{place} at {', '.join(settings.urls)}", *notes))


def _seen(settings: GenerationSettings, prompt: Prompt) -> tuple[str, str]:
    """The prompt as the model sees it, as far as that is known here, and how it gets there."""
    tokenizer = tokens.load(settings.model_path, settings.trust_remote_code) if settings.model_path else None
    request = Recipe(settings, "", tokenizer).request(prompt, 0, settings.num_samples)
    where = f"through {request.endpoint}" if settings.use_vllm else "in this process"
    # A text for /completions is sent as it is; only chats go through a template.
    if isinstance(prompt.content, str) and request.endpoint != CHAT:
        return prompt.content, f"{where}, as it is"
    if tokenizer is not None:
        ids = request.body.get("prompt") or template(request.body["messages"], tokenizer, settings.template_values)
        return tokenizer.decode(ids), f"{where}, with the chat template of --model_path"
    messages = request.body["messages"]
    rendered = run_async(_rendered(settings, messages))
    if rendered is not None:
        return rendered, f"{where}, with the chat template applied as the server does"
    shown = orjson.dumps(messages, option=orjson.OPT_INDENT_2).decode()
    return shown, f"{where}; the server applies its chat template (give --model_path to see it)"


async def _rendered(settings: GenerationSettings, messages: Any) -> str | None:
    """The prompt through vLLM's /tokenize and /detokenize; None where the server has neither or is down."""
    from analyzer.generation.client import Client, Late, Lost, Oversized, Rejected, Unreachable

    root = settings.urls[0].removesuffix("/v1")
    extra = {key: value for key, value in (settings.extra_body or {}).items() if key == TEMPLATE_VALUES}
    # The server's own template is the only true one: it may have been started with --chat-template.
    client = Client(settings, _RENDER_SECONDS)
    try:
        tokenized = await client.post(f"{root}/tokenize", orjson.dumps({"messages": messages, **extra}))
        body = orjson.dumps({"tokens": orjson.loads(tokenized)["tokens"]})
        return str(orjson.loads(await client.post(f"{root}/detokenize", body))["prompt"])
    except (Unreachable, Lost, Late, Oversized, Rejected, orjson.JSONDecodeError, KeyError, TypeError):
        return None
    finally:
        await client.close()
