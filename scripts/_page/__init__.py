"""The report as a page: reading run folders, text, style and script around the plots."""
