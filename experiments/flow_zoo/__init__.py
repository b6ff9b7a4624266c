"""Every flow of the library on two densities in the plane, at one budget.

    python -m experiments.flow_zoo
    python -m experiments.flow_zoo --flows maf hint planar --densities 2spirals
    python -m experiments.flow_zoo --quick --output /tmp/flow_zoo

All flows standardise the data and get the same steps, batches, and sizes of networks. Flows without
networks get a larger learning rate, and flows of thin layers four times as many layers. Nothing
else is tuned: results show what each flow can do, not the best it can do. Scores are the divergence
KL(p || q) from the density p to the flow q, on fresh samples.

In the output folder, `results.csv` gets a row per fit, `<density>.png` shows all flows, and
`params` keeps what `--resume` needs. After the last fit, all are timed in turn: run nothing else
meanwhile, or time them again with `--resume`.
"""
