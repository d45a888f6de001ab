"""An LLM judge of responses: what it is asked, how it is read, and where its answers are kept."""
