"""
What the command line prints: answers as tables or JSON to standard output, what is said to people to standard error.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import typer

from spark_batchintory.answers import Answer, is_number, printable
from spark_batchintory.masking import mask

_BESIDE = 4
"""Pairs of name and value that one line of a record holds at most."""

NOTHING = 3
"""Exit code when there was nothing to do, or nothing was found."""


def show(answer: Answer[Any], as_json: bool, exit_code: int | None = None) -> NoReturn:
    """
    Print the answer and exit, by default with 0 if it has rows and with `NOTHING` if it has none.
    """
    if as_json:
        print(json.dumps(answer.to_dicts(), indent=2, allow_nan=False))
    elif answer and sys.stdout.isatty() and not answer.is_prose:
        _draw(answer)
    elif answer:
        print(answer.table())
    for note in answer.notes:
        tell(note)
    raise typer.Exit((0 if answer else NOTHING) if exit_code is None else exit_code)


def _draw(answer: Answer[Any]) -> None:
    """
    Draw a table, or one record below the other where the terminal is too narrow for it.
    """
    # Imported here: rich takes a third of the time that a whole call may take.
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    console, (columns, rows) = Console(), answer.cells()
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column.name, justify="right" if is_number(column) else "left")
    for row in rows:
        table.add_row(*map(Text, row))  # as text: a file name like [red] is no markup
    if console.measure(table, options=console.options.update(max_width=sys.maxsize)).maximum <= console.width:
        console.print(table)
        return
    for row in rows:
        pairs = [(column.name, text) for column, text in zip(columns, row, strict=True)]
        beside = max(1, min(_BESIDE, console.width // _pair_width(rows, columns)))
        height = -(-len(pairs) // beside)
        shape = [Column("", overflow="fold" if at % 2 else "ellipsis") for at in range(2 * beside)]
        record = Table(*shape, box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for line in range(height):
            cells = [(Text(name, "bold"), Text(text)) for name, text in pairs[line::height]]
            record.add_row(*(cell for pair in cells for cell in pair))
        console.print(record, "")


def strip_width() -> int:
    """
    Characters of a line: of the terminal, or as many as a page takes.
    """
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 80


def _pair_width(rows: Sequence[Sequence[str]], columns: Sequence[Any]) -> int:
    """
    What a name and its value take in a record, with the space after each.
    """
    return max(len(column.name) for column in columns) + max(len(text) for row in rows for text in row) + 4


def tell(text: str) -> None:
    """
    Say something to people: on standard error, in one line, without secrets.
    """
    print(printable(mask(text)), file=sys.stderr)
