"""
What happened in a run, as numbers; and what of it was demanded and did not happen. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from soak.journal import Event
from soak.oracle import Evidence
from soak.terms import Demands


def refusals(events: Sequence[Event]) -> Counter[str]:
    """
    Refused writes by why the lease was lost: ``stopped``, ``overslept`` on purpose, or else ``starved``.

    A worker was stopped if its parent stopped it between its claim and the refusal.
    """
    claimed: dict[str, float] = {}
    stops: dict[int, list[float]] = {}
    kinds: Counter[str] = Counter()
    for event in sorted(events, key=lambda one: one["at"]):
        if event["event"] == "acquired":
            claimed[event["token"]] = event["at"]
        elif event["event"] == "stopped":
            stops.setdefault(event["whom"], []).append(event["at"])
        elif event["event"] == "refused":
            since = claimed.get(event["token"], 0.0)
            was_stopped = any(since <= at <= event["at"] for at in stops.get(event["pid"], ()))
            kinds["stopped" if was_stopped else "overslept" if event["overslept"] else "starved"] += 1
    return kinds


def counts(evidence: Evidence, events: Sequence[Event]) -> dict[str, int]:
    """
    Everything worth telling of a run, in the order in which it is told.
    """
    happened = Counter(event["event"] for event in events)
    statuses = Counter(batch.status for batch in evidence.batches)
    outcomes = Counter(row.outcome for row in evidence.attempts)
    late = [batch for batch in evidence.batches if batch.kind == "late"]
    refused = refusals(events)
    return {
        "rows": len(evidence.meta),
        "batches": len(evidence.batches),
        "attempts": len(evidence.attempts),
        "succeeded": statuses["succeeded"],
        "dead": statuses["dead"],
        "publications": len(evidence.publications),
        "kills": happened["killed"],
        "own_deaths": happened["died"],
        "stops": happened["stopped"],
        "rescues": outcomes["lost"],
        "refused": refused["stopped"] + refused["overslept"],
        "refused_stopped": refused["stopped"],
        "refused_overslept": refused["overslept"],
        "refused_starved": refused["starved"],
        "late": sum(batch.count for batch in late),
        "late_batches": len(late),
        "rolled_back": sum(event["rolled_back"] for event in events if event["event"] == "wrote"),
        "failed": outcomes["failed"],
        "given_back": outcomes["given_back"],
    }


def missing(counted: dict[str, int], demands: Demands, items: int) -> list[str]:
    """
    What was demanded and did not happen often enough.
    """
    wanted: Iterable[tuple[str, int]] = [
        ("rows", items),
        ("kills", demands.kills),
        ("rescues", demands.rescues),
        ("refused", demands.refused),
        ("late", demands.late),
    ]
    return [f"only {counted[name]} {name}, {least} were demanded" for name, least in wanted if counted[name] < least]
