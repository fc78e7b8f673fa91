"""
The README's demo: a year of real flights, from a landing folder through Spark into a sink, in about a minute.

``spark-batchintory demo``, or ``python -m spark_batchintory.demo [--keep FOLDER]``.

==========  ======================================================================================================
`flights`   the data: found, split into one file per day, registered, summed by plain Python
`steps`     what is shown: the main job, a failure and its retry, a backfill, new files, status, trace, the check
`session`   a Spark session for the demo alone
`place`     the folder of one run
==========  ======================================================================================================

The folder is temporary and removed at the end, unless it was asked for with ``--keep`` or something went wrong: then it
stays, and is named together with what Spark had to say. Spark is started for the demo and has ended after it.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

import spark_batchintory as bi

from .flights import flights_zip
from .place import Place
from .session import require_java, spark_session
from .steps import Demo, log_lines_shown, tell

__all__ = ["main"]


def main(keep: str | os.PathLike[str] | None = None) -> int:
    """
    Run the demo and print what happens; 0 if the sinks hold exactly what the source holds, else 1.

    Parameters
    ----------
    keep
        A new or empty folder to work in, which stays. None: a temporary one.
    """
    try:
        source = flights_zip()
        require_java()
        place = Place.made(keep)
    except (bi.BatchintoryError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    good = keeps = False
    try:
        good = _good(source, place)
        keeps = keep is not None or not good
    except Exception:
        keeps = True
        traceback.print_exc()
    finally:
        if not keeps:
            place.remove()
    if keeps:
        tell(place.farewell(good))
    return 0 if good else 1


def _good(source: Path, place: Place) -> bool:
    tell("Flights of 2013 from New York: from a landing folder through Spark into a sink, in batches.")
    bi.register()
    # Whatever the environment is set up for, the demo has its own database.
    own = {"INVENTORY_TABLE_NAME": "inventory", "INVENTORY_CONN_SCHEMA": ""}
    with (
        log_lines_shown(),
        bi.open_inventory(place.connection, settings=own) as inventory,
        spark_session(place.spark, place.spark_log) as spark,
    ):
        return Demo(spark, inventory, place).run(source)
