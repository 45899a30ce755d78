#!/bin/sh
# Runs "$@" where nothing of this computer can be reached but its files: a network with loopback
# only, mounts that nobody outside sees. $BOOT is a directory for it; what is mounted there is gone
# with the last process.
set -eu
PATH=$PATH:/usr/sbin:/sbin
mount --make-rprivate /
ip link set lo up
# The only tree of control groups that a namespace can have for itself, wherever else it is mounted.
mkdir "$BOOT/cgroup"
mount -t cgroup2 cgroup2 "$BOOT/cgroup"
BOOT_CGROUP="$BOOT/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/statusd-test-$$"
export BOOT_CGROUP
mkdir "$BOOT_CGROUP"
status=0
setpriv --pdeathsig KILL "$@" || status=$?
find "$BOOT_CGROUP" -depth -type d -exec rmdir {} +
exit $status
