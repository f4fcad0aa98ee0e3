"""Whatever is wanted one after another: publishing twice is publishing once, and a list's version rises exactly when its content changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from support.publication import DAY, NOW, SIGNER, Folder, appliance, decision, desired
from vmkeeper.lists import extension
from vmkeeper.lists.hepix import same_content, version_key
from vmkeeper.plan.beside import Made, pairs
from vmkeeper.plan.chosen import choose
from vmkeeper.plan.publication import Published, plan_lists
from vmkeeper.values import sha512_hex

NAMES = ("debian-12", "docker", "worker")
ONE = st.tuples(st.sampled_from(NAMES), st.integers(1, 4), st.sampled_from(["", "", "", "withdrawn"]), st.integers(1, 60))
STATE = st.fixed_dictionaries(
    {
        "releases": st.lists(ONE, max_size=6, unique_by=lambda item: item[:2]),
        "title": st.sampled_from(["Science", "More science"]),
        "patches": st.fixed_dictionaries({"previous": st.integers(0, 2), "parent": st.booleans(), "compressed": st.booleans()}),
        "made": st.sampled_from([0.01, 0.7, 2.0]),
        "hours": st.integers(-48, 400),
        "certificate": st.sampled_from([10, 365]),
    }
)


@settings(max_examples=120, deadline=None)
@given(st.lists(STATE, min_size=1, max_size=5))
def test_versions_rise_exactly_when_content_does(states):
    folder, now, tagged = Folder(), NOW, {}
    for state in states:
        now += timedelta(hours=state["hours"])
        tagged |= {(name, version): (refused, ends) for name, version, refused, ends in state["releases"]}
        said = [decision(f"{name} {n}", refused=why, expires=(NOW + ends * DAY,), large=True) for (name, n), (why, ends) in tagged.items()]
        wanted = desired(
            *said,
            appliances={name: appliance(name) for name in NAMES},
            inherits={"docker": "debian-12", "worker": "debian-12"},
            title=state["title"],
            patches=state["patches"],
        )
        listed = desired(*[decision(f"{name} 1") for name in NAMES]).spec.appliances
        wanted = replace(wanted, spec=wanted.spec.model_copy(update={"appliances": listed}))
        signer = replace(SIGNER, not_after=max(now, NOW) + state["certificate"] * DAY)
        derived = {pair: made(pair, choice, state["made"]) for choice, _, pair in pairs(wanted, choose(wanted, now)[0])}
        before = folder.lists.get("science")
        folder.publish(wanted, now=now, signer=signer, derived=derived)
        after = folder.lists["science"]
        assert folder.publish(wanted, now=now, signer=signer, derived=derived).plan.actions == ()
        assert folder.lists["science"] is after
        if before is not None and before is not after:
            assert version_key(after.version) > version_key(before.version)
            renewed = before.expires - now < timedelta(days=7) and after.expires > before.expires
            assert not same_content(before, after) or renewed
        named = {image.uri for image in after.images}
        for image in after.images:
            ways = extension.read(image)
            assert ways.ignored == ()
            named |= {way["uri"] for way in (*ways.patches, *([ways.compressed] if ways.compressed else []))}
        assert {uri.removeprefix("https://images.example.org/") for uri in named} == set(folder.files)


def made(pair, choice, part):
    """What making it gives: a part of the image, which may be too much."""
    digest = sha512_hex("".join(pair).encode())
    return Made(int(choice.file.size * part * (0.1 if pair[0] else 0.5)) or 1, digest, 1 << 20) if part < 2 else None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**16), st.integers(-(10**7), 10**7))
def test_a_version_that_somebody_else_signed_is_gone_beyond(number, seconds):
    """Where the certificate changed, or the list is damaged, what is there still tells what readers have seen."""
    published = {"science": Published(sha512="0" * 128, version=str(number))}
    now = NOW + timedelta(seconds=seconds)
    made = plan_lists([desired(decision("debian-12 2"))], published, SIGNER, now)
    assert version_key(made.shelves[0].version) > version_key(str(number))
    (signing,) = (action for action in made.actions if action.kind == "sign")
    assert signing.replaces == "0" * 128
