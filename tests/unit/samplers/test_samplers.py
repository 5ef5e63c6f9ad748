# SPDX-License-Identifier: GPL-2.0-only
"""What samplers make of the kernel's words; the kernel itself is in the VM tests."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2 import netlink
from pyroute2.netlink.connector import cn_proc

from experiments import registry
from experiments.agent.sampling_cost import SamplingCosts
from experiments.kernel import proc_connector, procfs
from experiments.kernel.proc_connector import Kind, ProcEvent
from experiments.model import Job, LoadedScheduler, RunSpec, run_spec
from experiments.samplers import forks, proc_events, slab_cache, wakeup_latency

#: Captured on Linux 6.18: /bin/true was started.
MESSAGES = {
    "answer": """
        4c000000030000002c0e00000000000001000000010000002c0e00000100000028000000
        00000000000000001a964674310c00001471000014710000000000000000000000000000
        00000000
        """,
    "fork": """
        4c000000030000002d0e00000000000001000000010000002d0e00000000000028000000
        01000000000000003d565474310c00001471000014710000157100001571000000000000
        00000000
        """,
    "exec": """
        4c000000030000002e0e00000000000001000000010000002e0e00000000000028000000
        020000000000000020296f74310c00001571000015710000000000000000000000000000
        00000000
        """,
    "exit": """
        4c000000030000002f0e00000000000001000000010000002f0e00000000000028000000
        00000080000000001ac67574310c00001571000015710000000000001100000014710000
        14710000
        """,
}


def test_messages_of_the_proc_connector() -> None:
    found = {k: proc_connector.parse(bytes.fromhex(m)) for k, m in MESSAGES.items()}
    assert found["answer"] is None
    assert found["fork"] == ProcEvent(Kind.FORK, 28949, 0, 3629, 13406544614973)
    assert found["exec"] == ProcEvent(Kind.OTHER, 0, 0, 3630, 13406546372896)
    assert found["exit"] == ProcEvent(Kind.EXIT, 28949, 0, 3631, 13406546806298)


def events(*rows: tuple[Kind, int, int, int, int]) -> list[ProcEvent]:
    return [ProcEvent(*row) for row in rows]


def test_gaps_in_the_numbers_of_a_cpu_are_lost_events() -> None:
    found = events(
        (Kind.FORK, 7, 0, 10, 1),
        (Kind.FORK, 8, 1, 90, 2),
        (Kind.EXIT, 7, 0, 12, 3),  # number 11 of CPU 0 is missing
        (Kind.EXIT, 8, 1, 91, 4),
    )
    assert proc_events.lost(found) == 1


def test_life_times_are_of_tasks_whose_both_ends_were_seen() -> None:
    found = events(
        (Kind.EXIT, 5, 0, 1, 1_000_000),  # created before anybody listened
        (Kind.FORK, 7, 0, 2, 2_000_000),
        (Kind.OTHER, 0, 0, 3, 2_500_000),
        (Kind.EXIT, 7, 1, 1, 5_000_000),
        (Kind.FORK, 7, 0, 4, 6_000_000),  # the pid again
        (Kind.EXIT, 7, 0, 5, 7_500_000),
        (Kind.FORK, 9, 0, 6, 8_000_000),  # lives on
    )
    assert proc_events.life_times_ms(found) == [3.0, 1.5]


def test_life_times_in_one_line() -> None:
    assert proc_events.summary_ms([1.0]) == {}
    found = proc_events.summary_ms([float(n) for n in range(1, 102)])
    assert found == {"p50": 51.0, "p90": 91.0, "p99": 100.0, "max": 101.0}


SCHEDSTAT = """\
version 17
timestamp 4294900000
cpu0 0 0 0 0 0 0 5000000000 700 41
domain0 SMT 03 0 0 0 0 0 0
cpu1 0 0 0 0 0 0 6000000000 30 9
"""


def test_schedstat_adds_up_the_cpus(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(procfs, "PROC", tmp_path)
    (tmp_path / "schedstat").write_text(SCHEDSTAT)
    assert procfs.schedstat() == procfs.SchedStat(730, 50)


def job(tmp_path: Path) -> Job:
    spec = RunSpec(
        *("s", "control", "none", "w", 1, 1, 1, 10, 1.0, {}, {}), samplers=("forks",)
    )
    return Job(spec, None, tmp_path, tmp_path)


def test_exits_are_what_was_created_and_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(procfs, "PROC", tmp_path)

    def kernel_says(created: int, there: int) -> None:
        (tmp_path / "stat").write_text(f"ctxt 9\nprocesses {created}\n")
        (tmp_path / "loadavg").write_text(f"0.1 0.1 0.1 2/{there} 999\n")

    kernel_says(900, 60)
    sampler = forks.SAMPLER(job(tmp_path), LoadedScheduler("", {}, None))
    kernel_says(1000, 80)
    assert sampler.sample() == {"forks": 0, "exits": 0}
    kernel_says(1050, 90)
    assert sampler.sample() == {"forks": 50, "exits": 40}
    assert sampler.exits() == 120, "since the scheduler was loaded"


@pytest.mark.parametrize(
    ("size", "name"), [(88, "96"), (96, "96"), (97, "128"), (1500, "2k"), (9000, None)]
)
def test_the_cache_that_an_element_comes_from(size: int, name: str | None) -> None:
    cache = slab_cache.cache_of(size)
    assert (cache and cache.name) == (name and f"kmalloc-cg-{name}")


def test_a_record_of_four_words_by_pid_takes_88_bytes() -> None:
    assert slab_cache.element_bytes(4, 32) == 88


@given(st.dictionaries(st.integers(0, 10_000), st.integers(1, 50), min_size=1))
def test_percentiles_of_wake_ups(counts: dict[int, int]) -> None:
    every = sorted(us for us, n in counts.items() for _ in range(n))
    found = wakeup_latency.percentiles_us(counts)
    assert sum(us <= found["p50"] for us in every) >= len(every) / 2
    assert sum(us < found["p50"] for us in every) < len(every) / 2
    assert found["p50"] <= found["p99"] <= every[-1]


def test_what_cyclictest_says() -> None:
    thread = {"histogram": {"40": 99, "1000": 1}, "cycles": 100, "max": 1000}
    said = json.dumps({"file_version": 1, "thread": {"0": thread}})
    found, cycles = wakeup_latency.read(said)
    assert found == {"p50": 40.0, "p99": 40.0, "max": 1000.0}
    assert cycles == 100


def test_costs_are_of_each_sampler(tmp_path: Path) -> None:
    class Busy(forks.SAMPLER):
        name = "busy"

        def sample(self) -> Mapping[str, float]:
            return {"forks": float(sum(range(20_000)))}

    costs = SamplingCosts()
    for _ in range(3):
        costs.of(Busy(job(tmp_path), LoadedScheduler("", {}, None)))
    found = costs.facts()["busy"]
    assert found["samples"] == 3
    assert 0 < found["cpu_us"] <= found["wall_us_max"]


def test_ids_of_specs_without_samplers_are_what_they_were() -> None:
    """Results that are older than the choice of samplers stay readable."""
    plain = RunSpec(
        *("scx_simple", "control", "none", "hackbench", 1, 1, 7, 30, 2.0, {}, {})
    )
    assert "samplers" in dataclasses.asdict(plain)
    assert plain.run_id == "836d8b99dd21"
    chosen = dataclasses.replace(plain, samplers=("cpu",))
    assert chosen.run_id != plain.run_id
    assert run_spec(json.loads(json.dumps(dataclasses.asdict(chosen)))) == chosen
    assert run_spec(json.loads(json.dumps(dataclasses.asdict(plain)))) == plain


def test_what_puts_load_on_the_system_is_off_by_default() -> None:
    off = [n for n in registry.names("sampler") if not registry.sampler(n).by_default]
    on = {"bpf-map", "counters", "cpu", "forks", "memory", "sched-latency"}
    on |= {"schedstat", "slab-cache"}
    assert set(off) >= {"proc-events", "wakeup-latency"}
    assert not on & set(off)


def test_the_numbers_of_the_proc_connector_are_those_of_pyroute2() -> None:
    theirs = {**vars(netlink), **vars(cn_proc)}
    names = [name for name in vars(proc_connector) if name.startswith(PREFIXES)]
    assert len(names) == 9
    for name in names:
        assert getattr(proc_connector, name) == theirs[name], name


PREFIXES = ("NETLINK_", "NLMSG_", "CN_", "PROC_")
