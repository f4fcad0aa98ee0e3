"""From bytes to models and back: reading that cannot surprise, errors with their place, schemas, the reference."""
