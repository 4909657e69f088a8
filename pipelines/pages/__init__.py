"""HTML pages and videos: reports, previews and overlays."""
