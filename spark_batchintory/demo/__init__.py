"""
The README's demo: a year of real flights, from a landing folder through Spark into a sink, in about a minute.

``spark-batchintory demo``, or ``python -m spark_batchintory.demo [--delta] [--keep FOLDER]``. With ``--delta`` it is
the same with nothing but Delta tables: the meta table, the inventory and the sinks.

==========  ======================================================================================================
`flights`   the data: found, split into one file per day, registered, summed by plain Python
`steps`     what is shown: the main job, a failure and its retry, a backfill, new files, status, trace, the check
`stores`    what differs between SQLite and Delta
`session`   a Spark session for the demo alone
`place`     the folder of one run
==========  ======================================================================================================

The folder is temporary and removed at the end, unless it was asked for with ``--keep`` or something went wrong: then it
stays, and is named together with what Spark had to say. Spark is started for the demo and has ended after it. For
``--delta`` it fetches Delta's jars from Maven Central when it first starts (90 MB), and keeps them as it keeps others.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

import spark_batchintory as bi

from .flights import flights_zip
from .place import Place
from .session import require_java, spark_session
from .steps import Demo, log_lines_shown, tell
from .stores import DeltaStore, SqliteStore, Store

__all__ = ["main"]


def main(keep: str | os.PathLike[str] | None = None, *, delta: bool = False) -> int:
    """
    Run the demo and print what happens; 0 if the sinks hold exactly what the source holds, else 1.

    Parameters
    ----------
    keep
        A new or empty folder to work in, which stays. None: a temporary one.
    delta
        Whether to keep everything in Delta tables.
    """
    try:
        source = flights_zip()
        require_java()
        kind: type[Store] = DeltaStore if delta else SqliteStore
        confs = kind.confs()
        place = Place.made(keep)
    except (bi.BatchintoryError, OSError) as error:
        _tell_error(error)
        return 1
    store = kind(place)
    good = keeps = False
    try:
        good = _good(source, place, store, confs)
        keeps = keep is not None or not good
    except bi.MissingDependencyError as error:
        keeps = True
        _tell_error(error)
    except Exception:  # whatever it is, what it left is kept to be looked at
        keeps = True
        traceback.print_exc()
    finally:
        if not keeps:
            place.remove()
    if keeps:
        tell(place.farewell(good, store.connection))
    return 0 if good else 1


def _good(source: Path, place: Place, store: Store, confs: Mapping[str, str]) -> bool:
    tell("Flights of 2013 from New York: from a landing folder through Spark into a sink, in batches.")
    tell(f"Everything is kept in {store.title}.")
    bi.register()
    # Whatever the environment is set up for, the demo has its own inventory.
    own = {"INVENTORY_TABLE_NAME": "inventory", "INVENTORY_CONN_SCHEMA": ""}
    with (
        log_lines_shown(),
        spark_session(place.spark, place.spark_log, confs) as spark,
        bi.open_inventory(store.connection, spark=spark, settings=own) as inventory,
    ):
        return Demo(spark, inventory, place, store).run(source)


def _tell_error(error: Exception) -> None:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
