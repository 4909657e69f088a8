"""Recognises expressions in any film with a face network's own classes, without training."""
