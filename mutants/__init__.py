"""
Mutation proof: take one guard out of the product at a time, and see the ordinary suite fail: ``python -m mutants``.

A test that is green shows little until it has been seen red. Each mutant is a few lines of the product, changed in a
copy of the checkout; product and tests know nothing of it. One that survives means that a promise is kept by nothing
but luck, and is an error of the suite. The guards are listed by what they protect: `owning` (who may write),
`deciding` (what a turn decides and writes), `late` (what comes late), `outside` (lost replies, threads, forks, texts).
"""
