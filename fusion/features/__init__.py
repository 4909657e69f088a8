"""Named features: what heads read, made of what a store holds."""
