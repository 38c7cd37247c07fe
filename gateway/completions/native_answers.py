"""The form of SGLang's own `/generate`: each event repeats the text said so far, and meta_info tells the rest. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from gateway.completions.answer import Answer, finite
from gateway.completions.choice import Choice, Spoken
from gateway.engines.generation import Finish, TokenLogprob


class NativeAnswer(Answer):
    """A list of prompts, and several choices, give a list of answers."""

    repeats = True

    def events(self, choice: Choice, spoken: Spoken) -> Iterable[dict[str, Any]]:
        if spoken.text or spoken.logprobs or choice.finish is not None:
            event = self._said(choice)
            yield {**event, "index": choice.index} if len(self.choices) > 1 else event

    def whole(self) -> Any:
        answers = [self._said(choice) for choice in self.choices]
        return answers if self.asked.several or len(answers) > 1 else answers[0]

    def _said(self, choice: Choice) -> dict[str, Any]:
        return {"text": choice.said, "output_ids": choice.ids, "meta_info": self._meta(choice)}

    def _meta(self, choice: Choice) -> dict[str, Any]:
        meta: dict[str, Any] = {
            "id": self.asked.rid or self.heading.id,
            "finish_reason": _reason(choice),
            "prompt_tokens": len(self.prompts[choice.prompt].ids),
            "weight_version": "default",
            "completion_tokens": choice.tokens,
            "cached_tokens": choice.cached_tokens,
        }
        if choice.finish is not None:
            meta["e2e_latency"] = self.heading.took()
        if self.asked.logprobs is not None:
            meta["output_token_logprobs"] = self._rows(choice.logprobs)
            if self.asked.logprobs:
                meta["output_top_logprobs"] = self._tops(choice.logprobs)
            start = self.asked.prompt_logprobs_from
            if start is not None:
                prompt = choice.prompt_logprobs[start:]
                meta["input_token_logprobs"] = self._rows(prompt)
                if self.asked.logprobs:
                    meta["input_top_logprobs"] = self._tops(prompt)
        return meta

    def _rows(self, tokens: Sequence[TokenLogprob]) -> list[list[Any]]:
        return [
            [None if token.logprob is None else finite(token.logprob), token.token_id, self._text(token.token_id)]
            for token in tokens
        ]

    def _tops(self, tokens: Sequence[TokenLogprob]) -> list[list[list[Any]] | None]:
        most = self.asked.logprobs or 0
        return [
            [[finite(value), each, self._text(each)] for each, value in token.top[:most]] or None for token in tokens
        ]

    def _text(self, token: int) -> str | None:
        return self.tokenizer.token_text(token) if self.asked.token_texts else None


def _reason(choice: Choice) -> dict[str, Any] | None:
    finish: Finish | None = choice.finish
    if finish is None:
        return None
    match finish.reason:
        case "length":
            return {"type": "length", "length": choice.tokens}
        case "stop":
            matched = finish.matched
            return {"type": "stop", "matched": matched if matched is not None else next(iter(choice.ids[-1:]), None)}
        case other:
            return {"type": other, "message": "the engine ended it", "status_code": None, "err_type": None}
