"""Every flow of the library on two densities of the plane, at one budget.

    python -m experiments.flow_zoo
    python -m experiments.flow_zoo --flows maf hint planar --densities 2spirals
    python -m experiments.flow_zoo --quick --output /tmp/flow_zoo

All flows standardise the data and get the same steps, batches, and sizes of networks; flows without
networks get a larger learning rate, and those of thin layers four times as many. No more is tuned:
this shows what each can do, not the best it can do. Scores are the divergence KL(p || q) from the
density p to the flow q, on fresh samples.

In the output folder, `results.csv` gets a row per fit, `<density>.png` shows all flows, and
`params` keeps what `--resume` needs. All fits done, they are timed in turn: leave the machine alone
meanwhile, or time them again by `--resume`.
"""
