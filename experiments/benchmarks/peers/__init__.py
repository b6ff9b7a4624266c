"""The flows of this library, FlowJAX, zuko and plain distrax, timed in turn in one run.

    pip install -e '.[bench]'
    python -m experiments.benchmarks.peers
    python -m experiments.benchmarks.peers --libraries ours bare distrax
    python -m experiments.benchmarks.peers --quick --output /tmp/peers

Every library gets the same data, layers, sizes of networks, and optimizer (Adam). Two more are
timed: `bare`, the lower limit, which is the same networks with the same masks and without a flow,
each applied to the output of the previous one; and `unrolled`, ours with `unroll=True`. zuko needs
PyTorch; `pip install torch` first, the CPU build where there is no GPU.

Calls are timed in rounds, A B C, B A C, so that a slow spell of the machine affects all alike, and
no library always runs after the same one. A ratio is the median over rounds of a library's time
over ours in the same round, with its quartiles. Compile time and peak memory of a call are measured
in a separate process.

`peers.csv` in the output folder has a row for each flow, size, measure and library; `peers.png`
shows the ratios. Run nothing else meanwhile.
"""
