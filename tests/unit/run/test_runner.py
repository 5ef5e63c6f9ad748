# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of a plan when its place of execution misbehaves.

The backend here is a fake; the real one has tests of its own on a real kernel.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import pytest

from experiments.errors import BackendLost, ConfigError
from experiments.model import Job, Outcome, RunSpec
from experiments.plan import config
from experiments.plan.blocks import build_plan
from experiments.run import lanes, runner
from experiments.run.attempts import MAX_ATTEMPTS
from experiments.store.experiment import Experiment
from experiments.store.machine_facts import SAME
from tests.unit.run.fakes import FakeBackend, always, do, go


def test_all_ok(experiment: Experiment) -> None:
    backend = go(experiment, always(Outcome.OK))
    assert backend.renewed == 0
    assert experiment.manifest().outcomes == {"OK": 4}


def test_a_lost_run_is_repeated_on_a_fresh_boot_and_counted(
    experiment: Experiment,
) -> None:
    backend = go(experiment, lambda n, s: Outcome.LOST if n == 2 else Outcome.OK)
    assert backend.done[1] == backend.done[2]
    assert backend.renewed == 1
    assert experiment.manifest().outcomes == {"OK": 4}
    assert experiment.manifest().retries == 1
    lost = {r.spec.label: r.facts["lost_attempts"] for r in experiment.results()}
    assert lost.pop(backend.done[1]) == 1 and set(lost.values()) == {0}


def test_a_run_that_is_always_lost_ends_as_lost(experiment: Experiment) -> None:
    first = experiment.manifest().specs[0]
    backend = go(
        experiment,
        lambda n, s: Outcome.LOST if s.label == first.label else Outcome.OK,
    )
    assert backend.done.count(first.label) == MAX_ATTEMPTS
    result = experiment.result(first)
    assert result is not None and "Kernel panic" in result.reason
    assert experiment.manifest().outcomes == {"LOST": 1, "OK": 3}
    assert experiment.manifest().retries == MAX_ATTEMPTS - 1
    assert experiment.pending(experiment.manifest().specs) == [first]
    go(experiment, always(Outcome.OK))
    result = experiment.result(first)
    assert result is not None and result.outcome is Outcome.OK
    assert result.facts["lost_attempts"] == MAX_ATTEMPTS, "all of both commands"


@pytest.mark.parametrize("outcome", [Outcome.EJECTED, Outcome.FAILED, Outcome.TIMEOUT])
def test_a_verdict_on_the_scheduler_is_not_retried(
    experiment: Experiment, outcome: Outcome
) -> None:
    backend = go(experiment, always(outcome))
    assert len(backend.done) == 4
    assert backend.renewed == 4
    assert experiment.pending(experiment.manifest().specs) == []


def test_stopped_and_started_again_goes_on(experiment: Experiment) -> None:
    def stop(n: int, spec: RunSpec) -> Outcome:
        if n == 3:
            raise KeyboardInterrupt
        return Outcome.OK

    with pytest.raises(KeyboardInterrupt):
        go(experiment, stop)
    before = {s.label: experiment.result(s) for s in experiment.manifest().specs}
    assert sum(r is not None for r in before.values()) == 2
    backend = go(experiment, always(Outcome.OK))
    assert backend.done == [label for label, r in before.items() if r is None]
    for spec in experiment.manifest().specs:
        if before[spec.label] is not None:
            assert experiment.result(spec) == before[spec.label]


@pytest.mark.parametrize("name", SAME)
def test_an_experiment_keeps_its_facts(experiment: Experiment, name: str) -> None:
    known = {fact: "as before" for fact in SAME}
    experiment.update(facts=known)
    runner.check_facts(experiment, known)
    with pytest.raises(ConfigError, match=f"another {name}.*--experiment"):
        runner.check_facts(experiment, {**known, name: "changed"})


@pytest.mark.parametrize("name", ["../x", "/tmp/x", ".", "a/b", "", ".hidden"])
def test_names_of_experiments_are_plain(name: str) -> None:
    with pytest.raises(ConfigError, match="plain name"):
        runner.checked_name(name)
    assert runner.checked_name("scx_simple-hackbench-1.2") == "scx_simple-hackbench-1.2"


def test_two_runners_on_one_experiment(experiment: Experiment) -> None:
    with (
        runner.owned(experiment),
        pytest.raises(ConfigError, match=f"e is being run by process {os.getpid()} "),
        runner.owned(experiment),
    ):
        pass


def test_the_default_name_follows_the_plan_and_the_facts() -> None:
    one = config.parse_config({"schema": 1}, "test")
    two = config.parse_config({"schema": 1, "duration_s": 31}, "test")
    names = {
        runner.default_name(c, build_plan(c), {"kernel_sha256": kernel})
        for c, kernel in ((one, "k"), (one, "k"), (two, "k"), (one, "other"))
    }
    assert len(names) == 3
    assert all(n.startswith("scx_simple-hackbench-") for n in names)


def test_a_skipped_run_needs_no_fresh_boot_and_leaves_nothing(
    experiment: Experiment,
) -> None:
    backend = go(experiment, always(Outcome.SKIPPED))
    assert backend.renewed == 0
    assert not list((experiment.path / "attempts").iterdir())


def test_what_will_be_skipped_is_said_once_a_cell_before_the_first_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = {"schema": 1, "cleanups": ["scan", "kfunc"], "iterations": 3}
    planned = build_plan(config.parse_config(settings, "test"))
    backend = FakeBackend(always(Outcome.OK))
    lanes._announce_missing(backend, {}, planned.specs)
    said = capsys.readouterr().out
    assert said.count("scx_simple/test-kfunc/hackbench") == 1
    assert "no module" in said
    assert "test-scan" not in said
    assert backend.done == []


def test_a_decided_cell_gets_no_further_block(experiment: Experiment) -> None:
    backend = FakeBackend(always(Outcome.OK))
    specs = experiment.manifest().specs

    def after_one_block(found: Experiment, spec: RunSpec) -> bool:
        return len(found.pending(specs)) < len(specs)

    do(experiment, [backend], specs, after_one_block)
    assert len({spec.block for spec in specs}) == 2
    assert len(backend.done) == 2
    assert experiment.manifest().outcomes == {"OK": 2}
    assert experiment.manifest().facts["blocks_not_needed"] == [specs[-1].block]


def test_a_block_that_was_begun_is_done_to_its_end(experiment: Experiment) -> None:
    specs = experiment.manifest().specs
    do(experiment, [FakeBackend(always(Outcome.OK))], specs[:1])
    backend = FakeBackend(always(Outcome.OK))
    pending = experiment.pending(specs)
    do(experiment, [backend], pending, lambda found, spec: True)
    assert backend.done == [specs[1].label]


@pytest.mark.parametrize(("deaths", "ends"), [(2, False), (3, True)])
def test_a_guest_that_dies_before_the_first_run_is_followed_by_another(
    experiment: Experiment, deaths: int, ends: bool
) -> None:
    class Dying(FakeBackend):
        asked = 0

        def missing(self, jobs: Sequence[Job]) -> Mapping[str, Sequence[str]]:
            self.asked += 1
            if self.asked <= deaths:
                raise BackendLost("it lost its file server")
            return super().missing(jobs)

    backend = Dying(always(Outcome.OK))
    specs = experiment.manifest().specs
    if ends:
        with pytest.raises(BackendLost):
            do(experiment, [backend], specs)
        assert backend.done == []
        return
    do(experiment, [backend], specs)
    assert backend.renewed == deaths
    assert experiment.manifest().outcomes == {"OK": 4}
