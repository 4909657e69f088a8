"""The streams of stage 1, a file each; :mod:`.registry` lists them."""
