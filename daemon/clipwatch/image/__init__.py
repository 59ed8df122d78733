"""From bytes to the pixels a model sees."""
