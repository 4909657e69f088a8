"""HTML pages and videos: reports, previews, overlays."""
