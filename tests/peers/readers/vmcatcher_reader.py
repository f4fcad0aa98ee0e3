# ruff: noqa: BLE001, C402, PTH123, SIM115, UP031
"""Runs under Python 2.7 with M2Crypto: verifies lists with smimeX509validation, reads them with hepixvmitrust, as `vmcatcher_subscribe` does.

Arguments: CA folder, then files. Prints a JSON object a line. With `--versions`, compares pairs of versions from standard input.
"""

import imp
import json
import os
import re
import sys


def account(anchor, path):
    import smimeX509validation
    from hepixvmitrust.vmitrustlib import VMimageListDecoder, time_format_definition

    processor = smimeX509validation.smimeX509validation(anchor)
    try:
        processor.Process(open(path, "rb").read())
    except Exception as error:  # whatever it raises is its answer
        return {"refused": "%s: %s" % (type(error).__name__, error)}
    text = json.loads(processor.InputDaraStringIO.getvalue())
    found = VMimageListDecoder(text["hv:imagelist"])
    if found is None:
        return {"refused": "VMimageListDecoder: None"}
    keys = ("dc:identifier", "dc:title", "dc:description", "dc:source", "hv:version", "hv:uri", "ad:vo")
    said = dict((key, found.metadata[key]) for key in keys)
    for key in ("dc:date:created", "dc:date:expires"):
        said[key] = found.metadata[key].strftime(time_format_definition)
    said.update(found.endorser.metadata)
    signer = processor.InputCertMetaDataList[0]
    said["verified"] = processor.verified
    said["trusted"] = (signer["subject"], signer["issuer"]) == (said["hv:dn"], said["hv:ca"])
    needed = ("hv:ram_minimum", "hv:core_minimum", "ad:ram_recommended", "ad:core_recommended")
    said["images"] = [dict((key, value) for key, value in image.metadata.items() if key not in needed) for image in found.images]
    return said


def _names_as_openssl_1_0_wrote_them():
    """It finds a CRL's issuer in OpenSSL's printed form, which was `/DC=org/CN=x` up to OpenSSL 1.0; later ones give `DC = org, CN = x`."""
    from M2Crypto import X509

    printed = X509.CRL.as_text

    def as_text(crl):
        text = printed(crl)
        found = re.search("^ +Issuer: (.*)$", text, re.MULTILINE)
        old = "/" + found.group(1).replace(", ", "/").replace(" = ", "=")
        return text.replace(found.group(1), old, 1)

    X509.CRL.as_text = as_text


def compare(place):
    # The module uses `re` without importing it; nothing else is changed.
    module = imp.new_module("stringsort")
    module.re = re
    exec(open(place).read(), module.__dict__)
    for line in sys.stdin:
        one, other = json.loads(line)
        sys.stdout.write(json.dumps({"order": module.split_numeric_sort(one, other)}) + "\n")


def main(words):
    if words[0] == "--versions":
        return compare(words[1])
    import smimeX509validation

    _names_as_openssl_1_0_wrote_them()
    # What LoadDirChainOfTrust does, which first looks for the grid's own folder.
    anchor = smimeX509validation.TrustStore(Metadata={"dirCerts": words[0]})
    for path in words[1:]:
        sys.stdout.write(json.dumps(account(anchor, path)) + "\n")
    return None


if __name__ == "__main__":
    os.environ.setdefault("HOME", "/tmp")
    main(sys.argv[1:])
