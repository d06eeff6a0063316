"""Selection: from an analysis to the file to train on, nothing scored again.

analysis.py   an output folder, opened: problems.parquet and what its columns are called in a rule
recipes.py    published rules as expressions
rule.py       which problems are kept, in which order, and why each of the others is not
effects.py    what a rule does: counts, informative groups, tokens, problems near the cut
effects_block.py  the same as printed
formats/      one file a trainer's format
select.py     the flow: open, choose, measure, write, manifest
"""
