"""Looking at tables: rows, SQL, one prompt's responses side by side."""
