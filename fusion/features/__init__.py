"""Named features: the inputs of heads, computed from a store."""
