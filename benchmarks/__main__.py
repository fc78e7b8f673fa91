"""
``python -m benchmarks [PART ...] [--quick] [--output FILE] [--into-page] [--strict]``
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.effort import Effort
from benchmarks.machine import describe, load
from benchmarks.parts import EXTRA_PARTS, PARTS
from benchmarks.report import Section, document, renewed

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    what = "Measure; write docs/performance.md when every part ran at full length."
    names = f"{', '.join(PARTS)} (the default), {', '.join(EXTRA_PARTS)}"
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=what)
    parser.add_argument("parts", nargs="*", metavar="PART", help=names)
    parser.add_argument("--quick", action="store_true", help="few rounds and small tables; the figures say little")
    parser.add_argument("--output", type=Path, help="write the page here, whatever was measured")
    parser.add_argument("--into-page", action="store_true", help="put the parts asked for into docs/performance.md")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a target was missed")
    arguments = parser.parse_args(given)
    if unknown := set(arguments.parts) - PARTS.keys() - EXTRA_PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return arguments


def _measure(names: Sequence[str], effort: Effort) -> Iterator[Section]:
    for name in names:
        begin = time.monotonic()
        section = (PARTS | EXTRA_PARTS)[name](effort)
        print(f"{section.text()}\n({name}: {time.monotonic() - begin:.0f} s)\n", flush=True)
        yield section


def _into_page(section: Section, when: str) -> None:
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), [section], when), encoding="utf-8")


def main(given: Sequence[str] | None = None) -> int:
    """
    Run the parts asked for, print their tables, and write the page if it is complete.
    """
    arguments = _arguments(given)
    machine = describe() | {"load before": load()}
    print("\n".join(f"{name}: {value}" for name, value in machine.items()), end="\n\n", flush=True)
    sections = []
    for section in _measure(arguments.parts or list(PARTS), Effort.quick() if arguments.quick else Effort()):
        sections.append(section)
        if arguments.into_page:  # at once: a run may be cut short, and a part takes minutes
            _into_page(section, machine["date"])
    page = arguments.output or (None if arguments.parts or arguments.quick else PAGE)
    if page is not None:
        page.write_text(document(machine | {"load after": load()}, sections), encoding="utf-8")
        print(f"written: {page}")
    missed = [line for section in sections for line in section.lines if line.missed]
    print(f"targets missed: {len(missed)}")
    return 1 if missed and arguments.strict else 0


if __name__ == "__main__":
    sys.exit(main())
