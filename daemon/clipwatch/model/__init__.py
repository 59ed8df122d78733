"""From pixels and words to unit vectors."""
