"""A video with what a run says of it drawn in."""
