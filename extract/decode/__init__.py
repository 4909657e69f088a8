"""From a file to its pictures and its sound on one clock."""
