"""A recurrent net over a look-back window, with fewer gates than an LSTM."""

from raytrain.engines.torch_family import RecurrentFamily, RecurrentParams


class GRUParams(RecurrentParams):
    """Parameters of the net and its training."""


class GRU(RecurrentFamily[GRUParams]):
    """Gated recurrent units (Cho et al. 2014) with non-crossing quantiles or a probability."""

    name = "gru"
    params_type = GRUParams
    cell = "gru"
