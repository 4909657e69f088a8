"""Training and judging networks on pictures, recordings and segments."""
