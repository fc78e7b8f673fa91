"""
File names that Spark reads, and that a pattern, an encoding, a list or a partition could be made of.
"""

from __future__ import annotations

ODD_NAMES = [
    "a b.txt",
    "p%20q",
    "p q",
    "100%",
    "#hash",
    "a,b",
    "a=b",
    "a+b",
    "a&b;c|d^e",
    'it\'s "quoted"',
    "caf\u00e9",
    "cafe\u0301",
    "\U0001f600",
    "new\nline",
    "tab\there",
    " lead",
    "trail ",
    "no\u00a0break\u2028",
    "[1]",
    "1",
    "{a,b}",
    "star*",
    "star",
    "que?",
    "open[",
    "open{",
    "close]",
    "close}",
    "back\\slash",
    "backslash",
    "_k=v.txt",
    "$1",
    "~",
]

IN_STORES = [name for name in ODD_NAMES if not set(name) & set('\n\t\\|"')] + ["12:30.txt"]
"""Those that an object store keeps, and one that only a local disk cannot open."""
