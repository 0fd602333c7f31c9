"""The page: HTML, styles and script."""
