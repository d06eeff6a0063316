"""What the servers serve: asked from /v1/models, and the same everywhere, or the rollouts of two policies would mix.

    {"data": [{"id": "policy", "root": "/checkpoints/step_200", "parent": null, ...}]}

Trainers serve one checkpoint after another under one name, so the name alone says little; vLLM's `root` (with a LoRA
adapter, its folder, and `parent` the model below) says where the weights came from. `created` and `permission` change
with each request. SGLang repeats the name as `root`; its /get_model_info names the folder.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from analyzer.errors import ConfigError
from analyzer.generation.client import Client, Late, Lost, Moved, Oversized, Rejected, Unreachable
from analyzer.generation.settings import GenerationSettings
from analyzer.generation.state import Served
from analyzer.workers.interrupts import run_async

_LISTING_SECONDS = 20.0
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_COMPLETE_SECONDS = 3.0  # for a generation that is complete, and needs no server


class NotReady(Exception):
    """Raised for a server that is there and does not list its models; says why, to be read after its address."""


class Unlisted(NotReady):
    """Raised for a server that does not list its models, now or later, and may answer requests all the same."""


class Found(NamedTuple):
    """What the servers say of the model."""

    served: Served
    notes: tuple[str, ...]  # what the user should know: servers that are down or do not list their models
    listed: bool  # whether the model's name is in their lists
    listing: frozenset[str]  # addresses that list their models


def find_model(settings: GenerationSettings, seconds: float = _LISTING_SECONDS) -> Found:
    """The model on the servers.

    Raises ConfigError when no server answers, it is not clear which model is meant, or servers have different ones.
    """
    offers, down, mute = run_async(_listings(settings, seconds))
    if mute and not settings.vllm_model_name:
        url, why = next(iter(mute.items()))
        raise ConfigError(f"{url} {why}, or name the model with --vllm_model_name if there is no list of models")
    if not offers:
        unready = any(trouble.startswith(url) for url in settings.urls for trouble in down)
        advice = "wait for it, or give its key with --api_key_env" if unready else "start a server there"
        proxy = next((name for name in _PROXIES if os.environ.get(name)), None)
        unused = f"; the proxy of {proxy} is not used" if proxy else ""
        raise ConfigError(f"{'; '.join(down)}; {advice}, or name another with --vllm_url{unused}")
    notes = (
        *(f"{trouble}; it will be tried again" for trouble in down),
        *(
            f"{url} {why.partition(';')[0]}; {settings.vllm_model_name!r} is requested unseen"
            for url, why in mute.items()
        ),
    )
    if settings.vllm_model_name:
        # A name that was given need not be in a listing: servers may know aliases that they do not list.
        chosen = dict.fromkeys(offers, settings.vllm_model_name)
    else:
        chosen = {url: _choose(list(offered), url, settings.model_path) for url, offered in offers.items()}
    if len(names := set(chosen.values())) > 1:
        raise ConfigError(f"the servers serve different models: {', '.join(sorted(names))}; give servers of one model")
    lists = [url for url, offered in offers.items() if chosen[url] in offered]
    others_only = [url for url, offered in offers.items() if offered and url not in lists]
    if lists and others_only and not settings.same_model:
        raise ConfigError(
            f"{lists[0]} lists the model {chosen[lists[0]]!r}, and {others_only[0]} only "
            f"{', '.join(list(offers[others_only[0]])[:10])}: their rollouts would be mixed; serve one model on all "
            "servers, or confirm with --same_model that the weights are the same"
        )
    found = {url: as_served(offered, chosen[url]) for url, offered in offers.items()}
    (first_url, first), *others = found.items()
    for url, served in others:
        if not settings.same_model and first.differs(served):
            raise ConfigError(
                f"{first_url} serves {first}, {url} serves {served}: their rollouts would be mixed; serve one model "
                "on all servers, or confirm with --same_model that the weights are the same"
            )
        first_url, first = (url, served) if first.root is None else (first_url, first)  # the one that says most
    return Found(first, notes, bool(lists), frozenset(offers.keys() - mute.keys()))


def as_served(offered: Mapping[str, Served], name: str) -> Served:
    """What a listing says of the model `name`.

    Servers of one model (llama.cpp) answer whatever name they are asked for: it is the one that they list.
    """
    if name in offered or len(offered) != 1:
        return offered.get(name, Served(name))
    ((only, served),) = offered.items()
    return Served(name, served.root or only, served.parent)


def find_now(settings: GenerationSettings) -> Served | None:
    """The model on the servers if they say it at once: for a generation that is complete. Raises ConfigError."""
    try:
        return find_model(settings, _COMPLETE_SECONDS).served
    except ConfigError:
        return None


def _choose(offered: list[str], url: str, model_path: str | None) -> str:
    if model_path and (model_path in offered or not offered):
        return model_path
    if len(offered) == 1:
        return offered[0]
    has = f"offers {len(offered)} models: {', '.join(offered[:10])}" if offered else "does not say which model it has"
    raise ConfigError(f"{url} {has}; choose with --vllm_model_name")


class _Listings(NamedTuple):
    """What the servers said when they were asked for their models."""

    offers: dict[str, Mapping[str, Served]]  # the models of each server that answers; none of one without a list
    down: list[str]  # what is wrong with each of the others
    mute: dict[str, str]  # of those that answer, the ones that do not list their models, and why


async def _listings(settings: GenerationSettings, seconds: float) -> _Listings:
    client = Client(settings, seconds)
    try:
        # return_exceptions: a server that is down must not hide what the others say.
        found = await asyncio.gather(*(listing(client, url) for url in settings.urls), return_exceptions=True)
    finally:
        await client.close()
    offers, down, mute = dict[str, Mapping[str, Served]](), list[str](), dict[str, str]()
    for url, answer in zip(settings.urls, found, strict=True):
        if isinstance(answer, Unreachable):
            down.append(f"Could not reach {url} ({answer})")
        elif isinstance(answer, Unlisted):
            offers[url], mute[url] = {}, str(answer)
        elif isinstance(answer, NotReady):
            down.append(f"{url} {answer}")
        elif isinstance(answer, BaseException):
            raise answer
        else:
            offers[url] = answer
    return _Listings(offers, down, mute)


async def listing(client: Client, url: str) -> Mapping[str, Served]:
    """A server's models by name.

    Raises Unreachable, NotReady, Unlisted, and ConfigError for a redirect that loses the key.
    """
    try:
        answer = orjson.loads(await client.get(f"{url}/models"))
        # A bare list is what some gateways answer; null stands for none.
        listed: list[Any] = (answer if isinstance(answer, list) else answer["data"]) or []
        models = {str(entry["id"]): _served(entry) for entry in listed}
    except (Lost, Late, Oversized) as error:
        raise NotReady(f"does not answer ({error})") from None
    except Moved as error:
        raise ConfigError(f"{url}: {error}") from None
    except Rejected as error:
        # Gateways often have no list, or keep it from a key that may generate: only the first request tells.
        if error.status in (401, 403):
            why = f"refuses to list its models ({error.status}); name the variable of a valid key with --api_key_env"
        elif error.status in (404, 405, 501):
            why = f"lists no models ({error.status} for /models); check the address, which usually ends in /v1"
        else:
            raise NotReady(f"is not ready ({error})") from None
        raise Unlisted(why) from None
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        why = "answers /models with something else than a list; check the address, which usually ends in /v1"
        raise Unlisted(why) from None
    if len(models) == 1 and any(entry.get("owned_by") == "sglang" for entry in listed):
        ((name, served),) = models.items()
        return {name: served._replace(root=await _sglang_folder(client, url) or served.root)}
    return models


def _served(entry: Mapping[str, Any]) -> Served:
    """One entry of a listing; `id` is its name, the other two count where they are text."""
    root, parent = (value if isinstance(value := entry.get(key), str) and value else None for key in ("root", "parent"))
    return Served(str(entry["id"]), root, parent)


async def _sglang_folder(client: Client, url: str) -> str | None:
    """Where SGLang loaded its model from, its `model_path`; None where it does not say."""
    try:
        path = orjson.loads(await client.get(f"{url.removesuffix('/v1')}/get_model_info"))["model_path"]
    except (Unreachable, Lost, Late, Oversized, Rejected, orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return path if isinstance(path, str) and path else None
