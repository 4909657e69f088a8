"""Trains the networks of stage 1 on labelled pictures or recordings; writes weights with a card."""
