"""Keys of every kind: making signatures through the user's own tools, and verifying them."""
