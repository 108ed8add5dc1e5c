#!/bin/sh
# Adds the user that everything runs as, and the directories that volumes take their owner from.
# The argument is the root of another file system than this one's.
set -eu
root=${1:-}

echo 'atomscatter:x:10001:' >> "$root/etc/group"
echo 'atomscatter:x:10001:10001::/tmp:/usr/sbin/nologin' >> "$root/etc/passwd"
install -d -o 10001 -g 10001 -m 750 "$root/srv/atomscatter" "$root/srv/atomscatter/models" \
  "$root/srv/atomscatter/stores" "$root/run/ray-token"
