"""Methods that experiments compare with `pingraph fit`; docs/experiments.md lists them."""

from pingraph.experiments.methods.content import RawPixels, TfIdf, TfIdfAndPixels
from pingraph.experiments.methods.light_gcn import LightGCN
from pingraph.experiments.methods.linear import LinearContent
from pingraph.experiments.methods.pretrained_text import PretrainedText
from pingraph.experiments.methods.sage import GraphSAGE, PinSage
from pingraph.experiments.methods.saves import CoOccurrence, Popularity, RawWalks

__all__ = [
    "CoOccurrence",
    "GraphSAGE",
    "LightGCN",
    "LinearContent",
    "PinSage",
    "Popularity",
    "PretrainedText",
    "RawPixels",
    "RawWalks",
    "TfIdf",
    "TfIdfAndPixels",
]
