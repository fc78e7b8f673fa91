"""
Naming what a job has published as a meta table: what `upstream` returns, and the text that progress belongs to.

The name of such a table is stable text: ``upstream:<meta table>:<job>``, and
``upstream@<first 8 of the uuid>:<meta table>:<job>`` where the publications lie in another inventory. Within the job, a
colon is spelled ``%3A`` and a percent sign ``%25``, so that no two jobs share a name. `publications` tells such
names from those of tables; so whoever knows the name, such as a worker that rescues a batch, needs nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from .batch import JobKey
from .errors import ConfigurationError
from .inventory import InventoryBackend
from .meta import MetaTable

_NAME = re.compile(r"upstream(?:@([0-9a-f]{8}))?:(.*):([^:]+)", re.DOTALL)


class Opened(Protocol):
    """
    What is needed of another opened inventory: its store, and the uuid that tells it from others.
    """

    @property
    def backend(self) -> InventoryBackend:
        """
        Its store.
        """

    @property
    def identity(self) -> str:
        """
        Its uuid.
        """


@dataclass(frozen=True, slots=True)
class Upstream:
    """
    The publications of a job, to be passed as `meta_table`; made by `upstream`.
    """

    job: str
    meta_table_name: str | None = None
    inventory: Opened | None = None


def upstream(job: str, meta_table_name: str | None = None, inventory: Opened | None = None) -> Upstream:
    """
    What another job has published, as a meta table: uid = publish number, item = path or batch id, weight.

    ``spark.read.batchintory(int(item))`` reads what a batch held whose item is its id. A downstream job gets every
    publication exactly once, is not held up by an upstream batch that takes long, and gets a redo as a new publication.
    Before the upstream job has run for the first time, there is nothing to do.

    Parameters
    ----------
    job
        Name of the upstream job.
    meta_table_name
        The meta table that job reads; needed only where several jobs of this name read different ones.
    inventory
        Where it is recorded; None is the inventory that acquires.

    Raises
    ------
    ConfigurationError
        An argument is of another kind.

    Examples
    --------
    >>> upstream("bronze")
    Upstream(job='bronze', meta_table_name=None, inventory=None)
    """
    for what, name in (("job", job), ("meta_table_name", meta_table_name)):
        if not (isinstance(name, str) and name) and not (name is None and what != "job"):
            raise ConfigurationError(f"upstream: {what} must be a name, not {name!r}")
    if inventory is not None and not hasattr(inventory, "backend"):
        raise ConfigurationError(f"upstream: inventory must be one that open_inventory returned, not {inventory!r}")
    return Upstream(job, meta_table_name, inventory)


def upstream_name(key: JobKey, mark: str | None = None) -> str:
    """
    The name of a job's publications as a meta table; `mark` tells another inventory.

    >>> upstream_name(JobKey("landing.files", "bronze")), upstream_name(JobKey("files", "a:b"), "1f0c7a52")
    ('upstream:landing.files:bronze', 'upstream@1f0c7a52:files:a%3Ab')
    """
    at = f"@{mark}" if mark else ""
    return f"upstream{at}:{key.meta_table}:{key.job.replace('%', '%25').replace(':', '%3A')}"


def upstream_of(name: str) -> tuple[str | None, JobKey] | None:
    """
    The inventory's mark and the job of which `name` names the publications; None if it is the name of a table.

    >>> upstream_of("upstream:upstream:landing.files:bronze:silver")
    (None, JobKey(meta_table='upstream:landing.files:bronze', job='silver'))
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    mark, meta_table, job = found.groups()
    return mark, JobKey(meta_table, job.replace("%3A", ":").replace("%25", "%"))


def is_upstream(table: MetaTable) -> bool:
    """
    Whether a meta table is a job's publications, which are never read within a turn.
    """
    return upstream_of(table.name) is not None
