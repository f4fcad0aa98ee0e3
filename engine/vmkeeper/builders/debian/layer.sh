# Makes one layer of a root file system inside namespaces of its own and writes it to standard output as a tar.
# ROOT: an empty folder; INPUT: debs/, inside.sh and, for the lowest layer, `bootstrap` (names of debs to unpack first).
# The layer below comes in as a tar on standard input. EPOCH: no time in the tar is later. MEMORY: yes or no.
# PYTHON, ORDER: what puts the files in order.
set -eu
ROOT=$1 INPUT=$2 EPOCH=$3 MEMORY=$4 PYTHON=$5 ORDER=$6
umask 022
if [ "$MEMORY" = yes ]; then mount -t tmpfs -o mode=0755,size=95% layer "$ROOT"; fi
cd "$ROOT"
if [ -f "$INPUT/bootstrap" ]; then
    for folder in bin sbin lib lib64; do
        mkdir -p "usr/$folder"
        ln -s "usr/$folder" "$folder"
    done
    while read -r deb; do
        dpkg-deb --fsys-tarfile "$INPUT/debs/$deb" | tar -xp --numeric-owner --keep-directory-symlink -f -
    done <"$INPUT/bootstrap"
else
    tar -xpv --quoting-style=literal --index-file="$INPUT/below" --numeric-owner --xattrs --xattrs-include='*' -f -
fi

mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o ro,nosuid,nodev,noexec sys sys
mount -t tmpfs -o mode=0755,nosuid dev dev
for node in null zero full random urandom tty; do
    : >"dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/pts dev/shm
chmod 1777 dev/shm
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
mount -t tmpfs -o mode=0755,nosuid,nodev run run
mkdir run/vmkeeper run/lock
chmod 1777 run/lock
mount --bind "$INPUT" run/vmkeeper
mount -o remount,bind,ro,nosuid,nodev run/vmkeeper

KEEP=-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setfcap,+setpcap,+net_bind_service,+audit_write
env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 SOURCE_DATE_EPOCH="$EPOCH" \
    chroot "$ROOT" setpriv --bounding-set="$KEEP" --no-new-privs sh /run/vmkeeper/inside.sh </dev/null >&2

for folder in run dev sys proc; do umount -R "$folder"; done
find "$ROOT" -xdev -newermt "@$EPOCH" -exec touch --no-dereference --date="@$EPOCH" {} +
find . -xdev -print0 | "$PYTHON" -I "$ORDER" "$INPUT/below" >"$INPUT/order"
tar -c --format=posix --no-recursion --null --verbatim-files-from --files-from="$INPUT/order" --numeric-owner --xattrs --xattrs-include='security.capability' --xattrs-include='user.*' \
    --pax-option='exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime' --one-file-system -f -
