"""Where explanations, scores and answers are kept: SQLite, or PostgreSQL by URL."""
