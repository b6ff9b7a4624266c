"""Command line of the experiments: settings, `--quick` and Ctrl-C."""

import functools
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, TypeVar

import jax
import scipy.linalg  # loads the BLAS that is limited below  # noqa: F401
import threadpoolctl
import tyro

from experiments import _interrupt

S = TypeVar("S")


def quick_means(**values: Any) -> Callable[[type[S]], type[S]]:
    """Decorates a dataclass of settings: `quick=True` supplies these defaults in place of its own.

    Explicit values win, even where they equal the usual default. `--help` lists the values.

    Args:
        values: quick defaults by field. The dataclass takes keywords only.
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


def check(
    settings: Any, *, choices: Mapping[str, Collection[Any]] = {}, least: Mapping[str, float] = {}
) -> None:
    """Refuses settings that are empty, too small, repeated or not among the choices.

    Tuples must hold at least one value, integers must be at least 1, except seeds, and floats must
    be positive.

    Args:
        settings: a dataclass.
        choices: allowed values by name of the setting.
        least: other lower limits by name of the setting.

    Raises:
        ValueError: a setting breaks these rules.
    """
    for name, given in vars(settings).items():
        values = given if isinstance(given, tuple) else (given,)
        if not values:
            raise ValueError(f"`{name}` must hold at least one value; got none.")
        if name in (*choices, "seeds") and len(set(values)) < len(values):
            raise ValueError(f"`{name}` must differ from each other; got {given}.")
        for value in values:
            if name in choices and value not in choices[name]:
                raise ValueError(f"`{name}` must be one of {list(choices[name])}; got {value!r}.")
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or name in ("seed", "seeds"):
                continue
            lowest = least.get(name, 1)
            if (name in least or isinstance(value, int)) and not value >= lowest:
                raise ValueError(f"`{name}` must be at least {lowest}; got {value}.")
            if name not in least and not value > 0:
                raise ValueError(f"`{name}` must be positive; got {value}.")


def run(name: str, main: Callable[[Any], None], settings: Callable[..., Any]) -> None:
    """Runs `python -m <name>`: reads the settings from the command line and calls `main`.

    Ctrl-C prints one line and exits with code 130.

    Args:
        name: name of the module.
        main: the experiment.
        settings: a dataclass decorated with `quick_means`.
    """
    prog = f"python -m {name}"
    given: Any = tyro.cli(settings, prog=prog)
    if given.quick:
        # Only the parser knows which settings are explicit: it parses again, with quick defaults.
        given = tyro.cli(settings, prog=prog, default=settings(quick=True))
    _interrupt.raise_again()
    # On CPUs, XLA solves triangular systems by SciPy's BLAS. Its threads wait for each other at
    # each one: 8 ms, instead of 20 microseconds, where another process keeps a core busy.
    threadpoolctl.threadpool_limits(1, user_api="blas")
    try:
        print(f"JAX {jax.__version__} on {jax.devices()[0].device_kind}; {given}")
        main(given)
    except KeyboardInterrupt as interrupt:
        output = getattr(given, "output", None)
        _interrupt.tell(interrupt, f"Finished rows are in {output}." if output else "")
        raise SystemExit(_interrupt.EXIT_CODE) from None


def _as_option(name: str, value: Any) -> str:
    values = value if isinstance(value, tuple) else (value,)
    return " ".join([f"--{name.replace('_', '-')}", *map(str, values)])
