"""Contact sheets that show the face and the sound of clips."""
