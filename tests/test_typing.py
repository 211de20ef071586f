"""What is public says what it takes and gives, and a type checker believes it."""

import inspect

import pytest
from public_api import public_api

# Rooms whose functions have still to be annotated.
NOT_YET = tuple(
    f"keras_floss.{room}"
    for room in (
        "callbacks",
        "diagnostics",
        "flossing",
        "flow",
        "layers.lyapunov_regularizer",
        "lyapunov",
        "models",
    )
)


def is_ours(thing):
    return getattr(thing, "__module__", "").startswith("keras_floss")


def functions():
    """Every public function, method and constructor by its address."""
    for address, thing in public_api():
        if inspect.isfunction(thing):
            yield address, thing
            continue
        ours = [base for base in thing.__mro__ if is_ours(base)]
        for name in {name for base in ours for name in vars(base)}:
            member = inspect.getattr_static(thing, name)
            member = getattr(member, "__func__", getattr(member, "fget", member))
            public = name == "__init__" or not name.startswith("_")
            if public and inspect.isfunction(member) and is_ours(member):
                yield f"{address}.{name}", member


FUNCTIONS = {a: f for a, f in functions() if not f.__module__.startswith(NOT_YET)}


@pytest.mark.parametrize("address", sorted(FUNCTIONS))
def test_parameters_and_result_are_annotated(address):
    signature = inspect.signature(FUNCTIONS[address])
    parameters = list(signature.parameters.values())
    if "." in FUNCTIONS[address].__qualname__:
        parameters = parameters[1:]  # self, cls
    assert not [p.name for p in parameters if p.annotation is p.empty]
    assert signature.return_annotation is not signature.empty
