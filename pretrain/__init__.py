"""Training the networks of stage 1: labelled pictures or recordings in, weights with their card out."""
