"""A Python function of the user's own."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from annotation.annotators.base import AnnotatorVariant, Setting

if TYPE_CHECKING:
    from annotation.scorers.protocol import Scorer


class FunctionConfig(AnnotatorVariant):
    """A Python function `(messages, response text) -> float`, for rewards that can be computed."""

    kind: Literal["function"] = "function"
    function: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    """Where it is: `module:callable`. The module is imported, so name only code you trust."""
    version: int = 1
    """Raise it when something changes that the function's own module does not show, such as what
    it imports or reads: scores made before are then not taken for its own."""

    def build(self, setting: Setting) -> "Scorer":
        """The function, imported."""
        from annotation.scorers.functions import import_function
        from annotation.scorers.protocol import FunctionScorer

        return FunctionScorer(import_function(self))

    @property
    def looked_at(self) -> str:
        """The import, which may end the process."""
        return f"annotator {self.name!r}: importing {self.function}"

    def look_inside(self) -> None:
        """Import it."""
        from annotation.scorers.functions import import_function

        import_function(self)

    def here(self, device: str) -> Mapping[str, str]:
        """The source of its module.

        Raises:
            UserError: there is no such module.
        """
        from annotation.scorers.function_source import source_of

        return {f"source of {self.function.partition(':')[0]}": source_of(self)}
