"""`gristmill what-if`: what another policy would keep, beside the recipe's own."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from flows.making import Pipeline
from flows.orchestration.progress import size_text
from flows.query import connect
from flows.terminal import shown
from tasks.select import policy as policies
from tasks.select.facts import SelectSettings
from tasks.select.policy import Policy
from tasks.select.stage import BYTES_PER_TOKEN
from tasks.select.whatif import Comparison, compare
from warehouse.artifact import complete
from warehouse.errors import MissingArtifact, SettingError, nearest

SAMPLES = 20
BOUNDS = ("min", "max", "pareto", "top_share")
TEXT_CHARS = 100


def policy_named(pipeline: Pipeline, name: str, changes: list[str]) -> Policy:
    """A policy of the recipe, or of configs/policies, with ``signal.bound=value`` changed. Raises SettingError."""
    policy = pipeline.recipe.policies.get(name) or policies.load(name)
    for change in changes:
        policy = _changed(policy, change)
    return policy


def _changed(policy: Policy, change: str) -> Policy:
    place, _, text = change.partition("=")
    signal, _, bound = place.strip().rpartition(".")
    if signal not in policy.signals:
        known = nearest(signal or place, policy.signals) if policy.signals else "(it has no rules)"
        raise SettingError(f"the policy has no rule on {signal or place}; the nearest is {known}")
    if bound not in BOUNDS:
        raise SettingError(f"a rule has no {bound}; the nearest is {nearest(bound, BOUNDS)}")
    rules = tuple(
        {**rule.model_dump(exclude_none=True), bound: text}
        if rule.signal == signal
        else rule.model_dump(exclude_none=True)
        for rule in policy.rules
    )
    try:
        return Policy.model_validate(policy.model_dump() | {"rules": rules})
    except ValidationError as error:
        raise SettingError(f"{change} cannot be: {error.errors()[0]['msg']}") from error


def what_if(pipeline: Pipeline, policy: Policy, sources: list[str], console: Console) -> None:
    """Prints what a policy would keep of some sources, of those that have a policy now where none is named."""
    elect = pipeline.plan["elect"][0].stage
    for entry in elect.inputs.values():
        if complete(pipeline.store, entry.ref) is None:
            raise MissingArtifact(
                f"the recipe {pipeline.recipe.name} has no signals and duplicates yet: run gristmill corpus first"
            )
    now = elect.settings
    assert isinstance(now, SelectSettings)
    for source in sources:
        if source not in now.policies:
            raise SettingError(f"there is no source {source}; the nearest is {nearest(source, list(now.policies))}")
    chosen = (
        sources or [name for name, source in pipeline.recipe.sources.items() if source.policy] or list(now.policies)
    )
    then = now.model_copy(update={"policies": {**now.policies, **dict.fromkeys(chosen, policy)}})
    found = compare(pipeline.store, elect.inputs, now, then)
    with connect(pipeline.store, own=pipeline.own, history=False) as connection:
        ((rate,),) = connection.sql("SELECT sum(n_bytes) / sum(length) FROM token_spans").fetchall()
    _print_totals(found, chosen, float(rate or BYTES_PER_TOKEN), console)
    _print_rules([one for one in found if one.source in chosen], console)
    _print_samples(pipeline, found, console)


def _print_totals(found: list[Comparison], chosen: list[str], bytes_per_token: float, console: Console) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("source")
    for name in ("documents", "kept", "", "text", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found:
        now, then = one.now.kept, one.then.kept
        sizes = [int(one.bytes[kept].sum()) for kept in (now, then)]
        table.add_row(
            shown(one.source) if one.source in chosen else f"{shown(one.source)} [dim](as it is)[/dim]",
            f"{len(now):,}",
            f"{now.sum():,} → {then.sum():,}",
            f"+{(then & ~now).sum():,} −{(now & ~then).sum():,}",
            " → ".join(size_text(size) for size in sizes),
            " → ".join(_thousands(size / bytes_per_token) for size in sizes),
        )
    console.print(table)
    console.print(f"[dim]now → what if; tokens estimated at {bytes_per_token:.2f} bytes each[/dim]\n")


def _thousands(tokens: float) -> str:
    return f"{tokens / 1e6:,.1f} M" if tokens >= 1e6 else f"{tokens / 1e3:,.0f} k"


def _print_rules(found: list[Comparison], console: Console) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("rules, by the documents that each is the first to remove")
    table.add_column("now", justify="right")
    table.add_column("what if", justify="right")
    sides: list[dict[str, int]] = [{}, {}]
    for one in found:
        for side, verdicts in zip(sides, (one.now, one.then), strict=True):
            for label, count in verdicts.by_rule().items():
                side[label] = side.get(label, 0) + count
    for label in dict.fromkeys([*sides[1], *sides[0]]):
        counts = [side.get(label) for side in sides]
        if not any(counts):
            continue
        table.add_row(shown(label), *("" if count is None else f"{count:,}" for count in counts))
    console.print(table)


def _print_samples(pipeline: Pipeline, found: list[Comparison], console: Console) -> None:
    for title, gains in (("would be kept, and are not", True), ("are kept, and would not be", False)):
        rows: list[tuple[str, str, str]] = []
        for one in found:
            changed = one.then.kept & ~one.now.kept if gains else one.now.kept & ~one.then.kept
            share = -(-SAMPLES * int(changed.sum()) // max(1, sum(_changes(each, gains) for each in found)))
            verdicts = one.now if gains else one.then
            rows += [(str(one.doc_ids[row]), one.source, verdicts.reason(row)) for row in one.sample(changed, share)]
        total = sum(_changes(one, gains) for one in found)
        console.print(
            f"\n[bold]{total:,} documents {title}[/bold]" + (f", {len(rows[:SAMPLES])} of them:" if total else "")
        )
        texts = _texts(pipeline, [doc_id for doc_id, _, _ in rows[:SAMPLES]])
        for doc_id, source, reason in rows[:SAMPLES]:
            document = texts[doc_id]
            console.print(
                f"  {shown(source)} {shown(document['url'])}  [yellow]{shown(reason)}[/yellow]", soft_wrap=True
            )
            console.print(f"    [dim]{shown(' '.join(document['text'].split())[:TEXT_CHARS])}[/dim]", soft_wrap=True)


def _changes(one: Comparison, gains: bool) -> int:
    return int(np.sum(one.then.kept & ~one.now.kept if gains else one.now.kept & ~one.then.kept))


def _texts(pipeline: Pipeline, doc_ids: list[str]) -> dict[str, dict[str, Any]]:
    with connect(pipeline.store, own=pipeline.own, history=False) as connection:
        found = connection.sql(
            "SELECT doc_id, any_value(url) AS url, any_value(left(text, 400)) AS text FROM stored.documents "
            "WHERE doc_id IN (SELECT unnest(?)) GROUP BY doc_id",
            params=[doc_ids],
        )
        return {row["doc_id"]: row for row in found.to_arrow_table().to_pylist()}
