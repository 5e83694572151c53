"""A plan as one JSON object. docs/plan.md explains every formula."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ponder.plan.comparison import NEWS_CLAIM, PRICES
from ponder.plan.flops import causal_keys, decode_flops, forward_flops, training_flops
from ponder.plan.memory import WEIGHT_BYTES, cache_bytes, cache_numbers, training_bytes, weight_bytes
from ponder.plan.plan import Plan, activation_bytes, own_utilization
from ponder.plan.serving import Serving, ServingPlan

FORMULAS: Mapping[str, str] = {
    "flops_per_token": "2 · (weights of every matrix that the token meets) + 2 · layers · (score width + value width) "
    "· positions attended to; causal: (length + 1) / 2 positions",
    "training_flops_per_token": "3 · forward, + the scores once more (attention's backward pass), + what is recomputed",
    "gpu_hours": "tokens · (linear FLOPs / peak of their format + other FLOPs / BF16 peak) / utilization / 3600",
    "days": "gpu_hours / gpus / 24",
    "cost_usd": "gpu_hours · price per GPU hour",
    "rollout_hours": "max(tokens · decode FLOPs / peak / utilization, gpus · Σ rounds · longest / speed) + forward "
    "passes of other models + training on the samples",
    "kv_bytes_per_token": "layers · (kv_lora_rank + qk_rope_head_dim) or layers · 2 · kv_heads · head_dim, · bits / 8",
    "training_state_bytes": "(parameters + MTP) · (weights + gradient + master copy + two moments)",
    "decode_tokens_per_second": "utilization · batch / max(batch · decode FLOPs / (gpus · peak), (weights read + "
    "batch · context · kv_bytes_per_token) / (gpus · bandwidth))",
    "usd_per_million_tokens": "price per GPU hour · gpus / (tokens per second · 3600) · 10^6",
}


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """Everything that the plan holds; bytes, FLOPs, hours and dollars as plain numbers, None where unknown."""
    setting = plan.setting
    return {
        "name": plan.name,
        "title": plan.title,
        "parameters_total": plan.count.total,
        "parameters_active": plan.count.active,
        "parameters_per_token": plan.count.per_token,
        "parameters_mtp": plan.count.mtp,
        "gpu_hours": plan.gpu_hours,
        "days": plan.days,
        "cost_usd": plan.cost_usd,
        "kv_bytes_per_token": cache_bytes(plan.config, plan.serving.cache_bits),
        "kv_numbers_per_token": cache_numbers(plan.config),
        "hardware": {
            "name": setting.hardware.name,
            "title": setting.hardware.title,
            "gpus": setting.gpus,
            "peak_flops": dict(setting.hardware.peak),
            "memory_bytes": setting.hardware.memory,
            "bandwidth_bytes_per_second": setting.hardware.bandwidth,
            "usd_per_hour": setting.hardware.price,
            "price_source": setting.hardware.price_source,
            "source": setting.hardware.source,
        },
        "utilization": setting.utilization,
        "utilization_implied_by_published_hours": own_utilization(plan),
        "precision": setting.precision,
        "recompute": setting.recompute,
        "context": plan.context,
        "stages": [_stage(plan, number) for number in range(len(plan.stages))],
        "flops_per_token": _flops(plan),
        "memory": _memory(plan),
        "serving": _serving(plan),
        "published": [
            {
                "figure": row.figure,
                "unit": row.unit,
                "planned": row.planned,
                "published": row.published,
                "deviation": row.deviation,
                "source": row.source,
            }
            for row in plan.comparisons
        ],
        "other_assumptions": [
            {
                "figure": row.figure,
                "assumption": row.assumption,
                "planned": row.planned,
                "published": row.published,
                "deviation": row.deviation,
            }
            for row in plan.variants
        ],
        "assumptions": list(plan.assumptions),
        "formulas": dict(FORMULAS),
    }


def _stage(plan: Plan, number: int) -> dict[str, Any]:
    cost = plan.stages[number]
    comparable = plan.case is not None
    return {
        "name": cost.stage.name,
        "inputs": cost.stage.formula,
        "borrowed_inputs": cost.stage.borrowed or None,
        "calibrated_on": comparable and plan.name == "deepseek-v3" and number == 0,
        "tokens": cost.tokens,
        "flops": cost.flops,
        "gpu_hours": cost.gpu_hours,
        "days": cost.days,
        "cost_usd": cost.cost_usd,
        "published_gpu_hours": cost.stage.published_hours if comparable else None,
        "deviation": cost.deviation if comparable else None,
    }


def _flops(plan: Plan) -> dict[str, Any]:
    config = plan.config
    forward = forward_flops(config, causal_keys(plan.context))
    training = training_flops(config, plan.context, recompute=plan.setting.recompute)
    keys = plan.serving.context
    return {
        "training": training.total,
        "training_without_recomputing": training.model,
        "training_mtp_share": 1 - forward.total * 3 / training.model,
        "prefill": forward.total,
        "prefill_parts": {field.name: getattr(forward, field.name) for field in fields(forward)},
        "decode": decode_flops(config, keys).total,
        "decode_naive": decode_flops(config, keys, absorbed=False).total,
        "decode_context": keys,
    }


def _memory(plan: Plan) -> dict[str, Any]:
    setting = plan.setting
    return {
        "weights_bytes": {kind: weight_bytes(plan.count.total, kind) for kind in WEIGHT_BYTES},
        "training_state_bytes": training_bytes(plan.count, setting.precision),
        "activation_bytes_per_token": activation_bytes(plan.config, setting.recompute, setting.precision),
        "activation_bytes_per_token_checkpointed": activation_bytes(plan.config, "blocks", setting.precision),
        "training_bytes_per_gpu": plan.training_bytes_per_gpu,
        "fits": plan.training_bytes_per_gpu <= setting.hardware.memory,
    }


def _serving(plan: Plan) -> dict[str, Any]:
    serving, served = plan.serving, plan.served
    prices = PRICES.get(plan.name, ())
    own = prices[0] if prices else None
    asked = {
        "gpus": serving.gpus,
        "weights": serving.weights,
        "cache_bits": serving.cache_bits,
        "context": serving.context,
        "fits": served is not None,
    }
    return (
        asked
        | ({} if served is None else _throughput(serving, served))
        | {
            "api_prices": [
                {
                    "name": price.name,
                    "usd_per_million_input_tokens": price.input_usd,
                    "usd_per_million_output_tokens": price.output_usd,
                    "source": price.source,
                    "verified": price.verified,
                    "output_saved_by_first": None
                    if price is own or own is None
                    else 1 - own.output_usd / price.output_usd,
                }
                for price in prices
            ],
            "news_claim": NEWS_CLAIM.get(plan.name),
        }
    )


def _throughput(serving: Serving, served: ServingPlan) -> dict[str, Any]:
    return {
        "batch": served.batch,
        "bound": served.bound,
        "decode_tokens_per_second": served.decode_tokens_per_second,
        "decode_tokens_per_second_per_gpu": served.decode_tokens_per_second / serving.gpus,
        "decode_tokens_per_second_per_conversation": served.decode_tokens_per_second / served.batch,
        "decode_tokens_per_second_at_peak": served.decode_ceiling,
        "prefill_tokens_per_second_per_gpu": served.prefill_tokens_per_second / serving.gpus,
        "usd_per_million_output_tokens": served.usd_per_million_output,
        "usd_per_million_input_tokens": served.usd_per_million_input,
    }
