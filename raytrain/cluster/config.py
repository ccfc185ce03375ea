"""How fits are run on Ray."""

from pydantic import Field

from raytrain.config import Section
from raytrain.engines.process import KerasBackend


class ClusterConfig(Section):
    """The cluster and its patience."""

    dashboard: bool = True
    """Whether a cluster of our own has Ray's dashboard, on loopback only."""
    timeout_s: float = Field(3600.0, gt=0)
    """Seconds after which a fit that still runs is killed and counted as a timeout."""
    max_tries: int = Field(2, ge=1)
    """Times a fit may crash its process before it is given up."""
    recycle_after: int = Field(32, ge=1)
    """Fits after which the slot's process is replaced."""
    keras_backend: KerasBackend = "tensorflow"
    """The library that Keras families compute with."""
    connect_timeout_s: float = Field(10.0, gt=0)
    """Seconds to wait for an answer of the cluster that RAY_ADDRESS names."""
    min_nodes: int = Field(1, ge=1)
    """Nodes with cores for fits that the cluster must have before a run starts; it counts them then, and waits for
    them."""
    join_timeout_s: float = Field(600.0, ge=0)
    """Seconds to wait for `min_nodes`."""
