"""
Values as they must come back: exact weights, 64-bit uids, microseconds, JSON, and texts of any length.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from spark_batchintory.batch import AttemptRow, Kind, Status
from spark_batchintory.inventory import InventoryBackend, Step
from spark_batchintory.testing.clock import SteppedClock
from spark_batchintory.testing.steps import JOB, RawStore, change, claim, queue, succeed
from spark_batchintory.uids import HIGHEST, LOWEST, UidSet

WEIGHTS = [
    *(0, 1, 2**53 + 1, 10**18, 10**18 + 1, 10**28 + 1, 10**29 - 1),
    *(Decimal("0.000000001"), Decimal("0.1"), Decimal("12345678901234567890.123456789")),
    *(Decimal("99999999999999999999999999999.999999999"), Decimal("100"), None),
]

DOCUMENTS: list[Any] = [
    {},
    {"path": "s3://b/ü 100%/x", "rows": 3, "ratio": 0.1, "ok": True, "none": None},
    {"nested": {"list": [1, [2, [3, {"deep": "🎉"}]]], "empty": [], "": "empty key"}},
    {"big": 2**63, "bigger": 10**30, "small": -(2**63), "tiny": 5e-324},
    {
        "quote": "'\"`",
        "backslash": "\\",
        "percent": "%s %(a)s",
        "colon": ":a",
        "newline": "\n\r\t",
        "null text": "null",
    },
    {"key with 'quotes' and \"more\"": 1, "$.path": 2, "a.b": 3},
]

TIMES = [
    *("1970-01-01T00:00:00", "2026-03-29T02:30:00.000001", "2026-10-25T02:30:00.999999"),
    *("2038-01-19T03:14:08", "2999-12-31T23:59:59.999999"),
]


class ValuesContract:
    """
    What goes through a store and must not change on the way.
    """

    @pytest.mark.parametrize("weight", WEIGHTS, ids=str)
    def test_weights_are_exact(self, inventory: InventoryBackend, raw: RawStore, weight: Any) -> None:
        """
        Behaviour: `batch_weight` is exact, up to 29 digits before the point and nine after it; NULL is not zero.
        """
        row = claim(inventory, batch_weight=weight)

        found = inventory.find(row.id)
        assert found is not None
        assert found.batch_weight == weight
        assert type(found.batch_weight) in (int, Decimal, type(None))
        assert raw.batches()[0]["batch_weight"] == weight

    def test_whole_weights_come_back_as_int(self, inventory: InventoryBackend) -> None:
        """
        P7: 1 GiB prints as 1073741824, not as 1073741824.000000000.
        """
        row = claim(inventory, batch_weight=2**30)

        assert repr(next(iter(inventory.batches())).batch_weight) == str(2**30)
        assert repr(inventory.counts(row.job_id).open_weight) == str(2**30)

    def test_a_weight_with_a_longer_tail_is_rounded_to_the_column(self, inventory: InventoryBackend) -> None:
        """
        Behaviour: places beyond the ninth do not fit NUMERIC(38,9); the batch is recorded all the same.
        """
        row = claim(inventory, batch_weight=Decimal("0.12345678901234567890"))

        found = inventory.find(row.id)
        assert found is not None
        assert found.batch_weight == Decimal("0.123456789")

    @pytest.mark.parametrize(
        ("first", "last"),
        [(0, 0), (-5, -1), (-3, 4), (LOWEST, LOWEST), (HIGHEST, HIGHEST), (LOWEST, HIGHEST), (2**53 + 1, 2**53 + 3)],
        ids=["zero", "negative", "across zero", "lowest", "highest", "all", "beyond floats"],
    )
    def test_uids_of_64_bits(self, inventory: InventoryBackend, raw: RawStore, first: int, last: int) -> None:
        """
        API: bounds hold for uid 0, for negative uids and to both ends of 64 bits.
        """
        (row,) = queue(
            inventory,
            batch_id_start=first,
            batch_id_end=last,
            batch_count=2,
            uids=UidSet.of([first, last]).encode(),
            kind=Kind.RANGE,
            range_lo=first,
            claim_number=2**62,
        )

        assert inventory.find(row.id) == row
        (stored,) = raw.batches()
        assert (stored["batch_id_start"], stored["batch_id_end"]) == (first, last)
        assert (stored["range_lo"], stored["claim_number"]) == (first, 2**62)
        for uid in (first, last):
            assert [found.id for found in inventory.touching(JOB.meta_table, uid)] == [row.id]

    def test_a_job_remembers_64_bits(self, inventory: InventoryBackend, raw: RawStore) -> None:
        """
        P1: frontier, scan and bound of a job reach as far as uids do, and zero is not "none".
        """
        for lowest, frontier, scanned in ((0, 0, 0), (LOWEST, -7, -3), (-1, HIGHEST - 1, HIGHEST)):

            def decide(turn: Any, low: int = lowest, top: int = frontier, seen: int = scanned) -> Step:
                return Step(job=replace(turn.job, lowest_bound=low, frontier=top, scanned_through=seen))

            inventory.transact(JOB, decide)
            job = inventory.job(JOB)
            assert job is not None
            assert (job.lowest_bound, job.frontier, job.scanned_through) == (lowest, frontier, scanned)
            (stored,) = raw.jobs()
            assert (stored["lowest_bound"], stored["frontier"], stored["scanned_through"]) == (
                lowest,
                frontier,
                scanned,
            )

    def test_a_job_remembers_what_done_refers_to(
        self, inventory: InventoryBackend, another: InventoryBackend, raw: RawStore
    ) -> None:
        """
        API: filter and columns are stored with the job, to the letter, and a paused job is paused for everyone.
        """
        text = "kind = 'a:b' AND name LIKE '100\\%%' -- ü 🎉\n"
        columns = {"uid": "id", "item": 'odd "name" %', "weight": None}
        inventory.transact(
            JOB, lambda turn: Step(job=replace(turn.job, meta_filter=text, meta_columns=columns, paused=True))
        )

        job = another.job(JOB)
        assert job is not None
        assert (job.meta_filter, job.meta_columns, job.paused) == (text, columns, True)
        (stored,) = raw.jobs()
        assert (stored["meta_filter"], stored["meta_columns"], bool(stored["paused"])) == (text, columns, True)

        inventory.transact(JOB, lambda turn: Step(job=replace(turn.job, meta_filter=None, meta_columns=None)))
        job = another.job(JOB)
        assert job is not None
        assert (job.meta_filter, job.meta_columns) == (None, None)
        assert raw.jobs()[0]["meta_columns"] is None

    @pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: ascii(sorted(document))[:30])
    def test_json_comes_back(self, inventory: InventoryBackend, raw: RawStore, document: Any) -> None:
        """
        P7: results and configurations of any shape, of any letters, with numbers beyond 64 bits.
        """
        row = claim(inventory, config=document)
        succeed(inventory, row, result=document)

        found = inventory.find(row.id)
        assert found is not None
        assert (found.config, found.job_result_item) == (document, document)
        (stored,) = raw.batches()
        assert (stored["config"], stored["job_result_item"]) == (document, document)

    @pytest.mark.parametrize("document", ["text", 0, False, [], [1, None], 1.5, ""], ids=repr)
    def test_json_need_not_be_an_object(self, inventory: InventoryBackend, document: Any) -> None:
        """
        P7: a result is any JSON, also one that counts as false.
        """
        row = claim(inventory)
        succeed(inventory, row, result=document)

        found = inventory.find(row.id)
        assert found is not None
        assert found.job_result_item == document
        assert type(found.job_result_item) is type(document)

    def test_no_result_is_null(self, inventory: InventoryBackend, raw: RawStore) -> None:
        """
        Behaviour: no result is SQL's NULL, not the JSON text "null", so that people can ask for it.
        """
        succeed(inventory, claim(inventory), result=None)

        (stored,) = raw.batches()
        assert stored["job_result_item"] is None
        assert stored["replaces"] in (None, [])

    @pytest.mark.parametrize("text", TIMES)
    def test_times_are_kept_to_the_microsecond(self, inventory: InventoryBackend, raw: RawStore, text: str) -> None:
        """
        Behaviour: naive UTC; an hour that summer time skips or repeats is an hour like any other.
        """
        time = datetime.fromisoformat(text)
        row = claim(inventory, processing_start=time, processing_end=time, due_at=time)

        assert inventory.find(row.id) == row
        (stored,) = raw.batches()
        assert [stored[name] for name in ("processing_start", "processing_end", "due_at")] == [time] * 3
        assert stored["processing_start"].tzinfo is None

    @pytest.mark.parametrize("length", [70_000, 300_000, 3_000_000])
    def test_large_sets_of_uids(self, inventory: InventoryBackend, raw: RawStore, length: int) -> None:
        """
        P4: pinned uids are kept whole; a column of 64 kB, as MySQL's TEXT, would cut them off.
        """
        text = "z:" + ("abcdefgh" * (length // 8))
        row = claim(inventory, uids=text)

        found = inventory.find(row.id)
        assert found is not None
        assert found.uids == text
        assert raw.batches()[0]["uids"] == text

    def test_long_texts(self, inventory: InventoryBackend, raw: RawStore, clock: SteppedClock) -> None:
        """
        P7: a traceback and a log of 200 kB, in letters of four bytes, and a list of skipped files.
        """
        text = "🎉\n" * 50_000
        skipped = [{"uid": n, "item": f"ü/{n}"} for n in range(1_000)]
        row = change(inventory, claim(inventory, job_identifier=text[:1_000]), logging=text)
        ended = AttemptRow(row.id, 1, row.token, "w" * 255, clock(), clock(), "failed", text, skipped)
        inventory.transact(JOB, lambda turn: Step(attempts=[ended]))

        found = inventory.find(row.id)
        assert found is not None
        assert (found.logging, found.job_identifier) == (text, text[:1_000])
        assert list(inventory.attempts(row.id)) == [ended]
        (stored,) = raw.attempts()
        assert (stored["error"], stored["skipped"]) == (text, skipped)

    def test_what_a_batch_replaces(self, inventory: InventoryBackend, raw: RawStore) -> None:
        """
        Vocabulary: a redo says which publications it supersedes; that is kept with the batch and with its publication.
        """
        (row,) = queue(inventory, status=Status.RUNNING, token="t", kind=Kind.REDO, replaces=[3, 2**40])
        succeed(inventory, row)

        found = inventory.find(row.id)
        assert found is not None
        assert list(found.replaces) == [3, 2**40]
        assert raw.publications()[0]["replaces"] == [3, 2**40]

    @pytest.mark.parametrize("status", Status, ids=lambda status: status.value)
    @pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
    def test_every_status_and_kind(
        self, inventory: InventoryBackend, raw: RawStore, status: Status, kind: Kind
    ) -> None:
        """
        Behaviour: statuses and kinds are stored under their names, which users and other systems read.
        """
        (row,) = queue(inventory, status=status, kind=kind)

        assert inventory.find(row.id) == row
        assert [(row["status"], row["kind"]) for row in raw.batches()] == [(status.value, kind.value)]
