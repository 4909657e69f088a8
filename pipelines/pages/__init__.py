"""Pages and pictures for people: reports, previews, overlays."""
