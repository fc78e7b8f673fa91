"""
How `spark.read.batchintory` comes to be: one attribute on pyspark's `DataFrameReader`, the classic one and Connect's.

This module never imports pyspark. A reader class whose module is already imported gets the attribute at once; one that
is imported later gets it at the end of that import, by a finder on `sys.meta_path` that answers for these two modules
only and leaves their loader, once it has run, as it found it. So it does not matter which import comes first,
`importlib.reload` keeps the attribute, and a process that never imports pyspark (or grpc) stays without.

An attribute named ``batchintory`` that is not ours is never overwritten. `SPARK_BATCHINTORY_AUTOREGISTER=false` keeps
``import spark_batchintory`` from registering; `register` works all the same.
"""

from __future__ import annotations

import importlib
import importlib.abc
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

from .errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from pyspark.sql import DataFrame, DataFrameReader

    from .loading import Listing, OnTrouble
    from .reading import Readable

ATTRIBUTE = "batchintory"
READERS = frozenset({"pyspark.sql.readwriter", "pyspark.sql.connect.readwriter"})
SWITCH = "SPARK_BATCHINTORY_AUTOREGISTER"
_OURS = "__spark_batchintory__"


def register() -> None:
    """
    Make `spark.read.batchintory` available in this process; calling it again changes nothing.

    Raises
    ------
    ConfigurationError
        A reader already has an attribute ``batchintory`` that is not ours; it was left alone.
    """
    _hook()
    if foreign := _patch_imported():
        raise ConfigurationError(_refusal(foreign))


def register_on_import() -> None:
    """
    What ``import spark_batchintory`` does: `register`, unless switched off, and a foreign attribute is only warned of.
    """
    if os.environ.get(SWITCH, "").strip().lower() in {"false", "0", "no", "off"}:
        return
    _hook()
    if foreign := _patch_imported():
        warnings.warn(_refusal(foreign), stacklevel=2)


def unregister() -> None:
    """
    Take the attribute off again and stop watching imports. What is not ours stays.
    """
    for finder in [finder for finder in sys.meta_path if _is_ours(finder)]:
        sys.meta_path.remove(finder)
    for module in _imported():
        reader = getattr(module, "DataFrameReader", None)
        if reader is not None and _is_ours(vars(reader).get(ATTRIBUTE)):
            delattr(reader, ATTRIBUTE)


def batchintory(
    self: DataFrameReader,
    batch: Readable | int,
    *,
    format: str | None = None,
    provenance: bool = False,
    missing_files: OnTrouble = "fail",
    unreadable: OnTrouble = "fail",
    root: str | None = None,
    listing: Listing = "auto",
) -> DataFrame:
    """
    Exactly the rows of a batch's files, or without `format` its paths.

    Paths are ``uid LONG, item STRING, weight DOUBLE`` in uid order. Of files, schema and options of the reader hold,
    filters are pushed down, as if the files had been given to Spark by hand. A file that two uids name is read once
    and credited to the lower one. What Spark cannot know before it reads, a file that vanishes or is broken, surfaces
    as Spark's error in the action.

    Parameters
    ----------
    batch
        A batch, a planned batch, or the id of a batch in the configured inventory.
    format
        Any that takes paths: ``json``, ``csv``, ``parquet``, … One that was set on the reader is not seen.
    provenance
        Add the struct column ``_batchintory``: job, job_identifier, batch_id, attempt, uid, item, processing_start (an
        instant). All rows are kept; one whose file belongs to no item raises.
    missing_files
        What becomes of files that are not there: ``fail`` names them, ``skip`` leaves them out and tells the batch.
    unreadable
        The same for names that Spark silently ignores (``_x``, ``.x``), or cannot open (``x:y`` on a local disk).
    root
        Where items without a scheme lie.
    listing
        ``folders`` lists the files' folders instead of asking for each file; ``once`` keeps the list of files where a
        Connect server would forget it; see `loading.load_files`.

    Raises
    ------
    ConfigurationError
        An argument is wrong, `batch` is nothing readable, or the format cannot tell a row's file.
    ItemError
        A file is missing or unreadable, an item is no location, or items overlap.

    Examples
    --------
    >>> batch = bi.acquire_batch("daily", "files", batch_weight=10**9)  # doctest: +SKIP
    >>> with batch:  # doctest: +SKIP
    ...     events = spark.read.schema("id LONG").batchintory(batch, format="json", provenance=True)
    ...     events.write.format("delta").options(**batch.delta_options()).mode("append").save("/silver/events")
    """
    from .reading import batchintory as read

    return read(
        self,
        batch,
        format=format,
        provenance=provenance,
        missing_files=missing_files,
        unreadable=unreadable,
        root=root,
        listing=listing,
    )


setattr(batchintory, _OURS, True)


class _ReaderFinder:
    """
    Finds pyspark's reader modules as the other finders do, and has them patched once they have run.
    """

    __spark_batchintory__ = True

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """
        For the reader modules, the spec of the first other finder that knows them, with its loader wrapped.
        """
        if fullname not in READERS:
            return None
        for finder in list(sys.meta_path):
            find = None if _is_ours(finder) else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find(fullname, path, target) if find else None
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _PatchingLoader(spec.loader)
                return spec
        return None


class _PatchingLoader(importlib.abc.Loader):
    """
    Runs the module's own loader, puts it back where it belongs, and patches the reader.
    """

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """
        As the module's own loader.
        """
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """
        Execute the module, as if its own loader had found it, and patch it if that succeeds.
        """
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        if not _patch(module):
            warnings.warn(_refusal([module.__name__]), stacklevel=2)

    def __getattr__(self, name: str) -> Any:
        # get_data, get_source, is_package …: tools ask a spec's loader for them without importing the module.
        return getattr(self._loader, name)


def _hook() -> None:
    if not any(_is_ours(finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _ReaderFinder())


def _patch_imported() -> list[str]:
    """
    Patch what is imported already; the names of the modules whose reader has a foreign attribute.
    """
    return [module.__name__ for module in _imported() if not _patch(module)]


def _imported() -> list[ModuleType]:
    # import_module of a module that another thread is importing right now waits for it; the hook came too late for
    # that one.
    return [importlib.import_module(name) for name in sorted(READERS) if sys.modules.get(name) is not None]


def _patch(module: ModuleType) -> bool:
    """
    False if the attribute is there and not ours.
    """
    reader = getattr(module, "DataFrameReader", None)
    if reader is None:
        return True
    present = getattr(reader, ATTRIBUTE, None)
    if present is not None and not _is_ours(present):
        return False
    setattr(reader, ATTRIBUTE, batchintory)
    return True


def _is_ours(thing: object) -> bool:
    # By a mark, not by identity: after a reload of this module what the old one left is still ours.
    return getattr(thing, _OURS, False) is True


def _refusal(modules: Sequence[str]) -> str:
    where = " and ".join(f"{name}.DataFrameReader" for name in modules)
    return f"{where} already has an attribute {ATTRIBUTE!r} that is not ours; it was left alone. Use bi.reader(spark)"
