"""Your own reward function, called the way verl or TRL calls it, in the bounded child.

    reward = load_custom("my_rewards.py:compute_score", {"bonus": 0.1})
    reward.form       # "verl": its parameters say so

Three forms (docs/custom_rewards.md has an example of each)::

    compute_score(data_source, solution_str, ground_truth, extra_info=None)        verl, one rollout
    compute_score(data_sources, solution_strs, ground_truths, extra_infos)         verl's batch reward manager
    reward(prompts, completions, **columns)                                        TRL

The function is imported only in the child; the worker and the driver know no more than what `describe` says of it.
"""

from __future__ import annotations

import copy
import itertools
import json
import os.path
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from analyzer.errors import RewardError, counted
from analyzer.grading import Limits, Target, nursery
from analyzer.grading.supervisor import Supervisor
from analyzer.rewards import WholeReward
from analyzer.rewards.custom.dependencies import digest
from analyzer.rewards.custom.results import score_of
from analyzer.schema import NOTHING, Problem, Score, Status, Unscored


class Custom(WholeReward):
    """A function of the user's. Made by `load_custom`, which checks it and fills in all options but the first two.

    `function` is "path/to/file.py:name" or "package.module:name", `form` one of verl, verl_batched and trl, `columns`
    the original_* columns, without the prefix, that it cannot do without; `sha256`, `distributions`, `environ` and
    `files` are what it depends on (dependencies.py), `distribution` is the installed package that it comes from,
    "verl 0.9.1".
    """

    name = "custom"

    def __init__(
        self,
        *,
        function: str,
        kwargs: Mapping[str, Any] = NOTHING,
        form: str = "",
        columns: Sequence[str] = (),
        sha256: str = "",
        distributions: Mapping[str, str] = NOTHING,
        environ: Mapping[str, str] = NOTHING,
        files: Mapping[str, str] = NOTHING,
        distribution: str = "",
    ) -> None:
        self.function = function
        self.kwargs = kwargs
        self.form = form
        self.columns = tuple(columns)
        self.sha256 = sha256
        self.distributions = distributions
        self.environ = environ
        self.files = files
        self.distribution = distribution
        self.needs_columns = form == "trl"
        if form == "verl":
            self.batch_size = 1  # it is called for one rollout at a time anyway, and so each has its own budget

    def __str__(self) -> str:
        return self.function

    def load(self) -> None:
        """Import the function. In the child only. Raises RewardError, or whatever the import raises."""
        from analyzer.rewards.custom import functions

        self._loaded = functions.load(self.function, self.kwargs)
        here = self._loaded.dependencies
        # A worker may start hours after the driver: by then the file may be another one.
        if self.sha256 not in ("", here.sha256):
            raise RewardError("its source has changed since the run was started; run the command again")
        files = {name for name, _ in {*self.files.items()} ^ {*here.files.items()}} - self._loaded.watch.rewritten
        if self.sha256 and files:
            raise RewardError(
                f"the file {min(files)}, which it reads, has changed since the run was started; run the command again "
                "when it no longer changes"
            )
        if self.sha256 and self.environ != here.environ:
            names = sorted(name for name, _ in {*self.environ.items()} ^ {*here.environ.items()})
            raise RewardError(
                f"it reads the environment variable {names[0]}, whose value differs from that where the run was "
                "started; set it to the same value for all workers"
            )

    def describe(self) -> dict[str, Any]:
        """The options that only the loaded function tells. In the child only."""
        loaded = self._loaded
        return {
            "form": loaded.form.name,
            "columns": loaded.columns,
            **loaded.dependencies._asdict(),
            "distribution": loaded.distribution,
        }

    def identity(self) -> dict[str, Any]:
        """What the rewards depend on, for the fingerprint of a run: not where the file lies, nor any value given."""
        return {
            "function": self.function.rpartition(":")[2],
            "sha256": self.sha256,
            "distributions": dict(self.distributions),
            "environ": dict(self.environ),
            "files": dict(self.files),
            "distribution": self.distribution,
            "kwargs": {name: digest(json.dumps(value, sort_keys=True)) for name, value in self.kwargs.items()},
        }

    def score(self, problem: Problem, responses: Sequence[str]) -> list[Score]:
        """Call the function. Raises what it raises, and Unscored for a result of another length."""
        if self._loaded.form.name == "verl":
            return [score_of(self._call_verl(problem, response)) for response in responses]
        if self._loaded.form.name == "verl_batched":
            results = self._call_verl_batched(problem, responses)
        else:
            results = self._call_trl(problem, responses)
        # An array or a tensor is as good as a list, and so is an iterator: TRL goes through it once.
        results = results.tolist() if hasattr(results, "tolist") else results
        if isinstance(results, Iterator):
            results = list(itertools.islice(results, len(responses) + 1))  # it may never end
        if not isinstance(results, list | tuple) or len(results) != len(responses):
            returned = (
                counted(len(results), "result") if isinstance(results, list | tuple) else f"a {type(results).__name__}"
            )
            raise Unscored(Status.INVALID_RESULT, f"it returned {returned} for {counted(len(responses), 'rollout')}")
        return list(map(score_of, results))

    def _call_verl(self, problem: Problem, response: str) -> Any:
        """As verl 0.9.1, workers/reward_manager/naive.py: by keyword, extra_info never None."""
        return self._call(
            data_source=problem.data_source,
            solution_str=response,
            ground_truth=problem.ground_truth,
            extra_info=_extra_info(problem),
        )

    def _call_verl_batched(self, problem: Problem, responses: Sequence[str]) -> Any:
        """As verl 0.9.1, workers/reward_manager/batch.py."""
        return self._call(
            data_sources=[problem.data_source] * len(responses),
            solution_strs=list(responses),
            ground_truths=[problem.ground_truth] * len(responses),
            # A function may write into extra_info; one rollout must not see what another left there.
            extra_infos=[copy.deepcopy(_extra_info(problem)) for _ in responses],
        )

    def _call_trl(self, problem: Problem, responses: Sequence[str]) -> Any:
        """As TRL's GRPOTrainer: chat prompts go with completions of one message, columns are lists.

        A last message of the assistant is a start given to the model: TRL moves it from prompt to completion.
        """
        prompt, completions = problem.prompt, list[Any](responses)
        if isinstance(prompt, list) and prompt and isinstance(prompt[-1], dict) and "role" in prompt[-1]:
            given = ""
            if prompt[-1]["role"] == "assistant":
                *prompt, last = prompt
                given = last["content"]
            completions = [[{"role": "assistant", "content": given + response}] for response in responses]
        columns = {
            "data_source": problem.data_source,
            "ground_truth": problem.ground_truth,
            "extra_info": problem.extra_info,
            **problem.columns,
        }
        taken = {"prompt", "completion", "prompts", "completions", *self.kwargs}
        return self._call(
            prompts=[prompt] * len(responses),
            completions=completions,
            **{name: [value] * len(responses) for name, value in columns.items() if name not in taken},
        )

    def _call(self, **arguments: Any) -> Any:
        """Call the function with the arguments that it has parameters for; an async one is run to its end.

        Raises what it raises, and Unscored where it depends on what the fingerprint of the run does not hold.
        """
        accepts = self._loaded.accepts
        # TRL passes every column as a keyword; without **kwargs only those that the function names can be given.
        fitting = {name: value for name, value in arguments.items() if accepts is None or name in accepts}
        # Reads of environment variables at import time are part of the fingerprint; from here on they are
        # checked.
        self._loaded.watch.begin()
        result = self._loaded.function(**fitting, **self.kwargs)
        if hasattr(result, "__await__"):
            import asyncio

            result = asyncio.run(_wait_for(result))
        self._loaded.watch.check()
        return result


def load_custom(spec: str, kwargs: Mapping[str, Any] = NOTHING) -> Custom:
    """The reward of "path/to/file.py:name" or "package.module:name", imported and checked in a child process.

    Raises RewardError when there is no such function, its import fails, or it is of no known form.
    """
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name:
        raise RewardError(f"{spec!r} does not name a function; write path/to/file.py:name or package.module:name")
    if place.endswith(".py"):
        if not os.path.isfile(place):
            raise RewardError(f"no such file: {place} (from {spec})")
        place = os.path.abspath(place)
    options: dict[str, Any] = {"function": f"{place}:{name}", "kwargs": dict(kwargs)}
    asked = _target(Custom(**options), spec)
    with closing(Supervisor(asked, Limits())) as child:
        try:
            reply = child.call("describe")
        except RewardError as error:
            raise RewardError(f"{error}{_remedy(place, name, str(error))}") from None
    if reply.status is not Status.OK:
        raise RewardError(f"the reward {spec} cannot be loaded: {reply.detail}")
    reward = Custom(**options, **reply.value)
    nursery.rename(asked, _target(reward, spec))  # what is loaded need not be loaded again
    return reward


def _remedy(place: str, name: str, detail: str) -> str:
    """What to do where Python does not find a module that is there; "" elsewhere."""
    if place.endswith(".py"):
        if "attempted relative import" not in detail:
            return ""
        folder, parts = os.path.split(place.removesuffix(".py"))[0], [os.path.basename(place).removesuffix(".py")]
        while os.path.isfile(os.path.join(folder, "__init__.py")):
            parts.insert(0, os.path.basename(folder))
            folder = os.path.dirname(folder)
        return f"; name it as a module of its package: PYTHONPATH={folder} and --reward_fn {'.'.join(parts)}:{name}"
    top = place.partition(".")[0]
    is_here = os.path.exists(top) or os.path.exists(f"{top}.py")
    return f"; it is in this folder: set PYTHONPATH={os.getcwd()}" if is_here and f"'{top}'" in detail else ""


def _target(reward: Custom, spec: str) -> Target:
    return Target(f"{Custom.__module__}:{Custom.__qualname__}", reward.options, spec)


def _extra_info(problem: Problem) -> Any:
    return {} if problem.extra_info is None else problem.extra_info


async def _wait_for(awaitable: Any) -> Any:
    return await awaitable
