"""OVF descriptors (DMTF DSP0243, version 1) for one virtual machine with one disk, and the archives that hold them.

Nothing of the host goes in: the same disk and the same words give the same archive.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import BinaryIO
from xml.sax.saxutils import escape

from vmkeeper.values import Size

DEBIAN = (96, "Debian GNU/Linux, 64 bit")
LINUX = (101, "Linux, 64 bit")
"""Operating systems as CIM numbers them (CIM_OperatingSystem.OsType)."""
_MEMORY = Size.parse("1GiB")


def descriptor(*, title: str, disk: str, size: int, capacity: int, cpus: int = 1, memory: Size = _MEMORY, system: tuple[int, str] = DEBIAN) -> bytes:
    """A descriptor. disk: the file's name; size: its bytes; capacity: bytes that a guest sees; memory: whole MiB count."""
    mib = max(1, memory >> 20)
    shown = f"{mib >> 10} GiB" if mib % 1024 == 0 else f"{mib} MiB"
    return _OVF.format(
        title=escape(title, {'"': "&quot;"}),
        disk=escape(disk, {'"': "&quot;"}),
        size=size,
        capacity=capacity,
        os_id=system[0],
        os=escape(system[1]),
        cpus=cpus,
        processors=f"{cpus} processor{'' if cpus == 1 else 's'}",
        memory=shown,
        mib=mib,
    ).encode()


def pack(vmdk: Path, target: BinaryIO, *, title: str, capacity: int, cpus: int, memory: Size) -> None:
    """Write an OVA of a streamOptimized disk: descriptor, disk, manifest, in this order (DSP0243, 5.1). title: also the files' name."""
    size = vmdk.stat().st_size
    text = descriptor(title=title, disk=f"{title}.vmdk", size=size, capacity=capacity, cpus=cpus, memory=memory, system=LINUX)
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive, vmdk.open("rb") as disk:
        hashed = _Hashed(disk)
        _add(archive, f"{title}.ovf", len(text), io.BytesIO(text))
        _add(archive, f"{title}.vmdk", size, hashed)
        manifest = f"SHA256({title}.ovf)= {hashlib.sha256(text).hexdigest()}\nSHA256({title}.vmdk)= {hashed.digest.hexdigest()}\n".encode()
        _add(archive, f"{title}.mf", len(manifest), io.BytesIO(manifest))


def _add(archive: tarfile.TarFile, name: str, size: int, data: io.BytesIO | _Hashed) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    archive.addfile(info, data)


class _Hashed:
    """A file that is hashed while it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes."""
        data = self._file.read(size)
        self.digest.update(data)
        return data


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
    <OperatingSystemSection ovf:id="{os_id}"><Info>{os}</Info></OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Hardware</Info>
      <System>
        <vssd:ElementName>Hardware</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemType>vmx-10</vssd:VirtualSystemType>
      </System>
      <Item>
        <rasd:ElementName>{processors}</rasd:ElementName><rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>{cpus}</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:ElementName>{memory} of memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>{mib}</rasd:VirtualQuantity>
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
