# SPDX-License-Identifier: GPL-2.0-only
"""Two experiments set against each other, as a table and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.compare.between_experiments import MetricChange, Versus
from analysis.compare.missing_evidence import ArmPair
from analysis.compare.regression_gate import NO_REGRESSION, REGRESSED, UNDECIDED, judge
from analysis.load.measures import DASH, number, quantity
from analysis.report.tables import DIRECTION_STYLE, md, md_row

OUTCOME_HEADING = ("arm", "runs of A", "runs of B")
HEADING = ("metric", "runs A/B", "A", "B", "change", "95 % interval", "p", "B is")

#: Of each list of facts, so many; a lab root has hundreds of packages.
_MOST_FACTS = 30
_MOST_CHARACTERS = 60

GATE_STYLE = {REGRESSED: "red", NO_REGRESSION: "green", UNDECIDED: "yellow"}


def cells(c: MetricChange) -> list[str]:
    """Return one row, as HEADING.

    A difference has its sign in front and its unit behind.
    """
    estimate = DASH if c.estimate is None else c.amount(c.estimate)
    interval = DASH
    if c.ci_low is not None and c.ci_high is not None:
        interval = f"{c.bare_amount(c.ci_low)} to {c.amount(c.ci_high)}"
    p = DASH if c.p_adjusted is None else f"{number(c.p_adjusted, 2)} ({c.method})"
    medians = (quantity(v, c.unit) for v in (c.a, c.b))
    runs = f"{c.n_a}/{c.n_b}"
    return [c.metric, runs, *medians, estimate, interval, p, c.direction]


def rich_table(found: Versus, share: float | None) -> Group:
    """Return a table for each arm.

    With `share` as the threshold, a column says of it.
    """
    shown: list[RenderableType] = [Text(f"A = {found.a}, B = {found.b}")]
    for arm, changes in _by_arm(found):
        shown += [Text(f"\n{arm}", style="bold"), _arm_table(changes, share)]
    return Group(*shown)


def _arm_table(changes: Sequence[MetricChange], share: float | None) -> Table:
    shown = Table(box=None, pad_edge=False)
    for i, name in enumerate((*HEADING, *_gate_heading(share))):
        shown.add_column(Text(name), no_wrap=i == 0)
    for c in changes:
        row = [Text(cell) for cell in cells(c)]
        row[-1].stylize(DIRECTION_STYLE[c.direction])
        if share is not None:
            said = judge(c, share)
            row.append(Text(said, style=GATE_STYLE[said]))
        shown.add_row(*row)
    return shown


def _gate_heading(share: float | None) -> list[str]:
    return [] if share is None else [f"worse by {100 * share:g} %"]


def _by_arm(found: Versus) -> Iterator[tuple[str, list[MetricChange]]]:
    for arm in dict.fromkeys(c.arm for c in found.changes):
        yield arm, [c for c in found.changes if c.arm == arm]


def fact_lines(found: Versus) -> list[str]:
    """Return what differs between the two beside their results, a line each."""
    lines = [f"{name}: {_cut(a)} -> {_cut(b)}" for name, (a, b) in found.facts.items()]
    if len(lines) > _MOST_FACTS:
        more = len(lines) - _MOST_FACTS
        lines = [*lines[:_MOST_FACTS], f"and {more} more"]
    return lines or ["no fact that is known of both differs"]


def _cut(text: str) -> str:
    if len(text) <= _MOST_CHARACTERS:
        return text
    return f"{text[:_MOST_CHARACTERS]}..."


def outcome_table(found: Versus) -> Table:
    """Return a table of what became of the runs of every arm."""
    shown = Table(box=None, pad_edge=False)
    for name in OUTCOME_HEADING:
        shown.add_column(Text(name))
    for arm in found.arms:
        shown.add_row(*map(Text, _outcome_cells(arm)))
    return shown


def _outcome_cells(arm: ArmPair) -> list[str]:
    return [str(arm), *(str(o) if o.planned else "not planned" for o in (arm.a, arm.b))]


def missing_lines(found: Versus) -> list[str]:
    """Return what of A is not there in B, and which arms are new in B."""
    new = [f"only in {found.b}: {arm}" for arm in found.arms if not arm.a.planned]
    return [f"missing: {what}" for what in found.missing] + new


def gate_line(found: Versus, share: float) -> str:
    """Return how many metrics regressed, did not, and are undecided or missing."""
    said = [judge(c, share) for c in found.changes]
    counts = [f"{said.count(k)} {k}" for k in (REGRESSED, NO_REGRESSION, UNDECIDED)]
    counts.append(f"{len(found.missing)} missing")
    return f"threshold {100 * share:g} %: {', '.join(counts)}"


def markdown(found: Versus, share: float | None) -> str:
    heading = ["arm", *HEADING, *_gate_heading(share)]
    lines = [f"# {md(found.b)} against {md(found.a)}", ""]
    lines += [f"A is {md(found.a)}, B is {md(found.b)}. Runs are unpaired.", ""]
    lines += ["What differs besides:", ""]
    lines += [f"- {md(line)}" for line in fact_lines(found)]
    lines += ["", "Runs that are data, of those planned:", ""]
    lines += [md_row(OUTCOME_HEADING), md_row(["---"] * len(OUTCOME_HEADING))]
    lines += [md_row(_outcome_cells(arm)) for arm in found.arms]
    lines += ["", *(f"- {md(line)}" for line in missing_lines(found))]
    lines += ["", md_row(heading), md_row(["---"] * len(heading))]
    for c in found.changes:
        gate = [] if share is None else [judge(c, share)]
        lines.append(md_row([c.arm, *cells(c), *gate]))
    lines += ["", "Medians over runs; intervals at 95 %, p after Holm's correction."]
    if share is not None:
        lines += ["", f"{gate_line(found, share)}."]
    return "\n".join(lines) + "\n"
