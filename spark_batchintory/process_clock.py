"""
The clock of this process, for what no database has to decide.
"""

from __future__ import annotations

from datetime import datetime, timezone


def utc_now() -> datetime:
    """
    Now, as naive UTC.
    """
    return datetime.now(timezone.utc).replace(tzinfo=None)
