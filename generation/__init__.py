"""From prompts to responses: load, deduplicate, select, and sample the current policy."""
