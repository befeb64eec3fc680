"""openai-python and anthropic-python at providers of every dialect: text, tools in loops of two turns,
usage, errors, broken streams, and every fixture of the other dialects as its manifest says."""

import json
import os
from typing import NamedTuple

import anthropic
import openai

from check import CUTS, GATEWAY, KEY, TEXT, check, check_each, equal, raises, run

# Prefixes of models, by the dialect of their provider.
PROVIDERS = ("chat", "claude", "responses")
PATH = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
ASK = {"role": "user", "content": "Say something that is worth a few tokens of input, please."}


class Said(NamedTuple):
    """An answer, whatever the client."""

    text: str
    calls: list
    finish: str
    usage: dict | None
    # What the client's user puts into the history.
    turns: list


def usage_of(total, read, written, output, reasoning):
    """Usage as the manifest counts it: the input without its cached parts."""
    read, written = read or 0, written or 0
    return {
        "input_plain": total - read - written,
        "cache_read": read,
        "cache_write": written,
        "output": output,
        "reasoning_within_output": reasoning or 0,
    }


# Streams are read in a `with`: `httpcore` 1.0 locks up when one that nobody closed is collected as garbage
# while another request waits for its place.


class Chat:
    """`client.chat.completions`."""

    package = openai
    home = "chat"

    def __init__(self):
        self.client = openai.OpenAI(base_url=f"{GATEWAY}/v1", api_key=KEY, max_retries=0, timeout=20)

    def options(self, tool=None, most=None):
        function = {"name": tool, "description": "Reads a file.", "parameters": PATH}
        return {
            **({"tools": [{"type": "function", "function": function}]} if tool else {}),
            **({"max_completion_tokens": most} if most else {}),
        }

    def said(self, completion):
        choice, usage = completion.choices[0], completion.usage
        calls = [
            (call.id, call.function.name, json.loads(call.function.arguments))
            for call in choice.message.tool_calls or []
        ]
        finish = {"stop": "stop", "tool_calls": "tools", "length": "length"}[choice.finish_reason]
        inputs, outputs = usage and usage.prompt_tokens_details, usage and usage.completion_tokens_details
        return Said(
            choice.message.content or "",
            calls,
            finish,
            usage
            and usage_of(
                usage.prompt_tokens,
                inputs and inputs.cached_tokens,
                inputs and getattr(inputs, "cache_write_tokens", 0),
                usage.completion_tokens,
                outputs and outputs.reasoning_tokens,
            ),
            [choice.message],
        )

    def whole(self, model, turns, **options):
        return self.said(self.client.chat.completions.create(model=model, messages=turns, **self.options(**options)))

    def helper(self, model, turns, **options):
        asked = {"stream_options": {"include_usage": True}, **self.options(**options)}
        with self.client.chat.completions.stream(model=model, messages=turns, **asked) as stream:
            text = "".join(event.delta for event in stream if event.type == "content.delta")
            said = self.said(stream.get_final_completion())
        equal(said.text, text)
        return said

    def limited(self, model, turns, **options):
        """As `helper`, which throws at such an end."""
        error = raises(openai.LengthFinishReasonError, lambda: self.helper(model, turns, **options))
        return self.said(error.completion)

    def loop(self, model, turns):
        """The loop of every tutorial."""
        with self.client.chat.completions.create(model=model, messages=turns, stream=True) as stream:
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    def result(self, call):
        return [{"role": "tool", "tool_call_id": call, "content": "fn main() {}"}]


class Responses:
    """`client.responses`."""

    package = openai
    home = "responses"

    def __init__(self):
        self.client = openai.OpenAI(base_url=f"{GATEWAY}/v1", api_key=KEY, max_retries=0, timeout=20)

    def options(self, tool=None, most=None):
        function = {"type": "function", "name": tool, "description": "Reads a file.", "parameters": PATH, "strict": False}
        return {
            "store": False,
            **({"tools": [function]} if tool else {}),
            **({"max_output_tokens": most} if most else {}),
        }

    def said(self, response):
        calls = [
            (item.call_id, item.name, json.loads(item.arguments))
            for item in response.output
            if item.type == "function_call"
        ]
        if response.status == "failed":
            raise RuntimeError(response.error)
        if response.status == "incomplete":
            finish = {"max_output_tokens": "length"}[response.incomplete_details.reason]
        else:
            equal(response.status, "completed")
            finish = "tools" if calls else "stop"
        assert response.id
        usage = response.usage
        return Said(
            response.output_text,
            calls,
            finish,
            usage
            and usage_of(
                usage.input_tokens,
                usage.input_tokens_details.cached_tokens,
                getattr(usage.input_tokens_details, "cache_write_tokens", 0),
                usage.output_tokens,
                usage.output_tokens_details.reasoning_tokens,
            ),
            [item.model_dump(exclude_none=True, exclude={"parsed_arguments", "parsed"}) for item in response.output],
        )

    def whole(self, model, turns, **options):
        return self.said(self.client.responses.create(model=model, input=turns, **self.options(**options)))

    def helper(self, model, turns, **options):
        with self.client.responses.stream(model=model, input=turns, **self.options(**options)) as stream:
            events = list(stream)
            said = self.said(stream.get_final_response())
        equal(said.text, "".join(event.delta for event in events if event.type == "response.output_text.delta"))
        equal([event.sequence_number for event in events], list(range(len(events))))
        return said

    def limited(self, model, turns, **options):
        """As `helper`, which knows of no other end than `response.completed`."""
        *_, last = self.client.responses.create(model=model, input=turns, stream=True, **self.options(**options))
        equal(last.type, "response.incomplete")
        return self.said(last.response)

    def loop(self, model, turns):
        text = ""
        with self.client.responses.create(model=model, input=turns, stream=True) as stream:
            for event in stream:
                if event.type == "response.output_text.delta":
                    text += event.delta
                if event.type in ("error", "response.failed"):
                    raise openai.APIError(str(event), None, body=None)
        return text

    def result(self, call):
        return [{"type": "function_call_output", "call_id": call, "output": "fn main() {}"}]


class Messages:
    """`client.messages`."""

    package = anthropic
    home = "claude"

    def __init__(self):
        self.client = anthropic.Anthropic(base_url=GATEWAY, api_key=KEY, max_retries=0, timeout=20)

    def options(self, tool=None, most=None):
        tools = [{"name": tool, "description": "Reads a file.", "input_schema": PATH}]
        return {"max_tokens": most or 100, **({"tools": tools} if tool else {})}

    def said(self, message):
        calls = [(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"]
        usage = message.usage
        read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
        thought = getattr(usage, "output_tokens_details", None)
        thought = thought.get("thinking_tokens") if isinstance(thought, dict) else getattr(thought, "thinking_tokens", 0)
        return Said(
            "".join(block.text for block in message.content if block.type == "text"),
            calls,
            {"end_turn": "stop", "tool_use": "tools", "max_tokens": "length"}[message.stop_reason],
            usage_of(usage.input_tokens + read + written, read, written, usage.output_tokens, thought),
            [{"role": "assistant", "content": message.content}],
        )

    def whole(self, model, turns, **options):
        return self.said(self.client.messages.create(model=model, messages=turns, **self.options(**options)))

    def helper(self, model, turns, **options):
        with self.client.messages.stream(model=model, messages=turns, **self.options(**options)) as stream:
            text = "".join(stream.text_stream)
            said = self.said(stream.get_final_message())
        equal(said.text, text)
        return said

    def loop(self, model, turns):
        text = ""
        with self.client.messages.create(model=model, messages=turns, stream=True, max_tokens=100) as stream:
            for event in stream:
                if event.type == "content_block_delta" and event.delta.type == "text_delta":
                    text += event.delta.text
        return text

    def result(self, call):
        block = {"type": "tool_result", "tool_use_id": call, "content": "fn main() {}"}
        return [{"role": "user", "content": [block]}]


CLIENTS = {"chat": Chat(), "responses": Responses(), "messages": Messages()}
PAIRS = [f"{client} at {provider}" for client in CLIENTS for provider in PROVIDERS]
FOREIGN = [f"{name} at {provider}" for name, client in CLIENTS.items() for provider in PROVIDERS if provider != client.home]
# With `weir demo` there are only models that answer.
IS_DEMO = "WEIR_DEMO" in os.environ


def parts(pair):
    client, provider = pair.split(" at ")
    return CLIENTS[client], provider


def ways(client):
    """Both ways to a whole answer."""
    return (client.whole, client.helper)


def is_lost(client, way):
    """Whether this SDK forgets how much of the output was reasoning."""
    return client.package.__name__ == "anthropic" and anthropic.__version__.startswith("0.") and way == client.helper


@check_each(*PAIRS)
def text(pair):
    client, provider = parts(pair)
    for way in ways(client):
        said = way(f"{provider}-mock", [ASK])
        equal((said.text, said.calls, said.finish, said.usage["output"]), (TEXT, [], "stop", 4))
        assert said.usage["input_plain"] > 0
    equal(client.loop(f"{provider}-mock", [ASK]), TEXT)


@check_each(*PAIRS)
def several_turns(pair):
    client, provider = parts(pair)
    turns = [ASK]
    for _ in range(3):
        for way in ways(client):
            said = way(f"{provider}-mock", turns)
            equal(said.text, TEXT)
            turns = [*turns, *said.turns, ASK]


@check_each(*PAIRS)
def an_answer_that_was_limited(pair):
    client, provider = parts(pair)
    for way in (client.whole, getattr(client, "limited", client.helper)):
        said = way(f"{provider}-mock", [ASK], most=2)
        equal((said.text, said.finish), ("w0 w1 ", "length"))


@check_each(*PAIRS)
def a_tool_loop_of_two_turns(pair):
    client, provider = parts(pair)
    names = ["read_file", "n" * 64] + (["mcp__server__" + "n" * 100] if isinstance(client, Messages) else [])
    for name in names:
        for way in ways(client):
            first = way(f"{provider}-tools", [ASK], tool=name)
            equal([call[1:] for call in first.calls], [(name, {"path": "src/main.rs"})])
            equal((first.text, first.finish), ("", "tools"))
            call = first.calls[0][0]
            second = way(f"{provider}-tools", [ASK, *first.turns, *client.result(call)], tool=name)
            equal((second.text, second.calls, second.finish), (TEXT, [], "stop"))


if not IS_DEMO:

    @check_each(*PAIRS)
    def usage(pair):
        client, provider = parts(pair)
        for way in ways(client):
            used = way(f"{provider}-counted", [ASK]).usage
            # The mock tells of reasoning in OpenAI's dialects only; Anthropic's form of it is in a fixture.
            reasoning = 0 if provider == "claude" or is_lost(client, way) else 2
            equal((used["cache_read"], used["cache_write"], used["reasoning_within_output"]), (7, 3, reasoning))
            equal(used["output"], 6)
            assert used["input_plain"] > 0, used

    @check_each(*PAIRS)
    def errors(pair):
        client, provider = parts(pair)
        kinds = {"busy": "InternalServerError", "limited": "RateLimitError", "bad": "BadRequestError"}
        for model, kind in kinds.items():
            for way in (*ways(client), client.loop):
                error = raises(getattr(client.package, kind), lambda: way(f"{provider}-{model}", [ASK]))
                assert error.message
        limited = raises(client.package.RateLimitError, lambda: client.whole(f"{provider}-limited", [ASK]))
        equal(limited.response.headers["retry-after"], "1")

    @check_each(*(f"{pair}, {cut}" for pair in FOREIGN for cut in CUTS))
    def broken_stream_raises(what):
        pair, cut = what.split(", ")
        client, provider = parts(pair)
        raises(client.package.APIError, lambda: client.loop(f"{provider}-{cut}", [ASK]))
        raises((client.package.APIError, RuntimeError), lambda: client.helper(f"{provider}-{cut}", [ASK]))


@check
def what_was_left_out_is_listed():
    raw = CLIENTS["chat"].client.chat.completions.with_raw_response.create(
        model="claude-mock", messages=[ASK], seed=1, logit_bias={"9": -1}
    )
    equal(raw.headers["x-gateway-dropped-params"], "logit_bias, seed")
    error = raises(openai.BadRequestError, lambda: CLIENTS["chat"].client.chat.completions.create(
        model="claude-mock", messages=[ASK], n=2
    ))
    equal(error.param, "n")


@check_each(*PROVIDERS)
def tokens_are_counted(provider):
    counted = CLIENTS["messages"].client.messages.with_raw_response.count_tokens(
        model=f"{provider}-mock", messages=[ASK]
    )
    assert counted.parse().input_tokens > 0
    equal(counted.headers.get("x-gateway-estimated"), None if provider == "claude" else "1")


# --- Fixtures of the other dialects, as their manifest says.

HOMES = {"openai_chat": "chat", "anthropic_messages": "claude", "openai_responses": "responses",
         "gateway/openai": "chat", "gateway/anthropic": "claude"}


def fixtures():
    """Name -> (prefix of the provider, facts); those of surfaces that are not translated are left out."""
    with open(os.path.join(os.environ["WEIR_FIXTURES"], "manifest.json"), encoding="utf-8") as file:
        listed = json.load(file)["fixtures"]
    for name, facts in listed.items():
        dialect = facts["dialect"]
        home = HOMES.get(dialect) or HOMES.get(dialect.split("/")[0])
        if home:
            yield name, home, facts


def calls_of(facts):
    return [
        (call["id"], call["name"], call["input"] if "input" in call else json.loads(call["arguments"]))
        for call in facts.get("tool_calls", [])
    ]


def usage_is_as_told(client, way, said, facts):
    if not facts["usage"]:
        return
    wanted = {key: facts["usage"][key] for key in said.usage}
    if is_lost(client, way):
        wanted["reasoning_within_output"] = 0
    equal(said.usage, wanted)


def read_fixture(client, name, home, facts):
    model = f"fixture-{name.replace('/', '-')}"
    is_stream = name.endswith(".sse")
    if facts["end"] == "http_error":
        with open(os.path.join(os.environ["WEIR_FIXTURES"], name), encoding="utf-8") as file:
            status = json.load(file)["status"]
        error = raises(client.package.APIStatusError, lambda: client.whole(model, [ASK]))
        shown = {401: 502, 529: 503 if client.package is openai else 529}.get(status, status)
        equal(error.status_code, shown)
        return
    if facts["end"] in ("error", "response.failed") or facts["end"].startswith("cut"):
        raises((client.package.APIError, RuntimeError), lambda: client.helper(model, [ASK]))
        raises(client.package.APIError, lambda: client.loop(model, [ASK]))
        return
    way = client.helper if is_stream else client.whole
    said = way(model, [ASK])
    calls = calls_of(facts)
    equal((said.text, said.calls, said.finish), (facts["text"], calls, "tools" if calls else "stop"))
    usage_is_as_told(client, way, said, facts)
    if is_stream:
        equal(client.loop(model, [ASK]), facts["text"])


if not IS_DEMO:
    for fixture, home, facts in fixtures():
        for client in CLIENTS:
            if CLIENTS[client].home != home:
                what = f"{fixture} by {client}"
                arguments = (CLIENTS[client], fixture, home, facts)
                check_each(what)(lambda _, arguments=arguments: read_fixture(*arguments))

run()
