"""Runs inside atrope's own environment: fetches lists with atrope's classes and prints what it makes of each, a JSON object a line.

Argument: the CA folder. Standard input: a JSON object a line with the list's `url` and the endorser's `dn` and `ca`, as hepix.yaml has them.
"""

import json
import sys

from atrope.image_list import hepix
from oslo_config import cfg


def main(ca_dir):
    cfg.CONF([], project="atrope", default_config_files=[])
    cfg.CONF.set_override("ca_path", ca_dir)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(account(json.loads(line))) + "\n")


def account(wanted):
    source = hepix.HepixImageListSource("list", url=wanted["url"], endorser={"dn": wanted["dn"], "ca": wanted["ca"]})
    try:
        source.fetch()
    except Exception as error:  # noqa: BLE001 - whatever atrope raises is its answer
        return {"refused": f"{type(error).__name__}: {error}"}
    found = source.image_list
    return {
        "verified": source.verified,
        "trusted": source.trusted,
        "expired": source.expired,
        "dc:identifier": found.uuid,
        "dc:title": found.name,
        "dc:description": found.description,
        "dc:source": found.source,
        "hv:version": found.version,
        "hv:uri": found.uri,
        "dc:date:created": found.created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "dc:date:expires": found.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "ad:vo": found.vo,
        "hv:dn": found.endorser.dn,
        "hv:ca": found.endorser.ca,
        "hv:email": found.endorser.email,
        "dc:creator": found.endorser.name,
        "images": [image(one) for one in found.images],
    }


def image(one):
    return {
        "dc:identifier": one.identifier,
        "dc:title": one.title,
        "dc:description": one.description,
        "hv:uri": one.uri,
        "hv:version": one.version,
        "hv:format": one.format,
        "hv:hypervisor": one.hypervisor,
        "hv:size": one.size,
        "sl:checksum:sha512": one.sha512,
        "sl:arch": one.arch,
        "sl:os": one.os,
        "sl:osname": one.osname,
        "sl:osversion": one.osversion,
        "sl:comments": one.comments,
        "ad:group": one.group,
        "ad:mpuri": one.mpuri,
        "ad:user:fullname": one.user_fullname,
        "ad:user:guid": one.user_guid,
        "ad:user:uri": one.user_uri,
    }


if __name__ == "__main__":
    main(sys.argv[1])
