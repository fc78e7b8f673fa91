"""
Runs in pybatchintory's environment: one JSON command per line, one JSON answer each; see `tests.ancestor`.
"""

import json
import logging
import sys

import pybatchintory
from pybatchintory import acquire_batch, sql
from pybatchintory.batch import Batch
from pybatchintory.sql.reflection import autoload_meta_table

_insert = Batch._acquire_batch_in_inventory
_batches = {}


def _insert_when_told(self, conn):
    """
    Insert as pybatchintory does, but so long after its look for concurrent changes that another can do the same.
    """
    print(json.dumps("looked"), flush=True)
    sys.stdin.readline()
    _insert(self, conn)


def acquire(held=False, **call):
    Batch._acquire_batch_in_inventory = _insert_when_told if held else _insert
    batch = acquire_batch(**call)
    if batch is None:
        return None
    _batches[batch.pk] = batch
    return {"pk": batch.pk, "items": batch.items, "start": batch.id_range.id_min, "end": batch.id_range.id_max}


def release(pk, success, result=None, logging=None):
    _batches[pk].release(success=success, result=result, logging=logging)


def configure(**settings):
    pybatchintory.configure(settings=settings)
    autoload_meta_table.cache_clear()
    sql.db.initialize_metadata_backend()


def leave():
    """
    Forget everything, and let go of the database.
    """
    _batches.clear()
    sql.db.engine_inventory.dispose()
    sql.db.engine_meta.dispose()


def main():
    """
    Serve until the pipe is closed.
    """
    logging.getLogger("pybatchintory").setLevel(logging.CRITICAL)
    commands = {"acquire": acquire, "release": release, "configure": configure, "leave": leave}
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            answer = {"answer": commands[name](**arguments)}
        except Exception as error:  # whatever pybatchintory raises is told
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
