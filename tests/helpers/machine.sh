#!/bin/sh
# Process 1 of a machine (see machine.py) until systemd is: the root becomes an overlay whose changes live in memory,
# and a unit runs what the tests ask for. $EXCHANGE, a folder, has the same path here and outside.
set -e
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

mount -t proc proc /proc
mount -t tmpfs tmpfs /run
/usr/bin/python3 -IS - "/usr/lib/uml/modules/$(uname -r)/kernel/fs/overlayfs/overlay.ko" <<'PYTHON'
import ctypes, os, sys

FINIT_MODULE = 313
ctypes.CDLL(None).syscall(FINIT_MODULE, os.open(sys.argv[1], os.O_RDONLY), b"", 0) == 0 or sys.exit("no overlayfs")
PYTHON

mkdir -p /run/overlay/changes /run/overlay/work /run/overlay/root
mount -t overlay overlay /run/overlay/root -o lowerdir=/,upperdir=/run/overlay/changes,workdir=/run/overlay/work
cd /run/overlay/root
mount -t hostfs -o "$EXCHANGE" none "./$EXCHANGE"
# What prepares a disk, a keyboard or a first start; and what would sweep /tmp, which may hold the checkout.
rm -rf usr/lib/systemd/system-generators/* usr/lib/systemd/system/sysinit.target.wants \
  usr/lib/systemd/system/timers.target.wants usr/lib/systemd/system/systemd-udevd* etc/systemd/system/*.wants
: >etc/fstab
mkdir etc/systemd/system/basic.target.wants
ln -s ../obey.service etc/systemd/system/basic.target.wants/
cat >etc/systemd/system/obey.service <<UNIT
[Service]
StandardInput=tty-force
StandardOutput=tty
TTYPath=/dev/tty1
WorkingDirectory=$EXCHANGE
ExecStart=/bin/sh -c 'stty raw -echo; echo ready; \
  while read -r name; do (. ./\$\$name.sh) </dev/null >\$\$name.out 2>&1; echo \$\$name \$\$?; done'
UNIT

umount /proc
mkdir -p mnt
pivot_root . mnt
umount -l /mnt
# In a container systemd takes its options from here, and elsewhere from the kernel's.
container=uml exec /lib/systemd/systemd systemd.unit=basic.target systemd.show_status=no
