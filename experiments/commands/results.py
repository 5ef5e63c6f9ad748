# SPDX-License-Identifier: GPL-2.0-only
"""The commands on results: aggregate, also of several as one; compare; import; status;
verify.

The analysis is imported where it is used, here and in the other commands: pandas, SciPy
and seaborn take 1.5 s to load, for which `invoke run` need not wait.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import paths
from experiments.errors import ConfigError, RunFailed, Undecided, unknown_name
from experiments.model import digest
from experiments.run.runner import checked_name
from experiments.run.status import experiment_status, lines
from experiments.store import legacy_import, merge
from experiments.store.experiment import Experiment, experiments
from experiments.store.verify import verify_experiment
from experiments.support.console import console, say
from experiments.support.files import atomic_write

if TYPE_CHECKING:
    from analysis.compare.between_experiments import Versus
    from analysis.compare.regression_gate import Rules


def experiment(name: str | None) -> Experiment:
    """Return the one of that name, or the newest; of `A,B` both as one."""
    known = {e.path.name: e for e in experiments(paths.RESULTS)}
    if not known:
        raise ConfigError("there is no experiment in results/ yet: invoke run")
    if name is None:
        return list(known.values())[-1]
    names = list(dict.fromkeys(filter(None, name.split(","))))
    for each in names or [name]:
        if each not in known:
            raise unknown_name("experiment", each, known)
    parts = [known[each] for each in names]
    return parts[0] if len(parts) == 1 else merge.merge(parts, paths.RESULTS)


def aggregate(name: str | None) -> None:
    from analysis.aggregate import aggregate_experiment

    found = aggregate_experiment(experiment(name))
    for line in found.answer_lines():
        console.print(line)
    console.print(found.summary_table())
    for line in (
        *found.verdict_lines(),
        *found.cost_lines(),
        *found.set_aside_lines(),
    ):
        console.print(line)
    say(f"report: {found.report}")
    _append_summary(found.report.with_name("summary.md"))
    if any(v.status == "does not hold" for v in found.verdicts):
        raise RunFailed("a claim does not hold")


def _append_summary(summary: Path) -> None:
    """Append it to the page of a job, where GitHub runs this."""
    if target := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(target).open("a") as page:
            page.write(f"{summary.read_text()}\n")


def compare(a: str, b: str, fail_on: str | None) -> None:
    from analysis.compare import regression_gate
    from analysis.compare.between_experiments import versus
    from analysis.report import between_table

    rules = None if fail_on is None else regression_gate.rules(fail_on)
    if a == b:
        raise ConfigError(f"{a} cannot be compared with itself; name two experiments")
    found = versus(experiment(a), experiment(b))
    if not any(arm.a.planned and arm.b.planned for arm in found.arms):
        raise ConfigError(f"{a} and {b} have no arm in common")
    share = None if rules is None else rules.share
    for line in ("What differs besides:", *between_table.fact_lines(found)):
        say(line)
    console.print(between_table.outcome_table(found))
    console.print(between_table.rich_table(found, share))
    for line in between_table.missing_lines(found):
        say(line)
    written = paths.RESULTS / f"{b}-vs-{a}.md"
    atomic_write(written, between_table.markdown(found, share))
    say(f"written: {written}")
    if rules is not None:
        _stop_at(rules, found)


def _stop_at(rules: Rules, found: Versus) -> None:
    """Raise what the rules stop at: RunFailed, or Undecided."""
    from analysis.compare import regression_gate
    from analysis.report import between_table

    say(between_table.gate_line(found, rules.share))

    def listed(verdict: str) -> str:
        judged = ((c, regression_gate.judge(c, rules.share)) for c in found.changes)
        return "; ".join(f"{c.arm}: {c.metric}" for c, v in judged if v == verdict)

    reasons = []
    if worse := listed(regression_gate.REGRESSED):
        reasons.append(f"regressed by more than {100 * rules.share:g} %: {worse}")
    if found.missing:
        reasons.append(f"missing: {'; '.join(map(str, found.missing))}")
    if reasons:
        raise RunFailed("; ".join(reasons))
    open_ = listed(regression_gate.UNDECIDED)
    if rules.undecided and (open_ or not found.changes):
        raise Undecided(f"undecided: {open_ or 'there is no metric to compare'}")


def import_(directory: str, name: str | None) -> None:
    """Take over the results of the automation that came before."""
    source = Path(directory).expanduser().resolve()
    name = checked_name(name or _name_of(source))
    done = legacy_import.import_tree(source, paths.RESULTS / name)
    for refused in done.refused:
        say(f"set aside: {refused.file}: {refused.reason}")
    say(
        f"{done.runs} runs imported, not proved, {done.flagged} of them flagged; "
        f"{len(done.refused)} files set aside"
    )
    say(f"now: invoke aggregate --experiment {name}")


def _name_of(source: Path) -> str:
    stem = re.sub(r"[^\w.-]+", "_", source.name) or "results"
    return f"imported-{stem}-{digest(str(source))[:6]}"


def status(name: str | None, as_json: bool) -> None:
    found = experiment_status(experiment(name))
    if as_json:
        print(json.dumps(dataclasses.asdict(found), indent=1))
        return
    for line in lines(found):
        say(line)


def verify(name: str | None, as_json: bool) -> None:
    found = verify_experiment(experiment(name))
    if as_json:
        print(json.dumps(dataclasses.asdict(found), indent=1))
    else:
        for wrong in found.wrong:
            say(f"{wrong.file}: {wrong.what}")
        older = f"; {found.unhashed} runs are older than hashes" * bool(found.unhashed)
        say(f"{found.experiment}: {found.runs} runs, {found.files} files{older}")
    if found.wrong:
        raise RunFailed(f"{len(found.wrong)} things are wrong in {found.experiment}")
