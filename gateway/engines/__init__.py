"""What engines call things: paths, fields and gauges of SGLang, vLLM and any OpenAI-compatible server. Pure."""
