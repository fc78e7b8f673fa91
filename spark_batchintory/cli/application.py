"""
The command line as a whole: what it says of itself, how it tells what was refused, and the inventory its verbs work on.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from spark_batchintory.errors import BatchintoryError, ConfigurationError
from spark_batchintory.opened import Inventory
from spark_batchintory.opening import configure, current_settings, open_inventory
from spark_batchintory.printing import tell
from spark_batchintory.settings import inventory_connection
from spark_batchintory.version import __version__


class _Verbs(TyperGroup):
    """
    The verbs; whatever one of them refuses is told in one line and exit code 1.
    """

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """
        A verb, also as Python spells it: `mark_done` is ``mark-done``.
        """
        return super().get_command(ctx, cmd_name.replace("_", "-"))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BatchintoryError as error:
            tell(f"{type(error).__name__}: {error}")
            raise typer.Exit(1) from error


# Help is drawn on a terminal only; elsewhere boxes and colours are noise.
_on_terminal = sys.stdout.isatty() and sys.stderr.isatty()
app = typer.Typer(
    cls=_Verbs,
    help="Look at the batches of jobs, and steer them. Connections come from the environment or a dotenv file, as "
    "SPARK_BATCHINTORY_INVENTORY_CONN and SPARK_BATCHINTORY_META_CONN.",
    epilog="Begin with: spark-batchintory status. If something is wrong: spark-batchintory doctor. Exit codes: 0 done, "
    "1 refused, failed or found something, 2 wrong call, 3 nothing to do or nothing found.",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if _on_terminal else None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def _settings(
    env_file: Annotated[
        Path | None, typer.Option(help="A dotenv file with settings, before the one the environment names.")
    ] = None,
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="Print it.")] = False,
) -> None:
    configure(dot_env=env_file)


def like(call: str) -> str:
    """
    What the help of a verb ends with: a call as one would type it.
    """
    return f"Example: spark-batchintory {call}"


def opened() -> Inventory:
    """
    The inventory of the settings; a Spark session is started for it only where something lies in Spark.
    """
    settings = current_settings()
    nobody_said = settings.META_CONN is None and settings.INVENTORY_CONN is not None
    if nobody_said and inventory_connection(settings).kind == "delta-rs":
        return open_inventory(spark=_no_session)
    return open_inventory(spark=_session)


def _session() -> Any:
    # Asked only where something lies in Spark: it takes seconds to start.
    from spark_batchintory.backends.spark_session import started_session

    return started_session()


def _no_session() -> Any:
    # None is started for meta tables of which nobody said that they are in Spark.
    raise ConfigurationError(
        "the meta tables of a Delta inventory are in Spark, if nothing else is said, and no session was started for "
        "them: set SPARK_BATCHINTORY_META_CONN to spark: to have it started, or to the database that they are in"
    )
