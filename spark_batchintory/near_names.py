"""
Which known names somebody may have meant who gave one that is not known. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

_FEW = 5
"""Names that are shown where none is near."""


def near(name: str, known: Sequence[str]) -> list[str]:
    """
    The nearest of the known names, at most three, nearest first; where none is near, the first few there are.

    >>> near("dayly", ["weekly", "daily"]), near("x", ["weekly", "daily"]), near("x", [])
    (['daily'], ['weekly', 'daily'], [])
    """
    # Imported here: only a wrong name needs it.
    import difflib

    return difflib.get_close_matches(name, known) or list(known[:_FEW])
