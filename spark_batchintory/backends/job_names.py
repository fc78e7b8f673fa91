"""
Names of jobs and meta tables that every inventory can keep.
"""

from __future__ import annotations

import functools

from ..batch import JobKey
from ..call import is_storable
from ..errors import ConfigurationError

NAME_LENGTH = 255
"""Characters that fit a job's or a meta table's name: MySQL indexes no more."""


@functools.lru_cache(maxsize=1024)
def check_names(key: JobKey) -> None:
    """
    Refuse names that an inventory would have to alter, which would join two jobs.

    Raises
    ------
    ConfigurationError
        One is longer than 255 characters, or not storable as Unicode text.
    """
    for what, name in (("job", key.job), ("meta_table_name", key.meta_table)):
        if len(name) > NAME_LENGTH or not is_storable(name):
            raise ConfigurationError(
                f"{what} must be at most {NAME_LENGTH} characters of Unicode text without NUL, "
                f"not {name[:40]!r} ({len(name)} characters)"
            )
