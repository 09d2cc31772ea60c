"""One file of routes a page."""
