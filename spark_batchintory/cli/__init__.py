"""
The command line: the looking and steering calls as verbs of ``spark-batchintory``.

Connections come from the settings alone, never from an argument, which other users of the machine could read. Rows go
to standard output, as a table (drawn on a terminal; plain, one line per row and of any width, elsewhere) or with
``--json`` as one JSON document, a list; notes and errors go to standard error, without secrets.

=====  ===========================================================
exit   meaning
=====  ===========================================================
0      done
1      refused or failed; one line on standard error says why. Or an audit found something
2      the call is wrong: an unknown verb or option, or none
3      nothing to do, or nothing found
=====  ===========================================================

Kept light, since it starts anew for each call: rich only where a table is drawn, and Spark only where the inventory or
its meta tables lie in it, since nobody else has a session here.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from spark_batchintory.cli import looking, steering  # which give `app` its verbs
from spark_batchintory.cli.application import app, like
from spark_batchintory.printing import tell

__all__ = ["app", "looking", "main", "steering"]


@app.command(epilog=like("demo"))
def demo(
    keep: Annotated[Path | None, typer.Option(help="A new or empty folder to work in, which stays.")] = None,
    delta: Annotated[bool, typer.Option("--delta", help="With nothing but Delta tables.")] = False,
) -> None:
    """
    The README's demo: a year of real flights, from landing folder to sink.
    """
    # Imported here: it brings Spark.
    from spark_batchintory import demo as the_demo

    raise typer.Exit(the_demo.main(keep, delta=delta))


def main() -> None:
    """
    Run the command line and exit; the console script ``spark-batchintory``.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file name that the terminal cannot spell is shown escaped; it must not end the command.
            stream.reconfigure(errors="backslashreplace")
    _leave_out_other_verbs(sys.argv[1:])
    try:
        app(prog_name="spark-batchintory")
    except Exception as error:  # whatever is left
        # Not ours, so no fault of the caller: told in one line all the same, since a traceback may quote anything.
        tell(f"unexpected {type(error).__name__}: {error}")
        sys.exit(1)


def _leave_out_other_verbs(arguments: Sequence[str]) -> None:
    """
    Keep only the verb that is called, if it comes first: to build all of them takes as long as to answer.
    """
    verb = arguments[0].replace("_", "-") if arguments else ""
    wanted = [one for one in app.registered_commands if one.callback and _name(one.callback) == verb]
    app.registered_commands = wanted or app.registered_commands


def _name(callback: Callable[..., Any]) -> str:
    return callback.__name__.replace("_", "-")
