"""
What "supported" means for a system that holds meta tables: one suite that every `meta.MetaBackend` must pass.

A system joins by subclassing `MetaContract` in a test module and providing three fixtures: ``meta`` (a backend),
``make_table`` (`MakeTable`: makes a real table with the system's own means, behind the backend's back) and ``add_rows``
(`AddRows`: commits more rows to it). Tables have no keys and no constraints, so that they can be as wrong as real ones.

A backend only reads, so nothing here needs to be read past it: what it answers is compared with what was put in.
"""

from __future__ import annotations

from spark_batchintory.testing.meta_checking import CheckingContract
from spark_batchintory.testing.meta_missing import MissingContract
from spark_batchintory.testing.meta_naming import NamingContract
from spark_batchintory.testing.meta_reading import ReadingContract
from spark_batchintory.testing.meta_tables import AddRows, MakeTable

__all__ = ["AddRows", "MakeTable", "MetaContract"]


class MetaContract(ReadingContract, MissingContract, CheckingContract, NamingContract):
    """
    What every system that holds meta tables must answer; a subclass provides `meta`, `make_table` and `add_rows`.
    """
