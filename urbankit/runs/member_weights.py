"""The weights of the models that a head joins, such as `stack`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from statistics import fmean
from typing import Any

from urbankit.evaluation.splits import protocol_label


def member_lines(rows: Iterable[Mapping[Any, Any]]) -> Iterator[str]:
    """Describe the rows of `member_weights.parquet`: for each task and split protocol the models and their weights.

    Weights are means over the seeds, the largest first.
    """
    weights: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows:
        members = weights.setdefault((row["task"], row["split"]), {})
        members.setdefault(row["member"], []).append(row["weight"])
    for (task, protocol), members in weights.items():
        means = sorted(((fmean(values), member) for member, values in members.items()), reverse=True)
        shown = ", ".join(f"{member} {mean:.2f}" for mean, member in means if mean >= 0.005)
        yield f"{task}, {protocol_label(protocol)}: {shown}"
