#!/usr/bin/busybox sh
# First program of a test guest: mounts what a node has, runs /taproot/command,
# reports its exit code on the second serial port, and powers off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/opt/busybox
export HOME=/root LANG=C.UTF-8 TERM=dumb

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
# Not a mount: files of the host that lie below /tmp must stay visible.
chmod 1777 /tmp
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/netns
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
done

ip link set lo up
# What the kernel does not ask for by itself when it is first needed.
modprobe -a veth bridge br_netfilter tun nf_conntrack nf_nat sch_netem
sysctl -q -w net.ipv4.ip_forward=1 kernel.panic=-1 net.ipv4.ping_group_range="0 2147483647"
ulimit -n 65536

stty -F /dev/ttyS1 raw -echo
{
    echo "@@taproot ready $(uname -r)"
    /usr/bin/sh /taproot/command </dev/null 2>&1
    echo "@@taproot exit $?"
} >/dev/ttyS1
poweroff -f
