"""
``python -m soak [--database DATABASE] [--setting SETTING] [--seed N] [--items N] [--seconds N] [--short]``
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import time
from collections.abc import Sequence

from soak.counting import counts, missing
from soak.disturbing import Parent
from soak.evidence import collect
from soak.oracle import violations
from soak.places import place_for
from soak.terms import DATABASES, FULL, SETTINGS, SHORT, SHORT_ITEMS, SHORT_SECONDS, Terms

_SHOWN = 20
# What a worker would import while it works; once, here, since all of them are forked from this process.
_NEEDED = (
    *("psycopg", "pymysql", "tenacity", "deltalake", "pyarrow.dataset", "tests.backends.delta_store"),
    *("spark_batchintory.opening", "spark_batchintory.backends.sql_inventory"),
    *("spark_batchintory.backends.delta_inventory", "spark_batchintory.backends.delta_rs"),
)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    what = "Kill and stop workers at random, then reconcile: nothing lost, nothing twice. Exit 1 if not."
    parser = argparse.ArgumentParser(prog="python -m soak", description=what)
    parser.add_argument("--database", choices=[*DATABASES, "all"], default="all", help="where the inventory is")
    parser.add_argument("--setting", choices=list(SETTINGS), default="plain")
    parser.add_argument("--seed", type=int, help="of all dice; a fresh one, which is printed, if left out")
    parser.add_argument("--items", type=int, help="to go through at least (default 100,000)")
    parser.add_argument("--seconds", type=float, help="after which nothing is written any more (default 420)")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_ITEMS} items, and fewer disturbances demanded")
    arguments = parser.parse_args(given)
    if arguments.database not in ("all", *SETTINGS[arguments.setting]):
        parser.error(f"{arguments.setting} means something on {', '.join(SETTINGS[arguments.setting])} only")
    return arguments


def _terms(arguments: argparse.Namespace) -> list[Terms]:
    databases = SETTINGS[arguments.setting] if arguments.database == "all" else [arguments.database]
    short = arguments.short
    return [
        Terms(
            database=database,
            setting=arguments.setting,
            seed=random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed,
            items=arguments.items or (SHORT_ITEMS if short else 100_000),
            seconds=arguments.seconds or (SHORT_SECONDS if short else 420.0),
            demands=SHORT if short else FULL,
            pause=0.8 if short else 1.2,
        )
        for database in databases
    ]


def soak(terms: Terms) -> bool:
    """
    One run on one database; whether nothing is wrong with it.
    """
    print(terms.title, flush=True)
    began = time.monotonic()
    with place_for(terms) as place:
        parent = Parent(terms, place)
        events = parent.run()
        ran = time.monotonic() - began
        evidence = collect(place, events)
    counted = counts(evidence, events)
    wrong = [*parent.failures, *missing(counted, terms.demands, terms.items), *violations(evidence)]
    for line in wrong[:_SHOWN]:
        print(f"  {line}")
    told = " ".join(f"{name}={value}" for name, value in counted.items())
    print(f"{terms.title} seconds={ran:.0f} {told} violations={len(wrong)}", flush=True)
    return not wrong


def main(given: Sequence[str] | None = None) -> int:
    """
    Run on each database asked for, and say whether all is well.
    """
    runs = _terms(_arguments(given))
    for name in _NEEDED:
        importlib.import_module(name)
    outcomes = [soak(terms) for terms in runs]  # all of them, whatever the first one shows
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
