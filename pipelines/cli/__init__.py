"""The command lines: options, help, progress, errors."""
