"""What anybody may have written stands on a page as it was written."""

from flows.report.markdown import as_text


def test_a_category_cannot_bring_markup_or_a_link_to_the_page_in_the_prefect_ui() -> None:
    category = "<img src=x onerror=alert(1)> [x](javascript:1) http://evil.example | b"
    shown = "&lt;img src=x onerror=alert(1)&gt; \\[x\\](javascript:1) http\\://evil.example \\| b"
    assert as_text(category) == shown
