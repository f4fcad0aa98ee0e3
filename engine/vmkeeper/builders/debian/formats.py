"""A raw disk in the formats that clouds take, the same bytes every time.

qemu-img writes random identifiers and the time into some formats; they are set to values of the recipe afterwards.
"""

from __future__ import annotations

import io
import re
import struct
import tarfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from uuid import UUID
from xml.sax.saxutils import escape

from vmkeeper.builders.debian.tools import Tools
from vmkeeper.model.appliance import Format

_QEMU: Mapping[Format, tuple[str, ...]] = {
    "qcow2": ("-O", "qcow2", "-o", "compat=1.1"),
    "vmdk": ("-O", "vmdk", "-o", "subformat=monolithicSparse"),
    "vdi": ("-O", "vdi"),
    "vhd": ("-O", "vpc", "-o", "subformat=dynamic,force_size=on"),
    "ova": ("-O", "vmdk", "-o", "subformat=streamOptimized"),
}
_VDI_IDENTIFIERS = 0x188
_VHD_FOOTER, _VHD_TIME, _VHD_SUM, _VHD_IDENTIFIER = 512, 24, 64, 68
_VHD_EPOCH = 946684800
"""VHD counts seconds from 2000-01-01 (Virtual Hard Disk Image Format Specification 1.0)."""


def convert(raw: Path, wanted: Format, identifier: UUID, date: datetime, tools: Tools, folder: Path, *, title: str) -> Path:
    """The disk in another format. Not compressed inside where the format allows: files travel compressed or as patches.

    identifier, date: what the format says of itself. title: the name that an OVA shows.
    """
    target = folder / f"disk.{'vmdk' if wanted == 'ova' else wanted}"
    tools.run("qemu-img", "convert", "-f", "raw", *_QEMU[wanted], raw, target)
    if wanted in ("vmdk", "ova"):
        _settle_vmdk(target, identifier)
    elif wanted == "vdi":
        _write(target, _VDI_IDENTIFIERS, identifier.bytes_le + UUID(int=identifier.int ^ 1).bytes_le)
    elif wanted == "vhd":
        _settle_vhd(target, identifier, date)
    return _pack_ova(target, raw.stat().st_size, title, date, folder) if wanted == "ova" else target


def _write(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def _settle_vmdk(path: Path, identifier: UUID) -> None:
    """Set the content id in the descriptor, a text that lies in the first sectors and ends with zeros."""
    with path.open("rb") as file:
        head = file.read(64 << 10)
    match = re.search(rb"# Disk DescriptorFile\n[^\0]*", head)
    if match is None:
        raise AssertionError("qemu-img wrote a vmdk without a descriptor")
    descriptor = re.sub(rb"(?m)^CID=[0-9a-f]{1,8}$", b"CID=%08x" % (identifier.int & 0x7FFFFFFF), match[0])
    _write(path, match.start(), descriptor + b"\0")


def _settle_vhd(path: Path, identifier: UUID, date: datetime) -> None:
    """Set time and identifier in the footer and in its copy at the start."""
    with path.open("rb") as file:
        footer = bytearray(file.read(_VHD_FOOTER))
    struct.pack_into(">I", footer, _VHD_TIME, int(date.timestamp()) - _VHD_EPOCH)
    footer[_VHD_IDENTIFIER : _VHD_IDENTIFIER + 16] = identifier.bytes
    struct.pack_into(">I", footer, _VHD_SUM, 0)
    struct.pack_into(">I", footer, _VHD_SUM, ~sum(footer) & 0xFFFFFFFF)
    _write(path, 0, bytes(footer))
    _write(path, path.stat().st_size - _VHD_FOOTER, bytes(footer))


def _pack_ova(vmdk: Path, capacity: int, title: str, date: datetime, folder: Path) -> Path:
    """An OVA: a tar of the description and the disk, the description first (DMTF DSP0243, section 5)."""
    target = folder / "disk.ova"
    name = f"{title}.vmdk"
    description = _OVF.format(title=escape(title), disk=escape(name), size=vmdk.stat().st_size, capacity=capacity).encode()
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as tar, vmdk.open("rb") as disk:
        for member, size, data in ((f"{title}.ovf", len(description), io.BytesIO(description)), (name, vmdk.stat().st_size, disk)):
            info = tarfile.TarInfo(member)
            info.size, info.mtime = size, int(date.timestamp())
            tar.addfile(info, data)
    vmdk.unlink()
    return target


_OVF = """\
<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" \
xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" \
xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
    <File ovf:id="file1" ovf:href="{disk}" ovf:size="{size}"/>
  </References>
  <DiskSection>
    <Info>Disks</Info>
    <Disk ovf:diskId="disk1" ovf:fileRef="file1" ovf:capacity="{capacity}" \
ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>Networks</Info>
    <Network ovf:name="default"><Description>The default network</Description></Network>
  </NetworkSection>
  <VirtualSystem ovf:id="{title}">
    <Info>A virtual machine</Info>
    <Name>{title}</Name>
    <OperatingSystemSection ovf:id="96"><Info>Debian GNU/Linux, 64 bit</Info></OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Hardware</Info>
      <System>
        <vssd:ElementName>Hardware</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemType>vmx-10</vssd:VirtualSystemType>
      </System>
      <Item>
        <rasd:ElementName>1 processor</rasd:ElementName><rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>1</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:ElementName>1 GiB of memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>1024</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:Address>0</rasd:Address><rasd:ElementName>SATA controller</rasd:ElementName><rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>AHCI</rasd:ResourceSubType><rasd:ResourceType>20</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:ElementName>Disk</rasd:ElementName>
        <rasd:HostResource>ovf:/disk/disk1</rasd:HostResource><rasd:InstanceID>4</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AutomaticAllocation>true</rasd:AutomaticAllocation><rasd:Connection>default</rasd:Connection>
        <rasd:ElementName>Network card</rasd:ElementName><rasd:InstanceID>5</rasd:InstanceID>
        <rasd:ResourceSubType>E1000</rasd:ResourceSubType><rasd:ResourceType>10</rasd:ResourceType>
      </Item>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"""
