#!/usr/bin/env bash
# Becomes the init process (systemd) of a machine in new namespaces. The root directory is an overlay:
# it shows the host's files and keeps every change in memory.
#
# $BOOT is the machine's directory, $PROGRAM the statusd to install, $BOOT/files other files to install,
# $TARGET the boot target. Mounts are private to the machine, and nothing runs in the new root before the
# old root is unmounted.
set -euo pipefail
mount --make-rprivate /
if grep -q ' shared:' /proc/self/mountinfo; then
    echo 'cannot make the mounts private' >&2
    exit 1
fi
# The pid on the host, because /proc is still the host's.
read -r pid _ </proc/self/stat
echo "$pid" >"$BOOT/pid"

mkdir "$BOOT/fs"
mount -t tmpfs -o mode=755 tmpfs "$BOOT/fs"
cd "$BOOT/fs"
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir="$BOOT/fs/upper",workdir="$BOOT/fs/work" overlay root
cd root

mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=1777 tmpfs var/tmp
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do
    : >"dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/shm dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t proc proc proc
# The kernel's settings are shared with the host.
mount --bind -o ro proc/sys proc/sys
[ ! -e proc/sysrq-trigger ] || mount --bind /dev/null proc/sysrq-trigger
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup

# Boot only what sockets start: the journal and the bus.
for wants in etc/systemd/system etc/systemd/user usr/lib/systemd/system/sysinit.target.wants; do
    mount -t tmpfs -o mode=755 tmpfs "$wants"
done
mount --bind /dev/null etc/fstab
mkdir run/outside run/changed
mount --bind "$BOOT/outside" run/outside
mount --bind "$BOOT/fs/upper" run/changed
mount -o remount,bind,ro run/changed
: >usr/local/bin/statusd
mount --bind -o ro "$PROGRAM" usr/local/bin/statusd

cp -r "$BOOT/files/." .

mkdir run/old
pivot_root . run/old
cd /
umount -l /run/old
rmdir /run/old
# Shared among the machine's services, because credentials are mounted by one process for another.
mount --make-rshared /
# The clock and the kernel's log, modules and audit belong to the host.
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=statusd-test NOTIFY_SOCKET=/run/outside/notify \
    setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio,-syslog,-audit_control,-audit_read,-mac_admin \
    /lib/systemd/systemd --system --unit="$TARGET" --log-target=journal --show-status=no </dev/null
