"""
The names users may rely on. Whoever changes this list changes the contract, and says so in the changelog.
"""

from __future__ import annotations

import importlib
import inspect

import pytest

import spark_batchintory as bi

ERRORS = [
    "BatchintoryError",
    "ClaimConflict",
    "CommitUnknown",
    "ConfigurationError",
    "InventoryUnavailable",
    "ItemError",
    "LeaseLost",
    "MissingDependencyError",
]

NAMES = [
    "Batch",
    "Inventory",
    "Item",
    "MetaTable",
    "Upstream",
    "acquire_batch",
    "acquire_batches",
    "configure",
    "open_inventory",
    "process",
    "reader",
    "register",
    "unregister",
    "upstream",
]

ACQUIRING = ["job", "meta_table_name", "meta_table_cols", "job_identifier", "batch_id_min", "batch_id_max"]
ACQUIRING += ["batch_weight", "batch_count"]
BY_NAME = ["meta_table", "meta_filter", "lease", "max_attempts", "retry_delay", "oversize", "accept_change"]
BY_NAME += ["heartbeat", "inventory"]

BATCH = [
    *("id", "job", "job_identifier", "meta_table", "batch_id_start", "batch_id_end", "count", "weight", "attempt"),
    *("status", "token", "uids", "items", "weights", "config", "processing_start", "lease_expires_at", "replaces"),
    *("pk", "id_range", "release", "success", "batch_cfg", "succeeded", "failed", "give_back", "process", "check"),
    *("delta_options", "output_path", "to_df", "load", "skipped", "_repr_html_", "__enter__", "__exit__", "__iter__"),
]

INVENTORY = ["acquire_batch", "acquire_batches", "process", "status", "plan", "batches", "attempts", "trace", "retry"]
INVENTORY += [
    "cancel",
    "redo",
    "mark_done",
    "migrate",
    "pause",
    "resume",
    "doctor",
    "held",
    "coverage",
    "report",
    "publications",
    "published_paths",
    "register_files",
    "__enter__",
    "__exit__",
]


def test_public_names_are_pinned() -> None:
    """
    STYLE 8: the public surface is a dozen sorted names, the errors and the version.
    """
    assert bi.__all__ == sorted([*ERRORS, *NAMES, "__version__"])


def test_every_public_name_is_there_and_explained() -> None:
    """
    API: what is promised exists, is no module by accident, and has a docstring.
    """
    for name in bi.__all__:
        value = getattr(bi, name)
        assert not inspect.ismodule(value), name
        assert name == "__version__" or inspect.getdoc(value), name


def test_errors_are_one_tree() -> None:
    """
    API: one root to catch them all; wrong arguments are ValueErrors too, a missing library an ImportError.
    """
    errors = [getattr(bi, name) for name in ERRORS]

    assert all(issubclass(error, bi.BatchintoryError) for error in errors)
    assert [error.__name__ for error in errors if issubclass(error, ValueError)] == ["ConfigurationError"]
    assert [error.__name__ for error in errors if issubclass(error, ImportError)] == ["MissingDependencyError"]
    assert importlib.import_module("spark_batchintory.errors").__all__ == sorted(ERRORS)


@pytest.mark.parametrize("owner", [bi, bi.Inventory], ids=["bi", "Inventory"])
def test_acquire_batch_can_be_called_as_in_pybatchintory(owner: object) -> None:
    """
    API: the first eight arguments are pybatchintory's, in its order; the others go by name only.
    """
    parameters = dict(inspect.signature(getattr(owner, "acquire_batch")).parameters)  # noqa: B009  # of a plain object
    parameters.pop("self", None)
    kinds = {name: parameter.kind for name, parameter in parameters.items()}

    assert [name for name, kind in kinds.items() if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD] == ACQUIRING
    keywords = [name for name, kind in kinds.items() if kind is inspect.Parameter.KEYWORD_ONLY]
    assert keywords == (BY_NAME if owner is bi else BY_NAME[:-1])
    assert parameters["oversize"].default == "alone"
    assert (parameters["accept_change"].default, parameters["heartbeat"].default) == (False, True)


def test_a_batch_has_what_is_promised() -> None:
    """
    API: attributes and calls of a batch, those of pybatchintory among them.
    """
    assert [name for name in BATCH if not hasattr(bi.Batch, name)] == []


def test_an_inventory_has_what_is_promised() -> None:
    """
    API: what one can ask an inventory and do to it, as far as it is built.
    """
    assert [name for name in INVENTORY if not hasattr(bi.Inventory, name)] == []


def test_the_name_of_the_ancestor_works() -> None:
    """
    API: its users can change an import and go on.
    """
    import spark_batchintory as pybatchintory

    assert pybatchintory.acquire_batch is bi.acquire_batch
    assert list(inspect.signature(bi.configure).parameters) == ["dot_env", "settings"]
    opening = inspect.signature(bi.open_inventory).parameters
    by_place = [name for name, parameter in opening.items() if parameter.kind is not parameter.KEYWORD_ONLY]
    assert by_place == ["conn", "meta", "spark"]
