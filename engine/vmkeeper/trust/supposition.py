"""What would count if another policy were in force: the same tags, judged under an endorsers/ tree that nobody has signed yet."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from vmkeeper.trust.approval import Decision, endorsed
from vmkeeper.trust.enactment import Enacted, Enactments
from vmkeeper.trust.judge import Judgement
from vmkeeper.trust.policy import Policy
from vmkeeper.trust.verify import Context, provenance_rule, verify
from vmkeeper.values import CommitId, Name, Sha512


def suppose(judgement: Judgement, policy: Policy, commit: CommitId, tree: Sha512) -> Mapping[Name, tuple[Decision, ...]]:
    """What each endorser list would decide about every release that tags name, with every version approved, if `policy` came into force next.

    `tree` is the SHA-512 of endorsers/ at `commit`, which `policy` was read from. Whom only it names has signed nothing that counts.
    """
    current = judgement.enactments.current
    now = judgement.reader.now.replace(microsecond=0)
    changes = {"number": current.number + 1, "previous": current.said.content, "commit": commit, "tree": tree}
    said = current.said.model_copy(update={**changes, "issued": now, "expires": now + timedelta(days=1)})
    next_one = Enacted(policy, said, ())
    enactments = Enactments((*judgement.enactments.policies, next_one), (), ())
    rule = provenance_rule(enactments, judgement.reader, judgement.void)
    found = {}
    for name, endorsers in policy.lists.items():
        context = Context(endorsers, enactments, judgement.void, judgement.reader, judgement.objects, rule)
        found[name] = endorsed(verify(judgement.reads, context), endorsers=endorsers)
    return found
