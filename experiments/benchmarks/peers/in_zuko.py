"""Flows of zuko, on PyTorch."""
# pyright: reportMissingImports=false

import torch
import zuko

from experiments.benchmarks.peers.contestants import Contestant, draw_data
from experiments.benchmarks.peers.settings import MEASURES, NUM_BINS, Size


def make(name: str, size: Size) -> Contestant:
    """Its flow of that kind; the density is the fast direction."""
    torch.manual_seed(0)
    options = {"transforms": size.layers, "hidden_features": (size.hidden, size.hidden)}
    if name == "nsf_autoregressive":
        flow = zuko.flows.NSF(size.event, bins=NUM_BINS, **options)
    elif name == "maf":
        flow = zuko.flows.MAF(size.event, **options)
    else:
        if name == "nsf_coupling":  # the transform of its NSF, in couplings
            options["univariate"] = zuko.transforms.MonotonicRQSTransform
            options["shapes"] = [(NUM_BINS,), (NUM_BINS,), (NUM_BINS - 1,)]
        flow = zuko.flows.RealNVP(size.event, **options)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    flow = flow.to(device)
    x = torch.from_numpy(draw_data(size)).to(device)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3)

    def wait(value):
        if device == "cuda":
            torch.cuda.synchronize()
        return value

    def step():
        optimizer.zero_grad()
        loss = -flow().log_prob(x).mean()
        loss.backward()
        optimizer.step()
        return wait(loss.detach())

    @torch.no_grad()
    def log_prob():
        return wait(flow().log_prob(x))

    @torch.no_grad()
    def sample():
        return wait(flow().sample((size.batch,)))

    @torch.no_grad()
    def both():
        return wait(flow().rsample_and_log_prob((size.batch,)))

    num_params = sum(p.numel() for p in flow.parameters() if p.requires_grad)
    calls = dict(zip(MEASURES, (step, log_prob, sample, both), strict=True))
    return Contestant(num_params, calls)
