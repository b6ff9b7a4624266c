"""Use an installed distrax_flows as its first user would: import, fit, save, and load elsewhere.

Run it outside of the repository, so that the import finds the installed package:
`python /path/to/tools/smoke.py`. It prints versions and seconds.
"""

import functools
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("distrax_flows", "jax", "distrax", "dm-haiku", "optax", "numpy", "tfp-nightly")

LOAD = """
import sys
import distrax_flows as dxf
loaded = dxf.load(sys.argv[1])
print(float(loaded.flow.log_prob(loaded.params, [0.5, 0.25])))
"""


def main() -> None:
    """Fit a flow to the moons, save it, and compare its density in another process."""
    start = time.perf_counter()
    import jax

    import distrax_flows as dxf

    imported = time.perf_counter()
    moons = dxf.densities.get("moons")
    train, test = (moons.sample(seed=seed, sample_shape=(2000,)) for seed in (0, 1))
    flow = dxf.transform(functools.partial(dxf.flows.maf, 2, num_layers=4, standardize=True))
    fitted = dxf.fit(flow, train, key=jax.random.key(0), num_steps=500)
    excess = float(moons.log_prob(test).mean() - flow.log_prob(fitted.params, test).mean())
    done = time.perf_counter()
    if not 0 < excess < 0.5:  # a Gaussian is 0.9 nats behind
        sys.exit(f"The flow is {excess:.2f} nats behind the moons' own density.")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "moons.flow"
        dxf.save(path, flow, fitted.params)
        command = [sys.executable, "-c", LOAD, str(path)]
        printed = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, cwd=folder)
    here, there = float(flow.log_prob(fitted.params, [0.5, 0.25])), float(printed.stdout)
    if here != there:
        sys.exit(f"The saved flow has log-density {there}, not {here}, in another process.")

    print(f"Python {platform.python_version()},", ", ".join(f"{x} {version(x)}" for x in LIBRARIES))
    print(f"from {Path(dxf.__file__).parent}, on {jax.devices()[0].platform}")
    print(f"import {imported - start:.1f} s, fit {done - imported:.1f} s, {excess:.3f} nats of KL")


if __name__ == "__main__":
    main()
