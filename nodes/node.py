"""What every node of the pack is: it says in a sentence when an input is given something else than it takes."""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..davae_core.files import CheckpointError
from ..davae_core.reading.plain_text import shown
from .compat.folders import listed, without_folders
from .compat.host import show_text

PLAIN = (str, bytes, bool, int, float, list, tuple, dict, Tensor, type(None))
"""What no object of ComfyUI's is."""


class Node(io.ComfyNode):  # type: ignore[misc]
    """A node whose `execute` only sees inputs of the types in its schema.

    The browser sends no others. Over HTTP ComfyUI 0.3 lets any value through to a combo and any link whose types it
    does not know.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        execute = vars(cls).get("execute")
        # ComfyUI makes locked copies of a node, in which that is done.
        if execute is not None and not hasattr(execute.__func__, "__wrapped__"):
            cls.execute = classmethod(_checked(execute.__func__))

    @classmethod
    def tell(cls, text: str) -> None:
        """Show text, if any, where a server runs the node; its schema must ask for the hidden `unique_id`."""
        if text and cls.hidden is not None:
            show_text(text, cls.hidden.unique_id)

    @classmethod
    def judge(cls, **values: Any) -> bool | str:
        """What `validate_inputs` answers: True, or what is wrong with the first wrong one of these widgets' values.

        None is the value of a link, which nobody knows yet. ComfyUI checks no bounds of an input that is named there.
        """
        schema = cls.define_schema()
        for found in schema.inputs:
            value = values.get(found.id)
            wrong = None if value is None else _wrong(found, value)
            if wrong is not None:
                return f"{schema.display_name} {wrong}."
        return True


def _wrong(widget: io.Input, value: Any) -> str | None:
    """What is wrong with a widget's value, after the node's name."""
    name = widget.display_name or widget.id
    if isinstance(widget, io.Combo.Input):
        if not isinstance(value, str):
            return f"was given {_in_words(value)} for {name}, which takes a name from its list: choose one"
        if listed(value, widget.options) is None:
            return (
                f"has no {name} {shown(value)}: choose another, after a refresh if it is a new file"
            )
        return None
    if not _is_number(value):
        return f"was given {_in_words(value)} for {name}, which takes a number: type one"
    if not widget.min <= value <= widget.max:
        # A whole number of a client's may be too long for any float.
        told = f"{value:g}" if isinstance(value, float) else shown(value)
        return (
            f"was given {told} for {name}: use a number between {widget.min:g} and {widget.max:g}"
        )
    return None


def _checked(execute: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(execute)
    def checked(cls: type[Node], *ordered: Any, **given: Any) -> Any:
        name, types = _described(cls)
        unknown = next((key for key in given if key not in types), None)
        if unknown is not None:
            raise ValueError(f"{name} has no input called {shown(unknown)}: leave it out.")
        for key, value in given.items():
            wanted, fits = TYPES.get(types.get(key, ""), OBJECT)
            if not fits(value) and not (value is None and types.get(f"{key} is optional")):
                raise ValueError(
                    f"{name} was given {_in_words(value)} for {key}, which takes {wanted}: connect or choose that."
                )
        try:
            return execute(cls, *ordered, **given)
        except CheckpointError as error:
            raise CheckpointError(without_folders(str(error))) from error

    return checked


@cache
def _described(cls: type[Node]) -> tuple[str, dict[str, str]]:
    """The node's name, and the type of every input."""
    schema = cls.define_schema()
    types = {found.id: str(found.io_type) for found in schema.inputs}
    optional = {f"{found.id} is optional": "yes" for found in schema.inputs if found.optional}
    return schema.display_name, {**types, **optional}


def _in_words(value: Any) -> str:
    if isinstance(value, (str, bool, int, float, type(None))):
        return shown(value)
    return f"a {type(value).__name__}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


Fits = Callable[[Any], bool]
OBJECT: tuple[str, Fits] = ("an output of another node", lambda value: not isinstance(value, PLAIN))
TYPES: dict[str, tuple[str, Fits]] = {
    "COMBO": ("a name from its list", lambda value: isinstance(value, str)),
    "STRING": ("text", lambda value: isinstance(value, str)),
    "INT": ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "FLOAT": ("a number", _is_number),
    "BOOLEAN": ("yes or no", lambda value: isinstance(value, bool)),
    "IMAGE": ("pictures", lambda value: isinstance(value, Tensor) and value.ndim == 4),
    "MASK": ("a mask", lambda value: isinstance(value, Tensor)),
    "LATENT": ("a latent", lambda value: isinstance(value, dict) and isinstance(value.get("samples"), Tensor)),
    "CONDITIONING": ("conditioning", lambda value: isinstance(value, list)),
}  # fmt: skip
"""What each of ComfyUI's types is in words, and whether a value is of it; the others are OBJECT's."""
