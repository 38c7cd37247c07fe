"""Metric families of the tokenizers: how far they are, their loads, and what their caches hold and save."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gateway.tokenizers.entry import Progress
from gateway.tokenizers.registry import TokenizerRegistry

LAYERS = ("l0", "l1")
"""SMG's names: whole texts, and what is between special tokens."""


def tokenizer_families(registry: TokenizerRegistry) -> Iterator[Metric]:
    """All families, as values of this moment."""
    states = Counter(entry.state for entry in registry.entries.values())
    listed = GaugeMetricFamily("smg_tokenizers", "Registered tokenizers", labels=["status"])
    for state in Progress:
        listed.add_metric([state.value], states[state])
    yield listed
    loads = CounterMetricFamily("smg_tokenizer_loads", "Tokenizers loaded", labels=["result"])
    loads.add_metric(["success"], registry.loads.succeeded)
    loads.add_metric(["failure"], registry.loads.failed)
    yield loads
    yield GaugeMetricFamily("smg_tokenizer_loads_active", "Loads under way", len(registry.loads))
    yield from _caches(registry)


def _caches(registry: TokenizerRegistry) -> Iterator[Metric]:
    memory = GaugeMetricFamily(
        "smg_tokenizer_memory_bytes", "Memory of a tokenizer with its caches, about", labels=["tokenizer"]
    )
    labels = ["tokenizer", "layer"]
    lookups = CounterMetricFamily("smg_tokenizer_cache_lookups", "Look-ups", labels=[*labels, "result"])
    evicted = CounterMetricFamily("smg_tokenizer_cache_evictions", "Entries let go of for room", labels=labels)
    entries = GaugeMetricFamily("smg_tokenizer_cache_entries", "Entries held", labels=labels)
    on = GaugeMetricFamily(
        "smg_tokenizer_cache_enabled", "0 where it is switched off, or could change the ids", labels=labels
    )
    held = GaugeMetricFamily("smg_tokenizer_cache_bytes", "Memory of the entries held", labels=labels)
    seen: set[int] = set()
    for entry in registry.entries.values():
        tokenizer = entry.tokenizer
        if tokenizer is None or id(tokenizer.loaded) in seen:
            continue  # names that share one place share its caches
        seen.add(id(tokenizer.loaded))
        memory.add_metric([entry.name], tokenizer.loaded.memory_bytes)
        for layer, counts in zip(LAYERS, tokenizer.cache_counts(), strict=True):
            on.add_metric([entry.name, layer], float(counts is not None))
            if counts is not None:
                lookups.add_metric([entry.name, layer, "hit"], counts.hits)
                lookups.add_metric([entry.name, layer, "miss"], counts.misses)
                evicted.add_metric([entry.name, layer], counts.evicted)
                entries.add_metric([entry.name, layer], counts.entries)
                held.add_metric([entry.name, layer], counts.bytes)
    yield from (memory, on, lookups, evicted, entries, held)
