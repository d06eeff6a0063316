"""The grammar of expressions: recursive descent, one method per rule, which returns what evaluates its part."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from analyzer.errors import ConfigError, printable
from analyzer.expression.values import (
    OPERATIONS,
    Node,
    Value,
    a_kind,
    call,
    column_of,
    constant,
    holds,
    kind_of,
    of_few_types,
    scalar,
    without_nan,
)
from analyzer.registry import did_you_mean

if TYPE_CHECKING:  # pyarrow stays off the path of --help
    import pyarrow as pa

# In order: a number before a name, <= before <. Each branch is linear; a text ends at its first bare quote.
_TOKEN = re.compile(
    r"""(?P<number>(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<name>`[^`]+`|[^\W\d]\w*(?:@\d+)?)
      | (?P<sign><=|>=|==|!=|[<>+\-*/%().,\[\]])""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = frozenset({"and", "or", "not", "in", "is", "null", "none", "true", "false"})
_COMPARISONS = {
    "<": "less",
    "<=": "less_equal",
    "==": "equal",
    "!=": "not_equal",
    ">=": "greater_equal",
    ">": "greater",
}
# What people write who know pandas, SQL or C: each gets the word to use instead.
_SLIPS = {"=": "==", "&": "and", "|": "or", "!": "not", "<>": "!=", "&&": "and", "||": "or", "~": "not"}
_NAMES_SHOWN = 30
_END = "the end"


class _Token(NamedTuple):
    kind: str  # number, text, name, word (of the language), sign, end
    text: str
    at: int  # position in the expression, from 0


class Expression:
    """A parsed condition. `text`: as given; `names`: the columns it reads, in order of their first use."""

    def __init__(self, text: str, names: tuple[str, ...], root: Node) -> None:
        self.text = text
        self.names = names
        self._root = root

    def evaluate(self, table: pa.Table | pa.RecordBatch) -> pa.BooleanArray:
        """(rows,) whether each row fulfils the condition; null where a missing value leaves that open.

        `table` has the columns `names`, others are ignored. Raises ConfigError where types do not fit: a text compared
        with a number, an unknown field of a struct.
        """
        import pyarrow as pa

        batches = [table] if isinstance(table, pa.RecordBatch) else table.to_batches()
        parts = [self._outcomes(batch) for batch in batches if batch.num_rows]
        return pa.concat_arrays(parts) if parts else pa.array([], pa.bool_())

    def _outcomes(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        import pyarrow as pa

        outcome = self._root(batch)
        return pa.repeat(outcome, batch.num_rows) if isinstance(outcome, pa.Scalar) else outcome


def compile_expression(text: str, names: Sequence[str] | None, flag: str = "expression") -> Expression:
    """Parse a condition over columns called `names`; `flag` opens each error message, `--where` for instance.

    `names` None: the columns are not known yet, only the grammar is checked.

    Raises ConfigError, one line with a ^ before the place, for what the grammar of this module does not know; for an
    unknown name it adds the nearest one.
    """
    parser = _Parser(text, names, flag)
    # A few thousand brackets exhaust Python's stack, which is an input error and no bug.
    try:
        return parser.parse()
    except RecursionError:
        raise ConfigError(f"{flag}: nested too deeply: {printable(text[:80])}...") from None


class _Parser:
    """Recursive descent over the tokens: one method a rule of the grammar, each returns what evaluates its part."""

    def __init__(self, text: str, names: Sequence[str] | None, flag: str) -> None:
        self.text = text
        self.flag = flag
        self.known = None if names is None else list(dict.fromkeys(names))
        self.used: dict[str, None] = {}
        self.tokens = self._tokens()
        self.position = 0

    def parse(self) -> Expression:
        root = self.condition(self.either(), 0)
        if self.here.kind != "end":
            raise self.error(f"expected and, or or the end, found {self.here.text}")
        return Expression(self.text, tuple(self.used), root)

    # ------------------------------------------------------------ tokens

    def _tokens(self) -> list[_Token]:
        found: list[_Token] = []
        at = 0
        # Compared word by word in lower case, so that AND of SQL works; names keep their case.
        while at < len(self.text):
            if self.text[at].isspace():
                at += 1
            elif match := _TOKEN.match(self.text, at):
                kind = str(match.lastgroup)
                word = match[0].lower()
                is_word = kind == "name" and word in _WORDS
                found.append(_Token("word", word, at) if is_word else _Token(kind, match[0], at))
                at = match.end()
            else:
                slip = next((self.text[at : at + n] for n in (2, 1) if self.text[at : at + n] in _SLIPS), "")
                if slip:
                    raise self.error(f"{slip} is not part of the language, write {_SLIPS[slip]}", at)
                quote = self.text[at] in "'\"`"
                raise self.error(
                    "a quote is opened here and never closed" if quote else f"unexpected {self.text[at]!r}",
                    at,
                )
        return [*found, _Token("end", _END, len(self.text))]

    @property
    def here(self) -> _Token:
        return self.tokens[self.position]

    def take(self, *texts: str) -> _Token | None:
        """The next token if it is one of these signs or words, and step over it."""
        token = self.here
        if token.kind not in ("sign", "word") or token.text not in texts:
            return None
        self.position += 1
        return token

    def expect(self, sign: str) -> None:
        if not self.take(sign):
            raise self.error(f"expected {sign}, found {self.here.text}")

    def error(self, reason: str, at: int | None = None) -> ConfigError:
        """One line that marks the place with a ^: that of the next token unless given."""
        at = self.here.at if at is None else at
        marked = printable(f"{self.text[:at]}^{self.text[at:]}")
        return ConfigError(f"{self.flag}: at the ^ in `{marked}`: {reason}")

    # ------------------------------------------------------------ conditions

    def condition(self, node: Node, at: int) -> Node:
        """A part that must come out true or false, checked when it is evaluated."""

        # Types are known only with the data: the grammar takes `a and 3`, this refuses it at its place.
        def checked(batch: pa.RecordBatch) -> Value:
            import pyarrow as pa

            value = node(batch)
            if kind_of(value) not in ("condition", "null"):
                raise self.error(f"{a_kind(value)} is not a condition, compare it with a value", at)
            return value.cast(pa.bool_())

        return checked

    def either(self) -> Node:
        return self.joined("or", "or_kleene", self.both)

    def both(self) -> Node:
        return self.joined("and", "and_kleene", self.denial)

    def joined(self, word: str, function: str, rule: Callable[[], Node]) -> Node:
        at = self.here.at
        node = rule()
        if self.here.kind != "word" or self.here.text != word:
            return node
        parts = [self.condition(node, at)]
        while self.take(word):
            at = self.here.at
            parts.append(self.condition(rule(), at))

        def join(batch: pa.RecordBatch) -> Value:
            # Kleene's: false and null is false, where arrow's plain and_ gives null, and so does a `not` in front of
            # it.
            outcome = parts[0](batch)
            for part in parts[1:]:
                outcome = call(function, outcome, part(batch))
            return outcome

        return join

    def denial(self) -> Node:
        if not self.take("not"):
            return self.chain()
        at = self.here.at
        inner = self.condition(self.denial(), at)
        return lambda batch: call("invert", inner(batch))

    def chain(self) -> Node:
        left = self.sum()
        pairs: list[Node] = []
        while True:
            at = self.here.at
            if sign := self.take(*_COMPARISONS):
                right = self.sum()
                pairs.append(self.comparison(_COMPARISONS[sign.text], left, right, at))
                left = right
            elif self.take("is"):
                pairs.append(self.missing(left))
            elif self.here.text in ("in", "not") and self.here.kind == "word":
                pairs.append(self.membership(left))
            else:
                break
        if not pairs:
            return left

        def all_hold(batch: pa.RecordBatch) -> Value:
            outcome = pairs[0](batch)
            for pair in pairs[1:]:
                outcome = call("and_kleene", outcome, pair(batch))
            return outcome

        return all_hold

    def comparison(self, function: str, left: Node, right: Node, at: int) -> Node:
        def compare(batch: pa.RecordBatch) -> Value:
            import pyarrow as pa

            one, other = left(batch), right(batch)
            self.check_alike(one, other, at)
            if {kind_of(one), kind_of(other)} == {"null"}:  # arrow compares no nulls without a type
                one = one.cast(pa.bool_())
                other = other.cast(pa.bool_())
            try:
                return call(function, one, other)
            except pa.ArrowNotImplementedError:
                raise self.error(f"{a_kind(one)} cannot be compared with {a_kind(other)}", at) from None

        return compare

    def check_alike(self, one: Value, other: Value, at: int) -> None:
        kinds = {kind_of(one), kind_of(other)} - {"null"}
        if len(kinds) > 1:
            raise self.error(f"{a_kind(one)} cannot be compared with {a_kind(other)}", at)
        if kinds & {"list", "struct"}:
            raise self.error(f"{a_kind(one)} cannot be compared as a whole", at)

    def missing(self, operand: Node) -> Node:
        denied = bool(self.take("not"))
        if not self.take("null", "none"):
            raise self.error(f"expected null after is, found {self.here.text}")
        function = "is_valid" if denied else "is_null"
        return lambda batch: call(function, operand(batch))

    def membership(self, item: Node) -> Node:
        at = self.here.at
        denied = bool(self.take("not"))
        self.expect("in")
        test = self.among(item, at) if self.here.text in ("[", "(") else self.contained(item, self.sum(), at)
        return (lambda batch: call("invert", test(batch))) if denied else test

    def among(self, item: Node, at: int) -> Node:
        """`name in [1, 2]`: one of the literals."""
        closing = {"[": "]", "(": ")"}[self.here.text]
        self.position += 1
        values = [self.literal()]
        while self.take(","):
            values.append(self.literal())
        self.expect(closing)

        def test(batch: pa.RecordBatch) -> Value:
            import pyarrow as pa

            one = item(batch)
            if kind_of(one) == "null":
                return one.cast(pa.bool_())
            for value in values:
                self.check_alike(one, value, at)
            # As doubles when any of them is one: casting 0.5 to the int64 of the column would raise, and 1.0 must be
            # found in 1.
            if kind_of(one) == "number" and any(pa.types.is_floating(value.type) for value in (one, *values)):
                one = one.cast(pa.float64())
            wanted = pa.array([value.as_py() for value in values]).cast(one.type)
            # is_in has no null: a missing value would be false, and true behind a `not`.
            return call("if_else", call("is_valid", one), call("is_in", one, wanted), pa.scalar(None, pa.bool_()))

        return test

    def literal(self) -> Value:
        negative = self.take("-")
        token = self.here
        if token.kind == "number":
            value = self.number()
            return call("negate", value) if negative else value
        if not negative and token.kind == "text":
            return self.quoted()
        if not negative and (word := self.take("true", "false")):
            return scalar(word.text == "true")
        raise self.error(f"expected a number or a text in the list, found {token.text}")

    def contained(self, item: Node, whole: Node, at: int) -> Node:
        """`'aime' in data_source`: a part of a text, or an item of a list."""

        def test(batch: pa.RecordBatch) -> Value:
            import pyarrow as pa

            one, other = item(batch), whole(batch)
            if kind_of(other) == "null":
                return other.cast(pa.bool_())
            if kind_of(other) == "list":
                return holds(other, one, lambda values: self.check_alike(one, values, at))
            if not isinstance(one, pa.Scalar) or {kind_of(one), kind_of(other)} - {"null"} != {"text"}:
                raise self.error(
                    f"{a_kind(one)} cannot be searched in {a_kind(other)}: write NAME in [1, 2] or 'part' in NAME", at
                )
            import pyarrow.compute as pc

            return pc.match_substring(other, one.as_py())

        return test

    # ------------------------------------------------------------ values

    def sum(self) -> Node:
        return self.arithmetic(("+", "-"), self.product)

    def product(self) -> Node:
        return self.arithmetic(("*", "/", "%"), self.factor)

    def arithmetic(self, signs: tuple[str, ...], rule: Callable[[], Node]) -> Node:
        first = rule()
        rest: list[tuple[_Token, Node]] = []
        while sign := self.take(*signs):
            rest.append((sign, rule()))
        if not rest:
            return first

        def compute(batch: pa.RecordBatch) -> Value:
            value = first(batch)
            for sign, operand in rest:
                value = self.operate(sign, value, operand(batch))
            return value

        return compute

    def operate(self, sign: _Token, one: Value, other: Value) -> Value:
        import pyarrow as pa

        for operand in (one, other):
            if kind_of(operand) not in ("number", "null"):
                raise self.error(f"{sign.text} needs numbers, not {a_kind(operand)}", sign.at)
        # A null has no type in arrow, and no kernel adds one.
        one, other = (value.cast(pa.int64()) if kind_of(value) == "null" else value for value in (one, other))
        try:
            # The checked kernels raise on overflow, where the others wrap around without a word.
            return without_nan(OPERATIONS[sign.text](one, other))
        except pa.ArrowInvalid:
            raise self.error("the whole numbers grow beyond 64 bits", sign.at) from None

    def factor(self) -> Node:
        token = self.here
        if self.take("+", "-"):
            # As 0 - x, so that the sign goes through the same checks as any other operation.
            inner, zero = self.factor(), scalar(0)
            return lambda batch: self.operate(token, zero, inner(batch))
        if self.take("("):
            inner = self.either()
            self.expect(")")
            return inner
        if word := self.take("true", "false"):
            return constant(scalar(word.text == "true"))
        if token.kind == "number":
            return constant(self.number())
        if token.kind == "text":
            return constant(self.quoted())
        if token.kind == "name":
            return self.name()
        if token.text in ("null", "none"):
            raise self.error("a missing value equals nothing, write: NAME is null")
        raise self.error(f"expected a name, a number or a text, found {token.text}")

    def number(self) -> Value:
        token = self.here
        self.position += 1
        try:
            whole = re.fullmatch(r"[\d_]+", token.text)
            return scalar(int(token.text) if whole else float(token.text))
        except (ValueError, OverflowError):
            raise self.error(f"{token.text} is not a number of 64 bits", token.at) from None

    def quoted(self) -> Value:
        text = self.here.text
        self.position += 1
        return scalar(re.sub(r"\\([\\'\"])", r"\1", text[1:-1]))

    def name(self) -> Node:
        at = self.here.at
        parts = [self.part()]
        while self.take("."):
            parts.append(self.part())
        # The longest first: a column may have dots in its name.
        cut = next((n for n in range(len(parts), 0, -1) if self.known is None or ".".join(parts[:n]) in self.known), 0)
        if not cut:
            raise self.unknown(".".join(parts), at)
        column, fields = ".".join(parts[:cut]), parts[cut:]
        self.used.setdefault(column)

        def read(batch: pa.RecordBatch) -> Value:
            value = column_of(batch, column)
            for field in fields:
                value = self.field(value, field, at)
            return of_few_types(value)

        return read

    def part(self) -> str:
        token = self.here
        if token.kind not in ("name", "word"):
            raise self.error(f"expected a name after the dot, found {token.text}")
        self.position += 1
        end = token.at + len(token.text)
        return self.text[token.at : end].strip("`")

    def unknown(self, name: str, at: int) -> ConfigError:
        known = self.known or []
        near = did_you_mean(name, known)
        shown = ", ".join(known[:_NAMES_SHOWN]) + (", ..." if len(known) > _NAMES_SHOWN else "")
        return self.error(f"there is no {name!r}{near or f'; there are: {shown}'}", at)

    def field(self, value: Value, field: str, at: int) -> Value:
        import pyarrow as pa

        kind = value.type
        if pa.types.is_null(kind):  # a column without values has none in any field either
            return value
        if not pa.types.is_struct(kind):
            raise self.error(f"{a_kind(value)} has no field {field!r}", at)
        fields = [kind.field(i).name for i in range(kind.num_fields)]
        if field not in fields:
            hint = did_you_mean(field, fields) or f"; there are: {', '.join(fields)}"
            raise self.error(f"there is no field {field!r}{hint}", at)
        return call("struct_field", value, [fields.index(field)])
