"""What looks like a secret, and what is shown in its place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

HIDDEN = "***"
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
# Rather too much than too little: what is hidden for nothing is a nuisance, what is shown is in a file that people pass
# on.
_SECRET = frozenset(
    {"key", "apikey", "token", "secret", "secrets", "password", "passwd", "pwd", "passphrase", "credential"}
    | {"credentials", "auth", "authorization", "bearer", "cookie", "signature", "sig"}
)
_NAMES_A_COLUMN = frozenset({"reward_fn_key", "prompt_key", "response_key", "key"})  # flags that end as a secret does
_OF_THE_USER = frozenset({"reward_kwargs", "reward_routes", "extra_body"})  # flags whose values are the user's own
_USER_IN_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_QUERY = re.compile(r"(?<=[?&])([^=&#\s]+)=([^&#\s]*)")


def looks_secret(name: str) -> bool:
    """Whether the value under such a name is a secret: api_key, hf_token, X-Amz-Signature, dbPassword."""
    # By words: `monkey` is not a key. `token` and `key` count at the end only, or token_count would be a secret.
    words = [word.lower() for word in _WORDS.findall(name)]
    return bool(words) and (words[-1] in _SECRET or not _SECRET.isdisjoint(set(words) - {"key", "token"}))


def text(value: str) -> str:
    """A text without the user and password of URLs in it, nor the secrets among their parameters."""
    value = _USER_IN_URL.sub(HIDDEN, value)
    return _QUERY.sub(lambda match: f"{match[1]}={HIDDEN}" if looks_secret(match[1]) else match[0], value)


def command(words: Sequence[str]) -> list[str]:
    """A command line as it may be written to a file: names stay, secret values and values of the user's own do not."""
    return list(_masked(words))


def settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they may be written to a file, under the same rule."""
    masked = dict(given)
    for name, value in given.items():
        if name in _OF_THE_USER and isinstance(value, Mapping):
            masked[name] = _hidden(value)
        elif isinstance(value, str):
            masked[name] = _value(name, value)
    return masked


def _masked(words: Sequence[str]) -> Iterator[str]:
    flag = ""
    for word in words:
        if not flag and word.startswith("--"):
            flag, equals, value = word.partition("=")
            if equals:
                yield f"{flag}={_value(flag, value)}"
                flag = ""
            else:
                yield word
        # A flag that takes no value is followed by the next flag, not by a secret.
        elif word.startswith("--"):
            yield from _masked([word])
            flag = "" if "=" in word else word
        else:
            yield _value(flag, word)
            flag = ""


def _value(flag: str, value: str) -> str:
    name = flag.lstrip("-").replace("-", "_")
    if name.partition(".")[0] in _OF_THE_USER:
        # Options of the user's own are JSON: names are worth keeping, values are theirs.
        try:
            given = json.loads(value)
        except ValueError:
            return HIDDEN
        return json.dumps(_hidden(given)) if isinstance(given, dict) and "." not in name else HIDDEN
    return HIDDEN if looks_secret(name) and name not in _NAMES_A_COLUMN else text(value)


def _hidden(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _hidden(value) if isinstance(value, dict) else HIDDEN for name, value in given.items()}
