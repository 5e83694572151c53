"""Tokens of a request as clients count them."""

from ponder.serve.records import Usage


def usage_json(usage: Usage) -> str:
    """OpenAI's counts with DeepSeek's two beside them; hits and misses add up to the prompt."""
    return (
        f'{{"prompt_tokens":{usage.prompt_tokens},"completion_tokens":{usage.completion_tokens},'
        f'"total_tokens":{usage.total_tokens},'
        f'"prompt_tokens_details":{{"cached_tokens":{usage.cache_hit_tokens}}},'
        f'"completion_tokens_details":{{"reasoning_tokens":{usage.reasoning_tokens}}},'
        f'"prompt_cache_hit_tokens":{usage.cache_hit_tokens},"prompt_cache_miss_tokens":{usage.cache_miss_tokens}}}'
    )
