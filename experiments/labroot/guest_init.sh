#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The first process of a guest: mounts what the agent needs and becomes its keeper.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
# A root that a user has made has an empty /dev, not even null
[ -c /dev/ttyS1 ] || mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mkdir -p /dev/shm
mount -t tmpfs tmpfs /dev/shm
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t cgroup2 cgroup2 /sys/fs/cgroup
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C.UTF-8
mount -t virtiofs share /lab/share && cd /lab/share/.stage/code &&
	python3 -B -m experiments.agent /dev/ttyS1
echo "scxlab: the agent ended with status $?"
# RB_POWER_OFF of reboot(2): minimal roots have no poweroff
exec python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0x4321FEDC)'
