"""Make the embedded sample: examples/sample/rollouts.parquet and examples/sample/tokenizer/.

    python examples/make_sample.py [--out examples/sample]

200 word problems of our own in the format of openai/gsm8k, 8 simulated responses each. Every problem has a solve rate
drawn from a Beta distribution that falls with the number of steps, so that some problems are never solved and some
always. A wrong response slips in one step and carries the slip on, or stops too early. A few responses end without
"####", and a few go round in circles until max_tokens cuts them. The tokenizer is a byte-level BPE of 2,048 tokens
trained on this text. Same seed, same files.
"""

from __future__ import annotations

import argparse
import json
import operator
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from stories import NAMES, STORIES, Story
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

PROBLEMS = 200
SAMPLES = 8
SEED = 20
MAX_TOKENS = 256
INSTRUCTION = 'Think step by step, and give the final number after "####".'
OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
OPENINGS = (
    "",
    "",
    "Let's work through this.\n",
    "Let me solve this step by step.\n",
    "Okay, one step at a time.\n",
    "We are told the following. {given}\n",
    "Given: {given}\nSolution:\n",
    "I'll find {what} in {steps} steps.\n\n",
)
STEP_STYLES = (
    ("To get {what}, compute {sum}.",),
    ("We need {what}: {sum}.", "Next comes {what}: {sum}.", "That leaves {what}: {sum}."),
    ("First, {what} is {sum}.", "Then {what} is {sum}.", "So {what} is {sum}."),
    ("{number}. Find {what}: {sum}",),
    ("- {what}: {sum}",),
    ("**Step {number}:** {what}\n{sum}",),
    ("{sum}, which is {what}.",),
)
CLOSINGS = ("", "", "So the answer is {answer}.\n", "Therefore {what} is {answer}.\n", "\n**Answer:** {answer}\n\n")
DOUBTS = (
    "Wait, let me check that again.",
    "Hmm, did I read the question correctly?",
    "Let me verify each number once more.",
    "Actually, I should start from the beginning.",
)

Values = dict[str, Fraction]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "sample")
    out = parser.parse_args().out
    rows = list(simulate(Random(SEED)))
    tokenizer = train_tokenizer([row["prompt"] for row in rows] + [row["response"] for row in rows])
    for row in rows:
        cut_at_max_tokens(row, tokenizer)
    save_tokenizer(tokenizer, out / "tokenizer")
    pq.write_table(pa.Table.from_pylist(rows), out / "rollouts.parquet", compression="zstd")


def simulate(random: Random) -> Iterator[dict[str, Any]]:
    """Yield the rollouts, problem by problem, before max_tokens cuts them."""
    for data_idx in range(PROBLEMS):
        story = STORIES[data_idx % len(STORIES)]
        name, values = draw(story, random)
        answer = values[result_of(story.steps[-1])]
        question = story.question.format(name=name, **{key: show(value) for key, value in values.items()})
        steps = len(story.steps)
        solve_rate = random.betavariate(2.6 / steps, 0.25 * steps)
        for sample_idx in range(SAMPLES):
            yield {
                "prompt": f"{question} {INSTRUCTION}",
                "response": respond(story, question, values, random.random() < solve_rate, random),
                "data_idx": data_idx,
                "sample_idx": sample_idx,
                "temperature": 0.7,
                "top_p": 0.9,
                "max_tokens": MAX_TOKENS,
                "finish_reason": "stop",
                "model": "simulated",
                "original_data_source": "openai/gsm8k",
                "original_ability": "math",
                "original_reward_model": {"style": "rule", "ground_truth": str(answer)},
                "original_extra_info": {"split": "sample", "index": data_idx, "steps": steps},
            }


def draw(story: Story, random: Random) -> tuple[str, Values]:
    """A name, and numbers with which every step gives a whole number above 0."""
    while True:
        values: Values = {key: Fraction(random.randint(*bounds)) for key, bounds in story.ranges.items()}
        for step in story.steps:
            values[result_of(step)] = compute(step, values)
        if all(value > 0 and value.denominator == 1 for value in values.values()):
            return random.choice(NAMES), values


def result_of(step: tuple[str, str]) -> str:
    return step[1].split()[0]


def parts(step: tuple[str, str], values: Values) -> tuple[Fraction, str, Fraction]:
    left, sign, right = step[1].split()[2:]
    return values[left], sign, values[right] if right in values else Fraction(right)


def compute(step: tuple[str, str], values: Values) -> Fraction:
    left, sign, right = parts(step, values)
    return OPERATORS[sign](left, right)


def show(value: Fraction) -> str:
    return str(value) if value.denominator == 1 else f"{float(value):.2f}"


def respond(story: Story, question: str, truth: Values, right: bool, random: Random) -> str:
    """One response: right, or with a slip in one step, or without the last step."""
    steps = story.steps
    slip = -1 if right else random.randrange(len(steps))
    if not right and random.random() < 0.25:
        steps, slip = steps[:-1], -1
    values = {key: truth[key] for key in story.ranges}
    lines = solve(steps, values, slip, random)
    what, answer = steps[-1][0], show(values[result_of(steps[-1])])
    given = question.rpartition(". ")[0] + "."
    text = random.choice(OPENINGS).format(given=given, what=what, steps=len(steps)) + "\n".join(lines) + "\n"
    fate = random.random()
    if fate < 0.02:
        return circles(text, lines, random)
    if fate < 0.05:
        return text + f"The answer is {answer}."
    if len(answer) > 3 and "." not in answer and random.random() < 0.3:
        answer = f"{int(answer):,}"
    return text + random.choice(CLOSINGS).format(answer=answer, what=what) + f"#### {answer}"


def solve(steps: tuple[tuple[str, str], ...], values: Values, slip: int, random: Random) -> list[str]:
    """One line for each step; adds what it finds to `values`. Step number `slip` goes wrong; -1: none does."""
    style, times = random.choice(STEP_STYLES), random.choice(("*", "*", "x", "×"))
    lines = []
    for number, step in enumerate(steps):
        left, sign, right = parts(step, values)
        value = compute(step, values)
        if number == slip:
            value += random.choice((-1, 1)) * random.choice((1, 2, 10, max(1, int(value) // 5)))
        values[result_of(step)] = value
        equation = f"{show(left)} {times if sign == '*' else sign} {show(right)} = {show(value)}"
        form = style[0] if number == 0 else style[-1] if number == len(steps) - 1 else style[len(style) // 2]
        line = form.format(what=step[0], sum=equation, number=number + 1)
        lines.append(line[0].upper() + line[1:])
    return lines


def circles(text: str, lines: list[str], random: Random) -> str:
    """A response that never comes to an end, longer than MAX_TOKENS tokens of any kind."""
    while len(text) < 12 * MAX_TOKENS:
        text += random.choice(DOUBTS) + "\n" + "\n".join(lines) + "\n"
    return text


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """A byte-level BPE, so that any text can be encoded."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2048, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def cut_at_max_tokens(row: dict[str, Any], tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode(row["response"]).ids
    if len(tokens) > MAX_TOKENS:
        row["response"] = tokenizer.decode(tokens[:MAX_TOKENS])
        row["finish_reason"] = "length"


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write what AutoTokenizer.from_pretrained(folder) reads."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "additional_special_tokens": ["<|im_start|>"],
        "model_max_length": 4096,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=False) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
