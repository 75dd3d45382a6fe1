"""Message passing by DGL or by plain torch; the only file that imports dgl."""

from __future__ import annotations

import io
import os
import warnings
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from types import ModuleType
from typing import Any, Literal, cast

import torch
from torch import Tensor

from urbankit.graph import torch_engine
from urbankit.graph.graph import Graph
from urbankit.utils.errors import UserError

Engine = Literal["dgl", "torch"]
ENGINES = ("auto", "dgl", "torch")

# Kinds of device on which torch is faster than DGL: `python benchmarks/bench_graph.py --operations` measures it.
FASTER_WITH_TORCH = {"cpu"}


def propagate(graph: Graph, x: Tensor, self_weight: Tensor | None = None, engine: str = "auto") -> Tensor:
    """Return one step of message passing, `out_i = s_i x_i + Σⱼ A_ij x_j`: `A X` of eq. 17 and 23.

    Args:
        graph: the weights A_ij.
        x: node vectors [n, d].
        self_weight: the s_i [n]; None for 0.
        engine: `auto`, `dgl` or `torch`; see `select_engine`.

    Returns:
        A new float32 [n, d]; gradients reach `x`, `graph.weight` and `self_weight`. The engines agree to 1e-5.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = x.float()
        if not _by_dgl(graph, engine):
            return torch_engine.propagate(graph, x, self_weight)
        out = _dgl().ops.u_mul_e_sum(_dgl_graph(graph), x, graph.weight.unsqueeze(1))
        return out if self_weight is None else torch.addcmul(out, x, self_weight.unsqueeze(1))


def edge_dot(graph: Graph, a: Tensor, b: Tensor, engine: str = "auto") -> Tensor:
    """Return `a_i · b_j` on every edge (i, j), float32 [E], of `a` and `b` [n, d]; gradients reach both."""
    with torch.autocast(a.device.type, enabled=False):
        a, b = a.float(), b.float()
        if _by_dgl(graph, engine):
            return _dgl().ops.v_dot_u(_dgl_graph(graph), a, b).squeeze(1)
        return torch_engine.edge_dot(graph, a, b)


def select_engine(engine: str = "auto", device: torch.device | str = "cpu") -> Engine:
    """Return the engine for tensors on `device`.

    For `auto` this is torch on a processor, where it is 2 to 6 times as fast (docs/benchmarks.md), and DGL
    on other devices if it is installed and has kernels for them.

    Raises `UserError` for an unknown engine, and for `dgl` if it cannot be used; the message has the reason.
    """
    if engine not in ENGINES:
        raise UserError(f"unknown graph engine '{engine}'; choose one of {', '.join(ENGINES)}")
    device_type = torch.device(device).type
    if engine == "torch" or (engine == "auto" and device_type in FASTER_WITH_TORCH):
        return "torch"
    reason = why_not_dgl(device_type)
    if reason is None:
        return "dgl"
    if engine == "dgl":
        raise UserError(f"the graph engine 'dgl' cannot be used: {reason}. Choose 'auto' or 'torch'.")
    return "torch"


@cache
def why_not_dgl(device_type: str = "cpu") -> str | None:
    """Return why DGL cannot compute on a kind of device (`cpu`, `cuda`), or None if it can."""
    try:
        dgl = _dgl()
    except ImportError as error:
        return f"it does not import ({error})"
    except Exception as error:
        return f"it does not start on torch {torch.__version__} ({type(error).__name__}: {error})"
    try:
        nodes = torch.zeros(1, dtype=torch.int64, device=device_type)
        ones = torch.ones(1, 1, device=device_type)
        dgl.ops.u_mul_e_sum(dgl.graph((nodes, nodes)), ones, ones)
    except Exception as error:
        return f"dgl {dgl.__version__} has no kernels for {device_type} ({str(error).strip().splitlines()[-1]})"
    return None


def _by_dgl(graph: Graph, engine: str) -> bool:
    if engine == "auto" and torch_engine.nearly_dense(graph):
        return False
    return graph.n_edges > 0 and select_engine(engine, graph.device) == "dgl"


def _dgl_graph(graph: Graph) -> Any:
    """Return the DGL graph in which node i receives from node j for every edge (i, j); one for a set of edges.

    DGL sends along edges, from our `dst` to our `src`. Our rows are its columns, so that nothing is sorted.
    """
    none = torch.empty(0, dtype=torch.int64, device=graph.device)
    return graph.cached("dgl", lambda: _dgl().graph(("csc", (graph.indptr, graph.dst, none)), num_nodes=graph.n))


@cache
def _dgl() -> ModuleType:
    """Import dgl quietly: without a chosen backend it prints, warns and writes `~/.dgl`."""
    backend = os.environ.get("DGLBACKEND")
    os.environ["DGLBACKEND"] = "pytorch"
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            import dgl  # noqa: PLC0415 - optional
            import dgl.ops  # noqa: PLC0415 - optional
    finally:
        if backend is None:
            del os.environ["DGLBACKEND"]
        else:
            os.environ["DGLBACKEND"] = backend
    return cast("ModuleType", dgl)
