"""An experiment as a command: its settings, what `--quick` stands for, and Ctrl-C."""

import functools
from collections.abc import Callable
from typing import Annotated, Any, Protocol, TypeVar, cast

import tyro

from experiments import _interrupt


class HasQuick(Protocol):
    """Settings that have a try-out."""

    @property
    def quick(self) -> bool: ...


S = TypeVar("S", bound=HasQuick)


def quick_means(**values: Any) -> Callable[[type[S]], type[S]]:
    """Decorates a dataclass of settings: `quick=True` supplies these defaults in place of its own.

    What is given explicitly wins, the usual default included. `--help` lists the values.

    Args:
        values: defaults of a try-out by field. The dataclass takes keywords only.
    """

    def decorate(settings: type[S]) -> type[S]:
        init = settings.__init__

        @functools.wraps(init)
        def init_quickly(self: S, **given: Any) -> None:
            init(self, **(values if given.get("quick") else {}) | given)

        settings.__init__ = init_quickly
        stands_for = " ".join(_as_option(name, value) for name, value in values.items())
        hint = f"(default: False; stands for {stands_for}, unless given)"
        quick = Annotated[bool, tyro.conf.arg(help_behavior_hint=hint)]
        settings.__annotations__["quick"] = quick
        return settings

    return decorate


def run(name: str, main: Callable[[S], None], settings: type[S]) -> None:
    """Runs `python -m <name>`: reads the settings from the command line, and calls `main`.

    Ctrl-C prints one line and exits with code 130.

    Args:
        name: of the module.
        main: the experiment.
        settings: a dataclass that is decorated by `quick_means`.
    """
    prog = f"python -m {name}"
    given = tyro.cli(settings, prog=prog)
    if given.quick:
        # Only the parser knows which settings are given: it reads them over the other defaults.
        default = cast(Callable[..., S], settings)(quick=True)
        given = tyro.cli(settings, prog=prog, default=default)
    _interrupt.raise_again()
    try:
        main(given)
    except KeyboardInterrupt as interrupt:
        output = getattr(given, "output", None)
        _interrupt.tell(interrupt, f"Finished rows are in {output}." if output else "")
        raise SystemExit(_interrupt.EXIT_CODE) from None


def _as_option(name: str, value: Any) -> str:
    values = value if isinstance(value, tuple) else (value,)
    return " ".join([f"--{name.replace('_', '-')}", *map(str, values)])
