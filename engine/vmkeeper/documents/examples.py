"""One example of each kind of document, as the reference shows it, and further ones of some kinds; every one of them loads."""

from __future__ import annotations

from collections.abc import Mapping

from vmkeeper.documents.siteexamples import SITES

EXAMPLES: dict[str, str] = {
    "appliance": """\
uuid: 5d0f6f4e-3f0b-4d0c-8a55-6f2f6a3f8b11
title: HTCondor worker on Debian 12
description: Runs jobs for an HTCondor pool.
inherits: debian-12
architecture: x86_64
packages: [htcondor, chrony]
files:
- {name: condor-config, path: /etc/condor/config.d/50-worker, source: files/50-worker}
- {name: motd, path: /etc/motd, source: files/motd, mode: "0644", owner: root, group: root}
services:
- {name: condor.service, state: enabled}
provision:
- {name: scratch, script: provision/10-scratch.sh}
disk: {size: 4GiB, kernel_options: console=ttyS0}
formats: [vmdk]
requirements: {memory: 1GiB, cpus: 1}
test: {timeout: 5m, boot_timeout: 10m}
drop:
  packages: [exim4]
labels: {maintainer: worker team}
""",
    "lock": """\
version: 1
inputs: "4f6a0c6cbe3ba0b2f2f2b6b0ad4d84a6f3a6a4f0a3b7c9d8e7f60516273849ab"
date: "2026-11-18T20:14:07Z"
archives:
- {name: debian, release_sha256: "0d1c2b3a49586776859403a2b1c0dfeef0e1d2c3b4a5968778695a4b3c2d1e0f", date: "2026-11-18T20:14:07Z"}
packages:
- {name: bash, version: "5.2.15-2+b8", architecture: amd64, archive: debian, path: pool/main/b/bash/bash_5.2.15-2+b8_amd64.deb, size: 1490620, sha256: "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90"}
- {name: tzdata, version: "2026b-0+deb12u1", architecture: all, archive: debian, path: pool/main/t/tzdata/tzdata_2026b-0+deb12u1_all.deb, size: 296744, sha256: "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"}
""",  # noqa: E501  a lock has one line a package
    "release": f"""\
appliance: htcondor-worker
uuid: 5d0f6f4e-3f0b-4d0c-8a55-6f2f6a3f8b11
version: "2026.11.20.7"
commit: "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432"
recipe: "{"1234abcd" * 8}"
builder: {{name: debian, version: 1}}
parent: "{"77aa01fe" * 8}"
rootfs: {{size: 612368384, sha512: "{"0badcafe" * 16}"}}
raw_sha512: "{"5eed5eed" * 16}"
files:
- {{format: qcow2, size: 381419520, virtual_size: 4GiB, sha512: "{"c0ffee00" * 16}"}}
manifest: {{size: 9183, sha512: "{"facade01" * 16}"}}
packages: 312
sbom: {{size: 402113, sha512: "{"decade02" * 16}"}}
tests:
  inputs: "{"00ff00ff" * 8}"
  results:
  - {{name: debian-12/10-login, outcome: passed}}
  - {{name: htcondor-worker/20-condor, outcome: passed}}
  report: {{size: 20113, sha512: "{"abad1dea" * 16}"}}
lint:
- {{rule: setuid, path: /usr/bin/chfn, what: runs as root for everyone}}
""",
    "imagelist": """\
uuid: 2f9b2c1e-8f3d-4b52-9c34-2f6d7c1a90d4
title: Example images
description: Worker nodes and base images of the example organisation.
source: Example organisation
vo: vo.example.org
url: https://images.example.org/lists
owner: {name: Image team, email: images@example.org, url: https://images.example.org/}
appliances:
- {appliance: debian-12, group: Base images, comments: The base of all others.}
- {appliance: htcondor-worker}
endorsed_by: example
lifetime: 28d
renew_before: 7d
""",
    "policy": """\
title: Who decides about the endorsers of the example organisation
quorum: 2
principals:
- name: alice
  full_name: Alice Example
  email: alice@example.org
  keys:
  - {type: openpgp, fingerprint: 89ABCDEF0123456789ABCDEF0123456789ABCDEF, file: keys/alice.asc}
- name: bob
  full_name: Bob Example
  email: bob@example.org
  keys:
  - {type: ssh, key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHUrGeodsl4pQ5n0ZJSLYDyEvOVvMIUv6Xvt1hBpKIpA}
maximum_lifetime: 400d
builders:
- name: image-factory
  id: https://ci.example.org/builders/images
  keys:
  - {type: ssh, key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKBa2n7u2XG8W3qX3vS2lGtoYTTTjLxrRkfwJ6C1ZCQk}
freshness: {signers: [image-factory], maximum_validity: 48h}
""",
    "endorsers": f"""\
title: Endorsers of the example organisation
community: vo.example.org
policy: An endorser has read the changes, seen the tests pass, and answers for the image until it expires.
criteria:
- No package has a published flaw for which there is a fix.
based_on:
  list: common
  source: grid
  synchronised: {{policy: 4, list: "{"5ca1ab1e" * 16}", at: "2026-11-18T08:00:00Z"}}
  maximum_lag: 7d
quorum: 1
rebuilds: 1
maximum_lifetime: 180d
endorsers:
- name: release-team
  full_name: Release team
  email: releases@example.org
  keys:
  - {{type: openpgp, fingerprint: 0123456789ABCDEF0123456789ABCDEF01234567, file: keys/release-team.asc}}
  - {{type: ssh, key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBiMzJeWUm4yXQ0Bvq5cmvOZ3zjJDeyaTyQQjUFEm1XM}}
  - {{type: x509, subject: /DC=org/DC=example/CN=Release Team, issuer: /DC=org/DC=example/CN=Example CA, retired: "2026-06-01T00:00:00Z"}}
  scope: {{appliances: ["debian-*", htcondor-worker], communities: [vo.example.org]}}
  expires: "2028-01-01T00:00:00Z"
""",
    "site": """\
title: A computer in the machine room
platform: {type: local, accelerator: auto, memory: 8GiB}
subscribe:
- {list: example, appliances: ["*"]}
approve:
- {appliance: "debian-*", version: ">=2026.10"}
- {appliance: htcondor-worker, endorser: release-team}
block:
- {appliance: htcondor-worker, version: "==2026.11.3.1", reason: Its condor does not start.}
retire: {grace: 7d, limit: 50%}
formats: [qcow2, raw]
keep: 1
cache: {size: 20GiB, age: 60d}
transfers: {at_once: 2, from_one_host: 2, patches: true, patch_memory: 2GiB}
foreign:
- name: science
  url: https://lists.example.net/vo.science.example.net/image.list
  uuid: 0b7e9a52-6f0c-4a53-9d0a-0f2f0a1c7d11
  endorser: {dn: /DC=net/DC=example/CN=Image Publisher, ca: /DC=net/DC=example/CN=Example CA}
  credentials: science
  images: ["science-*"]
  new: ask
  limits: {images: 200, size: 8GiB, virtual_size: 64GiB}
  sha1: false
events:
- {name: glance, program: gpvcmupdate.py, events: [AvailablePostfix, ExpirePostfix], timeout: 30m}
- {name: by-uuid, program: by-uuid.sh, replaced: false}
- {name: dashboard, webhook: "https://dashboard.example.org/hooks/images", credentials: dashboard}
- {name: journal, file: events.jsonl}
""",
    "cluster": """\
name: demo
title: A small HTCondor pool
services:
  master:
    fixed: true
    appliance: {name: htcondor-worker, version: ">=2026.10"}
    context: condor-master
    with: {pool: demo, master_ip: "${self.address}"}
    size: {cpus: 2, memory: 2GiB}
    address: reserved
    ready: {tcp: 9618, console: true, timeout: 15m}
    volumes:
    - {name: spool, size: 20GiB, mount: /var/lib/condor/spool, keep: true}
  workers:
    after: [master]
    appliance: {name: htcondor-worker}
    context: condor-worker
    with: {master_ip: "${service.master.address}"}
    scale: {min: 1, max: 20, desired: 3}
    autoscale: {source: htcondor, jobs_per_vm: 4, waiting_jobs: 10, waiting_for: 100s, idle_for: 1h, boot_time: 10m}
    scale_down:
      prefer: [withdrawn, expired, not-ready, idle, oldest-image]
      drain: {command: [condor_drain, -graceful], timeout: 6h}
update: {on: [new-endorsed, expiring], lead: 14d, order: [workers, master], canary: 1, on_failure: pause}
placement:
- {site: machine-room, sizes: {workers: m2.medium}}
- {site: laptop, services: {workers: {desired: 1}}, replicate_fixed: true}
""",
    "context": """\
title: HTCondor worker
description: Joins the pool of the master it is told.
extends: condor-base
parameters:
  master_ip: {type: address, description: Where the master is.}
  slots: {type: integer, default: 4}
secrets: [pool_password]
tags: [htcondor, batch]
instructions: Start the master first.
cloud_init:
  write_files:
  - path: /etc/condor/config.d/60-pool
    content: |
      CONDOR_HOST = ${param.master_ip}
      NUM_SLOTS = ${param.slots}
plugins:
  condor: {master: "${param.master_ip}"}
""",
}

FURTHER: Mapping[str, Mapping[str, str]] = {"site": SITES}
"""Further examples: kind → title → text."""


def examples() -> dict[str, tuple[str, str]]:
    """All examples: a name → kind and text."""
    more = {f"{kind}: {title}": (kind, text) for kind, some in FURTHER.items() for title, text in some.items()}
    return {**{kind: (kind, text) for kind, text in EXAMPLES.items()}, **more}
