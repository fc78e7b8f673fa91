"""
The report as a file: what it tells, what it never shows, and how it comes to its place.
"""

from __future__ import annotations

import itertools
import os
import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest

from spark_batchintory import BatchintoryError, ConfigurationError, open_inventory, reporting
from spark_batchintory.report_page import rendered

from .lived_in import HOSTILE, HOSTILE_JOB, SECRET, lived_in
from .stage import MINUTE, Stage, drain


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """
    An inventory that has lived for a few days, and the page about it.
    """
    folder = tmp_path_factory.mktemp("lived")
    with Stage(f"sqlite:///{folder / 'test.db'}") as stage:
        inventory = lived_in(stage)
        yield stage, inventory, inventory.report(folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def stage(tmp_path):
    """
    A SQLite database with an empty table of files, and the time.
    """
    with Stage(f"sqlite:///{tmp_path / 'test.db'}") as opened:
        opened.files()
        yield opened


class _Outline(HTMLParser):
    """
    The elements of a page, and whether each is closed as it was opened.
    """

    VOID = ("meta", "link", "br", "img", "path", "rect")

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.text = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def named(self, *tags):
        return [(tag, attrs) for tag, attrs in self.seen if tag in tags]


class TestPage:
    def test_is_told_as_of_the_inventory_s_time(self, lived):
        """
        Behaviour: time is the inventory's clock, in UTC, and the page says so.
        """
        stage, inventory, page = lived

        assert f'As of <time datetime="{stage.clock().isoformat(timespec="seconds")}Z">' in page
        assert inventory.identity in page

    def test_holds_nothing_that_is_fetched_or_run(self, lived):
        """
        Behaviour: one self-contained file; no script, no address, nothing to load.
        """
        outline = _Outline(lived[2])

        assert outline.named("script", "img", "iframe", "object", "base", "form") == []
        loaded = [
            attrs[name] for _, attrs in outline.seen for name in ("src", "href", "action", "data") if name in attrs
        ]
        assert [place for place in loaded if not place.startswith(("#", "data:,"))] == []
        assert not re.search(r"url\(|@import", lived[2])

    def test_names_that_are_markup_stay_text(self, lived):
        """
        Behaviour: names of items and jobs, and errors, are escaped wherever they stand.
        """
        text = "".join(_Outline(lived[2]).text)

        assert HOSTILE not in lived[2]
        assert HOSTILE_JOB not in lived[2]
        assert text.count(HOSTILE) >= 3
        assert HOSTILE_JOB in text

    def test_is_well_formed_and_can_be_found_one_s_way_in(self, lived):
        """
        Behaviour: landmarks, one h1, no heading level left out, ids that are unique, tables with captions and scopes.
        """
        outline = _Outline(lived[2])
        levels = [int(tag[1]) for tag, _ in outline.named("h1", "h2", "h3", "h4")]
        ids = [attrs["id"] for _, attrs in outline.seen if "id" in attrs]
        refers = [name for _, attrs in outline.seen for name in attrs.get("aria-labelledby", "").split()]

        assert outline.open == []
        assert [len(outline.named(tag)) for tag in ("header", "main", "footer", "h1")] == [1, 1, 1, 1]
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
        assert len(ids) == len(set(ids))
        assert set(refers) <= set(ids)
        assert len(outline.named("table")) == len(outline.named("caption"))
        assert all("scope" in attrs for _, attrs in outline.named("th"))
        assert all("aria-hidden" in attrs or attrs.get("role") == "img" for _, attrs in outline.named("svg"))

    def test_shows_no_secret(self, lived):
        """
        P7: what an error quoted is masked; so is what looks like a secret in a name.
        """
        _, inventory, page = lived
        known = rendered(reporting.facts(inventory.backend, inventory.meta, None), ["bronze_events"])

        assert SECRET not in page
        assert "ann:***@db" in page
        assert "bronze_events" not in known

    def test_tells_what_became_of_everything(self, lived):
        """
        P7: strip, failures, running, late, attempts, slowest; with the names of the files.
        """
        text = " ".join("".join(_Outline(lived[2]).text).split())

        for told in (
            "dead 10",
            "late 1",
            "Batch 34, uids 167 – 171, 5 items; attempt 2, 2 of 2 failures.",
            "First item s3://landing/events/2026/03/part-00167.json",
            "20 min",
            "Running",
            "Late items",
            "Attempts",
            "Slowest batches",
        ):
            assert told in text


class TestFacts:
    def test_bars_hold_every_item_once(self, lived):
        """
        Behaviour: throughput is counted in bars of round width, at most `BARS` of them, and nothing is lost.
        """
        _, inventory, _ = lived
        (job, _) = reporting.facts(inventory.backend, inventory.meta, None).jobs
        published = [row for row in inventory.batches("bronze_events", "succeeded") if row.publish_number]

        assert 1 <= len(job.bars) <= reporting.BARS
        assert sum(bar.items for bar in job.bars) == sum(row.batch_count for row in published)
        assert sum(bar.batches for bar in job.bars) == len(published)
        assert all(bar.start + job.bar_width == after.start for bar, after in itertools.pairwise(job.bars))
        assert job.bar_width == timedelta(hours=1)

    @pytest.mark.parametrize("years", [0, 1, 40])
    def test_bars_fit_any_time(self, stage, years):
        """
        Behaviour: an instant and forty years both make a chart.
        """
        stage.add(1, 2)
        inventory = stage.open()
        inventory.acquire_batch("daily", "files", batch_count=1).succeeded()
        stage.clock.advance(timedelta(days=365 * years))
        inventory.acquire_batch("daily", "files", batch_count=1).succeeded()

        (job,) = reporting.facts(inventory.backend, inventory.meta, "daily").jobs

        assert len(job.bars) <= reporting.BARS
        assert (job.bars[0].items, job.bars[-1].items) == ((2, 2) if years == 0 else (1, 1))

    def test_the_slowest_come_first(self, stage):
        """
        Behaviour: the ten batches whose last attempt took longest, and what is usual.
        """
        stage.add(*range(1, 16))
        inventory = stage.open()
        for minutes in range(15):
            batch = inventory.acquire_batch("daily", "files", batch_count=1)
            stage.clock.advance(minutes * MINUTE / 2)
            batch.succeeded()

        (job,) = reporting.facts(inventory.backend, inventory.meta, "daily").jobs

        assert [one.batch_id_start for one in job.slowest] == list(range(15, 5, -1))
        assert job.usual_seconds == 210

    def test_without_the_meta_table_says_why_fields_are_empty(self, stage):
        """
        P7: a report is written when the catalogue cannot be reached.
        """
        stage.add(1, 2, 3)
        inventory = stage.open()
        drain(inventory, "daily", batch_count=2)
        stage.execute("DROP TABLE files")
        reopened = stage.open()

        page = rendered(reporting.facts(reopened.backend, reopened.meta, None))

        assert "fields that need meta table &#39;files&#39; are empty" in page
        assert "done 3" in page

    def test_long_lists_are_cut_and_say_so(self, stage):
        """
        Behaviour: a page stays small whatever failed, and says how many there are.
        """
        stage.add(*range(1, 61))
        inventory = stage.open()
        drain(inventory, "daily", end="failed", batch_count=1, max_attempts=1)

        page = rendered(reporting.facts(inventory.backend, inventory.meta, None))

        assert f"The newest {reporting.LISTED} of 60" in page
        assert page.count("<details>") == reporting.LISTED

    def test_an_empty_inventory_has_a_page(self, stage, tmp_path):
        """
        Behaviour: nothing is there yet, and the page says so.
        """
        assert "no job yet" in stage.open().report(tmp_path / "report.html").read_text(encoding="utf-8")


class TestFile:
    def test_of_one_job_tells_of_no_other(self, lived, tmp_path):
        """
        Behaviour: a page about one job.
        """
        _, inventory, _ = lived

        page = inventory.report(tmp_path / "report.html", "bronze_events").read_text(encoding="utf-8")

        assert "onerror" not in page
        assert "bronze_events" in page

    def test_of_an_unknown_job_is_refused(self, stage, tmp_path):
        """
        Behaviour: a typing error does not replace a page with an empty one.
        """
        stage.add(1)
        inventory = stage.open()
        inventory.acquire_batch("bronze", "files").succeeded()

        with pytest.raises(ConfigurationError, match="'bronze'"):
            inventory.report(tmp_path / "report.html", "bronce")
        assert not (tmp_path / "report.html").exists()

    def test_a_folder_that_is_missing_is_refused_before_anything_is_read(self, stage, tmp_path):
        """
        Behaviour: a wrong path is told at once, and names the folder.
        """
        inventory = stage.open(url=f"sqlite:///{tmp_path / 'nowhere' / 'none.db'}")  # would fail if it were asked

        with pytest.raises(ConfigurationError, match=r"folder '.*missing' is missing"):
            inventory.report(tmp_path / "missing" / "report.html")
        with pytest.raises(ConfigurationError, match="that is a folder"):
            inventory.report(tmp_path)

    def test_comes_to_its_place_at_once(self, stage, tmp_path, monkeypatch):
        """
        Behaviour: whoever reads meanwhile sees the old page or the new one; what fails leaves the old one alone.
        """
        place = tmp_path / "report.html"
        place.write_text("the old one")
        inventory = stage.open()

        def full(self, target):
            assert place.read_text() == "the old one"
            assert self.read_text(encoding="utf-8").endswith("</html>\n")
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr("pathlib.Path.replace", full)
            with pytest.raises(ConfigurationError, match="No space left"):
                inventory.report(place)

        assert place.read_text() == "the old one"
        assert [name for name in os.listdir(tmp_path) if "report" in name] == ["report.html"]
        assert inventory.report(str(place)) == place
        assert place.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")

    def test_an_inventory_that_is_gone_leaves_the_page_alone(self, stage, tmp_path):
        """
        Behaviour: an error while gathering writes nothing.
        """
        place = tmp_path / "report.html"
        place.write_text("the old one")
        inventory = stage.open()
        inventory.status()
        stage.execute("DROP TABLE inventory_job")

        with pytest.raises(BatchintoryError):
            inventory.report(place)
        assert place.read_text() == "the old one"

    def test_of_a_delta_inventory(self, stage, tmp_path, delta_rs_runtime):
        """
        Behaviour: the same on a Delta table; the card of a batch asks it for nothing.
        """
        stage.add(*range(1, 11))
        with open_inventory(f"delta+rs:{tmp_path / 'table'}", stage.url) as inventory:
            inventory.acquire_batch("daily", "files", batch_count=4).succeeded()
            inventory.acquire_batch("daily", "files", batch_count=4).failed("boom")
            held = inventory.acquire_batch("daily", "files", heartbeat=False)
            inventory.redo("daily", 1, 1)

            answer = inventory.coverage("daily")
            page = inventory.report(tmp_path / "report.html").read_text(encoding="utf-8")
            card = held._repr_html_()

        assert [(row.state.value, row.uid_end) for row in answer] == [("running", 4), ("failed", 8), ("running", 10)]
        assert "First item <code>/landing/5.json</code>" in page
        assert "boom" in page
        assert "<svg" not in card

    def test_half_a_surrogate_pair_is_spelled_out(self, stage, tmp_path):
        """
        Behaviour: what no encoding can spell does not end the report, and nothing turns the text round.
        """
        inventory = stage.open()
        stage.add((1, "a\u202eb\x07c", 1), 2)
        inventory.acquire_batch("daily", "files", batch_count=1).succeeded()

        page = inventory.report(tmp_path / "report.html").read_text(encoding="utf-8")

        assert "a\\u202eb\\x07c" in page
