"""HTTP: the API under /api and the page that uses it."""
