"""
What the figures were taken on: without it they mean nothing.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.databases import connect_postgres
from spark_batchintory.testing.servers import postgres_server

__all__ = ["describe", "load"]

_PACKAGES = ("spark-batchintory", "sqlalchemy", "psycopg", "pydantic", "pydantic-settings")


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError):
        return "unknown memory"


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package} (not installed)"


def load() -> str:
    """
    The load averages of 1, 5 and 15 minutes: what else was going on.
    """
    return ", ".join(f"{value:.2f}" for value in os.getloadavg())


def _sync_milliseconds(times: int = 200) -> float:
    """
    What one durable write of 4 kB costs in the folder that the databases are in: the floor of every commit.
    """
    with tempfile.TemporaryFile() as file:
        taken = []
        for _ in range(times):
            os.write(file.fileno(), b"\0" * 4096)
            begin = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - begin)
    return statistics.median(taken) * 1e3


def _postgres_version(url: str) -> str:
    """
    The server's own word for its version.
    """
    with connect_postgres(url) as connection:
        return f"PostgreSQL {connection.info.parameter_status('server_version')}"


def describe() -> dict[str, str]:
    """
    Date, machine and versions, in the order in which they are shown.
    """
    with postgres_server() as server:
        databases = f"{_postgres_version(server)} (socket, default settings), SQLite {sqlite3.sqlite_version}"
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory()}, {platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "packages": ", ".join(_version(package) for package in _PACKAGES),
        "databases": databases,
        "durable write of 4 kB": f"{_sync_milliseconds():.2f} ms",
    }
