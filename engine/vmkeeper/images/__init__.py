"""Image files: where they lie, how they come, what they are."""
