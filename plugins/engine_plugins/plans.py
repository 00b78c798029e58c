"""Small pieces of plans (``engine.contracts.plan``). Nothing here imports torch."""

from __future__ import annotations

from engine.contracts.plan import Plan, TensorPlan


def tensor(name: str, *shape: int) -> Plan:
    """One float tensor."""
    return {name: TensorPlan(shape)}


def token_table(name: str, count: int, width: int, rank: int | None) -> Plan:
    """``engine_plugins.text.token_tables.token_table``: [count, width], or its two factors."""
    if rank is None:
        return tensor(f"{name}.weight", count, width)
    return {
        **tensor(f"{name}.rows.weight", count, rank),
        **tensor(f"{name}.basis.weight", width, rank),
    }


def linear(name: str, wide_in: int, wide_out: int, *, bias: bool = True) -> Plan:
    """``nn.Linear``: weight [out, in], bias [out]."""
    plan = tensor(f"{name}.weight", wide_out, wide_in)
    return {**plan, **tensor(f"{name}.bias", wide_out)} if bias else plan


def conv1d(name: str, wide_in: int, wide_out: int) -> Plan:
    """GPT-2's linear layer: weight [in, out], bias [out]."""
    return {**tensor(f"{name}.weight", wide_in, wide_out), **tensor(f"{name}.bias", wide_out)}


def norm(name: str, width: int) -> Plan:
    """``nn.LayerNorm``: weight and bias [width]."""
    return {**tensor(f"{name}.weight", width), **tensor(f"{name}.bias", width)}


def batch_norm(name: str, width: int) -> Plan:
    """``nn.BatchNorm1d`` or 2d: weight, bias, and the running statistics with their counter."""
    return {
        **norm(name, width),
        f"{name}.running_mean": TensorPlan((width,), buffer=True),
        f"{name}.running_var": TensorPlan((width,), buffer=True),
        f"{name}.num_batches_tracked": TensorPlan((), "int64", buffer=True),
    }


def clip_block(name: str, width: int, mlp_width: int) -> Plan:
    """``engine_plugins.layers.ClipBlock``."""
    return {
        **norm(f"{name}.ln_1", width),
        **tensor(f"{name}.attn.in_proj_weight", 3 * width, width),
        **tensor(f"{name}.attn.in_proj_bias", 3 * width),
        **linear(f"{name}.attn.out_proj", width, width),
        **norm(f"{name}.ln_2", width),
        **linear(f"{name}.mlp.c_fc", width, mlp_width),
        **linear(f"{name}.mlp.c_proj", mlp_width, width),
    }


def prefixed(prefix: str, plan: Plan) -> Plan:
    """The plan with ``prefix.`` before every name."""
    return {f"{prefix}.{name}": tensor_plan for name, tensor_plan in plan.items()}
