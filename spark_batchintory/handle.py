"""
A batch in the hands of its user: what it holds, and how it ends.

Every call that ends a batch presents the token of this attempt; if another attempt or an operator took the batch
meanwhile, it raises `LeaseLost` and nothing was written. A lease that merely ran out, without anybody having taken the
batch, does no harm: the end is accepted. If the reply to a COMMIT is lost, the batch is looked up before anything is
tried again.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, TypeVar

from . import transitions
from .batch import BatchRow, Claimed, Status
from .call import lease_of
from .ending import end, failing, giving_back, succeeding
from .errors import BatchintoryError, ConfigurationError, LeaseLost
from .inventory import InventoryBackend, Step, Turn
from .lease import Heart
from .lifecycle import handed_out
from .masking import mask
from .recorded import RecordedBatch
from .retrying import persistently

log = logging.getLogger("spark_batchintory")
T = TypeVar("T")

ERROR_LENGTH = 16_000
"""Characters that are stored of an error's class, message and traceback; the middle is cut out."""


@dataclass(frozen=True, slots=True)
class Holder:
    """
    What a batch needs of the inventory it was acquired from.
    """

    backend: InventoryBackend
    heart: Heart
    identity: str
    secrets: Iterable[str] = field(default=(), repr=False)
    released: Callable[[Batch], None] = lambda batch: None
    clock: Callable[[], float] = time.monotonic


class Batch(RecordedBatch):
    """
    A batch this process works on, or a record of one that it reads.

    Not made by users: `acquire_batch` returns it. Iterating gives `Item(uid, item, weight)` in uid order.

    Examples
    --------
    >>> import spark_batchintory as bi
    >>> batch = bi.acquire_batch("daily", "files", batch_count=2)  # doctest: +SKIP
    >>> with batch:  # doctest: +SKIP
    ...     for uid, item, weight in batch:
    ...         ...
    """

    def __init__(self, claimed: Claimed, holder: Holder | None) -> None:
        super().__init__(claimed.row, claimed.items)
        self._holder = holder
        self._is_lost = False
        self._until = claimed.row.due_at
        self._good_until = self._a_lease_from_now()
        self._outcome: Status | None = None

    @property
    def lease_expires_at(self) -> datetime | None:
        """
        When others may take the batch, naive UTC, as far as this process knows; None once it ended.
        """
        return self._until if self._outcome is None else None

    @property
    def success(self) -> bool | None:
        """
        True or False once the batch was ended here as such, else None.
        """
        return {Status.SUCCEEDED: True, Status.FAILED: False}.get(self._outcome) if self._outcome is not None else None

    def begin(self) -> None:
        """
        Begin the first attempt of a batch that was claimed ahead; nothing for any other.
        """
        if self._row.attempt == 0:
            self._row = handed_out(self._row, now=self._held_by().backend.now())
            transitions.acquired(self._row)

    def succeeded(self, result: Any = None, logging: str | None = None) -> None:
        """
        End the batch as succeeded and publish it under the next number of its job.

        Says so in the log if this process never asked the batch for its items or its range. That a DataFrame was made
        of it and never written cannot be seen from here.

        Parameters
        ----------
        result
            Anything JSON can hold; stored in `job_result_item`.
        logging
            Text for people.

        Raises
        ------
        LeaseLost
            Another attempt or an operator took the batch; nothing was written.
        ConfigurationError
            `result` is no JSON, or the batch was ended otherwise already.
        """
        if not self._begins(Status.SUCCEEDED):
            return
        stored, note = _json(result), self._masked(logging)
        self._end(
            Status.SUCCEEDED,
            lambda row, turn: succeeding(row, turn, result=stored, logging=note, skipped=self._skips()),
        )
        if not self._was_read:
            log.warning("batch %s of job %r succeeded, but nobody asked it for its items here", self.id, self.job)

    def failed(self, error: BaseException | str | None = None, logging: str | None = None, result: Any = None) -> None:
        """
        End the attempt as failed: the batch falls due again after a delay, or is dead if its attempts are used up.

        The error's class, message and traceback are stored, secrets masked, cut to `ERROR_LENGTH` characters.

        Raises
        ------
        LeaseLost
            Another attempt or an operator took the batch; nothing was written.
        ConfigurationError
            `result` is no JSON, or the batch was ended otherwise already.
        """
        if not self._begins(Status.FAILED):
            return
        stored = _json(result)
        note = self._masked("\n".join(text for text in (logging, _error_text(error)) if text) or None)
        self._end(
            Status.FAILED,
            lambda row, turn: failing(row, turn, result=stored, logging=note, skipped=self._skips()),
        )

    def give_back(self) -> None:
        """
        End this attempt without charging it, so that the next acquire serves the batch again at once.

        For preemption and shutdown. The next attempt has the next number.

        Raises
        ------
        LeaseLost
            Another attempt or an operator took the batch; nothing was written.
        """
        if not self._begins(Status.QUEUED):
            return
        self._end(Status.QUEUED, lambda row, turn: giving_back(row, turn, skipped=self._skips()))

    def release(self, success: bool, result: Any = None, logging: str | None = None) -> None:
        """
        `succeeded` or `failed`, as pybatchintory called it.
        """
        if success:
            self.succeeded(result=result, logging=logging)
        else:
            self.failed(logging=logging, result=result)

    def process(self, func: Callable[..., T], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> T:
        """
        Call ``func(items, *args, **kwargs)`` and end the batch by what it does.

        It succeeded with the return value as result if that is a dict; an exception fails it and is raised again.
        """
        with self:
            value = func(self.items, *args, **(kwargs or {}))
            if not self._ended:
                self.succeeded(result=value if isinstance(value, dict) else None)
        return value

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ended:
            return
        if error is None:
            self.succeeded()
        elif not self._is_lost:
            try:
                self.failed(error) if isinstance(error, Exception) else self.give_back()
            except BatchintoryError as second:  # must not hide the error that led here; the lease will run out
                log.error(
                    "batch %s of job %r could not be ended, its lease will run out: %s", self.id, self.job, second
                )

    def check(self) -> None:
        """
        Make sure that the lease is still ours; cheap enough to call in a loop.

        Asks the inventory only once the lease should have run out by this process' knowledge of it.

        Raises
        ------
        LeaseLost
            Another attempt or an operator took the batch.
        """
        if self._is_lost or self._ended:
            raise LeaseLost(f"batch {self.id} of job {self.job!r}, attempt {self.attempt}, is not held any more")
        backend = self._held_by().backend
        if self._held_by().clock() >= self._good_until:
            row = persistently(lambda: backend.find(self.id))
            if row is None or row.token != self.token or row.status is not Status.RUNNING:
                self.lease_lost()
                self.check()

    def delta_options(self, write: int = 0) -> dict[str, str]:
        """
        Options that make a Delta write of this batch happen once, however many attempts there are.

        Names the batch (inventory, id, digest of its items) as the application and 1 as its version, the same for every
        attempt; Delta skips a write of a version it has seen. Honoured by ``save``, ``saveAsTable`` and
        ``writeTo().append()``, not by ``insertInto``.

        Parameters
        ----------
        write
            Number of the write, if one batch writes several times.
        """
        name = f"batchintory-{self._held_by().identity}-{self.id}-{self._row.digest[:16]}"
        return {"txnAppId": name if write == 0 else f"{name}-{write}", "txnVersion": "1"}

    def lease_extended(self, until: datetime) -> None:
        """
        The lease now ends at `until`.
        """
        self._until = until
        self._good_until = self._a_lease_from_now()

    def lease_lost(self) -> None:
        """
        Somebody else has the batch now; nothing to say of one that was ended here meanwhile.
        """
        if self._ended or self._is_lost:
            return
        self._is_lost = True
        transitions.lease_lost(self._row)
        self._held_by().released(self)

    def __reduce__(self) -> Any:
        """
        A pickled batch can be read and iterated, but only the process that acquired it can end it.
        """
        return Batch, (Claimed(self._read_row(), self._items), None)

    def _a_lease_from_now(self) -> float:
        """
        By this process' monotonic clock; only decides when `check` asks the inventory.
        """
        return 0.0 if self._holder is None else self._holder.clock() + lease_of(self._row).total_seconds()

    @property
    def _facts(self) -> Mapping[str, Any]:
        until = self.lease_expires_at
        return {**super()._facts, "lease until (UTC)": "–" if until is None else f"{until:%Y-%m-%d %H:%M:%S}"}

    def _strip(self) -> str:
        """
        Where a batch that is held lies among those claimed around it: one bounded query, and nothing if that fails.

        None where an inventory is a Delta table, in which any query takes as long as a claim.
        """
        holder = self._holder
        if holder is None or self._ended or self._is_lost or holder.backend.claims_ahead:
            return ""
        # Imported here: only notebooks need it.
        from .surveying import whereabouts

        try:
            return whereabouts(holder.backend, self._row)
        except BatchintoryError as error:
            log.debug("the card of batch %s shows no strip: %s", self.id, error)
            return ""

    @property
    def _ended(self) -> bool:
        return self._outcome is not None

    def _held_by(self) -> Holder:
        if self._holder is None:
            raise ConfigurationError(f"this is a copy of batch {self.id}; end and write it where it was acquired")
        return self._holder

    def _begins(self, outcome: Status) -> bool:
        """
        Whether there is still something to do to end the batch as `outcome`.
        """
        self._held_by()
        if self._outcome is outcome:
            return False
        if self._ended or self._row.status is not Status.RUNNING:
            raise ConfigurationError(
                f"batch {self.id} of job {self.job!r} is {self.status} already and cannot become {outcome.value}"
            )
        return True

    def _end(self, outcome: Status, step: Callable[[BatchRow, Turn], Step]) -> None:
        """
        End the attempt as it is now; of two threads that do so, the inventory decides.
        """
        holder, row = self._held_by(), self._row
        try:
            self._row = end(holder.backend, row, outcome, lambda turn: step(row, turn))
            self._outcome = outcome
        except LeaseLost:
            self.lease_lost()
            raise
        finally:
            if self._ended or self._is_lost:
                holder.heart.let_go(row.token or "")
                holder.released(self)

    def _skips(self) -> list[dict[str, Any]]:
        """
        Files that were left out, as the attempt's entry holds them.
        """
        return [{"uid": file.uid, "item": file.item, "reason": file.reason} for file in self._skipped]

    def _masked(self, text: str | None) -> str | None:
        return text and storable(mask(text, self._held_by().secrets))


def keep_alive(batch: Batch, holder: Holder, max_hold: timedelta) -> None:
    """
    Have the lease of `batch` extended from now on.
    """
    assert batch.token is not None, "a running batch has a token"
    holder.heart.keep(batch, batch.id, batch.token, lease_of(batch._row), max_hold)


def _json(value: Any) -> Any:
    """
    `value` as JSON will give it back.
    """
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode("utf-8")  # half a surrogate pair is no text to a database
        return json.loads(text)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"result must be something JSON can hold: {error}") from error


def _error_text(error: object) -> str | None:
    if not isinstance(error, BaseException):
        return None if error is None else str(error)
    return "".join(traceback.format_exception(error)).strip()


def storable(text: str) -> str:
    """
    A text for people as it is stored, at most `ERROR_LENGTH` characters: the beginning and the end, which say most.

    Characters no database takes are replaced.
    """
    text = text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= ERROR_LENGTH:
        return text
    half = (ERROR_LENGTH - 20) // 2
    return f"{text[:half]}\n… cut …\n{text[-half:]}"
