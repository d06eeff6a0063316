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

from analyzer.expression.parser import Expression, compile_expression

__all__ = ["Expression", "compile_expression"]
