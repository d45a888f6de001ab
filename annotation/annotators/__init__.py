"""The annotators: what each is asked for, and how it is built."""
