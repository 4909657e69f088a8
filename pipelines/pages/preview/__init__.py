"""Contact sheets of clips: which face was taken, and what was heard."""
