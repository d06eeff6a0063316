"""Expressions over columns: `0.2 <= pass_rate <= 0.8 and flag == ''`, parsed by hand and evaluated on Arrow, no eval.

    either     := both ("or" both)*
    both       := denial ("and" denial)*
    denial     := "not" denial | chain
    chain      := sum (("<" | "<=" | "==" | "!=" | ">=" | ">") sum | ["not"] "in" (list | name) | "is" ["not"] "null")*
    sum        := product (("+" | "-") product)*
    product    := factor (("*" | "/" | "%") factor)*
    factor     := ("-" | "+") factor | "(" either ")" | number | text | "true" | "false" | name
    list       := ("[" | "(") literal ("," literal)* ("]" | ")")
    name       := part ("." part)*          the longest known name, then fields of a struct: row.extra_info.level
    part       := letters, digits and _, also with @8 behind them | anything between `backquotes`
    text       := 'single' or "double" quoted, with a backslash before a quote or a backslash

A chain holds where each of its pairs does, as in Python. `'aime' in data_source` asks for a part of a text or an item
of a list column. Where a value is missing (null, NaN, a division by zero) the outcome is null, not false, unless the
rest decides alone (`or` and `and` of three-valued logic, as in SQL); what becomes of a null is the caller's to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from analyzer.errors import ConfigError, printable
from analyzer.registry import did_you_mean

if TYPE_CHECKING:  # pyarrow stays off the path of --help
    import pyarrow as pa

Value = Any  # an Arrow array of the length of the batch, or an Arrow scalar
Node = Callable[["pa.RecordBatch"], Value]

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
            if _kind(value) not in ("condition", "null"):
                raise self.error(f"{_a(value)} is not a condition, compare it with a value", at)
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
                outcome = _call(function, outcome, part(batch))
            return outcome

        return join

    def denial(self) -> Node:
        if not self.take("not"):
            return self.chain()
        at = self.here.at
        inner = self.condition(self.denial(), at)
        return lambda batch: _call("invert", inner(batch))

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
                outcome = _call("and_kleene", outcome, pair(batch))
            return outcome

        return all_hold

    def comparison(self, function: str, left: Node, right: Node, at: int) -> Node:
        def compare(batch: pa.RecordBatch) -> Value:
            import pyarrow as pa

            one, other = left(batch), right(batch)
            self.check_alike(one, other, at)
            if {_kind(one), _kind(other)} == {"null"}:  # arrow compares no nulls without a type
                one = one.cast(pa.bool_())
                other = other.cast(pa.bool_())
            try:
                return _call(function, one, other)
            except pa.ArrowNotImplementedError:
                raise self.error(f"{_a(one)} cannot be compared with {_a(other)}", at) from None

        return compare

    def check_alike(self, one: Value, other: Value, at: int) -> None:
        kinds = {_kind(one), _kind(other)} - {"null"}
        if len(kinds) > 1:
            raise self.error(f"{_a(one)} cannot be compared with {_a(other)}", at)
        if kinds & {"list", "struct"}:
            raise self.error(f"{_a(one)} cannot be compared as a whole", at)

    def missing(self, operand: Node) -> Node:
        denied = bool(self.take("not"))
        if not self.take("null", "none"):
            raise self.error(f"expected null after is, found {self.here.text}")
        function = "is_valid" if denied else "is_null"
        return lambda batch: _call(function, operand(batch))

    def membership(self, item: Node) -> Node:
        at = self.here.at
        denied = bool(self.take("not"))
        self.expect("in")
        test = self.among(item, at) if self.here.text in ("[", "(") else self.contained(item, self.sum(), at)
        return (lambda batch: _call("invert", test(batch))) if denied else test

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
            if _kind(one) == "null":
                return one.cast(pa.bool_())
            for value in values:
                self.check_alike(one, value, at)
            # As doubles when any of them is one: casting 0.5 to the int64 of the column would raise, and 1.0 must be
            # found in 1.
            if _kind(one) == "number" and any(pa.types.is_floating(value.type) for value in (one, *values)):
                one = one.cast(pa.float64())
            wanted = pa.array([value.as_py() for value in values]).cast(one.type)
            # is_in has no null: a missing value would be false, and true behind a `not`.
            return _call("if_else", _call("is_valid", one), _call("is_in", one, wanted), pa.scalar(None, pa.bool_()))

        return test

    def literal(self) -> Value:
        negative = self.take("-")
        token = self.here
        if token.kind == "number":
            value = self.number()
            return _call("negate", value) if negative else value
        if not negative and token.kind == "text":
            return self.quoted()
        if not negative and (word := self.take("true", "false")):
            return _scalar(word.text == "true")
        raise self.error(f"expected a number or a text in the list, found {token.text}")

    def contained(self, item: Node, whole: Node, at: int) -> Node:
        """`'aime' in data_source`: a part of a text, or an item of a list."""

        def test(batch: pa.RecordBatch) -> Value:
            import pyarrow as pa

            one, other = item(batch), whole(batch)
            if _kind(other) == "null":
                return other.cast(pa.bool_())
            if _kind(other) == "list":
                return _holds(other, one, lambda values: self.check_alike(one, values, at))
            if not isinstance(one, pa.Scalar) or {_kind(one), _kind(other)} - {"null"} != {"text"}:
                raise self.error(
                    f"{_a(one)} cannot be searched in {_a(other)}: write NAME in [1, 2] or 'part' in NAME", at
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
            if _kind(operand) not in ("number", "null"):
                raise self.error(f"{sign.text} needs numbers, not {_a(operand)}", sign.at)
        # A null has no type in arrow, and no kernel adds one.
        one, other = (value.cast(pa.int64()) if _kind(value) == "null" else value for value in (one, other))
        try:
            # The checked kernels raise on overflow, where the others wrap around without a word.
            return _without_nan(_OPERATIONS[sign.text](one, other))
        except pa.ArrowInvalid:
            raise self.error("the whole numbers grow beyond 64 bits", sign.at) from None

    def factor(self) -> Node:
        token = self.here
        if self.take("+", "-"):
            # As 0 - x, so that the sign goes through the same checks as any other operation.
            inner, zero = self.factor(), _scalar(0)
            return lambda batch: self.operate(token, zero, inner(batch))
        if self.take("("):
            inner = self.either()
            self.expect(")")
            return inner
        if word := self.take("true", "false"):
            return _constant(_scalar(word.text == "true"))
        if token.kind == "number":
            return _constant(self.number())
        if token.kind == "text":
            return _constant(self.quoted())
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
            return _scalar(int(token.text) if whole else float(token.text))
        except (ValueError, OverflowError):
            raise self.error(f"{token.text} is not a number of 64 bits", token.at) from None

    def quoted(self) -> Value:
        text = self.here.text
        self.position += 1
        return _scalar(re.sub(r"\\([\\'\"])", r"\1", text[1:-1]))

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
            value = _column(batch, column)
            for field in fields:
                value = self.field(value, field, at)
            return _of_few_types(value)

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
            raise self.error(f"{_a(value)} has no field {field!r}", at)
        fields = [kind.field(i).name for i in range(kind.num_fields)]
        if field not in fields:
            hint = did_you_mean(field, fields) or f"; there are: {', '.join(fields)}"
            raise self.error(f"there is no field {field!r}{hint}", at)
        return _call("struct_field", value, [fields.index(field)])


# ---------------------------------------------------------------- Arrow


def _call(function: str, *arguments: Any) -> Value:
    import pyarrow.compute as pc

    return getattr(pc, function)(*arguments)


def _scalar(value: Any) -> Value:
    import pyarrow as pa

    return pa.scalar(value)


def _constant(value: Value) -> Node:
    return lambda batch: value


def _column(batch: pa.RecordBatch, name: str) -> Value:
    places = batch.schema.get_all_field_indices(name)
    if len(places) != 1:
        raise ConfigError(f"there are {len(places)} columns named {name!r}, there must be one")
    return batch.column(places[0])


def _of_few_types(value: Value) -> Value:
    """A column in one of few types: int64, float64 without NaN, string, bool; nested ones as they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(value.type):
        value = value.dictionary_decode()
    kind = value.type
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        # 0.7 of 32 bits is meant as 0.7: by way of its shortest decimal, else `0.7 <= x` would be false of it
        value = value.cast(pa.float32()).cast(pa.string()).cast(pa.float64())
    # Beyond int64 the nearest double: ids of that size are compared, not counted with.
    elif pa.types.is_uint64(kind) and (pc.max(value).as_py() or 0) >= 1 << 63:
        value = value.cast(pa.float64(), safe=False)
    elif pa.types.is_integer(kind):
        value = value.cast(pa.int64())
    elif pa.types.is_decimal(kind):
        value = value.cast(pa.float64())
    elif kind in (pa.large_string(), pa.string_view()):
        value = value.cast(pa.string())
    return _without_nan(value)


def _without_nan(value: Value) -> Value:
    """NaN is a missing value, so `not (x > 1)` must not be true of it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_floating(value.type):
        return value
    return pc.if_else(pc.is_nan(value), pa.scalar(None, value.type), value)


def _kind(value: Value) -> str:
    import pyarrow as pa

    kind, is_a = value.type, pa.types
    # Not decimals: _of_few_types has made doubles of them.
    if is_a.is_integer(kind) or is_a.is_floating(kind):
        return "number"
    if is_a.is_string(kind):
        return "text"
    if is_a.is_boolean(kind):
        return "condition"
    if is_a.is_list(kind) or is_a.is_large_list(kind) or is_a.is_fixed_size_list(kind):
        return "list"
    return "struct" if is_a.is_struct(kind) else str(kind)


def _a(value: Value) -> str:
    """What a value is, with an article, for an error message."""
    return {"condition": "a condition (true or false)", "null": "a column without values"}.get(
        _kind(value), f"a {_kind(value)}"
    )


def _holds(lists: Value, item: Value, check: Callable[[Value], None]) -> Value:
    """(rows,) whether the list of each row has `item` among its values; null for a missing list."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = _of_few_types(pc.list_flatten(lists))
    parents = pc.list_parent_indices(lists)
    check(values)
    wanted = item if isinstance(item, pa.Scalar) else item.take(parents)
    # Without a loop over rows: the items that match name their rows, and a row is in that set or not.
    rows = parents.filter(pc.equal(values, wanted), null_selection_behavior="drop")
    found = pc.is_in(pa.array(range(len(lists)), parents.type), value_set=rows)
    return pc.if_else(pc.is_valid(lists), found, pa.scalar(None, pa.bool_()))


def _nonzero(divisor: Value) -> Value:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.equal(divisor, 0), pa.scalar(None, divisor.type), divisor)


def _divide(one: Value, other: Value) -> Value:
    import pyarrow as pa

    return _call("divide", one.cast(pa.float64()), _nonzero(other.cast(pa.float64())))


def _remainder(one: Value, other: Value) -> Value:
    """As in Python: of the divisor's sign."""
    import pyarrow as pa
    import pyarrow.compute as pc

    other = _nonzero(other)
    if pa.types.is_floating(one.type) or pa.types.is_floating(other.type):
        return pc.subtract(one, pc.multiply(other, pc.floor(pc.divide(one.cast(pa.float64()), other))))
    # arrow has no remainder. Integer division truncates, so the rest has the sign of `one` and is put right below.
    rest = pc.subtract(one, pc.multiply(other, pc.divide(one, other)))
    askew = pc.and_(pc.not_equal(rest, 0), pc.xor(pc.less(rest, 0), pc.less(other, 0)))
    return pc.if_else(askew, pc.add(rest, other), rest)


_OPERATIONS: dict[str, Callable[[Value, Value], Value]] = {
    "+": lambda one, other: _call("add_checked", one, other),
    "-": lambda one, other: _call("subtract_checked", one, other),
    "*": lambda one, other: _call("multiply_checked", one, other),
    "/": _divide,
    "%": _remainder,
}
