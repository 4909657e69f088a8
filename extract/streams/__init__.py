"""The streams of stage 1, one file each; :mod:`.registry` lists them."""
