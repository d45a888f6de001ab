"""The losses' settings and formulas."""
