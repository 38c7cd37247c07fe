"""The forms of OpenAI's two completions, with what vLLM and SGLang add to them. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from gateway.completions.answer import Answer, finite
from gateway.completions.choice import Choice, Spoken
from gateway.engines.generation import Finish, TokenLogprob
from gateway.tokenizers.tokenizer import Tokenizer
from gateway.workers.model import Engine


class OpenAiAnswer(Answer):
    """What both have in common: events with one choice each, and the usage at the end."""

    event_object = ""
    whole_object = ""

    def _event(self, choices: list[dict[str, Any]], usage: Any = None) -> dict[str, Any]:
        heading = self.heading
        event: dict[str, Any] = {
            "id": heading.id,
            "object": self.event_object,
            "created": heading.created,
            "model": heading.model,
            "choices": choices,
        }
        if usage is not None:
            event["usage"] = usage
        elif self.asked.running_usage:
            event["usage"] = self.usage()
        elif self.asked.include_usage:
            event["usage"] = None
        return event

    def last_events(self) -> Iterable[dict[str, Any]]:
        return (self._event([], self.usage()),) if self.asked.include_usage else ()

    def whole(self) -> Any:
        heading = self.heading
        answer: dict[str, Any] = {
            "id": heading.id,
            "object": self.whole_object,
            "created": heading.created,
            "model": heading.model,
            "choices": [self._said(choice) for choice in self.choices],
            "usage": self.usage(),
        }
        if self.kv_transfer is not None:
            answer["kv_transfer_params"] = self.kv_transfer
        return answer

    def _said(self, choice: Choice) -> dict[str, Any]:
        raise NotImplementedError

    def _ended(self, finish: Finish | None) -> dict[str, Any]:
        """Why a choice ended, and at what, under the engine's own name for that."""
        if finish is None:
            return {"finish_reason": None}
        name = "matched_stop" if self.heading.engine is Engine.SGLANG else "stop_reason"
        return {"finish_reason": finish.reason, name: finish.matched}


class ChatAnswer(OpenAiAnswer):
    event_object = "chat.completion.chunk"
    whole_object = "chat.completion"

    def events(self, choice: Choice, spoken: Spoken) -> Iterable[dict[str, Any]]:
        if not choice.begun:
            choice.begun = True
            yield self._event([self._delta(choice, {"role": "assistant", "content": ""})])
        if spoken.text or spoken.logprobs:
            yield self._event([self._delta(choice, {"content": spoken.text}, spoken.logprobs)])
        if choice.finish is not None:
            last = {"index": choice.index, "delta": {}, "logprobs": None, **self._ended(choice.finish)}
            yield self._event([last])

    def _delta(self, choice: Choice, delta: dict[str, str], logprobs: Sequence[TokenLogprob] = ()) -> dict[str, Any]:
        return {"index": choice.index, "delta": delta, "logprobs": self._logprobs(logprobs), "finish_reason": None}

    def _said(self, choice: Choice) -> dict[str, Any]:
        return {
            "index": choice.index,
            "message": {"role": "assistant", "content": choice.said, "refusal": None, "tool_calls": None},
            "logprobs": self._logprobs(choice.logprobs),
            **self._ended(choice.finish),
        }

    def _logprobs(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if self.asked.logprobs is None or not tokens:
            return None
        most = self.asked.logprobs
        content = []
        for token in tokens:
            top = [_named(self.tokenizer, each, value) for each, value in token.top[:most]]
            content.append({**_named(self.tokenizer, token.token_id, token.logprob), "top_logprobs": top})
        return {"content": content, "refusal": None}


def _named(tokenizer: Tokenizer, token: int, logprob: float | None) -> dict[str, Any]:
    spelt = tokenizer.token_bytes(token)
    return {"token": spelt.decode("utf-8", "replace"), "logprob": finite(logprob), "bytes": list(spelt)}


class TextAnswer(OpenAiAnswer):
    event_object = "text_completion"
    whole_object = "text_completion"

    def events(self, choice: Choice, spoken: Spoken) -> Iterable[dict[str, Any]]:
        text, logprobs = spoken.text, spoken.logprobs
        if not choice.begun:
            choice.begun = True
            text, logprobs = self._echo(choice) + text, self._prompt_logprobs(choice) + list(logprobs)
        if text or logprobs:
            yield self._event([self._choice(choice, text, logprobs, None)])
        if choice.finish is not None:
            yield self._event([self._choice(choice, "", (), choice.finish)])

    def _said(self, choice: Choice) -> dict[str, Any]:
        logprobs = self._prompt_logprobs(choice) + choice.logprobs
        return self._choice(choice, self._echo(choice) + choice.said, logprobs, choice.finish)

    def _echo(self, choice: Choice) -> str:
        return self.prompts[choice.prompt].text if self.asked.echo else ""

    def _prompt_logprobs(self, choice: Choice) -> list[TokenLogprob]:
        return list(choice.prompt_logprobs) if self.asked.prompt_logprobs_from is not None else []

    def _choice(
        self, choice: Choice, text: str, logprobs: Sequence[TokenLogprob], finish: Finish | None
    ) -> dict[str, Any]:
        shown = self._logprobs(choice, logprobs)
        return {"index": choice.index, "text": text, "logprobs": shown, **self._ended(finish)}

    def _logprobs(self, choice: Choice, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        most = self.asked.logprobs
        if most is None or not tokens:
            return None
        name = self.tokenizer.token_text
        texts = [name(token.token_id) for token in tokens]
        offsets = []
        for text in texts:
            offsets.append(choice.offset)
            choice.offset += len(text)
        return {
            "text_offset": offsets,
            "token_logprobs": [_or_none(token) for token in tokens],
            "tokens": texts,
            "top_logprobs": [self._tops(token, most) for token in tokens],
        }

    def _tops(self, token: TokenLogprob, most: int) -> dict[str, float] | None:
        """The alternatives by their texts: one more than asked for where the chosen token is none of the likeliest,
        as OpenAI and vLLM have it; nothing for a prompt's first token, which nothing came before."""
        if token.logprob is None and not token.top:
            return None
        return {self.tokenizer.token_text(each): finite(value) for each, value in token.top[: most + 1]}


def _or_none(token: TokenLogprob) -> float | None:
    return None if token.logprob is None else finite(token.logprob)
