"""Figures as people read them."""


def in_bytes(value: int | None) -> str:
    """`1.5 GiB`; `?` where it is not known, nothing where there are none."""
    if value is None:
        return "?"
    for size, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return "" if not value else f"{value} B"
