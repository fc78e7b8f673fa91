"""
Coverage: the rules against a model of single uids, and what it tells of real jobs on every SQL database.
"""

from __future__ import annotations

import io
import itertools
import re
import sys
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_batchintory import ConfigurationError
from spark_batchintory.batch import Kind, Status
from spark_batchintory.coverage import STATES, Segment, State, segments, state_of, strip, total
from spark_batchintory.inventory import Outline
from spark_batchintory.strip import coverage_answer, drawn_strip, text_strip
from spark_batchintory.uids import HIGHEST, LOWEST, UidSet

from .stage import Stage, drain

NOON = datetime(2024, 2, 29, 12)  # noqa: DTZ001  # naive UTC, as in the inventory
WORST = {state: rank for rank, state in enumerate(STATES)}


@pytest.fixture
def stage(sql_url):
    """
    A database with an empty table of files, and the time.
    """
    with Stage(sql_url) as opened:
        opened.files()
        yield opened


def outline(number, uids, status=Status.SUCCEEDED, kind=Kind.RANGE, **fields):
    """
    A batch that holds `uids`.
    """
    given = {"attempt": 1, "publish_number": None, "superseded_by": None, **fields}
    return Outline(
        number, kind, status, min(uids), max(uids), len(uids), 1, processing_start=NOON, processing_end=NOON, **given
    )


@st.composite
def jobs(draw):
    """
    Batches with their uids: of each uid at most one that is no redo, and redos that repeat one of these, or a part.
    """
    sizes = draw(st.lists(st.integers(1, 6), max_size=7))
    loose = draw(st.permutations(range(-5, 40)))
    cut, batches, uids = 0, [], {}
    for size in sizes:
        held = sorted(loose[cut : cut + size]) if draw(st.booleans()) else sorted(loose)[cut * 2 : cut * 2 + size]
        held = [uid for uid in held if not any(uid in other for other in uids.values())]
        cut += size
        if held:
            number = len(uids) + 1
            uids[number] = held
            kind = draw(st.sampled_from([Kind.RANGE, Kind.LATE, Kind.DONE, Kind.ASIDE]))
            batches.append(outline(number, held, draw(st.sampled_from(Status)), kind, attempt=draw(st.integers(0, 2))))
    for old in list(batches):
        if old.status is Status.SUCCEEDED and draw(st.booleans()):
            number = len(uids) + 1
            held = uids[old.id]
            uids[number] = held[: draw(st.integers(1, len(held)))] if old.kind is Kind.DONE else held
            batches.append(outline(number, uids[number], draw(st.sampled_from(Status)), Kind.REDO))
    holes = [uid for uid in loose[-6:] if not any(uid in held for held in uids.values())]
    return draw(st.permutations(batches)), uids, [(uid, uid) for uid in sorted(holes)]


def texts_of(uids):
    return lambda ids: {number: UidSet.of(uids[number]).encode() for number in ids}


def model(batches, uids, holes):
    """
    Uid → its state, one by one; and the uids that are items.
    """
    told, items = {}, set()
    for batch in batches:
        state = state_of(batch)
        for uid in uids[batch.id] if state else ():
            told[uid] = max(state, told.get(uid, state), key=WORST.get)
            items.add(uid)
    for uid, _ in holes:
        told.setdefault(uid, State.UNTOUCHED)
    return told, items


@given(jobs())
def test_segments_say_of_every_uid_what_became_of_it(job):
    """
    P7: segments are disjoint and in order, no two neighbours are alike, and each uid is in one of its own state.
    """
    batches, uids, holes = job

    found = segments(batches, texts_of(uids), holes=holes)

    told, items = model(batches, uids, holes)
    assert all(one.uid_end < other.uid_start and one.state != other.state for one, other in itertools.pairwise(found))
    for uid, state in told.items():
        assert [state] == [one.state for one in found if one.uid_start <= uid <= one.uid_end]
    for one in found:
        inside = [uid for uid in told if one.uid_start <= uid <= one.uid_end]
        assert (one.uid_start, one.uid_end, one.items) == (min(inside), max(inside), len(items & set(inside)))


@given(jobs(), st.integers(1, 60))
def test_the_worst_state_of_a_cell_always_shows(job, count):
    """
    "True at every zoom": a cell shows the worst state of any item in it, a hole only where there are no items.
    """
    batches, uids, holes = job
    told, items = model(batches, uids, holes)

    cells = strip(segments(batches, texts_of(uids), holes=holes), count)

    assert len(cells) <= count
    for one, other in itertools.pairwise(cells):
        assert one.uid_end + 1 == other.uid_start
    for cell in cells:
        inside = [uid for uid in told if cell.uid_start <= uid <= cell.uid_end]
        worst = [told[uid] for uid in inside if uid in items] or [told[uid] for uid in inside]
        if worst:
            assert cell.state is max(worst, key=WORST.get)
    assert not told or (cells[0].uid_start, cells[-1].uid_end) == (min(told), max(told))


@given(
    st.integers(1, 10**6), st.integers(1, 300), st.sampled_from([State.FAILED, State.DEAD, State.LATE, State.SKIPPED])
)
def test_one_item_in_a_million_shows(uid, count, state):
    """
    "One failed uid in a million is visible", at every width.
    """
    parts = [(1, uid - 1, State.DONE), (uid, uid, state), (uid + 1, 10**6, State.DONE)]
    stretches = [Segment(what, first, last, last - first + 1) for first, last, what in parts if first <= last]

    cells = strip(stretches, count)

    assert [cell for cell in cells if cell.state is state] == [
        cell for cell in cells if cell.uid_start <= uid <= cell.uid_end
    ]


def test_uids_of_the_whole_width_of_a_column_fit():
    """
    Behaviour: the smallest and the largest uid there can be, and one uid alone, make a strip.
    """
    ends = [Segment(State.DONE, LOWEST, LOWEST, 1), Segment(State.DEAD, HIGHEST, HIGHEST, 1)]

    assert [cell.state for cell in strip(ends, 3)] == [State.DONE, None, State.DEAD]
    assert strip(ends[1:], 80)[0].uid_end == HIGHEST
    assert strip([], 80) == []


def test_a_part_that_was_done_again_is_counted_once():
    """
    Behaviour: a redo of some of what was marked done repeats their uids, and both have succeeded.
    """
    uids = {1: [1, 2, 3, 4], 2: [2, 3]}
    batches = [outline(1, uids[1], kind=Kind.DONE), outline(2, uids[2], kind=Kind.REDO)]

    assert segments(batches, texts_of(uids)) == [Segment(State.DONE, 1, 4, 4)]


def test_what_was_superseded_does_not_show():
    """
    P5: a redo that died does not show once a later one of the same batch has succeeded.
    """
    uids = {number: [1, 2] for number in (1, 2, 3)}
    dead = outline(2, uids[2], Status.DEAD, Kind.REDO, superseded_by=2)
    batches = [outline(1, uids[1], superseded_by=2), dead, outline(3, uids[3], kind=Kind.REDO)]

    assert segments(batches, texts_of(uids)) == [Segment(State.DONE, 1, 2, 2)]


def test_uids_are_asked_for_only_where_batches_reach_into_each_other():
    """
    Speed: a late batch that reaches across a thousand ranges costs the uids of itself and of those it lies in.
    """
    uids = {n: [10 * n, 10 * n + 3, 10 * n + 7] for n in range(1, 1001)}
    uids[2000] = [15, 5001, 10_005]
    batches = [outline(n, held, Status.FAILED if n == 2000 else Status.SUCCEEDED) for n, held in uids.items()]
    asked = []

    found = segments(batches, lambda ids: asked.extend(ids) or texts_of(uids)(ids))

    assert sorted(asked) == [1, 500, 1000, 2000]
    assert total(found) == {State.DONE: 3000, State.FAILED: 3}
    assert [one.uid_start for one in found if one.state is State.FAILED] == [15, 5001, 10_005]


class TestJobs:
    """
    What `Inventory.coverage` tells.
    """

    def test_every_state_is_told(self, stage):
        """
        P7: done, dead, failed, skipped, late, running and untouched, each stretch with its ends and its items.
        """
        stage.add(*(uid for uid in range(1, 41) if uid != 3))
        inventory = stage.open()
        how = {"batch_count": 5, "heartbeat": False}
        inventory.acquire_batch("daily", "files", **how).succeeded()  # 1, 2, 4, 5, 6
        inventory.acquire_batch("daily", "files", max_attempts=1, **how).failed("poison")
        inventory.acquire_batch("daily", "files", **how).failed("later")
        inventory.cancel(inventory.acquire_batch("daily", "files", **how).id)
        held = inventory.acquire_batch("daily", "files", **how)
        stage.add(3)
        inventory.audit("daily")

        answer = inventory.coverage("daily")

        assert [(row.state.value, row.uid_start, row.uid_end, row.items) for row in answer] == [
            ("done", 1, 2, 2),
            ("late", 3, 3, 1),
            ("done", 4, 6, 3),
            ("dead", 7, 11, 5),
            ("failed", 12, 16, 5),
            ("skipped", 17, 21, 5),
            ("running", 22, 26, 5),
            ("untouched", 27, 40, 14),
        ]
        assert answer.to_dicts()[1] == {"state": "late", "uid_start": 3, "uid_end": 3, "items": 1}
        assert held.uids == [22, 23, 24, 25, 26]

    def test_a_redo_shows_until_it_is_done(self, stage):
        """
        P5: what is being done again is not done; once it is, or was cancelled, it is done.
        """
        stage.add(*range(1, 11))
        inventory = stage.open()
        drain(inventory, "daily", batch_count=5)
        (redo,) = inventory.redo("daily", 2, 3)
        queued = inventory.coverage("daily")
        inventory.cancel(redo.id)
        cancelled = inventory.coverage("daily")
        inventory.redo("daily", 2, 3)
        drain(inventory, "daily")
        done = inventory.coverage("daily")

        assert [(row.state.value, row.uid_end, row.items) for row in queued] == [("running", 5, 5), ("done", 10, 5)]
        assert [(row.state.value, row.uid_end, row.items) for row in cancelled] == [("done", 10, 10)]
        assert list(done) == list(cancelled)

    def test_a_backfill_ends_at_its_bounds(self, stage):
        """
        Behaviour: what lies outside of a closed scope is none of its coverage.
        """
        stage.add(*range(1, 101))
        inventory = stage.open()
        inventory.acquire_batch("march", "files", batch_id_min=11, batch_id_max=50, batch_count=10).succeeded()

        assert [(row.state.value, row.uid_start, row.uid_end, row.items) for row in inventory.coverage("march")] == [
            ("done", 11, 20, 10),
            ("untouched", 21, 50, 30),
        ]

    def test_without_the_meta_table_the_rest_is_told(self, stage):
        """
        P7: looking works when the catalogue does not, and says what is missing.
        """
        stage.add(*range(1, 11))
        inventory = stage.open()
        inventory.acquire_batch("daily", "files", batch_count=5).succeeded()
        stage.execute("DROP TABLE files")

        answer = stage.open().coverage("daily")

        assert [(row.state.value, row.uid_end) for row in answer] == [("done", 5)]
        assert "'files'" in answer.notes[0]

    def test_names_are_those_of_jobs(self, stage):
        """
        Behaviour: an unknown job is an answer that names the nearest; one over two tables asks which.
        """
        stage.add(1)
        stage.files([1], name="others")
        inventory = stage.open()
        for table in ("files", "others"):
            inventory.acquire_batch("daily", table).succeeded()

        assert "'daily'" in inventory.coverage("dayly").notes[0]
        assert not inventory.coverage("dayly")
        with pytest.raises(ConfigurationError, match="meta_table_name"):
            inventory.coverage("daily")
        assert [row.items for row in inventory.coverage("daily", meta_table_name="others")] == [1]

    def test_open_holes_show_where_nothing_else_does(self, server_url):
        """
        P1: a hole that may still fill is untouched, without items, and does not hide what is done around it.
        """
        with Stage(server_url) as stage:
            stage.files(uid="BIGINT PRIMARY KEY")
            writer = stage.session().add(5)
            stage.add(1, 2, 3, 4, 6, 7, 8)
            inventory = stage.open()
            inventory.acquire_batch("daily", "files", batch_count=7).succeeded()

            answer = inventory.coverage("daily")
            writer.commit()

        assert [(row.state.value, row.uid_start, row.items) for row in answer] == [
            ("done", 1, 4),
            ("untouched", 5, 0),
            ("done", 6, 3),
        ]
        assert "·" in answer.strip(80)
        assert "·" not in answer.strip(4).splitlines()[0]


class TestForms:
    STRETCHES = (
        Segment(State.DONE, 1, 40, 40),
        Segment(State.FAILED, 41, 41, 1),
        Segment(State.DONE, 42, 60, 19),
        Segment(State.UNTOUCHED, 61, 100, 38),
    )

    def test_text_is_a_strip_its_ends_and_a_key(self):
        """
        Behaviour: what is wrong is a letter, and the numbers are those of the segments.
        """
        assert text_strip(self.STRETCHES, 20).splitlines() == [
            "████████F███········",
            "1                100",
            "█ done 59  · untouched 38  F failed 1",
        ]

    def test_print_shows_strip_and_table(self):
        """
        Behaviour: `print` shows both; an answer without rows is its notes.
        """
        lines = str(coverage_answer(self.STRETCHES, ["a note"])).splitlines()

        assert lines[0].startswith("█")
        assert lines[3].split() == ["state", "uid_start", "uid_end", "items"]
        assert lines[-1] == "a note"
        assert str(coverage_answer((), ["nothing"])).splitlines()[-1] == "nothing"

    def test_a_terminal_without_blocks_gets_letters(self, monkeypatch):
        """
        Behaviour: where output cannot spell block characters, the strip is ASCII.
        """
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))

        strip_text = coverage_answer(self.STRETCHES).strip(20)

        assert strip_text.isascii()
        assert strip_text.startswith("########F###........")

    def test_states_differ_without_colours(self):
        """
        Behaviour: every state has a letter and a shape of its own, and the drawing says in words what it shows.
        """
        shapes = set()
        for state in STATES:
            drawn = drawn_strip([Segment(state, 1, 10, 10)], "one")
            shapes.add(drawn.split(' d="')[1].split('"')[0])
            assert f"10 {state.value}" in drawn
        assert len(shapes) == len(STATES)

    def test_the_picture_in_the_docs_is_such_a_drawing(self):
        """
        Docs: docs/coverage.svg shows what this version draws.
        """
        ends = [41, 42, 86, 91, 166, 171, 196, 216, 356, 361, 601, 606, 611, 900]
        words = ["done", "late", "done", "skipped", "done", "dead", "done", "running", "done", "dead", "done", "failed"]
        words += ["running", "untouched"]
        stretches = [
            Segment(State(word), first + 1, last, last - first)
            for word, first, last in zip(words, [0, *ends], ends, strict=False)
        ]
        drawn = drawn_strip(stretches, "Coverage of a job").replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"')

        page = Path(__file__).parent.parent / "docs" / "coverage.svg"
        assert page.read_text(encoding="utf-8") == drawn + "\n"

    def test_a_title_is_text(self):
        """
        Behaviour: a hostile name in a title stays text.
        """
        assert "<script>" not in drawn_strip(self.STRETCHES, "<script>")

    def test_html_holds_drawing_and_table(self):
        """
        Behaviour: a notebook shows the strip above the table.
        """
        shown = coverage_answer(self.STRETCHES)._repr_html_()

        assert shown.index("<svg") < shown.index("<table")
        assert "untouched 38" in shown
        assert "<svg" not in coverage_answer(())._repr_html_()

    def test_several_strips_of_a_notebook_have_words_of_their_own(self):
        """
        Behaviour: a screen reader tells of each strip what that one shows.
        """
        ids = [re.findall(r' id="(\S+)"', coverage_answer(self.STRETCHES[:n])._repr_html_()) for n in (1, 2)]

        assert [len(found) for found in ids] == [2, 2]
        assert not set(ids[0]) & set(ids[1])


class TestCard:
    """
    The strip in the card of a batch.
    """

    def test_says_where_a_held_batch_lies(self, stage):
        """
        Behaviour: the batches around it in one query, and a frame around its own uids.
        """
        stage.add(*range(1, 31))
        inventory = stage.open()
        inventory.acquire_batch("daily", "files", batch_count=10).succeeded()
        batch = inventory.acquire_batch("daily", "files", batch_count=10, heartbeat=False)
        asked = []
        known = inventory.backend.outlines
        inventory.backend.outlines = lambda *given: asked.append(given) or known(*given)

        card = batch._repr_html_()

        assert len(asked) == 1
        assert asked[0][2] <= 201
        assert 'class="mark"' in card
        assert "Uids 1 to 20; items: 10 done, 10 running." in card

    def test_a_batch_that_is_alone_has_no_strip(self, stage):
        """
        Behaviour: one that fills the strip says nothing; and the time is told to the second.
        """
        stage.add(*range(1, 11))
        card = stage.open().acquire_batch("daily", "files", heartbeat=False)._repr_html_()

        assert "<svg" not in card
        assert re.search(r"lease until \(UTC\)</th><td[^>]*>[-0-9]+ [:0-9]{8}</td>", card)

    def test_asks_nothing_of_a_record_or_once_it_has_ended(self, stage):
        """
        Behaviour: nobody expects a query of a batch that is only read, or that is over.
        """
        stage.add(*range(1, 11))
        inventory = stage.open()
        batch = inventory.acquire_batch("daily", "files", batch_count=5)
        batch.succeeded()
        inventory.backend.outlines = None  # would raise

        assert "<svg" not in batch._repr_html_()
        assert "<svg" not in inventory.read_batch(batch.id)._repr_html_()

    def test_is_a_card_all_the_same_when_the_inventory_is_gone(self, stage):
        """
        Behaviour: showing a batch is never an error.
        """
        stage.add(1)
        inventory = stage.open()
        batch = inventory.acquire_batch("daily", "files", heartbeat=False)
        stage.execute("DROP TABLE inventory")

        assert "<caption>Batch" in batch._repr_html_()
        assert "<svg" not in batch._repr_html_()
