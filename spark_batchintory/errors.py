"""
Every error this library raises, as one tree that branches by what the caller should do next.

    BatchintoryError
    ├── ConfigurationError      fix the call or the setting (is a ValueError too); nothing was written
    ├── MissingDependencyError  install the extra it names (is an ImportError too)
    ├── ItemError               look at the meta row it names: it cannot be used as it is
    ├── ClaimConflict           somebody else came first; plan again (`acquire_batch` does so by itself)
    ├── LeaseLost               stop writing: this attempt no longer owns its batch
    ├── CommitUnknown           look before trying again: the reply to a COMMIT was lost
    └── InventoryUnavailable    back off: the database could not be reached, or stayed busy past every retry

The error of the driver, where there is one, is the ``__cause__``. No message holds a password: connection strings are
masked before they get here (`spark_batchintory.masking`).
"""

from __future__ import annotations

__all__ = [
    "BatchintoryError",
    "ClaimConflict",
    "CommitUnknown",
    "ConfigurationError",
    "InventoryUnavailable",
    "ItemError",
    "LeaseLost",
    "MissingDependencyError",
]


class BatchintoryError(Exception):
    """
    Root of all errors of this library; catch it to catch them all.
    """


class ConfigurationError(BatchintoryError, ValueError):
    """
    A call or a setting is wrong. Nothing was written; the message says which argument and what would be right.
    """


class MissingDependencyError(BatchintoryError, ImportError):
    """
    An optional library is not installed. The message names the extra that brings it.
    """

    @classmethod
    def of(cls, library: str, extra: str, purpose: str) -> MissingDependencyError:
        """
        The error for `library`, which `purpose` needs and which the extra `extra` installs.
        """
        return cls(f"{purpose} needs {library}, which is not installed: pip install 'spark-batchintory[{extra}]'")


class ItemError(BatchintoryError):
    """
    A row of the meta table, or the file it names, cannot be used. The message names table, column and uid, or the file.
    """


class ClaimConflict(BatchintoryError):
    """
    Another worker moved the job between planning and claiming. Nothing was written; plan again.
    """


class LeaseLost(BatchintoryError):
    """
    The batch belongs to another attempt, or to nobody, now. Nothing was written; stop working on it.
    """


class CommitUnknown(BatchintoryError):
    """
    The connection broke while committing, and the inventory could not be asked afterwards what became of it.
    """


class InventoryUnavailable(BatchintoryError):
    """
    The inventory could not be reached, or stayed locked or in conflict through every retry.

    Nothing half-written remains.
    """
