#!/usr/bin/env bash
# Runs a command as a container engine would: root directory, mounts, shared memory, processes and user of its own.
# container.sh ROOT ro|rw SHM-BYTES UID:GID MOUNT... -- COMMAND..., as the first process of fresh mount and process
# namespaces; a MOUNT is SOURCE:TARGET or SOURCE:TARGET:ro, and what lies below ROOT but in no MOUNT is ro or rw.
set -euo pipefail
umask 022
root=$1 mode=$2 shm=$3 user=$4
shift 4

bind() { # SOURCE TARGET OPTIONS
  if [ -d "$1" ]; then mkdir -p "$root$2"; else mkdir -p "$(dirname "$root$2")" && touch "$root$2"; fi
  mount --bind "$1" "$root$2"
  mount -o "remount,bind,$3" "$root$2"
}

mount --bind "$root" "$root"
for part in /usr /bin /sbin /lib /lib64 /sys; do
  [ ! -e "$part" ] || bind "$part" "$part" ro
done
mkdir -p "$root/dev" "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o "size=$shm,mode=1777" shm "$root/dev/shm"
mount -t proc proc "$root/proc"
while [ "$1" != -- ]; do
  IFS=: read -r source target options <<< "$1"
  bind "$source" "$target" "${options:-rw}"
  shift
done
shift
mount -o "remount,bind,$mode" "$root"

# Not exec: this shell stays the first process, which takes over orphans (init: true).
chroot "$root" setpriv --reuid="${user%:*}" --regid="${user#*:}" --clear-groups --no-new-privs \
  --bounding-set=-all "$@"
