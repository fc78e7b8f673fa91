"""
Tests of what is installed in an environment of its own (`make lane-databricks-connect`); elsewhere none of them runs.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def _is_there() -> bool:
    try:
        return bool(version("databricks-connect"))
    except PackageNotFoundError:
        return False


collect_ignore_glob = [] if _is_there() else ["test_*.py"]
