"""
Names and texts as people and attackers choose them: kept to the letter, told apart to the letter, never run.
"""

from __future__ import annotations

import pytest

from spark_batchintory.batch import JobKey
from spark_batchintory.errors import ConfigurationError
from spark_batchintory.inventory import InventoryBackend, Step
from spark_batchintory.testing.steps import RawStore, change, claim, fail, take_over

LONGEST = 255
"""Characters that every store keeps of a job's and a meta table's name."""

ALIKE = {
    "case": ("daily", "Daily"),
    "trailing space": ("daily", "daily "),
    "leading space": ("daily", " daily"),
    "only spaces": (" ", "  "),
    "accent": ("resume", "resumé"),
    "composed or not": ("caf\u00e9", "cafe\u0301"),
    "sharp s": ("straße", "strasse"),
    "width": ("a", "ａ"),
    "invisible": ("daily", "dai\u200bly"),
    "the last of many": ("x" * 254 + "a", "x" * 254 + "b"),
    "many emoji": ("🎈" * 254 + "🎉", "🎈" * 255),
    "number": ("1", "01"),
    "tab": ("a b", "a\tb"),
    "percent": ("%", "%%"),
    "underscore": ("a_b", "axb"),
    "backslash": ("\\", "\\\\"),
    "quote": ("'", "''"),
}
"""Pairs that some database or other takes for the same."""

HOSTILE = [
    "'; DROP TABLE inventory; --",
    '"; DROP TABLE inventory; --',
    "`; DROP TABLE inventory; --",
    "' OR '1'='1",
    "100 % of it, %s and %(name)s and %%",
    ":name and ::text and :1",
    "? and $1 and {0} and {name}",
    "\\",
    "\\'",
    "a\\nb",
    "line\nbreak\r\ttab",
    "/* not a comment",
    "NULL",
    "0x00",
    "日本語 العربية 🎉",
]
"""Texts that break out of carelessly pasted SQL, or are changed by a careless driver."""


def label(text: object) -> str:
    """
    A test id of plain characters.
    """
    return ascii(text)[1:20]


class NamesContract:
    """
    `JobKey`s, and the texts people write into an inventory.
    """

    @pytest.mark.parametrize("field", ["job", "meta_table"])
    @pytest.mark.parametrize("pair", ALIKE.values(), ids=ALIKE)
    def test_keys_are_compared_to_the_letter(
        self, inventory: InventoryBackend, raw: RawStore, pair: tuple[str, str], field: str
    ) -> None:
        """
        Behaviour: the meta table's name and the job's are the text the caller gave; what looks alike is not the same.
        """
        keys = [JobKey(name, "j") if field == "meta_table" else JobKey("m", name) for name in pair]
        rows = [claim(inventory, key) for key in keys]

        assert [row.batch_id_start for row in rows] == [0, 0]
        for key, row in zip(keys, rows, strict=True):
            job = inventory.job(key)
            assert job is not None
            assert (job.id, job.key) == (row.job_id, key)
            assert [found.id for found in inventory.batches(job_id=job.id)] == [row.id]
        assert [row[field] for row in raw.jobs()] == list(pair)
        assert [row[field] for row in raw.batches()] == list(pair)
        if field == "meta_table":
            assert [[found.id for found in inventory.touching(name, 0)] for name in pair] == [[r.id] for r in rows]

    @pytest.mark.parametrize("text", HOSTILE, ids=label)
    def test_hostile_names_are_names(self, inventory: InventoryBackend, raw: RawStore, text: str) -> None:
        """
        Names and values are bound, never pasted: what looks like SQL, a placeholder or an escape is kept as text.
        """
        key = JobKey(text, text + "!")
        row = claim(inventory, key)

        job = inventory.job(key)
        assert job is not None
        assert job.key == key
        assert inventory.find(row.id) == row
        assert [found.id for found in inventory.touching(text, 3)] == [row.id]
        assert [(row["meta_table"], row["job"]) for row in raw.jobs()] == [(text, text + "!")]
        assert [(row["meta_table"], row["job"]) for row in raw.batches()] == [(text, text + "!")]

    @pytest.mark.parametrize("text", HOSTILE, ids=label)
    def test_hostile_texts_are_kept(self, inventory: InventoryBackend, raw: RawStore, text: str) -> None:
        """
        P7: worker, identifier, logging, errors and results are stored as they were written.
        """
        row = claim(inventory, worker=text, job_identifier=text, config={text: [text]})
        row = change(inventory, row, logging=text, job_result_item={text: text})
        fail(inventory, row, error=text)

        (stored,) = raw.batches()
        assert [stored[name] for name in ("worker", "job_identifier", "logging")] == [text] * 3
        assert stored["config"] == {text: [text]}
        (attempt,) = raw.attempts()
        assert (attempt["worker"], attempt["error"]) == (text, text)
        found = inventory.find(row.id)
        assert found is not None
        assert (found.worker, found.logging, found.config) == (text, text, {text: [text]})
        assert [entry.error for entry in inventory.attempts(row.id)] == [text]

    @pytest.mark.parametrize("field", ["job", "meta_table"])
    @pytest.mark.parametrize("name", ["x" * (LONGEST + 1), "a\0b", "a\ud800b"], ids=["too long", "NUL", "surrogate"])
    def test_names_no_store_can_keep_are_refused(
        self, inventory: InventoryBackend, raw: RawStore, name: str, field: str
    ) -> None:
        """
        Behaviour: a name is never cut short or altered, which would join two jobs; it is refused, and nothing happens.
        """
        key = JobKey(name, "j") if field == "meta_table" else JobKey("m", name)

        with pytest.raises(ConfigurationError, match=field):
            inventory.transact(key, lambda turn: Step())
        assert raw.jobs() == []

    def test_a_token_is_compared_to_the_letter(self, inventory: InventoryBackend) -> None:
        """
        P3: neither case nor a trailing space makes another token fit.
        """
        row = claim(inventory, token="abc")

        for wrong in ("ABC", "abc ", " abc", "", "ab_", "%"):
            assert inventory.find_token(wrong) is None
            assert inventory.beat(row.id, wrong, inventory.default_lease) is None
        assert inventory.find_token("abc") == row

    def test_who_works_is_for_people_only(self, inventory: InventoryBackend, raw: RawStore) -> None:
        """
        P3: two workers of the same name are told apart by their tokens.
        """
        row = claim(inventory, worker="same")
        fresh = take_over(inventory, row)

        assert (raw.batches()[0]["worker"], fresh.token != row.token) == ("rescuer", True)
