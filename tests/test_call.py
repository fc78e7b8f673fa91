"""
Arguments of the calls: what is refused before anything is asked or written, and what is stored of a call.
"""

from __future__ import annotations

import inspect
import math
from datetime import timedelta
from decimal import Decimal

import pytest

import spark_batchintory as bi
from spark_batchintory import BatchintoryError, ConfigurationError, Inventory, MetaTable

from .stage import Stage, Wire

WRONG = {
    "job": ["", None, 7, b"daily", "x" * 256, "nul\0"],
    "meta_table_name": ["", 7, b"files"],
    "meta_table_cols": [{"id": "uid"}, {"uid": 7}, {"uid": None}, {"item": ""}, {"item": None}],
    "job_identifier": [7, b"run"],
    "batch_id_min": ["1", 1.5, 1.0, True, 2**63, -(2**63) - 1, Decimal(1)],
    "batch_id_max": ["1", 1.5, False, 2**63, math.inf],
    "batch_weight": [-1, -0.5, math.nan, math.inf, "5", True, 10**30, Decimal("NaN"), [1]],
    "batch_count": [0, -1, 1.5, "5", True, math.inf],
    "meta_table": ["files", {"name": "files"}, object()],
    "lease": [0, -1, timedelta(0), timedelta(seconds=-1), "10", True, math.nan, math.inf],
    "max_attempts": [0, -1, 1.5, "3", True],
    "retry_delay": [-1, timedelta(seconds=-1), "60", math.inf],
    "oversize": ["Alone", "skip", None, True],
}
"""Argument → values that make no sense."""


@pytest.fixture
def stage(tmp_path):
    """
    A few files on SQLite.
    """
    with Stage(f"sqlite:///{tmp_path / 'call.db'}") as stage:
        stage.files(range(1, 10))
        yield stage


class TestWrongArguments:
    @pytest.mark.parametrize("name", WRONG)
    def test_are_refused_by_name_before_anything_is_written(self, stage, name):
        """
        API: `ConfigurationError`, which is a `ValueError` too, names the argument; the job is not even recorded.
        """
        inventory = stage.open()
        inventory.status()
        before = stage.everything()
        for value in WRONG[name]:
            arguments = {"job": "daily", "meta_table_name": "files", name: value}
            with pytest.raises(ConfigurationError) as caught:
                inventory.acquire_batch(**arguments)
            assert isinstance(caught.value, ValueError)
            assert name in str(caught.value), f"{value!r}: {caught.value}"
        assert stage.everything() == before

    @pytest.mark.parametrize("call", ["acquire_batches", "process", "plan"])
    def test_are_refused_in_every_call(self, stage, call):
        """
        API: the calls that pass arguments on check them in the same way.
        """
        inventory = stage.open()
        inventory.status()
        first = [lambda batch: None] if call == "process" else []
        for wrong in ({"batch_count": 0}, {"lease": -1}, {"batch_id_min": 5, "batch_id_max": 4}):
            with pytest.raises(ConfigurationError, match=next(iter(wrong))):
                [*(getattr(inventory, call)(*first, "daily", "files", **wrong) or ())]
        assert stage.rows("SELECT COUNT(*) FROM inventory") == [0]

    @pytest.mark.parametrize("call", ["acquire_batch", "acquire_batches", "process", "plan"])
    def test_an_unknown_argument_is_an_error(self, stage, call):
        """
        API: a misspelled limit must not be passed over in silence.
        """
        inventory = stage.open()
        first = [lambda batch: None] if call == "process" else []
        with pytest.raises((TypeError, ConfigurationError), match="batch_wieght"):
            [*(getattr(inventory, call)(*first, "daily", "files", batch_wieght=5) or ())]

    def test_bounds_that_exclude_everything(self, stage):
        """
        API: a minimum above the maximum is a mistake; equal ones are one uid.
        """
        inventory = stage.open()
        with pytest.raises(ConfigurationError, match=r"batch_id_min=5.*batch_id_max=4"):
            inventory.acquire_batch("daily", "files", batch_id_min=5, batch_id_max=4)
        assert inventory.acquire_batch("daily", "files", batch_id_min=5, batch_id_max=5).uids == [5]

    def test_a_table_must_be_named(self, stage):
        """
        API: neither name nor `meta_table` says what would be right.
        """
        with pytest.raises(ConfigurationError, match="meta_table_name"):
            stage.open().acquire_batch("daily")

    def test_no_statement_goes_out_for_a_wrong_call(self, stage):
        """
        API: wrong arguments are found without a database.
        """
        wire = Wire()
        inventory = stage.open(wire=wire)
        with pytest.raises(ConfigurationError):
            inventory.acquire_batch("daily", "files", batch_count=-1)
        assert wire.said == []


class TestRightArguments:
    @pytest.mark.parametrize(
        "arguments",
        [
            {"batch_weight": 0},
            {"batch_weight": 0.1},
            {"batch_weight": Decimal("0.000000001")},
            {"batch_weight": 10**28},
            {"batch_count": 10**9},
            {"lease": timedelta(microseconds=1)},
            {"lease": 0.5},
            {"retry_delay": 0},
            {"retry_delay": timedelta(0)},
            {"batch_id_min": -(2**63) + 1, "batch_id_max": 2**63 - 1},
            {"job": "x" * 255},
            {"job": "täglich / 日本 🎈"},
            {"job": "O'Brien\n\t\\ %s {x} :y"},
        ],
        ids=str,
    )
    def test_what_makes_sense_is_taken(self, stage, arguments):
        """
        API: the ends of what is allowed, and names with any characters.
        """
        job = arguments.get("job", "daily")
        batch = stage.open().acquire_batch(**{"job": job, "meta_table_name": "files", **arguments})

        assert batch.job == job
        assert stage.rows("SELECT job FROM inventory") == [job]

    def test_whole_numbers_of_other_libraries(self, stage):
        """
        API: whatever Python takes as an index is a whole number, such as numpy's.
        """

        class Int64:
            def __init__(self, value):
                self.value = value

            def __index__(self):
                return self.value

        numbers = {
            "batch_id_min": Int64(2),
            "batch_id_max": Int64(8),
            "batch_count": Int64(3),
            "batch_weight": Int64(9),
        }
        batch = stage.open().acquire_batch("daily", "files", **numbers)

        assert batch.uids == [2, 3, 4]
        assert {name: batch.config[name] for name in numbers} == {
            "batch_id_min": 2,
            "batch_id_max": 8,
            "batch_count": 3,
            "batch_weight": 9,
        }

    def test_seconds_and_timedeltas_mean_the_same(self, stage):
        """
        API: durations are a `timedelta` or seconds as a number.
        """
        inventory = stage.open()
        ends = [
            inventory.acquire_batch("daily", "files", batch_count=1, lease=lease).lease_expires_at
            for lease in (90, 90.0, timedelta(seconds=90))
        ]
        assert ends == [stage.clock() + timedelta(seconds=90)] * 3

    def test_the_first_eight_are_in_the_order_of_the_ancestor(self, stage):
        """
        API: pybatchintory's arguments, by position and in its order, in function and method alike.
        """
        names = ["job", "meta_table_name", "meta_table_cols", "job_identifier"]
        names += ["batch_id_min", "batch_id_max", "batch_weight", "batch_count"]
        for function, skipped in ((bi.acquire_batch, 0), (Inventory.acquire_batch, 1)):
            parameters = list(inspect.signature(function).parameters.values())[skipped:]
            assert [one.name for one in parameters[:8]] == names
            assert {one.kind for one in parameters[8:]} == {inspect.Parameter.KEYWORD_ONLY}
        arguments = ("daily", "files", {"uid": "uid"}, "run 1", 2, 8, 3, 2)
        inventory = stage.open()
        batch = inventory.acquire_batch(*arguments)
        assert (batch.uids, batch.job_identifier) == ([2, 3], "run 1")
        assert [one.uids for one in inventory.acquire_batches(*arguments)] == [[4, 5], [6, 7], [8]]
        assert [one.uids for one in inventory.acquire_batches("other", "files", None, None, 8)] == [[8, 9]]


class TestConfig:
    def test_the_call_is_stored_with_the_batch(self, stage):
        """
        Behaviour: `config` holds the call's arguments, so that a rescuer does as the owner would.
        """
        batch = stage.open().acquire_batch(
            "daily",
            "files",
            {"uid": "uid", "weight": "weight"},
            "run 1",
            batch_id_min=1,
            batch_weight=Decimal("2.5"),
            batch_count=5,
            meta_filter="uid > 0",
            lease=120,
            max_attempts=4,
            retry_delay=timedelta(seconds=30),
            oversize="set_aside",
        )
        stored = stage.open().batches("daily")[0].config

        assert stored == batch.config
        assert stored["meta_table"] == {"name": "files", "cols": {"uid": "uid", "item": "item", "weight": "weight"}}
        told = {name: stored[name] for name in ("job", "job_identifier", "batch_id_min", "batch_id_max", "batch_count")}
        assert told == {
            "job": "daily",
            "job_identifier": "run 1",
            "batch_id_min": 1,
            "batch_id_max": None,
            "batch_count": 5,
        }
        assert Decimal(str(stored["batch_weight"])) == Decimal("2.5")
        rest = [stored[name] for name in ("meta_filter", "lease", "max_attempts", "retry_delay", "oversize")]
        assert rest == ["uid > 0", 120.0, 4, 30.0, "set_aside"]

    def test_a_config_of_a_later_version_can_be_rescued(self, stage):
        """
        Behaviour: what is not in a stored call has a default; what is unknown is left alone.
        """
        inventory = stage.open()
        inventory.acquire_batch("daily", "files", batch_count=2, heartbeat=False)
        stage.execute("""UPDATE inventory SET config = '{"job": "daily", "unheard_of": 1}'""")
        stage.clock.advance(timedelta(hours=1))

        again = inventory.acquire_batch("daily", "files", batch_count=2)

        assert (again.uids, again.attempt) == ([1, 2], 2)
        assert again.lease_expires_at == stage.clock() + timedelta(minutes=10)
        again.failed("boom")


def test_a_meta_table_checks_itself():
    """
    API: `MetaTable` refuses what no table can be called.
    """
    for name, cols in (("", None), (7, None), ("files", {"id": "x"}), ("files", {"uid": ""})):
        with pytest.raises(ConfigurationError):
            MetaTable(name, cols or {})
    assert issubclass(ConfigurationError, BatchintoryError)
