"""What runs inside the sandbox: standard library only, no import of the rest of `analyzer`, which is not there.

`runner` is the warm process of a sandbox; it forks a child per program. `program` is what the child does, `confine`
how it gives up its powers first, `values` what may cross the border.
"""
