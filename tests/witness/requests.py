"""Do the client and the application tell the same story?

The load generator writes a line for each request it sent, the app one for each it answered. An id ties them. A lost answer, a
request repeated by a proxy, or a status altered on the way shows as a disagreement.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def app_records(folder: Path) -> list[Record]:
    """Every line of the app's logs in a folder, by time."""
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines() if line.endswith("}")]
    return sorted((json.loads(line) for line in lines), key=lambda record: record["time"])


def client_records(path: Path) -> list[Record]:
    """Every line of a load generator's record."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The comparison; `agreed` requests are alike in both, the lists hold the rest."""

    agreed: int
    unseen_by_app: list[Record] = field(default_factory=list)  # the client holds an answer of the app's that the app never logged
    unseen_by_client: list[Record] = field(default_factory=list)  # the app answered, the client got no answer or another one
    repeated: list[str] = field(default_factory=list)  # ids that reached the app twice
    different: list[tuple[Record, Record]] = field(default_factory=list)  # pod or status differ

    @property
    def whole(self) -> bool:
        return not (self.unseen_by_app or self.unseen_by_client or self.repeated or self.different)

    def __str__(self) -> str:
        parts: dict[str, Sequence[object]] = {
            "unseen by the app": self.unseen_by_app,
            "unseen by the client": self.unseen_by_client,
            "repeated": self.repeated,
        }
        found = [f"{len(items)} {name} (first: {items[0]})" for name, items in parts.items() if items]
        found += [f"{len(self.different)} different (first: {self.different[0]})"] if self.different else []
        return f"{self.agreed} agreed; " + ("; ".join(found) or "nothing else")


def compare(client: Iterable[Record], app: Iterable[Record]) -> Agreement:
    """Ties both records by id; lines of the app without a client's id (probes, warm-up) do not count."""
    sent = {record["id"]: record for record in client}
    served = [record for record in app if record.get("id") in sent]
    times = Counter(record["id"] for record in served)
    logged = {record["id"]: record for record in served}
    agreed, unseen, different, lost = 0, [], [], []
    for identity, record in sent.items():
        line = logged.get(identity)
        if record["pod"] is None:
            if line is not None:
                lost.append(line)
        elif line is None:
            unseen.append(record)
        elif (line["pod"], str(line["status"])) != (record["pod"], record["outcome"]):
            different.append((record, line))
        else:
            agreed += 1
    repeated = [identity for identity, count in times.items() if count > 1]
    return Agreement(agreed=agreed, unseen_by_app=unseen, unseen_by_client=lost, repeated=repeated, different=different)
