"""Heads: streams in, class logits out; their attention, pooling, encoders and settings."""
