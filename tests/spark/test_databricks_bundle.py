"""
The bundle in examples/: its YAML is a job that Databricks' own model takes, and the job is played from its notebooks.

Local Spark stands for the workspace, threads for the runs of a for-each task, and a few lines for `dbutils`. What a
workspace would say is not known here.
"""

from __future__ import annotations

import copy
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from databricks.bundles.jobs import Job

import spark_batchintory as bi
from spark_batchintory.settings import Settings

BUNDLE = Path(__file__).parents[2] / "examples" / "databricks_bundle"
TARGETS = ("serverless", "classic")
KEYS = {"tasks": "task_key", "job_clusters": "job_cluster_key", "environments": "environment_key"}
FILES = 6

pytestmark = pytest.mark.timeout(900)  # some thirty commits of Delta each, which a busy machine makes in five seconds


def read(name: str) -> dict[str, Any]:
    """
    A YAML file of the bundle.
    """
    return yaml.safe_load((BUNDLE / name).read_text("utf-8"))


def merged(base: Any, over: Any, key: str = "") -> Any:
    """
    What a target makes of a resource: mappings are merged, and lists whose entries have a key, by that.
    """
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {name: merged(base.get(name), value, name) for name, value in over.items()}
    if isinstance(base, list) and key in KEYS:
        by_key = {one[KEYS[key]]: one for one in base}
        return list((by_key | {one[KEYS[key]]: merged(by_key.get(one[KEYS[key]]), one) for one in over}).values())
    return over


def job_of(target: str) -> dict[str, Any]:
    """
    The job as a target deploys it.
    """
    base = read("resources/landing.job.yml")["resources"]["jobs"]["landing"]
    return merged(base, read("databricks.yml")["targets"][target]["resources"]["jobs"]["landing"])


def leaves(job: dict[str, Any]) -> list[dict[str, Any]]:
    """
    The tasks that run notebooks, those of for-each tasks among them.
    """
    return [task.get("for_each_task", {}).get("task", task) for task in job["tasks"]]


def notebook(task: dict[str, Any]) -> Path:
    """
    The file that a task runs; paths are relative to the YAML that names them.
    """
    return (BUNDLE / "resources" / task["notebook_task"]["notebook_path"]).resolve()


class TestTheYaml:
    @pytest.mark.parametrize("target", TARGETS)
    def test_a_target_is_a_job(self, target):
        """
        Examples: Databricks' own model of a job takes it; that refuses fields and values it does not know.
        """
        Job.from_dict(copy.deepcopy(job_of(target)))

    @pytest.mark.parametrize("target", TARGETS)
    def test_each_task_runs_on_something(self, target):
        """
        Examples: on one environment or one cluster that is there, and brings the package along.
        """
        job = job_of(target)
        there = {one[KEYS[kind]] for kind in ("environments", "job_clusters") for one in job.get(kind, [])}

        for task in leaves(job):
            named = [task[name] for name in ("environment_key", "job_cluster_key") if name in task]
            assert len(named) == 1, task["task_key"]
            assert named[0] in there
            assert ("libraries" in task) == (target == "classic")

    def test_variables_and_files_are_there(self):
        """
        Examples: every variable that is used is declared, every notebook is one in source form.
        """
        texts = "".join(path.read_text("utf-8") for path in BUNDLE.rglob("*.yml"))
        assert set(re.findall(r"\$\{var\.(\w+)\}", texts)) == set(read("databricks.yml")["variables"])
        for target in TARGETS:
            for task in leaves(job_of(target)):
                assert notebook(task).read_text("utf-8").startswith("# Databricks notebook source\n")

    @pytest.mark.parametrize("target", TARGETS)
    def test_a_retry_finds_its_batch_due(self, target):
        """
        docs/databricks.md: a slot is retried later than the batch that failed is due.
        """
        (slot,) = [task for task in leaves(job_of(target)) if task["task_key"] == "slot"]
        latest = 1.5 * Settings.model_fields["RETRY_DELAY"].default.total_seconds()

        assert slot["min_retry_interval_millis"] >= 1000 * latest


class Exit(BaseException):
    """
    Ends a notebook, as `dbutils.notebook.exit` does.
    """


class Dbutils:
    """
    Stands for `dbutils` in one run of a notebook: parameters that were given, and what it exits with.
    """

    def __init__(self, given: dict[str, str]) -> None:
        self._given = given
        self.widgets = self.notebook = self
        self.asked: list[str] = []

    def text(self, name: str, default: str) -> None:
        """
        Ask for a parameter; here nobody is there to type it, so that it has to be given.
        """
        self.asked.append(name)

    def get(self, name: str) -> str:
        """
        A parameter, always as text.
        """
        assert name in self.asked
        return str(self._given[name])

    def exit(self, value: str) -> None:
        """
        End the run.
        """
        raise Exit(value)


class Workspace:
    """
    Plays runs of the job.
    """

    def __init__(self, spark: Any, **parameters: Any) -> None:
        self.spark = spark
        self.job = job_of("classic")
        self.tasks = {task["task_key"]: task for task in self.job["tasks"]}
        known = {one["name"]: one["default"] for one in self.job["parameters"]}
        assert set(parameters) <= set(known)
        self.parameters = known | parameters
        self.runs = 0

    def run(self) -> dict[str, Any]:
        """
        One run: each task after those it depends on; its answer, or the error that made it red.
        """
        self.runs += 1
        answers: dict[str, Any] = {}
        for task in self.job["tasks"]:
            before = [one["task_key"] for one in task.get("depends_on", [])]
            assert set(before) <= set(answers)
            answers[task["task_key"]] = self._task(task)
        return answers

    def _task(self, task: dict[str, Any]) -> Any:
        if "for_each_task" not in task:
            return self.notebook(task)
        each = task["for_each_task"]
        assert each["inputs"] == "{{job.parameters.slots}}"
        inputs = json.loads(self.parameters["slots"])
        with ThreadPoolExecutor(min(each["concurrency"], len(inputs))) as pool:
            return list(pool.map(lambda value: self.notebook(each["task"], value), inputs))

    def notebook(self, task: dict[str, Any], value: Any = None) -> Any:
        """
        What a notebook exits with, parsed, or its error.
        """
        references = {"{{input}}": value, "{{job.run_id}}": self.runs}
        own = {name: references[text] for name, text in task["notebook_task"].get("base_parameters", {}).items()}
        path = notebook(task)
        names = {"spark": self.spark, "dbutils": Dbutils({**self.parameters, **own}), "__name__": "__main__"}
        try:
            exec(compile(path.read_text("utf-8"), path, "exec"), names)
        except Exit as end:
            return json.loads(str(end))
        except (Exception, KeyboardInterrupt) as error:
            return error
        return None


@pytest.fixture
def workspace(delta, tmp_path):
    """
    A workspace with an empty schema, in the one catalog that local Spark has, and a Volume where files have landed.
    """
    place = "spark_catalog.bundle_test"
    delta.sql(f"CREATE SCHEMA {place}")
    for number in range(FILES):
        land(tmp_path, number)
    slots = json.dumps([1, 2, 3])
    yield Workspace(delta, place=place, volume=str(tmp_path / "volume"), min_age="0", batch_bytes="200", slots=slots)
    delta.sql(f"DROP SCHEMA {place} CASCADE")


def land(folder: Path, number: int) -> Path:
    """
    A file of a row.
    """
    file = folder / "volume" / "day=1" / f"{number}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"device": f"device-{number}", "at": "2024-02-29T12:00:00Z", "reading": number}))
    return file


def loaded(workspace: Workspace) -> list[int]:
    """
    The uids in the table that the job loads, one for each row.
    """
    rows = workspace.spark.table(f"{workspace.parameters['place']}.events").collect()
    assert all(row.device == f"device-{row.reading:.0f}" for row in rows)
    return sorted(row._uid for row in rows)


def inventory_of(workspace: Workspace) -> Any:
    return bi.open_inventory(f"delta:{workspace.parameters['place']}.inventory", spark=workspace.spark)


def test_slots_share_the_files(workspace):
    """
    P2, P5: three slots at once load each file once, and the report finds nothing open and nothing wrong.
    """
    answers = workspace.run()
    assert answers["scan"] == {"registered": FILES}
    assert sum(slot["items"] for slot in answers["load"]) == FILES
    assert answers["report"] == {"open": 0, "backlog": [0]}
    assert loaded(workspace) == list(range(1, FILES + 1))
    with inventory_of(workspace) as inventory:
        batches = inventory.batches("load")
        assert {row.status.value for row in batches} == {"succeeded"}
        assert sum(row.job_result_item["rows"] for row in batches) == FILES
        assert all(re.fullmatch(r"run 1, slot [123]", row.job_identifier) for row in batches)


def test_a_task_that_failed_is_repaired(workspace, tmp_path):
    """
    docs/databricks.md: the slot whose batch failed is red, the others have done the rest; a repair runs the red one
    again, and nothing is loaded twice.
    """
    workspace.parameters["slots"] = "[1, 2]"
    lost = tmp_path / "volume" / "day=1" / "3.json"
    workspace.notebook(workspace.tasks["scan"])
    kept = lost.read_text()
    lost.unlink()
    answers = workspace._task(workspace.tasks["load"])
    red = [answer for answer in answers if isinstance(answer, Exception)]
    assert [type(error) for error in red] == [RuntimeError]
    assert "1 batches failed" in str(red[0])
    before = loaded(workspace)
    assert len(before) < FILES

    lost.write_text(kept)
    with inventory_of(workspace) as inventory:
        inventory.retry("load", reason="the file is back")  # or in a minute by itself
    slot = workspace.tasks["load"]["for_each_task"]["task"]
    assert workspace.notebook(slot, 1)["items"] == FILES - len(before)
    assert loaded(workspace) == list(range(1, FILES + 1))


@pytest.mark.parametrize("moment", ["delta_options", "succeeded"])
def test_a_task_that_is_cancelled(workspace, monkeypatch, moment):
    """
    docs/databricks.md: an interrupt before or after the append gives the batch back, and whoever takes it next loads it
    once; its attempt is not charged.
    """
    real, interrupted = getattr(bi.Batch, moment), []

    def interrupt(batch, *args, **kwargs):
        if not interrupted:
            interrupted.append(batch.id)
            raise KeyboardInterrupt
        return real(batch, *args, **kwargs)

    monkeypatch.setattr(bi.Batch, moment, interrupt)
    workspace.parameters["slots"] = "[1, 2]"
    workspace.notebook(workspace.tasks["scan"])
    answers = workspace._task(workspace.tasks["load"])
    assert sorted(type(answer).__name__ for answer in answers) == ["KeyboardInterrupt", "dict"]

    workspace.notebook(workspace.tasks["load"]["for_each_task"]["task"], 1)  # the next run
    assert loaded(workspace) == list(range(1, FILES + 1))
    with inventory_of(workspace) as inventory:
        outcomes = [row.outcome for row in inventory.attempts(interrupted[0])]
        assert outcomes == ["given_back", "succeeded"]
