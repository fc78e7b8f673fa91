"""
The parts of a run that are about loading files: paths to a frame, what a frame costs, and new files in a folder.
"""

from __future__ import annotations

from benchmarks import frame_cost, load_time, stream_time
from benchmarks.effort import Effort
from benchmarks.report import Line, Section, Target
from benchmarks.timing import Sample

__all__ = ["frames", "loading", "loading_connect", "streams"]

_AT_MOST = {10: 1.05, 1_000: 1 / 10, 10_000: 1 / 20, 50_000: 1 / 8}


def loading(effort: Effort) -> Section:
    """
    Frames of explicit paths in a classic session.
    """
    return _loading(effort, connect=False)


def loading_connect(effort: Effort) -> Section:
    """
    The same on Spark Connect; a process has the one or the other.
    """
    return _loading(effort, connect=True)


def _loading(effort: Effort, *, connect: bool) -> Section:
    lines = []
    for size, samples in load_time.load_times(sizes=effort.loads, connect=connect).items():
        against = {
            load_time.OURS: (load_time.DEFAULT, _AT_MOST[size]),
            load_time.REFUSED: (load_time.DEFAULT, 1 / 3),
            load_time.COUNT: (load_time.COUNT_DEFAULT, 1.0),
            load_time.READ_PROVENANCE: (load_time.READ, 1.3),
        }
        for name, sample in samples.items():
            base, most = against.get(name, (None, 0.0))
            target = None if base is None else Target(base, round(most, 3))
            lines.append(Line(f"{size:,} paths", name, sample, "ms", samples.get(base or ""), target))
    kind = "Spark Connect" if connect else "classic Spark"
    notes = ["Until the schema is known, tiny parquet files on a local disk; count and columns are timed after that."]
    return Section(f"From paths to a DataFrame, {kind}, two cores", lines, notes)


def streams(effort: Effort) -> Section:
    """
    What is new in a folder, against a stream over it.
    """
    targets = {stream_time.STREAM: 1 / 5, stream_time.PLAIN: 1.3}
    lines = []
    for old, samples in stream_time.stream_times(sizes=effort.folders, rounds=effort.streams).items():
        what, ours = f"{stream_time.NEW:,} new beside {old:,} files", samples[stream_time.OURS]
        lines += [Line(what, name, samples[name], "ms") for name in targets]
        lines += [
            Line(what, stream_time.OURS, ours, "ms", samples[base], Target(base, most))
            for base, most in targets.items()
        ]
    notes = [
        "The stream: availableNow, from a checkpoint that knows the old files, into a sink that drops the rows. Its "
        "last batch was of 10 files: it lists those again when it begins, and takes a minute if it was all of them."
    ]
    return Section("New files in a folder, against Spark's file-source stream", lines, notes)


def frames(effort: Effort) -> Section:
    """
    The time of a large batch as a DataFrame of paths, and the memory of many files as their rows.
    """
    times = frame_cost.frame_times(items=effort.frame_items, rounds=effort.frames)
    lines = [Line(f"{effort.frame_items:,} items", name, sample, "s") for name, sample in times.items()]
    seconds = times[frame_cost.FRAME].median
    memory = frame_cost.load_memory(paths=effort.memory_paths)
    held = {name: Sample((one.held,)) for name, one in memory.items()}
    what = f"driver memory, {effort.memory_paths:,} files"
    lines += [Line(what, name, sample, "MB") for name, sample in held.items()]
    above = held[load_time.OURS].median - held[load_time.DEFAULT].median
    notes = [
        f"`spark.read.batchintory(batch)`: {seconds:.2f} s; the target is 3: {_verdict(seconds < 3)}.",
        f"Ours holds {above:,.0f} MB more than Spark's own; the target is 300: {_verdict(above < 300)}. What a frame "
        "holds: the JVM's heap after a garbage collection, and the size of this process, both as they grew.",
        *(f"{name}: JVM {one.jvm:,.0f} MB, Python {one.python:,.0f} MB." for name, one in memory.items()),
    ]
    return Section("DataFrames of large batches, classic Spark", lines, notes)


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "MISSED"
