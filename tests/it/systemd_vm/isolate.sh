#!/bin/sh
# Runs "$@" isolated from the host except for its files: a loopback network and private mounts. $BOOT is
# a directory for mounts, which end with the last process.
set -eu
PATH=$PATH:/usr/sbin:/sbin
mount --make-rprivate /
ip link set lo up
# cgroup2 has one hierarchy, so the machine gets a subtree of it.
mkdir "$BOOT/cgroup"
mount -t cgroup2 cgroup2 "$BOOT/cgroup"
BOOT_CGROUP="$BOOT/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/statusd-test-$$"
export BOOT_CGROUP
mkdir "$BOOT_CGROUP"
status=0
setpriv --pdeathsig KILL "$@" || status=$?
find "$BOOT_CGROUP" -depth -type d -exec rmdir {} +
exit $status
