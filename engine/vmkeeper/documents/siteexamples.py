"""Examples of sites on clouds of other kinds, for the reference and for tests."""

from __future__ import annotations

from collections.abc import Mapping

_DIGEST = "6dc7a7f1" * 16

SITES: Mapping[str, str] = {
    "A site on OpenStack, with two places and all kinds of decisions": f"""\
title: The research cloud
platform:
  type: openstack
  cloud: research
  places:
  - {{name: north, region: RegionNorth, project: images}}
  - {{name: south, region: RegionSouth}}
  accept: true
  protected: true
  properties: {{hw_qemu_guest_agent: "yes"}}
  network: internal
subscribe:
- {{list: example, new: refuse}}
foreign:
- name: science
  url: https://lists.example.net/vo.science.example.net/image.list
  endorser: {{dn: /DC=net/DC=example/CN=Image Publisher, ca: /DC=net/DC=example/CN=Example CA}}
approve:
- {{appliance: "debian-*", list: example}}
- {{list: science, community: "*.science.example.net", not_before: "2026-12-01T00:00:00Z", until: "2027-06-01T00:00:00Z"}}
- {{appliance: htcondor-worker, endorser: release-team, places: [north]}}
- {{tag: "endorse/slurm-node/*/alice/*"}}
- digest: "{_DIGEST}"
block:
- {{appliance: htcondor-worker, endorser: night-builds, reason: They are not tested here.}}
hold:
- {{appliance: slurm-node, places: [south], until: "2026-12-24T00:00:00Z", reason: The examination week.}}
audience:
- {{appliances: ["debian-*"], audience: {{visibility: public}}}}
- {{lists: [science], communities: ["*.science.example.net"], audience: {{visibility: shared, projects: [8f2d3c0c6b0d4e6f9a1b2c3d4e5f6a7b]}}}}
names: {{image: "{{{{ title }}}} {{{{ version }}}}", alias: "{{{{ appliance }}}}"}}
drift: repair
watch: {{interval: 10m, jitter: 20, longest: 2h}}
notify:
- {{name: operators, credentials: operators, on: [failed, recovered, waiting]}}
report: {{to: "https://git.example.org/images.git", branch: status/research, credentials: forge, names: true}}
retire: {{grace: 7d, stale_grace: 30d, limit: 30%}}
""",
    "A site on OpenNebula": """\
title: The department's OpenNebula
platform:
  type: opennebula
  endpoint: http://one.example.org:2633/RPC2
  credentials: opennebula
  places:
  - {name: fast, datastore: 102}
  - {name: large, datastore: images-large}
  transport: {type: http, listen: 192.0.2.10, port: 8443, address: "images.example.org:8443"}
  owner: oneadmin
  group: researchers
  permissions: "640"
  templates:
    image: |
      DEV_PREFIX: vd
    vm: |
      CPU: "1"
      MEMORY: "{{ memory }}"
subscribe:
- {list: example}
approve:
- {list: example}
""",
    "A site on an OpenNebula of the same machine": """\
title: The test cloud
platform:
  type: opennebula
  endpoint: http://127.0.0.1:2633/RPC2
  places:
  - {name: default, datastore: 1}
  transport: {type: path, folder: /var/lib/vmkeeper/images, seen_as: /var/lib/vmkeeper/images}
subscribe:
- {list: example}
approve:
- {list: example, endorser: release-team}
""",
    "A site on EC2": """\
title: Two regions
platform:
  type: ec2
  places:
  - {name: ireland, region: eu-west-1, bucket: example-images-ireland}
  - {name: frankfurt, region: eu-central-1, bucket: example-images-frankfurt}
  prefix: vmkeeper/
  profile: images
  role: vmimport
subscribe:
- {list: example}
approve:
- {list: example, places: [frankfurt]}
formats: [raw]
""",
}
"""Title → text of a site's file."""
