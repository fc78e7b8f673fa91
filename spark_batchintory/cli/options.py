"""
What the verbs take: arguments and options that several of them share, and how their texts are read.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Annotated, Any

import typer

from spark_batchintory.meta import ROLES


class Retriable(str, Enum):
    """
    What `retry` is for.
    """

    FAILED = "failed"
    DEAD = "dead"


class Rewritten(str, Enum):
    """
    What `register_files` does with files that were written anew.
    """

    IGNORE = "ignore"
    NEW = "new"


def column_names(text: str) -> dict[str, str | None]:
    """
    Column names from ``uid=id,item=path,weight=size``, or as JSON; no name is no weight column.
    """
    try:
        pairs = json.loads(text) if text.lstrip().startswith("{") else dict(_pair(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"write uid=id,item=path,weight=size, or a JSON object, not {text!r}") from error
    unknown = [role for role in pairs if role not in ROLES]
    if unknown:
        raise typer.BadParameter(f"names the columns for {', '.join(ROLES)}, not for {unknown[0]!r}")
    return {role: name or None for role, name in pairs.items()}


def _pair(text: str) -> tuple[str, str]:
    role, equals, name = text.partition("=")
    if not equals:
        raise ValueError(text)
    return role.strip(), name.strip()


def exact_weight(text: str) -> int | Decimal:
    """
    A weight as it was typed: 0.1 is no binary fraction.
    """
    try:
        return int(text) if text.strip().isdecimal() else Decimal(text)
    except InvalidOperation as error:
        raise typer.BadParameter(f"{text!r} is not a number") from error


def either(argument: Enum | None, option: Enum | None) -> Any:
    """
    What was chosen, be it as an argument or as an option; both only if they agree.
    """
    if argument is not None and option is not None and argument is not option:
        raise typer.BadParameter(f"the status is both {argument.value} and {option.value}")
    chosen = argument or option
    return None if chosen is None else chosen.value


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Job = Annotated[str, typer.Argument(metavar="JOB", help="Name of the job.")]
BatchId = Annotated[int, typer.Argument(metavar="BATCH", help="Id of the batch.")]
Reason = Annotated[str | None, typer.Option(help="Why; stored with who and when.")]
MetaTableName = Annotated[str | None, typer.Option(help="The meta table, if several jobs have this name.")]
Columns = Annotated[
    Any, typer.Option(parser=column_names, metavar="uid=…,item=…,weight=…", help="Its columns. Default: the job's.")
]
Condition = Annotated[str | None, typer.Option(help="Condition in SQL. Default: the job's.")]
UidMin = Annotated[int, typer.Argument(metavar="UID_MIN", help="Lowest uid, inclusive.")]
UidMax = Annotated[int, typer.Argument(metavar="UID_MAX", help="Highest uid, inclusive.")]
Engine = Annotated[str | None, typer.Option(help="spark or delta-rs: what writes the table from now on.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be changed.")]

UIDS = {"ignore_unknown_options": True}
"""For verbs that take uids: -5 is one, and no option."""
