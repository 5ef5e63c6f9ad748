#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The first process of a guest: mounts what the agent needs and becomes its keeper. Its
# root is read-only, and so is /lab/share, where this file is.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
# A root that a user has made has an empty /dev, not even null
[ -c /dev/ttyS0 ] || mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /dev/shm
mount -t tmpfs tmpfs /dev/shm
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# The agent's own files: what workloads put into /tmp must not leave it without room
mkdir -m 700 /run/agent
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C.UTF-8
cd /lab/share/code && python3 -B -m experiments.agent scxlab.agent /run/agent
echo "scxlab: the agent ended with status $?"
# RB_POWER_OFF of reboot(2): minimal roots have no poweroff
exec python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0x4321FEDC)'
