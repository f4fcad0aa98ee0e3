"""Who vouches for what: signed tags, pinned keys, verdicts. Pure, but for asking gpg and ssh-keygen in `keys`."""
