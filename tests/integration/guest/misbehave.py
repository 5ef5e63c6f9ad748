# SPDX-License-Identifier: GPL-2.0-only
"""A workload for the guest that does what its parameter `how` says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.agent import load_user, workload_driver
from experiments.model import Metric, Parameter, Round, RunSpec

#: What runs could leave behind: pins, modules, cgroups, BPF programs; without the ids
#: of the run that lists them.
LIST = """
ls /sys/fs/bpf | sed 's/scxlab-[0-9a-f]*$/RUN/'
cut -d' ' -f1 /proc/modules
ls /sys/kernel/tracing/instances | sed 's/-[0-9]*$/-AGENT/'
ls -d /sys/fs/cgroup/*/ | sed 's/-[0-9a-f]*\\/$/-RUN/'
bpftool prog list | grep -c struct_ops
exec sleep {duration}
"""

#: Of the agent in this guest, with a workload whose time is up.
PATIENCE_S = workload_driver.END_GRACE_S
PIDS_MAX = load_user._PIDS_MAX

SCRIPTS = {
    "list": LIST,
    "spin": """
for i in 1 2 3 4 5 6; do
	(while :; do :; done) &
	pids="$pids $!"
done
sleep {duration}
kill $pids
""",
    "well": "exec sleep {duration}",
    "panic": "sleep 1; echo c > /proc/sysrq-trigger; sleep 60",
    "early": "echo not today >&2; exit 0",
    "fail": "sleep 1; echo broken >&2; exit 3",
    "fork": "for i in $(seq 60); do sleep {duration} & done; wait",
    "late": "trap '' TERM; sleep 1000 & wait; sleep 1000",
}


class Misbehave:
    name = "misbehave"
    summary = "does what it is told"
    parameters = {"how": Parameter("well", 0, 0, "one of SCRIPTS")}
    sustained = True
    capabilities = ("sys_admin", "dac_override")

    def missing(self, bin_dir: Path) -> Sequence[str]:
        return ()

    def argv(self, spec: RunSpec, bin_dir: Path) -> Sequence[str]:
        how = str(spec.workload_params["how"])
        # The time the agent allows is what the test would take; until the next run
        workload_driver.END_GRACE_S = 1.0 if how == "late" else PATIENCE_S
        load_user._PIDS_MAX = 20 if how == "fork" else PIDS_MAX
        script = SCRIPTS[how]
        return ("sh", "-c", script.format(duration=spec.duration_s))

    def parse(self, spec: RunSpec, rounds: Sequence[Round]) -> Sequence[Metric]:
        return [Metric("lasted", rounds[0].wall_s, "s", False)]


WORKLOAD = Misbehave()
