"""The Debian builder: package locks, root file systems in layers, disks without root."""
