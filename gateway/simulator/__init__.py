"""Simulated inference engines, as processes of their own: for the demo, for tests and for benchmarks.

They queue, batch, cache prefixes, run out of KV and fail as engines do, and speak SGLang's, vLLM's or plain
OpenAI HTTP, or SGLang's or vLLM's gRPC. The gateway knows nothing of them.
"""
