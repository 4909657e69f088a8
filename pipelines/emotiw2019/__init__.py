"""Submission 5 of zhou2019 to EmotiW 2019, whole."""
