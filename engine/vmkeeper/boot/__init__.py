"""QEMU virtual machines and the boot test that an image must pass."""
