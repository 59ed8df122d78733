"""From points to a collection."""
